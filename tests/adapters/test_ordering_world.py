"""The order in a hostile world: whole plays from seeds, and worlds broken on purpose.

A seed that fails names itself: `make sim SEED=n` plays it again. Thousands of them:
`make sim-many N=10000`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kumiai.adapters.sim.ordering import checks
from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.ordering.checks import ViolationError
from kumiai.adapters.sim.ordering.cluster import Disk
from kumiai.adapters.sim.ordering.plan import SIZES, TRAITOR_KINDS, draw_plan
from kumiai.adapters.sim.ordering.world import World
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import changing, views
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.replica import Replica
from kumiai.consensus.pbft.safety import Voted
from kumiai.consensus.quorum import compute_fault_tolerance

SEEDS_MAX = 200  # within these a broken world must be caught


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_the_order_holds_and_goes_on(seed):
    plan = draw_plan(seed)
    result = World(plan).play()
    assert result.executed > 0
    assert result.accused <= plan.traitors.keys()


def test_a_seed_gives_the_same_world_again():
    assert World(draw_plan(7)).play() == World(draw_plan(7)).play()
    assert World(draw_plan(7)).play() != World(draw_plan(8)).play()


def test_the_seeds_bring_everything():
    plans = [draw_plan(seed) for seed in range(200)]
    assert {plan.size for plan in plans} == set(SIZES)
    assert {kind for plan in plans for kind in plan.traitors.values()} == set(TRAITOR_KINDS)
    assert {len(p.traitors) - compute_fault_tolerance(p.size) for p in plans if p.traitors} == {0}
    for found in ("drop_ppm", "twice_ppm", "slow", "cuts", "crashes"):
        assert 10 < sum(bool(getattr(plan, found)) for plan in plans) < 190


def find_caught(make, *arguments) -> str:
    """Return what the checks say of a broken world, "" where they notice nothing."""
    for seed in range(SEEDS_MAX):
        try:
            World(draw_plan(seed), *arguments).play() if make is None else make(seed)
        except ViolationError as error:
            return str(error)
    return ""


def test_a_quorum_that_is_too_small_is_caught():
    class Lax(Committee):
        @property
        def quorum(self) -> int:
            return compute_fault_tolerance(self.size) + 1

    assert "decided otherwise" in find_caught(None, Lax)


def test_votes_that_are_not_written_down_are_caught():
    class Forgetful(Disk):
        def persist(self, entries):
            """Says that it wrote the votes, and did not."""
            super().persist(entries)
            self.entries = [entry for entry in self.entries if not isinstance(entry, Voted)]

    assert "signed" in find_caught(None, Committee, Forgetful)


def test_a_signature_before_its_entry_is_caught(monkeypatch):
    monkeypatch.setattr(Disk, "persist", lambda self, entries: None)
    assert "before it was on the disk" in find_caught(None)


def test_a_new_view_that_forgets_what_was_prepared_is_caught(monkeypatch):
    """Without the rule that the highest prepared proof wins, what was decided is lost."""

    def forget(changes):
        stable, digests = compute(changes)
        return stable, (views.NULL_DIGEST,) * len(digests)

    compute = views.compute_proposals
    monkeypatch.setattr(views, "compute_proposals", forget)
    assert "decided otherwise" in find_caught(None)


def test_a_clock_that_follows_any_primary_is_caught(monkeypatch):
    monkeypatch.setattr(Replica, "_is_timely", lambda self, time_ms, clock_ms: True)
    assert "ahead of every loyal one" in find_caught(None)


def test_a_request_executed_twice_is_caught(monkeypatch):
    from kumiai.consensus.pbft.pool import Pool

    monkeypatch.setattr(Pool, "is_executed", lambda self, request: False)
    assert "twice" in find_caught(None)


def test_a_timer_that_counts_one_view_only_stops_for_ever(monkeypatch):
    """A seed found it: two views share a quorum between them, and the timer of neither starts."""
    from kumiai.consensus.pbft.gathering import Changes

    def count_in(self, view):
        return len(self.list_for(view))

    monkeypatch.setattr(Changes, "count_from", count_in)

    def play(seed):
        mute = dict.fromkeys((0, 2), "mute")
        World(replace(draw_plan(seed, 7), traitors=mute, drop_ppm=300_000)).play()

    assert "no progress" in find_caught(play)


@pytest.mark.parametrize(
    ("scheme", "signers"),
    [
        (Schnorr(), [KeySigner(derive_key(b"contract", str(i))) for i in range(2)]),
        (CheapScheme(1), [CheapScheme(1).make_signer(str(i)) for i in range(2)]),
    ],
)
def test_schemes_keep_one_contract(scheme, signers):
    first, second = signers
    digest, other = b"\x01" * 32, b"\x02" * 32
    signature = first.sign(digest)
    assert signature == first.sign(digest)
    assert scheme.is_signature(first.pubkey, digest, signature)
    assert not scheme.is_signature(first.pubkey, other, signature)
    assert not scheme.is_signature(second.pubkey, digest, signature)
    assert not scheme.is_signature(first.pubkey, digest, "zz")
    assert not scheme.is_signature("00" * 32, digest, signature)


def test_the_names_that_tests_change_are_the_ones_that_run():
    assert changing.list_proposals is views.list_proposals
    assert checks.list_proposals is views.list_proposals
