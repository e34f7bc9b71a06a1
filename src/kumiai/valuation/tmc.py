"""Truncated Monte Carlo: random orders, each cut short once the rest can add next to nothing.

Source: A. Ghorbani, J. Zou, "Data Shapley: Equitable Valuation of Data for Machine Learning", ICML
2019, algorithm 1 (a reconstruction; the two stopping rules are as public libraries state them)::

    in a random order a player's gain is v(prefix + player) - v(prefix);
        once |v(N) - v(prefix)| < truncation * |v(N) - v({})| the rest gain 0
    stop when mean_i |m_i(R) - m_i(R - history)| / |m_i(R)| < deviation, m(R) the mean of R orders

Deviation: the truncation is relative to what is won, v(N) - v({}), not to v(N): a loss has no zero,
and shifting the utility must change no value. Where the two agree, at v({}) = 0, so do the rules.
The stop is looked at after every `WAVE` orders, which are asked for together, not after each.

Truncation is a bias, up to truncation * |v(N) - v({})| in the sum of the values, and errors_N does
not hold it. Worse: players whose gains cancel (help and harm) are hidden once the middle of an
order happens to lie near v(N); `gtg` guards against that, this method, as published, does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kumiai.valuation.game import FloatArray, Plan
from kumiai.valuation.permutation import (
    average_gains,
    check_permutations,
    draw_orders,
    walk_orders,
)

WAVE = 20  # orders walked together


@dataclass(frozen=True, slots=True)
class TmcLimits:
    """When to stop.

    permutations_max: orders at most, two or more; truncation: share of v(N) - v({}) that is not
    worth another model; history: how many orders back the means are compared with; deviation: the
    mean relative change over them that counts as settled, 0 for never.
    """

    permutations_max: int = 500
    truncation: float = 0.01
    history: int = 100
    deviation: float = 0.05


def plan_tmc(player_count: int, seed: int, limits: TmcLimits) -> Plan:
    """Sample truncated orders until the means settle. ValueError for limits out of range."""
    check_permutations(limits.permutations_max)
    if limits.history < 1 or limits.truncation < 0 or limits.deviation < 0:
        raise ValueError(f"{limits}: history is at least 1, truncation and deviation at least 0")
    raw = np.random.PCG64(seed)
    nobody, everybody = yield [0, (1 << player_count) - 1]
    tolerance = limits.truncation * abs(everybody - nobody)
    gains_RN = np.zeros((0, player_count))
    while len(gains_RN) < limits.permutations_max and not has_settled(gains_RN, limits):
        wave = min(WAVE, limits.permutations_max - len(gains_RN))
        orders_RN = draw_orders(raw, player_count, wave)
        new_RN = yield from walk_orders(orders_RN, nobody, everybody, tolerance)
        gains_RN = np.vstack([gains_RN, new_RN])
    return average_gains(gains_RN)


def has_settled(gains_RN: FloatArray, limits: TmcLimits) -> bool:
    """Tell whether the last `history` orders moved the means by less than `deviation`."""
    before = len(gains_RN) - limits.history
    if before < 1:
        return False
    then_N, now_N = gains_RN[:before].mean(axis=0), gains_RN.mean(axis=0)
    changes_N = np.abs(now_N - then_N) / (np.abs(now_N) + 1e-12)
    return bool(changes_N.mean() < limits.deviation)
