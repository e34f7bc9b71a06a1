"""Shapley values by the book: every coalition is measured. Slow, plain, and the judge of the rest.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S + i) - v(S))

Source: L. S. Shapley, "A Value for n-Person Games", 1953. Cost: 2^n utilities in one batch.
"""

from __future__ import annotations

from math import comb

import numpy as np

from kumiai.valuation.game import FloatArray, Plan, Valuation

PLAYERS_MAX = 12  # 4096 coalitions


def plan_exact(player_count: int) -> Plan:
    """Ask for all coalitions; exact values, no error. ValueError above 12 players."""
    if player_count > PLAYERS_MAX:
        raise ValueError(f"{player_count} players, exact Shapley values take at most {PLAYERS_MAX}")
    utilities = yield list(range(2**player_count))
    return Valuation(compute_shapley(player_count, utilities), np.zeros(player_count), 0)


def compute_shapley(player_count: int, utilities: FloatArray) -> FloatArray:
    """Return the Shapley values [n] of the game whose coalition `mask` is worth utilities[mask]."""
    masks = np.arange(2**player_count)
    sizes = np.bitwise_count(masks)
    # |S|! (n - |S| - 1)! / n! = 1 / (n * C(n - 1, |S|))
    weights = np.array(
        [1 / (player_count * comb(player_count - 1, s)) for s in range(player_count)]
    )
    values_N = np.zeros(player_count)
    for i in range(player_count):
        without = masks[masks >> i & 1 == 0]
        gains = utilities[without | 1 << i] - utilities[without]
        values_N[i] = weights[sizes[without]] @ gains
    return values_N
