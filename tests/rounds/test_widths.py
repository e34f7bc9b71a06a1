"""Widths from signed accuracies: the integers against the allocation in floating point."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning.allocation import AllocationSettings, allocate_widths
from kumiai.learning.curve import Curve, fit_isotonic
from kumiai.rounds.widths import choose_width, fit_monotone

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
