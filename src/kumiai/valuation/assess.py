"""One door to every method that values players by the utility of their coalitions.

| method       | utilities asked for           | shares out v(N) - v({}) | error    |
|--------------|-------------------------------|-------------------------|----------|
| `gtg`        | about orders * n / 2, or 2^n  | yes, to the truncation  | sampling |
| `loo`        | n + 1                         | no                      | none     |
| `standalone` | n + 1                         | no                      | none     |
| `exact`      | 2^n, at most 12 players       | yes                     | none     |

`gtg` measures all 2^n coalitions where those are no more than half of what it could ask for (up to
7 players with 40 orders): exact values for the same price. `cosine` needs updates, not utilities:
see `cosine.py`. Above some 30 players sampling asks for thousands of models: use `loo` there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kumiai.valuation.exact import PLAYERS_MAX, plan_exact
from kumiai.valuation.game import FloatArray, Plan, Utility, Valuation, run_plans
from kumiai.valuation.gtg import GtgLimits, plan_gtg
from kumiai.valuation.marginals import plan_leave_one_out, plan_standalone

METHODS = ("gtg", "loo", "standalone", "exact")


def assess(
    method: str,
    player_count: int,
    utility: Utility,
    seed: int = 0,
    limits: GtgLimits | None = None,
) -> Valuation:
    """Value the players 0..n-1 of one game.

    utility: M different masks -> float64 [M]. seed: draws the orders of `gtg`. Raises ValueError
    for an unknown method, no player, or a utility that is not finite (naming the coalition).
    """

    def column(masks: Sequence[int]) -> FloatArray:
        return np.asarray(utility(masks), dtype=np.float64)[..., None]

    return assess_games(method, player_count, column, 1, seed, limits)[0]


def assess_games(
    method: str,
    player_count: int,
    utility: Utility,
    game_count: int,
    seed: int = 0,
    limits: GtgLimits | None = None,
) -> list[Valuation]:
    """As `assess`, for K games of the same players: utility gives float64 [M, K].

    Every game gets the very valuation it would get alone; a coalition is measured once for all.
    """
    if method not in METHODS:
        raise ValueError(f"valuation {method!r} is unknown: use one of {', '.join(METHODS)}")
    if player_count < 1:
        raise ValueError(f"{player_count} players: a game needs one")
    plans = [build_plan(method, player_count, seed, limits) for _ in range(game_count)]
    return run_plans(plans, utility)


def build_plan(
    method: str, player_count: int, seed: int = 0, limits: GtgLimits | None = None
) -> Plan:
    """Return the plan of a method of `METHODS`."""
    limits = limits or GtgLimits()
    if method == "loo":
        return plan_leave_one_out(player_count)
    if method == "standalone":
        return plan_standalone(player_count)
    orders_cost = limits.permutations_max * player_count // 2
    is_cheap = player_count <= PLAYERS_MAX and 2**player_count <= orders_cost
    if method == "exact" or is_cheap:
        return plan_exact(player_count)
    return plan_gtg(player_count, seed, limits)
