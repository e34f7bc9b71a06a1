"""Rules of length: nobody moves the result by more than a bound.

    norm_clip         delta = sum_i w_i k_i u_i / sum_i w_i,   k_i = min(1, t / |u_i|)
    centered_clip     v <- v + 1/N sum_i k_i (u_i - v),        k_i = min(1, t / |u_i - v|)
                      from v = reference (zero without one), settings.iterations times (3 if 0)

norm_clip: Sun, Kairouz, Suresh and McMahan, "Can You Really Backdoor Federated Learning?", 2019,
section 3 (norm thresholding). centered_clip: Karimireddy, He and Jaggi, "Learning from History for
Byzantine Robust Optimization", 2021, algorithm 2; there v starts from the last round's aggregate,
which the caller may give as the reference. Its weights are ignored, norm_clip's count.

The bound t is settings.clip_norm, in units of the rows. Deviation: with clip_norm = 0 it follows
the members, t = settings.clip_ppm of the median of |u_i|, for centered_clip of |u_i - v| at each
step; less than half of the members cannot move a median out of the others' range.

v stays a combination of the rows, so all that is computed is N + 1 shares from the Gram matrix.
Over int32 rows norm_clip rounds k_i down, so that no row ever exceeds its bound by rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kumiai.base.amounts import PPM
from kumiai.learning.aggregation.geometric_median import (
    compute_center_distances,
    compute_median_length,
)
from kumiai.learning.aggregation.gram import compute_gram
from kumiai.learning.aggregation.linear import FRACTION_BITS, combine, quantise_shares
from kumiai.learning.aggregation.rows import Vector, WithReference
from kumiai.learning.aggregation.rule import WEIGHT_SUM_MAX, Members, Settings

ITERATIONS = 3


def compute_norm_clip(members: Members) -> Vector:
    """Return the weighted mean of the updates, each shortened to the bound."""
    lengths_N = np.sqrt(np.diagonal(compute_gram(members.rows, members.kernels)))
    factors_N = _clip(lengths_N, members.settings)
    common = math.gcd(*members.weights_N)
    weights_N = [weight // common for weight in members.weights_N]
    bits = min(FRACTION_BITS, (WEIGHT_SUM_MAX // sum(weights_N)).bit_length() - 1)
    clipped_N = [
        weight * math.floor(math.ldexp(factor, bits))
        for weight, factor in zip(weights_N, factors_N.tolist(), strict=True)
    ]
    return combine(members.rows, clipped_N, sum(weights_N) << bits, members.kernels)


def compute_centered_clip(members: Members) -> Vector:
    """Return the centre after the fixed number of clipped steps."""
    iterations = members.settings.iterations or ITERATIONS
    if iterations < 0:
        raise ValueError(f"iterations {iterations} is negative")
    rows, reference_P = members.rows, members.reference_P
    if reference_P is None:  # a row of zeros, without the numbers
        gram_NN = np.pad(compute_gram(rows, members.kernels), (0, 1))
    else:
        rows = WithReference(rows, reference_P)
        gram_NN = compute_gram(rows, members.kernels)
    weights_N = quantise_shares(_move_center(gram_NN, iterations, members.settings).tolist())
    return combine(rows, weights_N[: len(rows)], sum(weights_N), members.kernels)


def _move_center(
    gram_MM: NDArray[np.float64], iterations: int, settings: Settings
) -> NDArray[np.float64]:
    """Return the shares [N + 1] of the rows and, last, of the reference in the final centre."""
    count = len(gram_MM) - 1
    shares_M = np.zeros(count + 1)
    shares_M[count] = 1.0
    for _ in range(iterations):
        factors_N = _clip(compute_center_distances(gram_MM, shares_M)[:count], settings)
        steps_N = factors_N / count
        kept = math.fsum([1.0, *(-steps_N).tolist()])
        shares_M *= max(0.0, kept)
        shares_M[:count] += steps_N
    return shares_M


def _clip(lengths_N: NDArray[np.float64], settings: Settings) -> NDArray[np.float64]:
    """Return k [N] = min(1, bound / length)."""
    if settings.clip_norm < 0 or settings.clip_ppm <= 0:
        raise ValueError(
            f"clip_norm {settings.clip_norm} must be at least 0 and clip_ppm "
            f"{settings.clip_ppm} above 0"
        )
    bound = float(settings.clip_norm)
    if settings.clip_norm == 0:
        bound = compute_median_length(lengths_N) * (settings.clip_ppm / PPM)
    factors_N: NDArray[np.float64] = np.ones(len(lengths_N))
    is_long_N = lengths_N > bound
    factors_N[is_long_N] = bound / lengths_N[is_long_N]
    return factors_N
