"""Stop votes: k of n guardians, each once, strangers never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.governance.stop import ACTIONS, Votes, add_vote, has_decided

GUARDIANS = ("g1", "g2", "g3", "g4", "g5")
votes_cast = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(GUARDIANS)), max_size=20)


@given(votes_cast, st.integers(1, 5))
def test_decided_when_so_many_different_guardians_asked_for_the_same(
    cast: list[tuple[str, str]], required: int
) -> None:
    votes: Votes = {}
    for action, guardian in cast:
        votes = add_vote(votes, action, guardian, GUARDIANS)
    for action in ACTIONS:
        distinct = {guardian for asked, guardian in cast if asked == action}
        assert has_decided(votes, action, required) == (len(distinct) >= required)


def test_a_guardian_counts_once_however_often_it_asks() -> None:
    votes = add_vote({}, "halt", "g1", GUARDIANS)
    assert add_vote(votes, "halt", "g1", GUARDIANS) == votes
    assert not has_decided(votes, "halt", 2)


def test_votes_for_different_actions_do_not_add_up() -> None:
    votes = add_vote(add_vote({}, "halt", "g1", GUARDIANS), "pause", "g2", GUARDIANS)
    assert not any(has_decided(votes, action, 2) for action in ACTIONS)


def test_adding_a_vote_leaves_the_old_state_alone() -> None:
    before = add_vote({}, "pause", "g1", GUARDIANS)
    add_vote(before, "pause", "g2", GUARDIANS)
    assert before == {"pause": ("g1",)}


@pytest.mark.parametrize(
    ("action", "guardian", "message"),
    [("halt", "stranger", "no guardian"), ("explode", "g1", "none of"), ("", "g1", "none of")],
)
def test_strangers_and_unknown_actions_are_refused(
    action: str, guardian: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        add_vote({}, action, guardian, GUARDIANS)


def test_a_run_without_guardians_cannot_be_stopped_by_anybody() -> None:
    with pytest.raises(ValueError, match="no guardian"):
        add_vote({}, "halt", "g1", ())
