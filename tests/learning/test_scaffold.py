"""SCAFFOLD in integers: against floats, its laws, and the paper's claim on two quadratics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.base.amounts import PPM
from kumiai.learning import aggregation
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, quantise
from kumiai.learning.scaffold import (
    compute_correction,
    compute_scale,
    estimate_gradient,
    update_own_control,
    update_shared_control,
)

UNIT = 2.0**-24
INTS = hnp.arrays(np.int32, 6, elements=st.integers(-INTEGER_ABS_MAX, INTEGER_ABS_MAX))


@given(INTS, st.integers(1, 10**6), st.integers(1, 10 * PPM), st.integers(1, PPM))
@settings(max_examples=80, deadline=None)
def test_the_gradient_follows_the_float_twin(
    update: np.ndarray, iterations: int, learning_rate: int, rate: int
) -> None:
    """Within a unit and one part in 2**28; what leaves the fixed point saturates."""
    found = estimate_gradient(update, iterations, learning_rate, rate)
    exact = -update.astype(np.float64) / (iterations * (learning_rate / PPM) * (rate / PPM))
    expected = np.clip(exact, -INTEGER_ABS_MAX, INTEGER_ABS_MAX)
    assert found.dtype == np.int32
    assert (np.abs(found - expected) <= 1 + 2.0**-28 * np.abs(expected)).all()


@given(st.integers(1, 10**12), st.integers(1, 10**19))
@settings(max_examples=80, deadline=None)
def test_scales_never_make_a_product_wrap(numerator: int, denominator: int) -> None:
    multiplier, shift = compute_scale(numerator, denominator)
    assert 0 <= multiplier <= 2**31
    assert 0 <= shift <= 60
    if numerator < denominator * 2**31 and multiplier > 2**20:
        assert multiplier / 2**shift == pytest.approx(numerator / denominator, rel=2e-6)


@given(INTS, INTS, INTS)
@settings(max_examples=40, deadline=None)
def test_with_everybody_present_the_shared_control_is_the_mean_of_the_members(
    one: np.ndarray, two: np.ndarray, shared: np.ndarray
) -> None:
    """c = mean_i c_i is the paper's invariant; it holds from c = c_i = 0 on."""
    gradients = [one // 4, two // 4]
    start = shared.astype(np.int64) // 8
    owns = [
        update_own_control((start + k).astype(np.int32), start, g)
        for k, g in zip((5, -5), gradients, strict=True)
    ]
    mean = aggregation.aggregate("mean", gradients, [1, 1])
    after = update_shared_control(start, mean, present=2, total=2)
    assert (np.abs(after - (owns[0].astype(np.int64) + owns[1]) / 2) <= 1).all()


def test_absent_members_leave_their_share_of_the_control() -> None:
    shared, fresh = np.array([1000, -8], dtype=np.int64), np.array([0, 8], dtype=np.int32)
    assert update_shared_control(shared, fresh, present=1, total=4).tolist() == [750, -4]
    assert update_shared_control(shared, fresh, present=9, total=4).tolist() == [0, 8]
    for present, total in ((0, 4), (1, 0)):
        with pytest.raises(ValueError, match="needs at least one"):
            update_shared_control(shared, fresh, present, total)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_numbers_that_cannot_be_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        estimate_gradient(np.zeros(2, dtype=np.int32), *numbers)


def play(is_corrected: bool, rounds: int = 60, present: int = 2) -> float:
    """Two members, f_i = a_i (x - e_i)^2 / 2 with curvatures 1 and 4, 10 iterations at 0.1.

    The optimum of the mean is at (1 * -1 + 4 * 1) / 5 = 0.6. Members are present in turn if only
    one is.
    """
    curves, places, count = (1.0, 4.0), (-1.0, 1.0), 10
    x, shared = 0.0, np.zeros(1, dtype=np.int64)
    owns = [np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.int32)]
    for number in range(rounds):
        members = range(2) if present == 2 else [number % 2]
        updates, gradients = [], []
        for i in members:
            y, correction = x, float(compute_correction(owns[i], shared)[0]) * is_corrected
            for _ in range(count):
                y -= 0.1 * (curves[i] * (y - places[i]) + correction)
            updates.append(quantise(np.array([y - x])))
            gradients.append(estimate_gradient(updates[-1], count, 100_000))
            owns[i] = update_own_control(owns[i], shared, gradients[-1])
        weights = [1] * len(updates)
        x += float(aggregation.aggregate("mean", updates, weights)[0]) * UNIT
        mean = aggregation.aggregate("mean", gradients, weights)
        shared = update_shared_control(shared, mean, len(updates), 2)
    return x


def test_many_local_iterations_drift_and_the_correction_takes_the_drift_away() -> None:
    """The paper's client drift: FedAvg's fixed point is not the optimum, SCAFFOLD's is."""
    assert abs(play(is_corrected=False) - 0.6) > 0.15
    assert abs(play(is_corrected=True) - 0.6) < 1e-4
    assert abs(play(is_corrected=True, rounds=400, present=1) - 0.6) < 1e-2
