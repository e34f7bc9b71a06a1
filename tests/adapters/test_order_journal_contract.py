"""One contract for every journal of a replica: the real one, and the simulation's."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from kumiai.adapters.committee.journal import Journal
from kumiai.adapters.sim.ordering.cluster import Disk
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.ports import JournalPort
from kumiai.consensus.pbft.safety import Safety, recall

A, B = "ab" * 32, "cd" * 32
REQUEST = m.Request(B, 3, "do it", "ef" * 64)


def decided(place: int) -> m.Decided:
    return m.Decided(m.Batch((REQUEST,), 7), m.CommitProof(1, place, A, ((0, "0a"),)))


@pytest.fixture(params=["sqlite", "simulated"])
def opened(request, tmp_path) -> tuple[JournalPort, Callable[[], JournalPort]]:
    """A journal, and what gives the one that is found after a crash."""
    if request.param == "sqlite":
        path = tmp_path / "journal.sqlite"
        return Journal(path, "us"), lambda: Journal(path, "us")
    disk = Disk()

    def crash() -> Disk:
        class Unlucky(random.Random):
            def randint(self, a: int, b: int) -> int:
                return a

        disk.crash(Unlucky())
        return disk

    return disk, crash


def test_what_was_persisted_is_there_after_a_crash(opened):
    journal, crash = opened
    entries = Safety(1, 4, 8).leave_view(3)
    journal.append(decided(1))
    journal.persist(entries)
    journal.append(decided(2))
    assert list(journal.read_decided()) == [decided(1), decided(2)]
    after = crash()
    assert list(after.read_entries()) == list(entries)
    assert list(after.read_decided()) == [decided(1)]


def test_batches_are_read_from_a_place_on(opened):
    journal, _ = opened
    for place in range(1, 8):
        journal.append(decided(place))
    assert [d.proof.sequence for d in journal.read_decided(3, 2)] == [3, 4]
    assert [d.proof.sequence for d in journal.read_decided(6)] == [6, 7]
    assert list(journal.read_decided(1, 0)) == list(journal.read_decided(8)) == []


def test_what_was_promised_is_found_again_whatever_was_forgotten(opened):
    journal, crash = opened
    safety = Safety(1, 4, 8)
    for view in range(1, 20):
        journal.persist(safety.leave_view(2 * view))
        journal.persist(safety.begin_view(2 * view, safety.stable, [(view + 2, A), (view + 3, A)]))
        for place in range(view, view + 4):
            journal.persist(safety.vote_prepare(2 * view, place, A) or ())
        proof = m.PreparedProof(2 * view, view + 1, A, "0a", ((0, "0b"), (2, "0c")))
        journal.persist(safety.vote_commit(proof, m.Batch((REQUEST,), 7)) or ())
        journal.persist(safety.vote_pre_prepare(2 * view, view + 5, B, m.NULL_BATCH) or ())
        journal.persist(safety.stabilise(m.StableProof(view, A, ())))
        assert recall(1, 4, 8, journal.read_entries()) == safety
    assert recall(1, 4, 8, crash().read_entries()) == safety
