"""What one place keeps, however much is said about it."""

from __future__ import annotations

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.slots import Slot


def digest(number: int) -> str:
    return f"{number:064x}"


def test_a_place_keeps_the_batches_of_two_digests_the_latest():
    slot = Slot()
    for number in range(20):
        slot.keep_batch(digest(number), m.Batch((), number))
    assert list(slot.batches) == [digest(18), digest(19)]


def test_a_place_keeps_one_vote_a_phase_and_sender_whatever_views_they_name():
    slot = Slot()
    for view in range(20):
        for sender in range(4):
            for body in (m.Prepare(view, 1, digest(view)), m.Commit(view, 1, digest(view))):
                assert slot.add(m.Signed(body, sender, "")) is None
    assert len(slot.votes) == 8
    assert slot.find_decision(4) is not None
    assert len(slot._counts) == 2


def test_an_older_view_s_vote_takes_nobody_s_place():
    slot = Slot()
    slot.add(m.Signed(m.Commit(5, 1, digest(5)), 0, "new"))
    assert slot.add(m.Signed(m.Commit(4, 1, digest(4)), 0, "old")) is None
    assert [vote.signature for vote in slot.list_of("commit")] == ["new"]
