"""Widths from signed accuracies: the integers against the allocation in floating point."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.base.events import sign_event
from kumiai.base.log import Record
from kumiai.learning.allocation import AllocationSettings, allocate_widths
from kumiai.learning.curve import Curve, fit_isotonic
from kumiai.rounds.final import open_final
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import RunPhase, RunState
from kumiai.rounds.widths import (
    choose_width,
    compute_curve,
    compute_widths,
    fit_monotone,
    on_curve,
)

ACCURACIES = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=16)


@given(ACCURACIES)
@settings(max_examples=60, deadline=None)
def test_fit_is_isotonic_regression_rounded_down(values: list[int]) -> None:
    fitted = fit_monotone(values)
    twin = fit_isotonic(np.array(values, dtype=float), np.ones(len(values)))
    assert all(a <= b for a, b in pairwise(fitted))
    assert all(-1e-3 <= exact - own < 1 + 1e-3 for own, exact in zip(fitted, twin, strict=True))


@given(
    st.lists(st.integers(0, 1_000_000), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
)
@settings(max_examples=80, deadline=None)
def test_widths_are_those_of_the_allocation(curve: list[int], values: list[int]) -> None:
    fitted = sorted(curve)
    grid = [1_000_000 * (i + 1) // len(fitted) for i in range(len(fitted))]
    own = [choose_width(value, max(values), grid, fitted, grid[0]) for value in values]
    twin = allocate_widths(
        values,
        Curve(tuple(w / 1e6 for w in grid), tuple(f / 1e6 for f in fitted), (0.0,) * len(grid)),
        settings=AllocationSettings(rule="score"),
    )
    expected = [round(width * 1e6) for width in twin.widths]
    for value, mine, theirs in zip(values, own, expected, strict=True):
        # an owed accuracy that is a grid's to a part in 1e9 may fall on either side in floats
        owed = fitted[0] + (fitted[-1] - fitted[0]) * value / max(1, *values)
        is_close = any(abs(owed - f) < 1e-2 for f in fitted)
        assert mine == theirs or is_close


@given(st.lists(st.integers(0, 1_000_000), min_size=4, max_size=4), st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_more_never_earns_less(curve: list[int], value: int) -> None:
    grid, fitted = (250_000, 500_000, 750_000, 1_000_000), fit_monotone(curve)
    one = choose_width(value, 10**9, grid, fitted, grid[0])
    more = choose_width(min(10**9, value + value // 3 + 1), 10**9, grid, fitted, grid[0])
    assert one <= more


def test_best_gets_all_and_nothing_gets_least() -> None:
    grid, fitted = (250_000, 1_000_000), (500_000, 500_000)
    assert choose_width(7, 7, grid, fitted, grid[0]) == 1_000_000
    assert choose_width(0, 7, grid, fitted, grid[0]) == 250_000
    assert choose_width(0, 0, grid, fitted, 300_000) == 1_000_000  # the floor leaves one width


def test_members_of_equal_value_get_the_same() -> None:
    grid, fitted = (250_000, 500_000, 1_000_000), (600_000, 700_000, 900_000)
    assert {choose_width(5, 5, grid, fitted, grid[0]) for _ in range(3)} == {1_000_000}


def play_aequa(qualities: dict[str, int], policy: str = "aequa") -> tuple[RunState, dict[str, int]]:
    task = make_task(model_rewards={"policy": policy})
    driver, population = make_driver(task, make_people(), quality=qualities)
    state = driver.run()
    return state, {name: state.widths_ppm[population.pubkey(name)] for name in qualities}


def test_a_run_reads_widths_off_the_signed_curve() -> None:
    qualities = {"t0": 400_000, "t1": 200_000, "t2": 100_000, "t3": 1_000}
    state, widths = play_aequa(qualities)
    assert state.phase is RunPhase.FINISHED and len(state.curves) == 4
    assert compute_curve(state) == (600_000, 800_000, 866_667, 900_000)
    # owed: 900, 750, 675 and 600.75 thousandths, rounded down to the grid
    assert widths == {"t0": 1_000_000, "t1": 250_000, "t2": 250_000, "t3": 250_000}
    state, widths = play_aequa(qualities, "rank")
    assert not state.curves
    assert widths == {"t0": 1_000_000, "t1": 500_000, "t2": 250_000, "t3": 250_000}


def test_without_curves_the_rule_is_rank() -> None:
    state, _ = play_aequa({"t0": 400_000, "t1": 300_000})
    silent = replace(state, curves={})
    values = {key: state.tallies[key].value for key in state.tallies}
    rank = make_task(model_rewards={"policy": "rank"})
    assert compute_widths(silent, values) == compute_widths(replace(state, task=rank), values)


@pytest.mark.parametrize("policy", ["rank", "aequa"])
def test_nobody_gets_less_than_the_least_width_also_between_two_of_the_grid(policy: str) -> None:
    state, _ = play_aequa({"t0": 400_000, "t1": 1_000})
    least = make_task(model_rewards={"policy": policy, "width_min_ppm": 300_000})
    values = {key: state.tallies[key].value for key in state.tallies}
    widths = compute_widths(replace(state, task=least), values)
    assert min(width for width in widths.values() if width) == 500_000


def test_a_curve_that_is_none_is_refused() -> None:
    task = make_task(model_rewards={"policy": "aequa"})
    driver, population = make_driver(task, make_people())
    final = driver.run()
    current = open_final(replace(final, phase=RunPhase.TRAINING, curves={}), final.time_ms)
    assert current.round is not None
    good = {
        "round": current.round.index,
        "attempt": current.round.attempt,
        "model": current.model,
        "accuracies": [1, 2, 3, 4],
    }
    bad: list[tuple[dict[str, object], str]] = [
        ({"accuracies": [1, 2, 3]}, "bad-curve"),
        ({"accuracies": [1, 2, 3, 1_000_001]}, "bad-curve"),
        ({"accuracies": [1, 2, 3, -1]}, "bad-curve"),
        ({"accuracies": [1, 2, 3, float("nan")]}, "bad-curve"),
        ({"accuracies": [1, 2, 3, True]}, "bad-curve"),
        ({"model": "0" * 64}, "wrong-model"),
        ({"round": 1}, "wrong-model"),
    ]
    key = population.keys["v0"]
    record = Record(1, 0, sign_event(key, Kind.CURVE, 0, {}), "")
    for change, reason in bad:
        outcome = on_curve(current, record, {**good, **change})
        assert outcome.reject is not None and outcome.reject.reason == reason
    accepted = on_curve(current, record, good)
    assert accepted.reject is None and accepted.state.curves == {key.pubkey: (1, 2, 3, 4)}
    again = on_curve(accepted.state, record, good)
    assert again.reject is not None and again.reject.reason == "duplicate"
    thief = Record(1, 0, sign_event(population.keys["t0"], Kind.CURVE, 0, {}), "")
    stranger = on_curve(current, thief, good)
    assert stranger.reject is not None and stranger.reject.reason == "not-asked"
