"""Shapley values by plain Monte Carlo: the mean gain on joining over random orders of the players.

    phi_i = mean over R random orders of v(who came before i, and i) - v(who came before i)

Source: J. Castro, D. Gomez, J. Tejada, "Polynomial calculation of the Shapley value based on
sampling", Computers & Operations Research 2009 (a reconstruction). It is the baseline that the
other samplers are measured against: no truncation, no pairing, no early stop.

errors_N is the standard error of the mean over the orders, which are independent. By Hoeffding, R
>= range^2 ln(2 n / d) / (2 eps^2) orders keep every value within eps with probability 1 - d, where
a gain lies in an interval of length `range`: 7,490 orders for 10 players, eps 0.02, d 0.05, range
1. Values sum to v(N) - v({}) always. Cost: about R (n - 1) utilities, fewer where prefixes repeat.
The orders depend on the seed and n alone, in every numpy release.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.game import FloatArray, Plan, Valuation

Orders = NDArray[np.int64]  # [R, n]: in row r players join from left to right


@dataclass(frozen=True, slots=True)
class PermutationLimits:
    """permutations_max: orders drawn, all of them; two or more, or there is no standard error."""

    permutations_max: int = 40


def plan_permutation(player_count: int, seed: int, limits: PermutationLimits) -> Plan:
    """Value players by their mean gain over random orders. ValueError for fewer than two orders."""
    check_permutations(limits.permutations_max)
    orders_RN = draw_orders(np.random.PCG64(seed), player_count, limits.permutations_max)
    nobody, everybody = yield [0, (1 << player_count) - 1]
    gains_RN = yield from walk_orders(orders_RN, nobody, everybody)
    return average_gains(gains_RN)


def count_orders(player_count: int, error: float, risk: float, gain_range: float = 1.0) -> int:
    """Return how many orders keep every value within `error` with probability 1 - `risk`.

    gain_range: the length of the interval that holds every gain. Hoeffding's bound, a union over
    the players. ValueError unless error, risk and gain_range are positive, risk below 1.
    """
    if error <= 0 or gain_range <= 0 or not 0 < risk < 1:
        raise ValueError(f"error {error}, risk {risk}, gain range {gain_range}: no bound")
    return ceil(gain_range**2 * log(2 * player_count / risk) / (2 * error**2))


def check_permutations(permutations_max: int) -> None:
    """Raise ValueError for so few orders that their spread is not defined."""
    if permutations_max < 2:
        raise ValueError(f"permutations_max {permutations_max} gives no standard error: use 2")


def draw_orders(raw: np.random.PCG64, player_count: int, count: int) -> Orders:
    """Return `count` independent random orders [count, n]."""
    keys_RN = raw.random_raw(count * player_count).reshape(count, player_count)
    return np.argsort(keys_RN, axis=1, kind="stable")


def walk_orders(
    orders_RN: Orders, nobody: float, everybody: float, tolerance: float = 0.0
) -> Generator[list[int], FloatArray, FloatArray]:
    """Let the players join in all orders together, one position a request; return gains [R, n].

    An order ends, and the players to come gain 0, once |everybody - reached| < tolerance.
    """
    count, players = orders_RN.shape
    gains_RN = np.zeros((count, players))
    reached_R = np.full(count, nobody)
    prefixes = [0] * count
    rows = np.arange(count)
    for position in range(players):
        rows = rows[~(np.abs(everybody - reached_R[rows]) < tolerance)]
        if len(rows) == 0:
            break
        joining = orders_RN[rows, position]
        for row, player in zip(rows.tolist(), joining.tolist(), strict=True):
            prefixes[row] |= 1 << player
        if position == players - 1:  # everybody is in: known
            utilities = np.full(len(rows), everybody)
        else:
            utilities = yield [prefixes[row] for row in rows.tolist()]
        gains_RN[rows, joining] = utilities - reached_R[rows]
        reached_R[rows] = utilities
    return gains_RN


def average_gains(gains_RN: FloatArray) -> Valuation:
    """Return the mean over R >= 2 independent orders, with its standard error."""
    errors_N = gains_RN.std(axis=0, ddof=1) / len(gains_RN) ** 0.5
    return Valuation(gains_RN.mean(axis=0), errors_N, 0)
