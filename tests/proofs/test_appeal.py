"""One appeal, with a bond, to a larger jury."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.errors import Reject
from kumiai.proofs.appeal import (
    Appeal,
    Filed,
    SeedDrawn,
    Settle,
    Stage,
    Summon,
    Terms,
    TimePassed,
    Voted,
    compute_jury_size,
    open_window,
    step,
)
from kumiai.proofs.verdict import Verdict

VALIDATORS = tuple("abcdefghij")
TERMS = Terms(window_ms=100, jury_ms=50, bond_min=20)
SEED = "5" * 64


def file(judges: str = "ab", bond: int = 20) -> Appeal:
    opened = open_window("accused", judges, VALIDATORS, TERMS, 0)
    state, _ = step(opened, Filed("accused", bond), 10)  # type: ignore[misc]
    return state


def sit(judges: str = "ab") -> Appeal:
    state, effects = step(file(judges), SeedDrawn(SEED), 20)  # type: ignore[misc]
    assert effects == (Summon(state.jury, 70),)
    return state


def vote(state: Appeal, verdicts: list[Verdict]):  # type: ignore[no-untyped-def]
    effects: tuple[object, ...] = ()
    for juror, verdict in zip(state.jury, verdicts, strict=False):
        state, effects = step(state, Voted(juror, verdict), 30)  # type: ignore[misc,assignment]
    return state, effects


def test_the_jury_is_larger_and_new_where_there_are_enough() -> None:
    state = sit("ab")
    assert len(state.jury) == 5
    assert not set(state.jury) & set("ab")
    crowded = sit("abcd")
    assert len(crowded.jury) == 9
    assert set("efghij") <= set(crowded.jury)


@given(st.integers(1, 31), st.integers(1, 31))
def test_a_jury_is_never_smaller_than_what_had_judged(judges: int, validators: int) -> None:
    size = compute_jury_size(min(judges, validators), validators)
    assert min(judges, validators) <= size <= validators
    assert size == validators or size > 2 * judges


def test_a_quorum_upholds_and_the_bond_is_burnt_not_paid() -> None:
    state, effects = vote(sit(), [Verdict.INVALID] * 4 + [Verdict.VALID])
    assert state.stage is Stage.UPHELD
    assert effects == (Settle(True, 20, 0),)


def test_a_quorum_overturns_and_the_bond_returns() -> None:
    state, effects = vote(sit(), [Verdict.VALID] * 4 + [Verdict.INVALID])
    assert state.stage is Stage.OVERTURNED
    assert effects == (Settle(False, 0, 20),)


def test_without_a_quorum_nothing_is_burnt() -> None:
    mixed = [Verdict.VALID] * 3 + [Verdict.INVALID] * 2
    for verdicts in (mixed, [Verdict.INCONCLUSIVE] * 5):
        state, effects = vote(sit(), verdicts)
        assert state.stage is Stage.DROPPED
        assert effects == (Settle(False, 0, 20),)


def test_the_quorum_is_of_the_jury_never_of_those_who_spoke() -> None:
    state, _ = vote(sit(), [Verdict.INVALID] * 3)
    assert state.stage is Stage.JURY
    late, effects = step(state, TimePassed(), 71)  # type: ignore[misc]
    assert late.stage is Stage.DROPPED
    assert effects == (Settle(False, 0, 20),)


def test_a_window_that_nobody_used_lets_the_verdict_stand() -> None:
    opened = open_window("accused", "ab", VALIDATORS, TERMS, 0)
    assert step(opened, TimePassed(), 100) == (opened, ())
    state, effects = step(opened, TimePassed(), 101)  # type: ignore[misc]
    assert state.stage is Stage.EXPIRED
    assert effects == (Settle(True, 0, 0),)


@pytest.mark.parametrize(
    ("make", "event", "now_ms", "reason"),
    [
        (file, Filed("accused", 50), 20, "appealed"),
        (
            lambda: open_window("accused", "a", VALIDATORS, TERMS, 0),
            Filed("b", 50),
            1,
            "not-accused",
        ),
        (
            lambda: open_window("accused", "a", VALIDATORS, TERMS, 0),
            Filed("accused", 50),
            101,
            "too-late",
        ),
        (
            lambda: open_window("accused", "a", VALIDATORS, TERMS, 0),
            Filed("accused", 19),
            1,
            "bond-too-small",
        ),
        (file, SeedDrawn("x"), 20, "bad-hash"),
        (sit, SeedDrawn(SEED), 20, "wrong-stage"),
        (sit, Voted("a", Verdict.VALID), 30, "not-juror"),
        (file, Voted("c", Verdict.VALID), 30, "not-juror"),
        (file, SeedDrawn(SEED), 10**6, "too-late"),
        (sit, Voted("c", Verdict.VALID), 10**6, "too-late"),
    ],
)  # fmt: skip
def test_faults_are_refused(make, event, now_ms, reason) -> None:  # type: ignore[no-untyped-def]
    found = step(make(), event, now_ms)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_a_judge_who_is_named_twice_counts_once() -> None:
    twice = open_window("accused", "aab", VALIDATORS, TERMS, 0)
    assert twice == open_window("accused", "ba", VALIDATORS, TERMS, 0)


def test_after_the_end_nothing_counts_and_nobody_votes_twice() -> None:
    state, _ = vote(sit(), [Verdict.INVALID] * 5)
    found = step(state, Filed("accused", 50), 31)
    assert isinstance(found, Reject)
    assert found.reason == "ended"
    once, _ = vote(sit(), [Verdict.INVALID])
    again = step(once, Voted(once.jury[0], Verdict.VALID), 31)
    assert isinstance(again, Reject)
    assert again.reason == "duplicate"


def test_terms_that_make_no_sense_are_ours_to_fix() -> None:
    with pytest.raises(ValueError, match="window_ms and bond_min at least 0"):
        open_window("x", "a", VALIDATORS, Terms(-1, 1, 1), 0)
    with pytest.raises(ValueError, match="must be some of"):
        open_window("x", "z", VALIDATORS, TERMS, 0)
