"""A round's updates beside those of the rounds before: copies found, honest old work not blamed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.scoring import find_findings
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.learning.fixed_point import encode_vector
from kumiai.nodes.ports import ScoreJob, UpdateRef
from kumiai.proofs import flags as flag
from kumiai.tasks.document import task_from_mapping

SIZE = 4_000
TASK = task_from_mapping({"name": "x", "training": {"buffer": 3, "staleness_max": 4}})
IntMatrix = NDArray[np.int32]


class Bench:
    """Blobs of four members who began at one model, and the step that three of them made."""

    def __init__(self, own: float = 0.1, seed: int = 1) -> None:
        draw = np.random.default_rng(seed)
        common_P = draw.normal(size=SIZE)
        rows = common_P + own * draw.normal(size=(9, SIZE))
        self.rows: IntMatrix = np.rint(rows * 10_000).astype(np.int32)
        self.step_P = np.rint(self.rows[:3].mean(axis=0)).astype(np.int32)
        self.fresh = np.rint(draw.normal(size=(3, SIZE)) * 9_000 + 2_000).astype(np.int32)
        self._blobs = MemoryBlobs()
        self.decoded = DecodedBlobs(self._blobs, SIZE)
        self.previous = self.put("model", np.zeros(SIZE, np.int32))
        self.model = self.put("model", self.step_P)
        self.shown = [(4, f"a{i}", self.put("update", self.rows[i]), 4) for i in range(3)]

    def put(self, name: str, row_P: IntMatrix) -> str:
        return self._blobs.put(encode_vector(name, row_P))

    def judge(
        self, row_P: IntMatrix, staleness: int, member: str = "m", more: Sequence[object] = ()
    ) -> int:
        """The flags of this update, committed in round 5 beside three of new work."""
        rows = [row_P, *self.fresh]
        updates = tuple(
            UpdateRef(
                member if i == 0 else f"f{i}",
                self.put("update", row),
                10 + i,
                staleness=staleness if i == 0 else 0,
            )
            for i, row in enumerate(rows)
        )
        shown = (*self.shown, *more)
        job = ScoreJob(
            5,
            "v",
            self.model,
            self.previous,
            updates,
            "00" * 32,
            shown=shown,  # type: ignore[arg-type]
        )
        found = find_findings(TASK, self.decoded, job, rows)
        assert [finding.flags for finding in found[1:]] == [0, 0, 0]
        return found[0].flags


@pytest.mark.parametrize("own", [0.03, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_work_that_began_where_the_last_step_did_is_no_replay_of_it(own: float, seed: int) -> None:
    bench = Bench(own, seed)
    assert bench.judge(bench.rows[4], staleness=1) == 0
    assert bench.judge(bench.rows[4], staleness=0) == flag.REPLAY  # of new work it would be


def test_a_replay_that_names_an_old_base_is_a_replay() -> None:
    bench = Bench()
    shaken_P = bench.step_P + np.random.default_rng(3).integers(-64, 65, SIZE, dtype=np.int32)
    for staleness in (0, 1, 3):
        assert bench.judge(shaken_P, staleness) & flag.REPLAY


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_a_copy_of_what_another_showed_a_round_before_is_found(staleness: int) -> None:
    """Whatever base the copier names, or none."""
    bench = Bench(own=0.8)
    shaken_P = bench.rows[1] + np.random.default_rng(4).integers(-64, 65, SIZE, dtype=np.int32)
    assert bench.judge(shaken_P, staleness) == flag.SHOWN
    assert bench.judge(shaken_P, staleness, member="a1") == 0  # its own work, once more


def test_older_rounds_are_looked_at_too() -> None:
    bench = Bench(own=0.8)
    older = [(2, f"b{i}", bench.put("update", bench.rows[i]), 2) for i in (5, 6, 7)]
    assert bench.judge(bench.rows[7], 0) == 0
    assert bench.judge(bench.rows[7], 0, more=older) == flag.SHOWN


def test_what_was_shown_and_cannot_be_read_is_nobodys_original() -> None:
    bench = Bench(own=0.8)
    lost = [(4, "c", "ab" * 32, 4), (3, "c", bench._blobs.put(b"\x00garbage"), 3)]
    assert bench.judge(bench.rows[5], 2, more=lost) == 0


def test_what_is_malformed_now_stays_so() -> None:
    bench = Bench()
    updates = (UpdateRef("m", "ab" * 32, 1, staleness=1),)
    job = ScoreJob(
        5, "v", bench.model, bench.previous, updates, "00" * 32, shown=tuple(bench.shown)
    )
    assert [f.flags for f in find_findings(TASK, bench.decoded, job, [None])] == [flag.MALFORMED]
