"""Banzhaf values: the mean gain a player brings to a random group, every group alike.

    beta_i = mean over all S without i of v(S + i) - v(S)
           = mean of v(S) over all S with i  -  mean of v(S) over all S without i

Source: J. T. Wang, R. Jia, "Data Banzhaf: A Robust Data Valuation Framework for Machine Learning",
AISTATS 2023 (a reconstruction). The second line is their maximum-sample-reuse estimator: every
measured coalition serves all n players, O(log n / eps^2) of them in all instead of n times as many.
Of all semivalues it keeps its ranking under the most noise in v (the paper's safety margin).

Deviation: every player is in exactly half of the M sampled coalitions (its column of M places is
shuffled by itself). Each coalition is still uniform and each estimate unbiased, and no mean is ever
over nothing.

Values are raw: they do **not** sum to v(N) - v({}). That is what makes copies unprofitable: whoever
splits into k copies earns no more together (a game of four owners with overlapping data: 0.177,
0.177, 0.133, 0.089 for k = 1..4, where Shapley pays 0.262 to 0.511). Dividing by the sum brings
most of the profit back, so normalise only over identities that cost something.

errors_N is the standard error of the difference of the two means. A null player is worth 0 only
within that error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.exact import PLAYERS_MAX
from kumiai.valuation.game import Plan, Valuation


@dataclass(frozen=True, slots=True)
class BanzhafLimits:
    """coalitions_max: coalitions M drawn, with repetition; an odd one is left out; 4 or more."""

    coalitions_max: int = 200


def plan_banzhaf_exact(player_count: int) -> Plan:
    """Ask for all coalitions; exact values, no error. ValueError above 12 players."""
    if player_count > PLAYERS_MAX:
        raise ValueError(f"{player_count} players, exact Banzhaf values take at most {PLAYERS_MAX}")
    masks = np.arange(2**player_count)
    utilities = yield masks.tolist()
    values_N = np.zeros(player_count)
    for i in range(player_count):
        without = masks[masks >> i & 1 == 0]
        values_N[i] = (utilities[without | 1 << i] - utilities[without]).mean()
    return Valuation(values_N, np.zeros(player_count), 0)


def plan_banzhaf(player_count: int, seed: int, limits: BanzhafLimits) -> Plan:
    """Sample coalitions once for all players, in one request. ValueError for fewer than four."""
    if limits.coalitions_max < 4:
        raise ValueError(f"coalitions_max {limits.coalitions_max} gives no standard error: use 4")
    half = limits.coalitions_max // 2
    members_MN = draw_members(np.random.PCG64(seed), player_count, half)
    masks = [int("".join(map(str, row[::-1])), 2) for row in members_MN.tolist()]
    utilities = yield masks
    values_N, errors_N = np.zeros(player_count), np.zeros(player_count)
    for i, column in enumerate(members_MN.T):
        inside, outside = utilities[column == 1], utilities[column == 0]
        values_N[i] = inside.mean() - outside.mean()
        errors_N[i] = ((inside.var(ddof=1) + outside.var(ddof=1)) / half) ** 0.5
    return Valuation(values_N, errors_N, 0)


def draw_members(raw: np.random.PCG64, player_count: int, half: int) -> NDArray[np.int64]:
    """Return 2 * half coalitions as rows of 0 and 1 [2 half, n]; every column sums to `half`."""
    keys_NM = raw.random_raw(player_count * 2 * half).reshape(player_count, 2 * half)
    places_NM = np.argsort(np.argsort(keys_NM, axis=1, kind="stable"), axis=1, kind="stable")
    is_member_MN = half > places_NM.T
    return is_member_MN.astype(np.int64)
