"""How a round's updates become one: integer rules with one result on every machine.

Every rule takes N int32 updates (fixed point, see `fixed_point`) and N integer weights and returns
one int32 delta [P]. Members of weight 0 are left out. Quotients are rounded half to even. The work
goes over P in blocks, so memory stays flat in P.

    mean          sum_i w_i u_i / sum_i w_i       McMahan et al., "Communication-Efficient Learning
                                                  of Deep Networks from Decentralized Data", 2017
    median        per coordinate, unweighted      Yin et al., "Byzantine-Robust Distributed
    trimmed_mean  per coordinate, unweighted:     Learning: Towards Optimal Statistical Rates",
                  drops floor(N * trim) a side    2018, definitions 1 and 2
    multi_krum    weighted mean of the N - f      Blanchard et al., "Machine Learning with
                  updates nearest to the others   Adversaries: Byzantine Tolerant Gradient
                                                  Descent", 2017

Robust rules ignore weights as such on purpose: a weight is a claim that a hostile member could
inflate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.base.amounts import PPM
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, LongVector

MEAN_BLOCK = 65_536  # numbers a block: one int32 accumulator and one row stay in the L2 cache
SORT_BLOCK = 4_096  # numbers a block: N of these, sorted per coordinate
GRAM_BLOCK = 8_192  # numbers a block of the product of all pairs
WEIGHT_SUM_MAX = 2**31  # with |u| < 2**31 every weighted sum fits 63 bits
KRUM_BITS = 15  # without sign: a block's sum of products stays below 2**43, exact in float64


@dataclass(frozen=True)
class Settings:
    """trim_ppm: share of members dropped at each end; byzantine_count: f that Krum tolerates."""

    trim_ppm: int = 200_000
    byzantine_count: int = 0


Aggregator = Callable[[Sequence[IntVector], Sequence[int], Settings], IntVector]


def aggregate(
    name: str,
    updates_NP: Sequence[IntVector],
    weights_N: Sequence[int],
    settings: Settings | None = None,
) -> IntVector:
    """Return the delta [P] of rule `name` over N updates (rows of an array, or a list of vectors).

    Raises ValueError for an unknown rule, no member of positive weight, negative or huge weights,
    rows of different shape or dtype, or fewer members than the rule needs.
    """
    if name not in AGGREGATORS:
        raise ValueError(f"aggregator {name!r} is unknown: use one of {', '.join(AGGREGATORS)}")
    _check(updates_NP, weights_N)
    members = [index for index, weight in enumerate(weights_N) if weight > 0]
    return AGGREGATORS[name](
        [updates_NP[index] for index in members],
        [int(weights_N[index]) for index in members],
        settings or Settings(),
    )


def compute_mean(
    updates_NP: Sequence[IntVector], weights_N: Sequence[int], settings: Settings
) -> IntVector:
    """Return the weighted mean, each coordinate rounded half to even."""
    divisor = math.gcd(*weights_N)  # equal weights become 1: small products stay in int32
    weights_N = [weight // divisor for weight in weights_N]
    total = sum(weights_N)
    delta_P = np.empty(len(updates_NP[0]), dtype=np.int32)
    for block in _blocks(len(delta_P), MEAN_BLOCK):
        rows = [update[block] for update in updates_NP]
        delta_P[block] = divide_half_even(_sum_weighted(rows, weights_N), total)
    return delta_P


def compute_median(
    updates_NP: Sequence[IntVector], weights_N: Sequence[int], settings: Settings
) -> IntVector:
    """Return each coordinate's median; for even N the two middle ones' mean, half to even."""
    count = len(updates_NP)
    return _reduce_sorted(updates_NP, (count - 1) // 2, count // 2 + 1)


def compute_trimmed_mean(
    updates_NP: Sequence[IntVector], weights_N: Sequence[int], settings: Settings
) -> IntVector:
    """Return each coordinate's mean without its floor(N * trim) lowest and highest values."""
    if not 0 <= settings.trim_ppm < PPM // 2:
        raise ValueError(f"trim_ppm {settings.trim_ppm} is outside 0..{PPM // 2 - 1}")
    count = len(updates_NP)
    trimmed = count * settings.trim_ppm // PPM
    return _reduce_sorted(updates_NP, trimmed, count - trimmed)


def compute_multi_krum(
    updates_NP: Sequence[IntVector], weights_N: Sequence[int], settings: Settings
) -> IntVector:
    """Return the weighted mean of the N - f updates with the best Krum scores.

    Raises ValueError when 0 < f and N < 2 f + 3: the rule's guarantee needs that many.
    """
    chosen = select_krum(updates_NP, settings.byzantine_count)
    return compute_mean(
        [updates_NP[index] for index in chosen], [weights_N[index] for index in chosen], settings
    )


