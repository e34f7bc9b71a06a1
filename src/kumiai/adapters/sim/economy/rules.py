"""The rules of `rounds.agreement` and `settlement`, for many tasks at once: arrays, same integers.

Every function names the rule that it copies; `tests/adapters/test_economy_rules.py` compares each
with that rule on random inputs. Scores, verdicts, deviations and burns are equal to the unit.
Amounts are within one unit: the rules divide exact integers of 90 digits, this room divides
float64 (53 bits) and rounds down, so an amount that is a whole number but for the last bits may
come out one lower or higher. What rounding leaves belongs to the customer, as in the rules.

Shapes: B tasks (all worlds and tasks of a seed), N seats of a role, V validators, D delegators.
Amounts and stakes are int64; a pay times a stake stays below 2**63 (`parameters` bounds both).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kumiai.base.amounts import PPM
from kumiai.rounds.agreement import INLIER_MADS, NOISE_FLOOR
from kumiai.settlement.staircase import STEP_COUNT, build_staircase

PLACE_BITS = 5  # a validator's place beside its value: at most 31 validators
PLACE_MAX = 2**PLACE_BITS - 1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def combine_scores(values_BNV: Ints, stakes_BV: Ints) -> tuple[Ints, Floats]:
    """Return (consensus_BN, deviations_BNV in whole ppm), as `rounds.agreement.judge` finds them."""
    sorted_BNV, stakes_BNV = sort_sheets(values_BNV, stakes_BV)
    centre_BN1 = find_weighted_median(sorted_BNV, stakes_BNV)[..., None]
    distance_BNV = np.abs(sorted_BNV - centre_BN1)
    middle = values_BNV.shape[-1] // 2
    spread_BN1 = np.sort(distance_BNV, axis=-1)[..., middle : middle + 1]
    limit_BN1 = INLIER_MADS * np.maximum(spread_BN1, NOISE_FLOOR)
    inlying_BNV = np.where(distance_BNV <= limit_BN1, stakes_BNV, 0)
    consensus_BN = find_weighted_median(sorted_BNV, inlying_BNV)
    # a quotient of integers below 2**50 is never rounded up to a whole number
    off_BNV = np.abs(values_BNV - consensus_BN[..., None]) * (1.0 * PPM)
    off_BNV /= limit_BN1
    np.minimum(off_BNV, PPM, out=off_BNV)
    return consensus_BN, np.floor(off_BNV, out=off_BNV)


def sort_sheets(values_BNV: Ints, stakes_BV: Ints) -> tuple[Ints, Ints]:
    """Return each member's values, ascending, and the stakes of who stated them."""
    count = stakes_BV.shape[1]
    places_BNV = (values_BNV << PLACE_BITS) + np.arange(count)  # one sort moves both
    places_BNV.sort(axis=-1)
    sorted_BNV = places_BNV >> PLACE_BITS
    places_BNV &= PLACE_MAX
    places_BNV += (np.arange(len(stakes_BV)) * count)[:, None, None]
    return sorted_BNV, stakes_BV.ravel()[places_BNV]


def find_weighted_median(sorted_XV: Ints, weights_XV: Ints) -> Ints:
    """As `stake_weighted_median`; values ascending on the last axis, weights beside, some > 0."""
    below_XV = 2 * np.cumsum(weights_XV, axis=-1)
    total_X1 = below_XV[..., -1:] // 2
    reached_X1 = np.argmax(below_XV >= total_X1, axis=-1)[..., None]
    passed_X1 = np.argmax(below_XV > total_X1, axis=-1)[..., None]
    first_X = np.take_along_axis(sorted_XV, reached_X1, axis=-1)[..., 0]
    second_X = np.take_along_axis(sorted_XV, passed_X1, axis=-1)[..., 0]
    median_X: Ints = (first_X + second_X) // 2  # the same value twice unless a half lies below
    return median_X


def find_majority(opinions_BNV: Bools, stakes_BV: Ints) -> Bools:
    """Tell what more than half of the stake says, as `rounds.agreement` counts it."""
    agreeing_BN = np.einsum("bnv,bv->bn", opinions_BNV.astype(np.float64), stakes_BV)
    majority_BN: Bools = 2 * agreeing_BN > stakes_BV.sum(axis=-1)[:, None]
    return majority_BN


