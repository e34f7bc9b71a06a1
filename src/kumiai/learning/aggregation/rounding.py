"""Exact division of integer vectors, rounded to the nearest integer, ties to the even one."""

from __future__ import annotations

import numpy as np

from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, LongVector

BLOCK = 8_192  # numbers: what a division needs beside them stays in the cache


def divide_half_even(numerator_P: LongVector, denominator: int) -> LongVector:
    """Return numerator / denominator rounded to the nearest integer, ties to even, exactly."""
    if denominator <= 0:
        raise ValueError(f"denominator {denominator} is not positive")
    if denominator == 1:
        return numerator_P
    quotient_P = numerator_P // denominator
    rest_P = numerator_P - quotient_P * denominator
    twice_P = 2 * rest_P  # the quotient is floored, so 0 <= rest < denominator
    is_up_P = (twice_P > denominator) | ((twice_P == denominator) & (quotient_P & 1 == 1))
    rounded_P: LongVector = quotient_P + is_up_P
    return rounded_P


def divide_into(delta_P: IntVector, numerator_P: LongVector, denominator: int) -> None:
    """Write `divide_half_even` of both into `delta_P`; what leaves int32 saturates."""
    for start in range(0, len(numerator_P), BLOCK):
        quotient_B = divide_half_even(numerator_P[start : start + BLOCK], denominator)
        delta_P[start : start + BLOCK] = np.clip(quotient_B, -INTEGER_ABS_MAX, INTEGER_ABS_MAX)
