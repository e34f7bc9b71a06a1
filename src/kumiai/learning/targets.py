"""From contributions to the accuracy each member is owed: the fairest, then the most generous.

Aequa (Tastan, Horváth and Nandakumar, "Aequa: Fair Model Rewards in Collaborative Learning via
Slimmable Networks", 2025) asks for received accuracies A_n in [l, u] whose gains G_n = A_n - c_n
have a large mean and a small spread, and searches them by simulated annealing. This module is a
reconstruction (the paper's text was not available) and needs no search.

    c_n = contributions, in units of accuracy (Aequa's surrogate: the accuracy reached alone)
    l, u = low, high: what the narrowest and the full width reach

For any objective that rises with the mean gain and falls with its spread the best choice is

    A_n = clip(c_n + nu, l, u)       with ONE number nu for all

because at a given mean m the sum of (G_n - m)^2 within the box l - c_n <= G_n <= u - c_n is least
(Karush, Kuhn, Tucker) where every G_n is nu clipped to its bounds. Rules:

    shift   max c - min c <= u - l: nu = u - max c, all gains equal, the first gets the full model
    affine  the range is too small for that: A_n = l + (u - l) (c_n - min c) / (max c - min c);
            the correlation stays 1, the gains differ
    clip    the nu of least spread; of several the most generous
    trade   the nu that maximises mean - penalty * spread; small penalties give everybody all

Cost: O(N log N).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kumiai.learning.fairness import FloatArray, check_members, has_spread


@dataclass(frozen=True, slots=True)
class Targets:
    """accuracies_N: owed to each member; rule: which one; nu: its number, None for affine."""

    accuracies_N: FloatArray
    rule: str
    nu: float | None


def compute_targets(contributions_N: ArrayLike, low: float, high: float) -> Targets:
    """Return the owed accuracies by `shift`, or by `affine` where contributions spread too far.

    Raises ValueError unless 0 <= low <= high <= 1, or for a contribution that is not finite.
    """
    c_N = _check(contributions_N, low, high)
    # halves: the difference of two huge numbers of opposite sign is still a number
    spread_half = float(c_N.max() / 2 - c_N.min() / 2)
    if not has_spread(c_N) or spread_half <= (high - low) / 2:
        nu = high - float(c_N.max())
        return Targets(np.clip(c_N - c_N.max() + high, low, high), "shift", nu)
    shares_N = (c_N / 2 - c_N.min() / 2) / spread_half
    return Targets(np.clip(low + (high - low) * shares_N, low, high), "affine", None)


def solve_targets(
    contributions_N: ArrayLike, low: float, high: float, penalty: float = math.inf
) -> Targets:
    """Return the accuracies that maximise mean gain - penalty * spread of gains, exactly.

    penalty = inf asks for the least spread, of several solutions the one of the largest mean
    (`clip`). Raises as `compute_targets`, and for a penalty that is not above 0.
    """
    c_N = _check(contributions_N, low, high)
    if not penalty > 0:
        raise ValueError(f"penalty {penalty} is not above 0")
    sorted_N = np.sort(c_N)
    kinks_K = np.unique(np.concatenate([low - sorted_N, high - sorted_N]))
    nus = np.unique(
        np.concatenate([kinks_K, _find_stationary(sorted_N, kinks_K, low, high, penalty)])
    )
    mean_M, variance_M = _sum_gains(sorted_N, nus, low, high)
    spread_M = np.sqrt(variance_M)
    worth_M = -spread_M if math.isinf(penalty) else mean_M - penalty * spread_M
    # the sums of squares are good to about 1e-8 in the spread; equals are settled by the mean
    ties = np.flatnonzero(worth_M >= worth_M.max() - 1e-7 * max(1.0, min(penalty, 1e6)))
    nu = max((float(nus[tie]) for tie in ties), key=lambda v: _judge(c_N, v, low, high, penalty))
    rule = "clip" if math.isinf(penalty) else "trade"
    return Targets(np.clip(c_N + nu, low, high), rule, nu)


def convert_scores(
    scores_N: ArrayLike, low: float, high: float, exponent: float = 1.0
) -> FloatArray:
    """Return accuracies owed for scores that are no accuracies, such as Shapley values.

        A_n = l + (u - l) (max(0, s_n) / max s)^exponent

    Exponents below 1 give more to the weaker ones, above 1 less. Where no score is above 0, nobody
    earned more than l. Raises as `compute_targets`, and for an exponent that is not above 0.
    """
    s_N = np.maximum(_check(scores_N, low, high), 0.0)
    if not 0 < exponent < math.inf:
        raise ValueError(f"exponent {exponent} is not above 0 and finite")
    if s_N.max() <= 0:
        return np.full(len(s_N), low)
    return np.asarray(low + (high - low) * (s_N / s_N.max()) ** exponent)


def _judge(
    c_N: FloatArray, nu: float, low: float, high: float, penalty: float
) -> tuple[float, ...]:
    gains_N = np.clip(c_N + nu, low, high) - c_N
    mean, spread = float(gains_N.mean()), round(float(gains_N.std()), 12)
    return (-spread, mean) if math.isinf(penalty) else (mean - penalty * spread, nu)


def _find_stationary(
    sorted_N: FloatArray, kinks_K: FloatArray, low: float, high: float, penalty: float
) -> FloatArray:
    """Return where the slope of the objective is 0 between two kinks.

    Between kinks k members are free and the rest are at a bound: sum of gains = k nu + a, sum of
    squares = k nu^2 + b, so the variance is q (t^2 + r) with t = nu - center, and the objective
    k/N nu - penalty sqrt(q (t^2 + r)) has its top at t = (k/N) sqrt(r / (penalty^2 q - (k/N)^2)).
    """
    count = len(sorted_N)
    middles = (kinks_K[:-1] + kinks_K[1:]) / 2
    free, a, b = _describe(sorted_N, middles, low, high)
    k = free / count
    inner = (free > 0) & (free < count)
    k, a, b, middles = k[inner], a[inner] / count, b[inner] / count, middles[inner]
    lows, highs = kinks_K[:-1][inner], kinks_K[1:][inner]
    q = k * (1 - k)
    center = a / (1 - k)  # the mean gain of those at a bound
    rest = np.maximum(0.0, b / (1 - k) - center**2) / k  # their variance, in units of q
    steep = np.zeros_like(q) if math.isinf(penalty) else k**2 / penalty**2
    with np.errstate(divide="ignore", invalid="ignore"):
        nus = center + np.sqrt(np.where(q > steep, steep * rest / (q - steep), np.nan))
    return np.asarray(nus[(nus > lows) & (nus < highs)])


def _sum_gains(
    sorted_N: FloatArray, nus: FloatArray, low: float, high: float
) -> tuple[FloatArray, FloatArray]:
    """Return mean and variance of the gains for each nu."""
    free, a, b = _describe(sorted_N, nus, low, high)
    mean = (free * nus + a) / len(sorted_N)
    return mean, np.maximum(0.0, (free * nus**2 + b) / len(sorted_N) - mean**2)


def _describe(
    sorted_N: FloatArray, nus: FloatArray, low: float, high: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return for each nu: members between the bounds, and sum and squares of the others' gains."""
    below = np.searchsorted(sorted_N, low - nus, side="left")
    above = np.maximum(below, np.searchsorted(sorted_N, high - nus, side="right"))
    at_low, at_high = low - sorted_N, high - sorted_N

    def add(values_N: FloatArray, start: bool) -> FloatArray:
        sums = np.concatenate([[0.0], np.cumsum(values_N)])
        return np.asarray(sums[below] if start else sums[-1] - sums[above])

    a = add(at_low, True) + add(at_high, False)
    b = add(at_low**2, True) + add(at_high**2, False)
    return np.asarray(above - below, dtype=np.float64), a, b


def _check(contributions_N: ArrayLike, low: float, high: float) -> FloatArray:
    if not 0 <= low <= high <= 1:
        raise ValueError(f"accuracies low {low} and high {high} must be 0 <= low <= high <= 1")
    return check_members(("contribution", contributions_N))[0]
