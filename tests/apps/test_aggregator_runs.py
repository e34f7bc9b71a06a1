"""Every aggregator in whole runs: they end, verify, and give the same certificates again.

A law of the family: the second run has numpy's loops where the first had compiled ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.native.kernels import NativeKernels, load_kernels
from kumiai.apps import wiring
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView
from kumiai.learning.aggregation import AGGREGATORS, NumpyKernels
from kumiai.nodes.ports import ScoreJob, ScoreResult
from kumiai.tasks.sections import TrainingSection

NAMES = list(AGGREGATORS)
SETTINGS = {
    "median": {"bucket_size": 2},
    "trimmed_mean": {"byzantine_count": 1},
    "krum": {"byzantine_count": 1},
    "multi_krum": {"byzantine_count": 1},
    "geometric_median": {"byzantine_count": 1, "bucket_size": 2, "aggregator_iterations": 8},
    "centered_clip": {"clip_ppm": 800_000, "aggregator_iterations": 2},
    "norm_clip": {"clip_norm_ppm": 500_000},
}


def run(folder: Path, aggregator: str, **settings: object) -> RunView:
    chosen = {"aggregator": aggregator, "backend": "inline", **settings}
    words = {f"training.{name}": str(value) for name, value in chosen.items()}
    return kumiai.run(write_task(folder), folder / "run", {"data.trainers": "5", **words})


def list_certificates(view: RunView) -> list[str]:
    return [certificate.hash for certificate in view.certificates]


def test_a_task_knows_every_rule() -> None:
    assert set(get_args(TrainingSection.model_fields["aggregator"].annotation)) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_ends_verifies_and_repeats_itself_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = SETTINGS.get(name, {})
    first = run(tmp_path / "compiled", name, **settings)
    assert first.phase == "FINISHED"
    assert first.rounds[-1].loss_ppm < first.rounds[0].loss_ppm
    report = verify_path(tmp_path / "compiled" / "run")
    assert report.is_ok, report.findings
    loaded = []
    monkeypatch.setattr(wiring, "load_kernels", lambda *_: loaded.append(1) or NumpyKernels())
    second = run(tmp_path / "numpy", name, **settings)
    assert loaded
    assert list_certificates(first) == list_certificates(second)
    assert len(first.certificates) == 3


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")
def test_a_run_uses_the_compiled_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def count(*arguments: object) -> object:
        kernels = load_kernels(tmp_path / "native")
        assert isinstance(kernels, NativeKernels)
        plain = kernels.reduce_sorted
        monkeypatch.setattr(
            kernels, "reduce_sorted", lambda *given: used.append(1) or plain(*given), raising=False
        )
        return kernels

    monkeypatch.setattr(wiring, "load_kernels", count)
    run(tmp_path, "median", rounds=1)
    assert used


@pytest.mark.slow
def test_a_validator_without_a_readable_root_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shows none, one shows bytes that are no root: the others' median is the root."""
    honest = EngineCompute.score

    def spoil(self: EngineCompute, jobs: Sequence[ScoreJob]) -> list[ScoreResult]:
        ranks = sorted(job.validator for job in jobs)
        roots = {ranks[0]: "", ranks[1]: self._blobs.put(b"no root")}
        return [
            replace(result, root=roots.get(result.validator, result.root))
            for result in honest(self, jobs)
        ]

    monkeypatch.setattr(EngineCompute, "score", spoil)
    view = run(tmp_path, "trust_root")
    monkeypatch.undo()
    assert view.phase == "FINISHED"
    assert verify_path(tmp_path / "run").is_ok


@pytest.mark.slow
def test_a_root_that_was_swapped_is_found(tmp_path: Path) -> None:
    run(tmp_path, "trust_root", rounds=1)
    folder = tmp_path / "run"
    for name in ("seal.json", "seal.index"):
        (folder / name).unlink()
    paths = [path for path in (folder / "blobs").rglob("*") if path.is_file()]
    roots = [path for path in paths if b'"root"' in path.read_bytes()[:100]]
    assert len(roots) == 4
    data = bytearray(roots[0].read_bytes())
    data[-1] ^= 64
    roots[0].write_bytes(bytes(data))
    found = [finding.where for finding in verify_path(folder).findings]
    assert f"round 1, blob {roots[0].name[:12]}" in found
