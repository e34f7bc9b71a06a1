"""What a place in the ranking is worth: weights that already include the member's stake.

Three rules, one result type. A `Standing` is everything about the others that matters to one
member; `weigh(standing, measure)` answers "what would this member's share be with that much
stake", which pays the member and also tells what delegation adds (see `delegation`).

`rank` (the default; ours, see docs/adr/0005): members in order of value occupy consecutive
intervals of the unit of VALID stake. With a = the stake before a member's tie group, m = its own,

    weight = integral over [a, a + m] of Q^-x dx,   x = stake / total, Q = `ratio_ppm` / 1e6

and a tie group shares its interval in proportion to stake. Equal stakes give a geometric series
with ratio Q^(1/n); Q is how much more a unit of stake earns at the top than at the bottom.

`ordinal` (AIArena): g_k = q^-(k-1) for the k-th distinct value, weight = g_k * stake, q = the
ratio. The documentation says "a geometric series along its ranking"; the exact form is a
reconstruction. Ties share a rank and later ranks are not pushed down, yet two *different*
submissions of one owner still take two ranks, so splitting pays: offered for comparison only.

`value`: weight = value * stake.

Who is not VALID (value None) or helped nothing (value <= 0) weighs 0 under every rule. A tie group
("" = alone) stands where its best member stands; equal values tie in any case. (Under `value`
each member counts with its own value, and ties change nothing.)

Guarantee (`rank`): splitting a stake over identities with the same or worse values never raises
the sum of their shares, not even by rounding. The density Q^-x is a decreasing staircase with
exact integer integrals (see `staircase`), so no weight is ever rounded: stakes of total s that lie
further back than [a, a + s] cannot weigh more, and the only rounding, down to a whole unit when
money is paid, loses more the more often it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kumiai.base.amounts import PPM
from kumiai.settlement.staircase import build_staircase

RankRule = Literal["rank", "ordinal", "value"]

ORDINAL_SCALE = 10**36  # g_1 of the ordinal rule
RATIO_PPM_MAX = PPM * PPM


@dataclass(frozen=True, slots=True)
class Weight:
    """A share of a pool as an exact fraction: weight / total."""

    weight: int
    total: int


@dataclass(frozen=True, slots=True)
class RankStanding:
    """A place in the stake-measured ranking: measures before it, beside it, and of all others."""

    before: int  # of everybody with a better value
    beside: int  # of the others in the tie group
    others: int  # of all other VALID members, `before` and `beside` among them
    ratio_ppm: int


@dataclass(frozen=True, slots=True)
class LinearStanding:
    """A place where weight = score * measure; `others` is the sum of the others' weights."""

    score: int
    others: int


Standing = RankStanding | LinearStanding


def weigh(standing: Standing, measure: int) -> Weight:
    """Return the share of a member at `standing` if its own stake counted for `measure`.

    Grows with `measure`; the shares of all members, each at its own measure, sum to 1 (or to 0).
    """
    if isinstance(standing, LinearStanding):
        weight = standing.score * measure
        return Weight(weight, max(1, standing.others + weight))
    if measure == 0:
        return Weight(0, 1)
    total = standing.others + measure
    group = standing.beside + measure
    stairs = build_staircase(standing.ratio_ppm)
    integral = stairs.integrate(standing.before + group, total) - stairs.integrate(
        standing.before, total
    )
    full = stairs.integrate(total, total)
    if group == measure:
        return Weight(integral, full)
    return Weight(integral * measure, full * group)


def compute_standings(
    rule: RankRule,
    values: Sequence[int | None],
    groups: Sequence[str],
    measures: Sequence[int],
    ratio_ppm: int,
) -> list[Standing]:
    """Return every member's standing under `rule`; raises ValueError for unequal lengths."""
    if not len(values) == len(groups) == len(measures):
        raise ValueError(f"{len(values)} values, {len(groups)} groups, {len(measures)} stakes")
    if not PPM <= ratio_ppm <= RATIO_PPM_MAX:
        raise ValueError(f"ratio {ratio_ppm} ppm is outside {PPM}..{RATIO_PPM_MAX}")
    if any(measure < 0 for measure in measures):
        raise ValueError(f"stakes {list(measures)} contain a negative one")
    keys = _compute_keys(values, groups)
    if rule == "rank":
        return _stand_by_stake(keys, measures, ratio_ppm)
    if rule == "ordinal":
        return stand_linear(_compute_ordinal_scores(keys, ratio_ppm), measures)
    if rule == "value":
        return stand_linear([max(0, value or 0) for value in values], measures)
    raise ValueError(f"rule {rule!r} is none of rank, ordinal, value")


def compute_rank_weights(
    values: Sequence[int | None],
    groups: Sequence[str],
    stakes: Sequence[int],
    ratio_ppm: int,
    rule: RankRule = "rank",
) -> list[Weight]:
    """Return every member's exact share of a pool under `rule`."""
    standings = compute_standings(rule, values, groups, stakes, ratio_ppm)
    return [weigh(standing, stake) for standing, stake in zip(standings, stakes, strict=True)]


def stand_linear(scores: Sequence[int], measures: Sequence[int]) -> list[Standing]:
    """Return standings where weight = score * measure (validators: score = F)."""
    if any(score < 0 for score in scores):
        raise ValueError(f"scores {list(scores)} contain a negative one")
    weights = [score * measure for score, measure in zip(scores, measures, strict=True)]
    total = sum(weights)
    return [
        LinearStanding(score, total - weight) for score, weight in zip(scores, weights, strict=True)
    ]


def _compute_keys(values: Sequence[int | None], groups: Sequence[str]) -> list[int | None]:
    """What a member is ranked by: its group's best value; None if it earns nothing."""
    best: dict[str, int] = {}
    for value, group in zip(values, groups, strict=True):
        if value is not None and group:
            best[group] = max(value, best.get(group, value))
    return [
        None if value is None or value <= 0 else best.get(group, value)
        for value, group in zip(values, groups, strict=True)
    ]


def _stand_by_stake(
    keys: Sequence[int | None], measures: Sequence[int], ratio_ppm: int
) -> list[Standing]:
    group_sums: dict[int, int] = {}
    for key, measure in zip(keys, measures, strict=True):
        if key is not None:
            group_sums[key] = group_sums.get(key, 0) + measure
    before: dict[int, int] = {}
    total = 0
    for key in sorted(group_sums, reverse=True):
        before[key] = total
        total += group_sums[key]
    return [
        LinearStanding(0, 0)
        if key is None
        else RankStanding(before[key], group_sums[key] - measure, total - measure, ratio_ppm)
        for key, measure in zip(keys, measures, strict=True)
    ]


def _compute_ordinal_scores(keys: Sequence[int | None], ratio_ppm: int) -> list[int]:
    scores: dict[int | None, int] = {None: 0}
    score = ORDINAL_SCALE
    for key in sorted({key for key in keys if key is not None}, reverse=True):
        scores[key] = score
        score = score * PPM // ratio_ppm
    return [scores[key] for key in keys]
