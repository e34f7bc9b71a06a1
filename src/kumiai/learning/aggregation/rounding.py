"""Exact division of integer vectors, rounded to the nearest integer, ties to the even one."""

from __future__ import annotations

from kumiai.learning.fixed_point import LongVector


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
