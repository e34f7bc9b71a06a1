"""Metrics of fairness against numpy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kumiai.learning.fairness import compute_fairness, compute_pearson

numbers = arrays(np.float64, 6, elements=st.floats(-1000, 1000, width=32))


def test_by_hand():
    fair = compute_fairness([0.5, 0.6, 0.7], [0.7, 0.8, 0.6], [0.5, 0.7, 0.7])
    assert fair.gain_mean == pytest.approx(0.2 / 3)
    assert fair.gain_least == pytest.approx(-0.1)
    assert fair.gain_spread == pytest.approx(np.sqrt((0.04 + 0.01 + 0.01) / 3 - (0.2 / 3) ** 2))
    assert fair.pearson == pytest.approx(-0.5)


@settings(max_examples=100, deadline=None)
@given(numbers, numbers)
def test_pearson_is_numpys_where_that_is_defined(x, y):
    rho = compute_pearson(x, y)
    if rho is None:
        assert np.ptp(x) <= 1e-9 * np.abs(x).max() or np.ptp(y) <= 1e-9 * np.abs(y).max()
        return
    assert -1 <= rho <= 1
    if np.ptp(x) > 1e-3 and np.ptp(y) > 1e-3:
        assert rho == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(numbers, st.floats(0.1, 10), st.floats(-5, 5))
def test_a_rising_line_correlates_fully(x, slope, offset):
    if np.ptp(x) > 1e-3:
        assert compute_pearson(x, slope * x + offset) == pytest.approx(1.0)
        assert compute_pearson(x, -slope * x + offset) == pytest.approx(-1.0)


@pytest.mark.parametrize("same", [[0.1] * 7, [0.0, 0.0], [0.3], [1e300] * 3])
def test_no_difference_has_no_correlation(same):
    assert compute_pearson(same, np.arange(len(same), dtype=float)) is None
    assert compute_pearson(np.arange(len(same), dtype=float), same) is None


def test_tiny_and_huge_numbers_neither_vanish_nor_overflow():
    line = np.array([1.0, 2.0, 4.0])
    assert compute_pearson(1e-200 * line, 1e200 * line) == pytest.approx(1.0)
    assert compute_pearson([-1.7e308, 0.0, 1.7e308], [0, 1, 2]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("received", "message"),
    [
        ([0.5, float("nan")], "received of member 1 is nan"),
        ([float("inf"), 0.5], "received of member 0 is inf"),
        ([0.5], "received of 1 members, contribution of 2"),
        ([[0.5, 0.5]], r"received of shape \(1, 2\)"),
    ],
)
def test_bad_input_names_the_member(received, message):
    with pytest.raises(ValueError, match=message):
        compute_fairness([0.1, 0.2], received, [0.1, 0.2])


def test_nobody_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        compute_fairness([], [], [])