def select_krum(updates_NP: Sequence[IntVector], byzantine_count: int) -> list[int]:
    """Return the indices, ascending, of the N - f updates nearest to their N - f - 2 neighbours.

    The score of i is the exact integer sum of squared distances to its nearest others; equal scores
    go to the lower index, which is the order of commitments.
    """
    count = len(updates_NP)
    if byzantine_count < 0 or (byzantine_count > 0 and count < 2 * byzantine_count + 3):
        raise ValueError(
            f"multi_krum with byzantine_count {byzantine_count} needs at least "
            f"{2 * byzantine_count + 3} members, got {count}"
        )
    if byzantine_count == 0:
        return list(range(count))
    distances_NN = compute_distances(updates_NP)
    neighbours = count - byzantine_count - 2
    scores = [
        (sum(sorted(int(distances_NN[i, j]) for j in range(count) if j != i)[:neighbours]), i)
        for i in range(count)
    ]
    return sorted(index for _, index in sorted(scores)[: count - byzantine_count])


def compute_distances(updates_NP: Sequence[IntVector]) -> NDArray[np.int64]:
    """Return the squared distances [N, N] between the updates, shifted down to 15 bits.

    All updates are shifted by one amount, so that the median member's largest value takes 14 bits,
    and saturate at 15. The median, because one hostile giant must not shift the others to zero.
    Products of integers stay below 2**53 and float64 adds them exactly: same result anywhere.
    """
    peaks = sorted(_peak(update) for update in updates_NP)
    shift = max(0, peaks[len(peaks) // 2].bit_length() - (KRUM_BITS - 1))
    gram_NN = np.zeros((len(updates_NP), len(updates_NP)), dtype=np.int64)
    for block in _blocks(len(updates_NP[0]), GRAM_BLOCK):
        rows_NB = np.stack([update[block] for update in updates_NP])
        exact_NB = _shift_saturated(rows_NB, shift).astype(np.float64)
        gram_NN += (exact_NB @ exact_NB.T).astype(np.int64)
    squares_N = np.diagonal(gram_NN)
    distances_NN: NDArray[np.int64] = squares_N[:, None] + squares_N[None, :] - 2 * gram_NN
    return distances_NN


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


AGGREGATORS: Mapping[str, Aggregator] = {
    "mean": compute_mean,
    "median": compute_median,
    "trimmed_mean": compute_trimmed_mean,
    "multi_krum": compute_multi_krum,
}


def _sum_weighted(rows_NB: Sequence[IntVector], weights_N: Sequence[int]) -> LongVector:
    """Sum w_i * row_i in int32 while a running bound proves that it fits, else in int64.

    Half the bytes of int64 arithmetic: near the speed of reading the rows once.
    """
    long_B = np.zeros(len(rows_NB[0]), dtype=np.int64)
    short_B = np.zeros(len(rows_NB[0]), dtype=np.int32)
    product_B, wide_B = np.empty_like(short_B), np.empty_like(long_B)
    bound = 0
    for row_B, weight in zip(rows_NB, weights_N, strict=True):
        peak = _peak(row_B) * weight
        if peak >= 2**31:
            np.multiply(row_B, weight, out=wide_B, dtype=np.int64)
            long_B += wide_B
            continue
        bound += peak
        if bound >= 2**31:
            long_B += short_B
            short_B[:] = 0
            bound = peak
        if weight == 1:
            short_B += row_B
        elif peak > 0:
            np.multiply(row_B, np.int32(weight), out=product_B)
            short_B += product_B
    long_B += short_B
    return long_B


def _reduce_sorted(updates_NP: Sequence[IntVector], start: int, stop: int) -> IntVector:
    """Return per coordinate the mean of the sorted values start..stop-1, half to even."""
    delta_P = np.empty(len(updates_NP[0]), dtype=np.int32)
    for block in _blocks(len(delta_P), SORT_BLOCK):
        rows_NB = np.stack([update[block] for update in updates_NP])
        sorted_BN = np.ascontiguousarray(rows_NB.T)
        sorted_BN.sort(axis=1)
        sums_B = sorted_BN[:, start:stop].sum(axis=1, dtype=np.int64)
        delta_P[block] = divide_half_even(sums_B, stop - start)
    return delta_P


def _shift_saturated(values_NB: IntVector, shift: int) -> IntVector:
    """Return round(values / 2**shift), ties up, at most KRUM_BITS bits; works in place."""
    half = (1 << shift) >> 1
    limit = min((2**KRUM_BITS - 1) << shift, INTEGER_ABS_MAX - half)  # so the sum cannot wrap
    np.clip(values_NB, -limit, limit, out=values_NB)
    values_NB += np.int32(half)
    values_NB >>= shift
    return values_NB


def _peak(values_B: IntVector) -> int:
    return max(-int(values_B.min()), int(values_B.max())) if len(values_B) else 0


def _blocks(size: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, size)) for start in range(0, size, block))


def _check(updates_NP: Sequence[IntVector], weights_N: Sequence[int]) -> None:
    if len(updates_NP) != len(weights_N):
        raise ValueError(f"{len(updates_NP)} updates and {len(weights_N)} weights")
    if any(weight < 0 for weight in weights_N) or not 0 < sum(weights_N) < WEIGHT_SUM_MAX:
        raise ValueError(
            f"weights {list(weights_N)[:8]} must be at least 0, one above 0, and sum to less "
            f"than {WEIGHT_SUM_MAX}"
        )
    for index, update in enumerate(updates_NP):
        if update.dtype != np.int32 or update.shape != updates_NP[0].shape or update.ndim != 1:
            raise ValueError(
                f"update {index} is {update.dtype} of shape {update.shape}, "
                f"expected int32 of shape {updates_NP[0].shape}"
            )
