"""One door to every method that values players by the utility of their coalitions.

| method          | utilities asked for            | shares out v(N) - v({}) | error    |
|-----------------|--------------------------------|-------------------------|----------|
| `gtg`           | about orders * n / 2, or 2^n   | yes, to the truncation  | sampling |
| `loo`           | n + 1                          | no                      | none     |
| `standalone`    | n + 1                          | no                      | none     |
| `exact`         | 2^n, at most 12 players        | yes                     | none     |
| `permutation`   | about orders * (n - 1)         | yes                     | sampling |
| `tmc`           | fewer, by truncation           | yes, to the truncation  | sampling |
| `strata`        | 2 + 2 n + layers * n * (n - 3) | yes                     | sampling |
| `banzhaf`       | coalitions, or 2^n             | no: raw values          | sampling |
| `banzhaf_exact` | 2^n, at most 12 players        | no: raw values          | none     |

`gtg` measures all 2^n coalitions where those are no more than half of what it could ask for (up to
7 players with 40 orders), `strata` and `banzhaf` where they are no more than it may draw: exact
values for the same price. Above some 30 players sampling asks for thousands of models: use `loo`
there.

Not here, since they need more than one game: `fedsv` and `comfedsv` value members across rounds;
`cosine`, `cgsv` and `class_cosine` look at updates and measure nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np

from kumiai.valuation.banzhaf import BanzhafLimits, plan_banzhaf, plan_banzhaf_exact
from kumiai.valuation.duplicates import merge_duplicates, spread
from kumiai.valuation.exact import PLAYERS_MAX, plan_exact
from kumiai.valuation.game import (
    FloatArray,
    Plan,
    Utility,
    Valuation,
    measure,
    run_plans,
    translate_masks,
)
from kumiai.valuation.gtg import GtgLimits, plan_gtg
from kumiai.valuation.marginals import plan_leave_one_out, plan_standalone
from kumiai.valuation.permutation import PermutationLimits, plan_permutation
from kumiai.valuation.strata import StrataLimits, count_strata, plan_strata
from kumiai.valuation.tmc import TmcLimits, plan_tmc

Limits: TypeAlias = GtgLimits | PermutationLimits | TmcLimits | StrataLimits | BanzhafLimits
_L = TypeVar("_L", GtgLimits, PermutationLimits, TmcLimits, StrataLimits, BanzhafLimits)

METHODS = (
    "gtg",
    "loo",
    "standalone",
    "exact",
    "permutation",
    "tmc",
    "strata",
    "banzhaf",
    "banzhaf_exact",
)
SHAPLEY_METHODS = (
    "gtg",
    "exact",
    "permutation",
    "tmc",
    "strata",
)  # of METHODS, those of one same value


def assess(
    method: str,
    player_count: int,
    utility: Utility,
    seed: int = 0,
    limits: Limits | None = None,
) -> Valuation:
    """Value the players 0..n-1 of one game.

    utility: M different masks -> float64 [M]. seed: of the methods that sample. limits: the
    sampling method's own, its defaults if None; methods that sample nothing look at none. Raises
    ValueError for an unknown method, another method's limits, no player, or a utility that is not
    finite (naming the coalition).
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
    limits: Limits | None = None,
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


def assess_group(
    method: str,
    players: Sequence[int],
    member_count: int,
    utility: Utility,
    seed: int = 0,
    limits: Limits | None = None,
) -> Valuation:
    """As `assess`, where only some of the members 0..member_count-1 play; the others are worth 0.

    utility: masks over *members*, each a part of `players`. ValueError unless these are different
    members, ascending.
    """
    expected = sorted(set(players))
    if list(players) != expected or any(not 0 <= i < member_count for i in expected):
        raise ValueError(
            f"players {list(players)}: expected different members below {member_count}, ascending"
        )

    def played(masks: Sequence[int]) -> FloatArray:
        return measure(translate_masks(masks, players), utility)

    return spread(assess(method, len(players), played, seed, limits), list(players), member_count)


def assess_members(
    method: str,
    duplicate_of_N: Sequence[int | None],
    utility: Utility,
    seed: int = 0,
    limits: Limits | None = None,
) -> Valuation:
    """As `assess`, with copies merged first: the first of each kind plays, its copies are worth 0.

    duplicate_of_N: for each member the one that it copies, or None. utility: masks over members.
    """
    players = merge_duplicates(duplicate_of_N)
    return assess_group(method, players, len(duplicate_of_N), utility, seed, limits)


def build_plan(method: str, player_count: int, seed: int = 0, limits: Limits | None = None) -> Plan:
    """Return the plan of a method of `METHODS`."""
    if method == "loo":
        return plan_leave_one_out(player_count)
    if method == "standalone":
        return plan_standalone(player_count)
    if method == "exact":
        return plan_exact(player_count)
    if method == "banzhaf_exact":
        return plan_banzhaf_exact(player_count)
    if method == "permutation":
        return plan_permutation(player_count, seed, _pick(method, limits, PermutationLimits))
    if method == "tmc":
        return plan_tmc(player_count, seed, _pick(method, limits, TmcLimits))
    if method == "strata":
        layers = _pick(method, limits, StrataLimits)
        if _is_cheap(player_count, count_strata(player_count, layers)):
            return plan_exact(player_count)
        return plan_strata(player_count, seed, layers)
    if method == "banzhaf":
        draws = _pick(method, limits, BanzhafLimits)
        if _is_cheap(player_count, draws.coalitions_max):
            return plan_banzhaf_exact(player_count)
        return plan_banzhaf(player_count, seed, draws)
    orders = _pick(method, limits, GtgLimits)
    if _is_cheap(player_count, orders.permutations_max * player_count // 2):
        return plan_exact(player_count)
    return plan_gtg(player_count, seed, orders)


def _is_cheap(player_count: int, budget: int) -> bool:
    """Tell whether all coalitions cost no more than `budget` utilities."""
    return player_count <= PLAYERS_MAX and 2**player_count <= budget


def _pick(method: str, limits: Limits | None, kind: type[_L]) -> _L:
    if limits is None:
        return kind()
    if not isinstance(limits, kind):
        raise ValueError(f"{method} takes {kind.__name__}, not {type(limits).__name__}")
    return limits
