"""Money and shares as integers: nothing is rounded in anyone's favour, nothing is lost.

Amounts are in the smallest unit of the run's currency (`unit` in the task's settlement section:
points, msat or wei). Shares are parts per million (`ppm`). Division rounds down; what the rounding
leaves over has an owner that the caller names, so that every split adds up to the unit.
"""

from __future__ import annotations

from collections.abc import Sequence

PPM = 1_000_000  # parts per million: 1_000_000 ppm = 1


def split_floor(total: int, weights: Sequence[int]) -> tuple[list[int], int]:
    """Split `total` in proportion to `weights`, rounding down; return (parts, remainder).

    sum(parts) + remainder == total. All weights zero: nothing is split. Rounding down keeps the
    law that splitting one weight into two never increases the sum of the two parts.
    """
    if total < 0:
        raise ValueError(f"total {total} is negative")
    if any(weight < 0 for weight in weights):
        raise ValueError(f"weights {list(weights)} contain a negative one")
    weight_sum = sum(weights)
    if weight_sum == 0:
        return [0] * len(weights), total
    parts = [total * weight // weight_sum for weight in weights]
    return parts, total - sum(parts)


def multiply_ppm(amount: int, share_ppm: int) -> int:
    """Return floor(amount * share_ppm / 1e6) for a share between 0 and 1."""
    if not 0 <= share_ppm <= PPM:
        raise ValueError(f"share {share_ppm} ppm is outside 0..{PPM}")
    return amount * share_ppm // PPM


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return numerator / denominator rounded to the nearest integer, ties to even."""
    if denominator <= 0:
        raise ValueError(f"denominator {denominator} is not positive")
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient % 2 == 1):
        return quotient + 1
    return quotient