def find_harm_limit(balances_BN: Ints, member_BN: Bools, harm_floor: int) -> Ints:
    """The greater of the floor and a quarter of the median positive balance (docs/adr/0009)."""
    earned_BN = np.where(member_BN & (balances_BN > 0), balances_BN, np.iinfo(np.int64).max)
    count_B1 = (member_BN & (balances_BN > 0)).sum(axis=-1)[:, None]
    middle_B1 = np.minimum(count_B1 // 2, balances_BN.shape[-1] - 1)
    median_B = np.take_along_axis(np.sort(earned_BN, axis=-1), middle_B1, axis=-1)[:, 0]
    quarter_B = np.where(count_B1[:, 0] > 0, median_B // 4, 0)
    limit_B: Ints = np.maximum(harm_floor, quarter_B)
    return limit_B


def split_pools(budget: int, gamma_ppm: int, trainers_B: Ints, validators_B: Ints) -> Ints:
    """Return the trainers' pools, as `settlement.pools.split_pools` to one unit."""
    share_B = gamma_ppm / PPM + (1 - 2 * gamma_ppm / PPM) * trainers_B / (trainers_B + validators_B)
    pools_B: Ints = np.floor(budget * share_B).astype(np.int64)
    return pools_B


@lru_cache(maxsize=16)
def _read_stairs(ratio_ppm: int) -> tuple[Floats, Floats]:
    stairs = build_staircase(ratio_ppm)
    full = stairs.integrate(1, 1)
    heights = np.array([height / full for height in stairs.heights])
    return np.array([part / full for part in stairs.sums]), heights


def integrate_density(upto: Floats, ratio_ppm: int) -> Floats:
    """The share of all rank pay that lies in [0, upto] of the unit of stake."""
    sums, heights = _read_stairs(ratio_ppm)
    place = np.clip(upto, 0.0, 1.0) * STEP_COUNT
    index = place.astype(np.int64)
    part: Floats = sums[index] + heights[index] * (place - index)
    return part


def share_by_rank(
    values_BN: Ints, own_BN: Ints, measures_BN: Ints, ratio_ppm: int
) -> tuple[Floats, Floats]:
    """Return each one's share of the pool, and what it would be with `own_BN` for its measure.

    As `settlement.ranking` with rule `rank` and no tie groups; a value of 0 or less earns nothing.
    """
    keys_BN = np.maximum(values_BN, 0)
    counted_BN = np.where(keys_BN > 0, measures_BN, 0).astype(np.float64)
    before_BN = np.einsum("bij,bj->bi", keys_BN[:, None, :] > keys_BN[:, :, None], counted_BN)
    same_BN = np.einsum("bij,bj->bi", keys_BN[:, None, :] == keys_BN[:, :, None], counted_BN)
    total_B1 = counted_BN.sum(axis=-1, keepdims=True)

    def share(measure_BN: Floats) -> Floats:
        all_BN = np.maximum(total_B1 - counted_BN + measure_BN, 1.0)
        group_BN = np.maximum(same_BN - counted_BN + measure_BN, 1.0)
        upto_BN = integrate_density((before_BN + group_BN) / all_BN, ratio_ppm)
        stretch_BN = upto_BN - integrate_density(before_BN / all_BN, ratio_ppm)
        shares_BN: Floats = np.where(measure_BN > 0, stretch_BN * measure_BN / group_BN, 0.0)
        return shares_BN

    alone_BN = np.where(keys_BN > 0, own_BN, 0).astype(np.float64)
    return share(counted_BN), share(alone_BN)


def share_by_score(
    scores_BV: Floats, own_BV: Ints, measures_BV: Ints
) -> tuple[Floats, Floats]:
    """As `share_by_rank` for validators: shares in proportion to F times stake."""
    weights_BV = scores_BV * measures_BV
    others_BV = weights_BV.sum(axis=-1, keepdims=True) - weights_BV
    alone_BV = scores_BV * own_BV
    full_BV = weights_BV / np.maximum(others_BV + weights_BV, 1e-9)
    single_BV = alone_BV / np.maximum(others_BV + alone_BV, 1e-9)
    return full_BV, np.minimum(single_BV, full_BV)


def score_validators(deviations_BNV: Floats, judged_BN: Bools, lambda_ppm: int) -> Floats:
    """F of every validator, as `rounds.settle` feeds `settlement.validators`, 1.0 for 1."""
    count_B1 = np.maximum(judged_BN.sum(axis=-1), 1)[:, None]
    sums_BV = np.einsum("bnv,bn->bv", deviations_BNV, judged_BN.astype(np.float64))
    distance_BV = np.floor(sums_BV / count_B1)
    scores_BV: Floats = np.exp(-lambda_ppm / PPM * np.minimum(distance_BV, PPM) / PPM)
    return scores_BV


def cut_ppm(amounts: Ints, share_ppm: int | Ints) -> Ints:
    """As `base.amounts.multiply_ppm`, without its products above 2**63."""
    high, low = np.divmod(amounts, PPM)
    cut: Ints = high * share_ppm + low * share_ppm // PPM
    return cut


def split_backers(
    parts_BN: Ints, lent_BD: Ints, nodes_BD: Ints, lent_BN: Ints
) -> tuple[Ints, Ints]:
    """Share each node's part among its backers: (amounts_BD, what reached them by node_BN).

    As `settlement.delegation`: in proportion to what was lent, down to whole units.
    """
    node_part_BD = np.take_along_axis(parts_BN, nodes_BD, axis=-1)
    node_lent_BD = np.maximum(np.take_along_axis(lent_BN, nodes_BD, axis=-1), 1)
    amounts_BD = node_part_BD * lent_BD // node_lent_BD
    return amounts_BD, sum_by_node(amounts_BD, nodes_BD, parts_BN.shape[-1])


def sum_by_node(amounts_BD: Ints, nodes_BD: Ints, node_count: int) -> Ints:
    """Add up what belongs to each node."""
    rows_BD = nodes_BD + np.arange(len(nodes_BD))[:, None] * node_count
    size = len(nodes_BD) * node_count
    sums = np.bincount(rows_BD.ravel(), weights=amounts_BD.ravel(), minlength=size)
    by_node_BN: Ints = sums.astype(np.int64).reshape(len(nodes_BD), node_count)
    return by_node_BN


def compute_burns(stakes_BN: Ints, evidence_BN: Ints, slash_ppm: int) -> Ints:
    """As `settlement.slashing`: a part of the stake for each piece of evidence, rounded up."""
    wanted_BN = -(-stakes_BN * slash_ppm // PPM)
    burns_BN: Ints = np.minimum(stakes_BN, wanted_BN * evidence_BN)
    return burns_BN
