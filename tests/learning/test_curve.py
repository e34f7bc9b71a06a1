"""The curve of accuracy over width: measured, made monotone, inverted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning.curve import (
    Curve,
    estimate_curve,
    find_width,
    fit_curve,
    fit_isotonic,
    get_accuracy,
    get_error,
    measure_curve,
)

WIDTHS = (0.25, 0.5, 0.75, 1.0)
samples = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.floats(0.01, 10)), min_size=1, max_size=9
)


def fit_by_minimax(values, weights):
    """The dumb twin: f_i = max over s <= i of min over t >= i of the weighted mean of s..t."""
    count = len(values)

    def mean(s, t):
        return np.average(values[s : t + 1], weights=weights[s : t + 1])

    return [
        max(min(mean(s, t) for t in range(i, count)) for s in range(i + 1)) for i in range(count)
    ]


@settings(max_examples=100, deadline=None)
@given(samples)
def test_pooling_equals_the_minimax_formula(pairs):
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    fitted = fit_isotonic(values, weights)
    assert (np.diff(fitted) >= 0).all()
    np.testing.assert_allclose(fitted, fit_by_minimax(values, weights), atol=1e-9)
    np.testing.assert_allclose(fit_isotonic(fitted, weights), fitted, atol=1e-12)
    assert np.average(fitted, weights=weights) == pytest.approx(np.average(values, weights=weights))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.floats(0, 1))
def test_the_inverse_is_the_narrowest_width_that_reaches(accuracies, share):
    fitted = fit_curve(Curve(WIDTHS, tuple(accuracies), (0.0,) * 4))
    low, high = fitted.accuracies[0], fitted.accuracies[-1]
    wanted = low + share * (high - low)
    width = find_width(fitted, wanted)
    assert get_accuracy(fitted, width) >= wanted - 1e-9
    grid = np.linspace(0.25, 1.0, 301)
    reached = [p for p in grid if get_accuracy(fitted, p) >= wanted + 1e-9]
    assert all(p >= width - 1e-9 for p in reached)


def test_a_plateau_is_entered_at_its_left_end_and_the_ends_hold():
    fitted = Curve(WIDTHS, (0.5, 0.7, 0.7, 0.9), (0.01, 0.03, 0.02, 0.01))
    assert find_width(fitted, 0.7) == 0.5
    assert find_width(fitted, 0.6) == pytest.approx(0.375)
    assert find_width(fitted, 0.1) == 0.25
    assert find_width(fitted, 0.5) == 0.25
    assert find_width(fitted, 0.9) == 1.0
    assert find_width(fitted, 0.95) == 1.0
    assert get_error(fitted, 0.625) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="fall"):
        find_width(Curve((0.5, 1.0), (0.7, 0.6), (0.0, 0.0)), 0.65)


def test_less_certain_widths_give_way_more():
    fitted = fit_curve(Curve((0.5, 1.0), (0.8, 0.6), (0.1, 0.2)))
    assert fitted.accuracies == pytest.approx((0.76, 0.76))
    equal = fit_curve(Curve((0.5, 1.0), (0.8, 0.6), (0.1, 0.0)))
    assert equal.accuracies == pytest.approx((0.7, 0.7))


def test_measuring_takes_mean_and_standard_error_of_the_samples():
    scores = {0.5: [1.0, 0.0, 0.0, 1.0], 1.0: [1.0, 1.0, 0.0, 1.0]}
    curve = measure_curve(lambda width: scores[width], (0.5, 1.0))
    assert curve.accuracies == (0.5, 0.75)
    assert curve.errors == pytest.approx([np.std(s, ddof=1) / 2 for s in scores.values()])
    assert estimate_curve((0.5, 1.0), (0.5, 0.75), 4).errors == pytest.approx(curve.errors)


def test_the_error_is_the_spread_of_repeated_measurements():
    generator = np.random.default_rng(3)
    curves = [
        measure_curve(lambda p: generator.random(200) < 0.8 * p, (0.5, 1.0)) for _ in range(400)
    ]
    for index, truth in enumerate((0.4, 0.8)):
        spread = np.std([curve.accuracies[index] for curve in curves])
        assert spread == pytest.approx(np.sqrt(truth * (1 - truth) / 200), rel=0.15)
        assert np.mean([curve.errors[index] for curve in curves]) == pytest.approx(spread, rel=0.15)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_estimated_error_bounds_that_of_shares(scores):
    measured = measure_curve(lambda width: scores, (1.0,))
    estimated = estimate_curve((1.0,), measured.accuracies, len(scores))
    assert estimated.errors[0] >= measured.errors[0] - 1e-7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), (), ()), "0 widths"),
        (((0.5, 1.0), (0.5,), (0.1, 0.1)), "2 widths, 1 accuracies"),
        (((1.0, 0.5), (0.5, 0.5), (0.1, 0.1)), "ascend"),
        (((0.0, 1.0), (0.5, 0.5), (0.1, 0.1)), "ascend"),
        (((0.5, 1.0), (0.5, 1.5), (0.1, 0.1)), r"accuracy 1\.5 at width 1\.0"),
        (((0.5, 1.0), (float("nan"), 0.5), (0.1, 0.1)), r"accuracy nan at width 0\.5"),
        (((0.5, 1.0), (0.5, 0.5), (0.1, -0.1)), r"error -0\.1 at width 1\.0"),
    ],
)
def test_what_is_no_curve_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Curve(*arguments)


@pytest.mark.parametrize(
    "evaluate",
    [lambda p: [1.0], lambda p: [[1.0, 0.0]], lambda p: [2.0, 0.0], lambda p: [0.0] * int(8 * p)],
)
def test_wrong_scores_are_refused(evaluate):
    with pytest.raises(ValueError, match="width"):
        measure_curve(evaluate, (0.5, 1.0))
    with pytest.raises(ValueError, match="sample_count 1"):
        estimate_curve((1.0,), (0.5,), 1)
    with pytest.raises(ValueError, match="above 0"):
        fit_isotonic(np.array([0.5, 0.6]), np.array([1.0, 0.0]))
