"""The catalogue of attacks on traces, tried against the real replay, and what becomes of each.

Each attack sends an update that follows from its own last state, with a well-formed trace: only
what the test names gives it away. Of runs (withholding, lazy and colluding auditors, slashing):
tests/apps/test_audited_runs.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from tests.adapters.traced_work import EVERY, MEMBERS, World, draw_rounds

from kumiai.adapters.sim.fakers import FAKERS, fabricate, fake_segments
from kumiai.base.errors import StoreError
from kumiai.proofs.policy import compute_detection_ppm, compute_seed, draw_segments
from kumiai.proofs.trace import Trace, TracePlace, check_opened, count_segments

CHEAT = MEMBERS[0]
START, CLOSING = -1, -2


@dataclass(frozen=True)
class Attack:
    """A named scenario; `where` says at which segment (or START, CLOSING) it is found."""

    name: str
    says: str
    world: Callable[[], World]
    where: int


def cheating(behaviour: str) -> Callable[[], World]:
    return lambda: World(tracers={CHEAT: FAKERS[behaviour]})


ATTACKS = (
    Attack("fabricated checkpoints", "states made up at random", cheating("fabricator"), 0),
    Attack("skipped iterations", "half of each segment is not done", cheating("skipper"), 0),
    Attack("precomputed spoof", "a smooth path to a finished model", cheating("spoofer"), 0),
    Attack("stale model", "work that began at another model", cheating("stale"), START),
    Attack("wrong data", "other labels than those assigned", lambda: World(falsified=[CHEAT]), 0),
    Attack("ground seed", "the luckiest of several orders of batches", cheating("grinder"), 0),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_full_replay_finds_it_and_says_where(attack: Attack) -> None:
    verdict, segment, _ = attack.world().audit_all(CHEAT)
    assert (verdict, segment) == ("INVALID", attack.where), attack.says


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_honest_members_beside_it_stay_valid(attack: Attack) -> None:
    world = attack.world()
    world.train(CHEAT)
    assert world.audit_all(MEMBERS[1]) == ("VALID", 0, "")


def test_what_is_not_drawn_is_not_found_and_the_formula_says_how_often() -> None:
    """One segment of four is faked, two are replayed: found in half of the draws, as computed."""
    world = World(tracers={CHEAT: fake_segments(250_000, fabricate)})
    job, result = world.train(CHEAT)
    count = count_segments(result.iteration_count, EVERY)
    found = 0
    draws = draw_rounds(np.random.default_rng(5), 120, count, 2)
    seen: dict[tuple[int, ...], str] = {}
    for segments in draws:
        if segments not in seen:
            seen[segments] = world.replay(world.open(job, result, segments))[0]
        found += seen[segments] == "INVALID"
    expected = compute_detection_ppm(count, 1, 2) / 1e6
    assert abs(found / len(draws) - expected) < 4 * (expected * (1 - expected) / len(draws)) ** 0.5


def test_copied_trace_is_worthless_under_another_name() -> None:
    """Neither the leaves nor the states of somebody else's trace are the copier's."""
    world = World()
    job, result = world.train(MEMBERS[1])
    victim = TracePlace("task", 1, 1, MEMBERS[1])
    copier = TracePlace("task", 1, 1, CHEAT)
    own = Trace(victim, EVERY, result.iteration_count, result.trace)
    (leaf,) = own.open([2])
    assert check_opened(victim, own.root, result.iteration_count, EVERY, leaf) is None
    fault = check_opened(copier, own.root, result.iteration_count, EVERY, leaf)
    assert fault == "leaf 2 does not lead to the root that was committed to"
    # bound to the copier's name instead, the states themselves are of another seed
    target = replace(world.open(job, result, [1]), member=CHEAT, seed=world.make_job(CHEAT).seed)
    assert world.replay(target)[:2] == ("INVALID", START)


def test_grinding_the_draw_is_impossible_for_who_is_drawn() -> None:
    """Nothing that a trainer sends enters the draw: not its root, its claims or the log's head."""
    elements = ["1" * 64, "2" * 64]
    seed = compute_seed("task", 3, 1, elements)
    assert draw_segments(seed, CHEAT, 50, 3) == draw_segments(seed, CHEAT, 50, 3)
    assert compute_seed("task", 3, 2, elements) != seed
    assert compute_seed("task", 3, 1, elements[:1]) != seed


def test_withheld_states_cannot_be_replaced_by_others() -> None:
    """An opened state must have the committed digest: another one is not even decoded."""
    world = World(tracers={CHEAT: FAKERS["fabricator"]})
    job, result = world.train(CHEAT)
    target = world.open(job, result, [1, 2])
    honest = World()
    honest_job, honest_result = honest.train(CHEAT)
    honest.open(honest_job, honest_result, [1, 2])
    for digest in honest_result.trace:
        if honest.blobs.has(digest):
            world.blobs.put(honest.blobs.get(digest, 2**20))
    assert world.replay(target)[0] == "INVALID"


def test_a_disk_that_fails_here_accuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not opened is MISSING; what cannot be read just now is the auditor's own trouble."""
    world = World()
    job, result = world.train(CHEAT)
    target = world.open(job, result, [1])
    load, state = world.blobs.get, dict(target.leaves)[1]
    for is_retriable, found in ((False, "MISSING"), (True, "try again")):

        def fail(name: str, cap: int, is_retriable: bool = is_retriable) -> bytes:
            if name == state:
                raise StoreError("try again", is_retriable=is_retriable)
            return load(name, cap)

        monkeypatch.setattr(world.blobs, "get", fail)
        if is_retriable:
            with pytest.raises(StoreError, match=found):
                world.replay(target)
        else:
            assert world.replay(target)[0] == found


@pytest.mark.parametrize("data", [b"", b"no tensors", save({"x": torch.zeros(2)})])
def test_what_the_customer_calls_a_shard_and_is_none_is_named(data: bytes) -> None:
    world = World()
    job, result = world.train(CHEAT)
    target = replace(world.open(job, result, [1]), shard=world.blobs.put(data))
    with pytest.raises(StoreError, match=f"blob {target.shard} is no shard"):
        world.replay(target)
