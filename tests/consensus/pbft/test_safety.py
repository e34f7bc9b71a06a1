"""What a replica may sign: each rule of the module's list, and what it knows after a crash."""

from __future__ import annotations

import pytest

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.proofs import BEGINNING
from kumiai.consensus.pbft.safety import Safety, Stabilised, ViewEntered, Voted, recall

A, B = "aa" * 32, "bb" * 32
BATCH = m.Batch((m.Request("c", 1, "x"),), 9)


def make(own=1) -> Safety:
    return Safety(own, 4, 8)


def proof(view, place, digest=A) -> m.PreparedProof:
    return m.PreparedProof(view, place, digest, "", ())


def test_one_digest_in_one_phase_of_one_view():
    safety = make()
    assert safety.vote_prepare(0, 1, A) == (Voted("prepare", 0, 1, A),)
    assert safety.vote_prepare(0, 1, A) == ()  # the same again needs nothing on the disk
    assert safety.vote_prepare(0, 1, B) is None
    assert safety.vote_prepare(0, 2, B) is not None


def test_nothing_in_a_view_that_is_not_open():
    safety = make()
    assert safety.vote_prepare(1, 1, A) is None
    safety.leave_view(2)
    assert safety.vote_prepare(2, 1, A) is None
    assert safety.vote_prepare(0, 1, A) is None
    safety.begin_view(2, BEGINNING, ())
    assert safety.vote_prepare(2, 1, B) is not None
    assert safety.vote_prepare(0, 1, A) is None


def test_views_only_rise():
    safety = make()
    safety.leave_view(3)
    for view in (0, 3):
        with pytest.raises(ValueError, match="is not after"):
            safety.leave_view(view)
    with pytest.raises(ValueError, match="cannot begin"):
        safety.begin_view(2, BEGINNING, ())
    safety.begin_view(3, BEGINNING, ())
    with pytest.raises(ValueError, match="cannot begin"):
        safety.begin_view(3, BEGINNING, ())


def test_what_a_new_view_proposes_binds_in_its_view_and_no_longer():
    safety, journal = make(), []
    journal += safety.leave_view(4)
    journal += safety.begin_view(4, BEGINNING, [(1, A), (2, B)])
    for each in (safety, recall(1, 4, 8, journal)):
        assert each.vote_prepare(4, 1, B) is None
        assert each.vote_commit(proof(4, 2, A), BATCH) is None
        assert each.vote_prepare(4, 1, A) is not None
        assert each.vote_prepare(4, 3, B) is not None  # above what it proposes
    safety.leave_view(6)
    assert safety.bound == {}


def test_a_view_begins_with_its_checkpoint_in_one_write():
    """Else a crash between the two lets other batches be proposed below the checkpoint."""
    safety = make()
    stable = m.StableProof(4, A, ())
    entries = safety.begin_view(2, stable, [(5, B)])
    assert entries == (Stabilised(stable), ViewEntered(2, False, ((5, B),)))
    assert safety.vote_prepare(2, 3, A) is None
    assert recall(1, 4, 8, entries) == safety
    later = make()
    later.stabilise(m.StableProof(6, A, ()))
    assert later.begin_view(2, stable, [(5, B), (7, A)]) == (
        ViewEntered(2, False, ((5, B), (7, A))),
    )
    assert later.bound == {7: A}


def test_the_primary_proposes_and_does_not_prepare():
    primary = make(own=0)
    assert primary.vote_prepare(0, 1, A) is None
    assert primary.vote_pre_prepare(0, 1, A, BATCH) == (Voted("pre-prepare", 0, 1, A, BATCH),)
    assert primary.vote_pre_prepare(0, 1, B, m.NULL_BATCH) is None
    assert make(own=1).vote_pre_prepare(0, 1, A, BATCH) is None


@pytest.mark.parametrize("place", [0, 4, 13])
def test_nothing_outside_the_window(place):
    safety = make()
    safety.stabilise(m.StableProof(4, A, ()))
    assert safety.vote_prepare(0, place, A) is None
    assert safety.vote_commit(proof(0, place), BATCH) is None
    assert safety.vote_prepare(0, 5, A) is not None
    assert safety.vote_prepare(0, 12, A) is not None


def test_one_head_at_one_checkpoint_in_any_view():
    safety = make()
    assert safety.vote_checkpoint(4, A) == (Voted("checkpoint", 0, 4, A),)
    safety.leave_view(1)
    assert safety.vote_checkpoint(4, A) == ()
    assert safety.vote_checkpoint(4, B) is None


def test_a_view_change_shows_the_highest_proof_of_each_place():
    safety = make()
    safety.vote_commit(proof(0, 2), BATCH)
    safety.vote_commit(proof(0, 1), BATCH)
    safety.begin_view(1, BEGINNING, ())
    safety.vote_commit(proof(1, 2, B), m.NULL_BATCH)
    assert safety.list_prepared() == (proof(0, 1), proof(1, 2, B))


def test_what_is_stable_is_forgotten_and_nothing_else():
    safety = make(own=0)
    for place in (1, 2, 3, 4, 5):
        safety.vote_pre_prepare(0, place, A, BATCH)
        safety.vote_commit(proof(0, place), BATCH)
    safety.stabilise(m.StableProof(4, A, ()))
    assert {place for _, place in safety.votes} == {5}
    assert set(safety.prepared) == set(safety.proposed) == {5}
    assert safety.stabilise(m.StableProof(2, A, ())) == ()


def test_after_a_crash_it_knows_what_it_knew():
    safety, journal = make(own=2), []
    journal += safety.vote_prepare(0, 1, A)
    journal += safety.vote_commit(proof(0, 1), BATCH)
    journal += safety.leave_view(2)
    journal += safety.begin_view(2, BEGINNING, ())
    journal += safety.vote_pre_prepare(2, 1, A, BATCH)
    journal += safety.vote_checkpoint(4, A)
    journal += safety.stabilise(m.StableProof(4, A, ()))
    journal += safety.vote_pre_prepare(2, 6, B, m.NULL_BATCH)
    assert recall(2, 4, 8, journal) == safety


def test_every_vote_is_in_the_entries_that_must_be_written():
    """Whoever loses an entry may sign against it: so none may be missing."""
    safety = make()
    entries = safety.vote_prepare(0, 1, A)
    assert recall(1, 4, 8, entries).vote_prepare(0, 1, B) is None
    assert recall(1, 4, 8, ()).vote_prepare(0, 1, B) is not None
