"""aequa-live: every round's widths follow from the certified values before it, for everybody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.base.amounts import PPM
from kumiai.proofs import flags as flag
from kumiai.rounds.effects import Certified
from kumiai.rounds.round import open_round
from kumiai.rounds.run import step
from kumiai.rounds.state import AssignmentState, RunState, Tally
from kumiai.rounds.widths import compute_live_widths, share_width

GRID = (250_000, 500_000, 750_000, 1_000_000)
QUALITIES = {"t0": 400_000, "t1": 200_000, "t2": 100_000, "t3": 1_000}


@given(st.lists(st.integers(-(10**6), 10**9), min_size=1, max_size=8))
@settings(max_examples=80, deadline=None)
def test_the_rule_is_monotone_bounded_and_gives_the_best_all(values: list[int]) -> None:
    best = max(values)
    widths = [share_width(value, best, GRID, 250_000) for value in values]
    assert all(width in GRID for width in widths)
    ordered = [width for _, width in sorted(zip(values, widths, strict=True))]
    assert ordered == sorted(ordered)
    assert widths[values.index(best)] == (PPM if best > 0 else 250_000)
    for value, width in zip(values, widths, strict=True):  # the next wider one is not earned
        wider = [w for w in GRID if w > width]
        if best > 0 and value > 0 and wider:
            assert (PPM - 250_000) * value < (wider[0] - 250_000) * best + best


def make_state(balances: dict[str, int], policy: str = "aequa-live", valid: int = 1) -> RunState:
    driver, population = make_driver(
        make_task(model_rewards={"policy": policy}), make_people(), quality=QUALITIES
    )
    state = driver.run()
    tallies = {
        population.pubkey(name): Tally(balance=value, rounds_valid=valid)
        for name, value in balances.items()
    }
    return replace(state, tallies=tallies)


def by_name(state: RunState, widths: dict[str, int]) -> dict[str, int]:
    return {state.members[key].name: width for key, width in widths.items()}


def trainers(state: RunState) -> list[str]:
    return [key for key, member in state.members.items() if member.role == "trainer"]


def test_widths_follow_the_sums_and_newcomers_get_the_least() -> None:
    state = make_state({"t0": 400, "t1": 200, "t2": -50})
    widths = by_name(state, compute_live_widths(state, trainers(state)))
    assert widths == {"t0": PPM, "t1": 500_000, "t2": 250_000, "t3": 250_000}


def test_before_anybodys_work_counted_all_are_full() -> None:
    state = make_state({"t0": 400, "t1": -7}, valid=0)
    assert set(compute_live_widths(state, trainers(state)).values()) == {PPM}


@pytest.mark.parametrize("policy", ["equal", "rank", "aequa"])
def test_other_policies_let_everybody_train_the_whole(policy: str) -> None:
    state = make_state({"t0": 400, "t1": 1}, policy)
    assert set(compute_live_widths(state, trainers(state)).values()) == {PPM}


def test_a_replayed_round_gets_the_same_widths() -> None:
    state = make_state({"t0": 400, "t1": 300, "t2": 100})
    first, second = (open_round(state, 2, attempt, 0).round for attempt in (1, 2))
    assert first is not None and second is not None
    assert first.assignments == second.assignments
    assert {a.width_ppm for a in first.assignments.values()} == {250_000, 750_000, PPM}


def play_receipts(policy: str, raised: dict[str, int] | None = None):
    """Play a world; the trainers' receipts as (round, name) -> receipt."""
    task = make_task(rounds=3, model_rewards={"policy": policy})
    driver, _ = make_driver(task, make_people(), quality=QUALITIES, raised=raised)
    final = driver.run()
    state, found = RunState(), {}
    for record in driver.log.read():
        outcome = step(state, record)
        assert outcome.reject is None
        state = outcome.state
        for effect in outcome.effects:
            if isinstance(effect, Certified):
                for receipt in effect.receipts:
                    if receipt["role"] == "trainer":
                        found[receipt["round"], receipt["name"]] = receipt
    assert state == final
    return final, found


def test_receipts_name_the_width_of_each_round_and_a_second_fold_agrees() -> None:
    state, receipts = play_receipts("aequa-live")
    names = sorted(QUALITIES)
    assert [receipts[1, name]["width_ppm"] for name in names] == [PPM] * 4
    for number in (2, 3):
        widths = [receipts[number, name]["width_ppm"] for name in names]
        assert widths == [PPM, 500_000, 250_000, 250_000]
    final = by_name(state, dict(state.widths_ppm))
    assert final == {"t0": PPM, "t1": 500_000, "t2": 250_000, "t3": 250_000}
    assert not state.curves  # nobody is asked to measure one
    _, others = play_receipts("rank")
    assert all(others[number, name]["width_ppm"] == 0 for number in (1, 2, 3) for name in names)


def test_who_reaches_beyond_its_width_is_invalid_unpaid_and_told_why() -> None:
    state, receipts = play_receipts("aequa-live", {"t1": flag.OUTSIDE})
    told = receipts[1, "t1"]
    assert (told["verdict"], told["reason"], told["amount"]) == ("INVALID", "outside", "0")
    assert "outside of the width" in told["sentence"]
    assert told["slashed"] == "0" and not state.evidence  # refused, but no stake is burnt
    assert AssignmentState.INVALID.value == told["verdict"]
