"""SCAFFOLD: a member's gradient is corrected by how its data usually pulls, against how all do.

S. P. Karimireddy, S. Kale, M. Mohri, S. Reddi, S. Stich and A. T. Suresh, "SCAFFOLD: Stochastic
Controlled Averaging for Federated Learning" (2020), algorithm 1 with option II; written from its
formulas as they are generally known (reconstruction):

    y <- y - lr (g_i(y) - c_i + c)          K times from y = x
    c_i <- c_i - c + (x - y) / (K lr)
    c   <- c + |S| / N mean_i (change of c_i)

An update u_i = y - x is all that travels. With v_i = -u_i / (K lr) the change of c_i is v_i - c, so
that everybody recomputes c from the certified updates, and only the member itself keeps c_i:

    c <- (1 - |S| / N) c + |S| / N mean_i v_i

u_i: `update_P`; K: `iterations`; lr: `learning_rate_ppm` of the task times `rate_ppm` of the round;
|S|: `present`; N: `total`. Everything is an integer in the model's fixed point (2**-24), rounded
half to even; what leaves it saturates. Deviation: mean_i is the task's aggregator, so that hostile
updates do not steer the correction either. Cost: two vectors beside the model, and one aggregation
more a round; no byte more on the wire.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kumiai.base.amounts import PPM
from kumiai.base.amounts import divide_half_even as divide_one
from kumiai.learning.aggregation.rounding import divide_half_even, divide_into
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, LongVector

MULTIPLIER_MAX = 2**31  # times an int32: below 2**62
SHIFT_MAX = 60


def estimate_gradient(
    update_P: IntVector, iterations: int, learning_rate_ppm: int, rate_ppm: int = PPM
) -> IntVector:
    """Return v: the mean gradient that `iterations` of sgd at this rate must have had.

    Raises ValueError for iterations or rates that are not positive.
    """
    if min(iterations, learning_rate_ppm, rate_ppm) <= 0:
        raise ValueError(
            f"{iterations} iterations at {learning_rate_ppm} ppm times {rate_ppm} ppm: all three "
            "must be positive"
        )
    multiplier, shift = compute_scale(PPM * PPM, iterations * learning_rate_ppm * rate_ppm)
    gradient_P = np.empty_like(update_P)
    divide_into(gradient_P, update_P.astype(np.int64) * -multiplier, 1 << shift)
    return gradient_P


def compute_scale(numerator: int, denominator: int) -> tuple[int, int]:
    """Return (multiplier, shift) with multiplier / 2**shift next to the ratio, in 30 bits or more.

    A ratio of 2**31 or more is cut there: it takes any update but 0 out of the fixed point.
    """
    shift = SHIFT_MAX
    while shift and divide_one(numerator << shift, denominator) > MULTIPLIER_MAX:
        shift -= 1
    return min(MULTIPLIER_MAX, divide_one(numerator << shift, denominator)), shift


def update_own_control(own_P: IntVector, shared_P: LongVector, gradient_P: IntVector) -> IntVector:
    """Return the member's next c_i = c_i - c + v_i."""
    return saturate(own_P.astype(np.int64) - shared_P + gradient_P)


def update_shared_control(
    shared_P: LongVector, gradient_P: IntVector, present: int, total: int
) -> LongVector:
    """Return the next c from the combined v of the `present` members out of `total`."""
    if present < 1 or total < 1:
        raise ValueError(f"{present} of {total} members: needs at least one")
    present = min(present, total)
    mixed_P = shared_P * (total - present) + gradient_P.astype(np.int64) * present
    return divide_half_even(mixed_P, total)


def saturate(values_P: LongVector) -> IntVector:
    """Return int32, what lies outside the fixed point at its edge."""
    return np.clip(values_P, -INTEGER_ABS_MAX, INTEGER_ABS_MAX).astype(np.int32)


def compute_correction(own_P: IntVector, shared_P: LongVector) -> NDArray[np.float32]:
    """Return c - c_i as floats: what is added to the member's gradients."""
    return ((shared_P - own_P) * 2.0**-24).astype(np.float32)
