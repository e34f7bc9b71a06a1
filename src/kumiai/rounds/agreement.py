"""From many validators' scores to one verdict a member, in integers, so that everybody agrees.

Scores are combined by the stake-weighted median of the inliers of a MAD filter. AIArena (arXiv
2412.14566) takes the stake-weighted mean; with 31 % of the stake colluding the mean can put the
worst model first, the median cannot (`stake_weighted_mean` stays here for that comparison).

value  c_i   = median over inliers of v_ji (validator j's score of member i), weighted by stake
inlier       : |v_ji - m_i| <= 3 * max(MAD_i, NOISE_FLOOR), m_i the median over all
deviation    : d_ji = min(1, |v_ji - c_i| / (3 * max(MAD_i, NOISE_FLOOR))), in ppm
harmful      : c_i <= -harm_floor, most stake sees v_ji + 2 * error_ji < 0, and the balance (the
               sum of c_i over all rounds so far, this one included) is at most -harm_limit, the
               greater of harm_floor and a quarter of the median positive balance. A
               single bad round of an honest member with skewed data is no attack: it is left out
               and unpaid like any other without gain, but not called harmful.
VALID        : c_i > 0 and the balance with it > 0: harm is made good before anything is paid.

All values in ppm of a nat. Ties in a weighted median: the mean of the two middle values, rounded
down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isqrt

from kumiai.base.amounts import PPM
from kumiai.proofs import flags as flag
from kumiai.rounds.state import AssignmentState, Judgement, ScoreSheet

INLIER_MADS = 3
NOISE_FLOOR = 500  # ppm of a nat: differences below this mean nothing on a hold-out of hundreds

_GROUP_REASONS = ("counted", "no-gain", "harmful")  # any other is a sum that is none
_FLAG_REASONS = {
    flag.MALFORMED: "malformed",
    flag.OUTSIDE: "outside",
    flag.DUPLICATE: "copy",
    flag.SHOWN: "old-copy",
    flag.REPLAY: "replay",
    flag.ZERO: "empty",
    flag.NO_WORK: "no-work",
}


def judge(
    revealed: Sequence[str],
    sheets: Sequence[ScoreSheet],
    stakes: Mapping[str, int],
    harm_floor: int,
    balances: Mapping[str, int],
) -> tuple[Judgement, ...]:
    """Return one judgement a revealed member, in their order; `sheets` must not be empty.

    `balances`: each member's sum of consensus values over the rounds before this one.
    """
    weights = [stakes[sheet.validator] for sheet in sheets]
    earned = sorted(balance for balance in balances.values() if balance > 0)
    harm_limit = max(harm_floor, earned[len(earned) // 2] // 4 if earned else 0)
    judgements = []
    for index, member in enumerate(revealed):
        column = [sheet.lines[index] for sheet in sheets]
        balance = balances.get(member, 0)
        judgements.append(
            _judge_member(
                index, member, column, weights, revealed, (harm_floor, harm_limit, balance)
            )
        )
    return tuple(judgements)


def share_equally(
    by_group: Sequence[Judgement], groups: Mapping[str, Sequence[str]]
) -> tuple[Judgement, ...]:
    """Return a judgement a member: an equal part of what its group is worth, rounded down.

    Nobody is INVALID: who in a group did harm cannot be seen. Penalties would hit the others.
    """
    judgements = []
    for found in by_group:
        members = groups[found.member]
        verdict, value = found.verdict, found.value // len(members)
        reason = found.reason if found.reason in _GROUP_REASONS else "malformed"
        if verdict is AssignmentState.INVALID:
            verdict = AssignmentState.INCONCLUSIVE
        elif verdict is AssignmentState.VALID:
            value = max(1, value)  # what is paid by rank is more than nothing
        shared = replace(
            found,
            verdict=verdict,
            reason=f"group-{reason}",
            detail=found.member,
            value=value,
            error=found.error // len(members),
        )
        judgements += [replace(shared, member=member) for member in members]
    return tuple(judgements)


def stake_weighted_median(values: Sequence[int], weights: Sequence[int]) -> int:
    """Return the value at which half of the weight lies below; O(n log n)."""
    if not values:
        raise ValueError("the median of nothing")
    pairs = sorted(zip(values, weights, strict=True))
    total = sum(weights)
    if total == 0:
        pairs, total = [(value, 1) for value, _ in pairs], len(pairs)
    below = 0
    for position, (value, weight) in enumerate(pairs):
        below += weight
        if 2 * below > total:
            return value
        if 2 * below == total:
            following = next(v for v, w in pairs[position + 1 :] if w > 0)
            return (value + following) // 2
    raise ValueError("weights are negative")


def stake_weighted_mean(values: Sequence[int], weights: Sequence[int]) -> int:
    """The paper's rule, for comparison: sum of s_j v_j / sum of s_j, rounded down."""
    return sum(v * w for v, w in zip(values, weights, strict=True)) // sum(weights)


def compute_spread(values: Sequence[int], centre: int) -> int:
    """Return the median absolute deviation from `centre`, at least NOISE_FLOOR."""
    deviations = sorted(abs(value - centre) for value in values)
    return max(deviations[len(deviations) // 2], NOISE_FLOOR)


def _judge_member(
    index: int,
    member: str,
    column: Sequence[tuple[int, int, int, int, int]],
    weights: Sequence[int],
    revealed: Sequence[str],
    harm: tuple[int, int, int],
) -> Judgement:
    harm_floor, harm_limit, balance = harm
    values = [line[0] for line in column]
    centre = stake_weighted_median(values, weights)
    limit = INLIER_MADS * compute_spread(values, centre)
    inliers = [k for k, value in enumerate(values) if abs(value - centre) <= limit]
    value = stake_weighted_median([values[k] for k in inliers], [weights[k] for k in inliers])
    error = _combine_errors([column[k] for k in inliers], value)
    deviations = tuple(min(PPM, PPM * abs(v - value) // limit) for v in values)

    verdict, reason, detail, group = AssignmentState.VALID, "counted", "", index
    raised = _agreed_flags(column, weights)
    if raised:
        bit = next(each for each in flag.EACH if raised & each)
        verdict, reason = AssignmentState.INVALID, _FLAG_REASONS[bit]
        if bit == flag.DUPLICATE:
            original = _agreed_original(column, weights, len(revealed))
            if original is not None:
                detail, group = revealed[original], original
    elif (
        value <= -harm_floor
        and value + balance <= -harm_limit
        and _is_majority([v + 2 * e < 0 for v, e, *_ in column], weights)
    ):
        verdict, reason = AssignmentState.INVALID, "harmful"
    elif min(value, value + balance) <= 0:
        verdict, reason = AssignmentState.INCONCLUSIVE, "no-gain"
    return Judgement(
        member=member,
        verdict=verdict,
        reason=reason,
        detail=detail,
        value=value,
        error=error,
        group=group,
        deviations=deviations,
    )


def _combine_errors(lines: Sequence[tuple[int, int, int, int, int]], value: int) -> int:
    """Monte-Carlo error within validators and disagreement between them, of the mean of n."""
    n = len(lines)
    within = sum(line[1] ** 2 for line in lines)
    between = sum((line[0] - value) ** 2 for line in lines)
    return isqrt((within // n + between // max(1, n - 1)) // n)


def _agreed_flags(column: Sequence[tuple[int, int, int, int, int]], weights: Sequence[int]) -> int:
    raised = 0
    for bit in flag.EACH:
        if _is_majority([bool(line[3] & bit) for line in column], weights):
            raised |= bit
    return raised


def _agreed_original(
    column: Sequence[tuple[int, int, int, int, int]], weights: Sequence[int], size: int
) -> int | None:
    """The index most stake names as the copied update (lowest on a tie), or None."""
    votes: dict[int, int] = {}
    for line, weight in zip(column, weights, strict=True):
        if 0 <= line[4] < size:
            votes[line[4]] = votes.get(line[4], 0) + weight
    return min(votes, key=lambda i: (-votes[i], i)) if votes else None


def _is_majority(opinions: Sequence[bool], weights: Sequence[int]) -> bool:
    agreeing = sum(w for opinion, w in zip(opinions, weights, strict=True) if opinion)
    return 2 * agreeing > sum(weights)
