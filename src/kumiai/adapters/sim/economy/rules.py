"""The rules of `rounds.agreement` and `settlement`, for many tasks at once: arrays, same integers.

Every function names the rule that it copies; `tests/adapters/test_economy_rules.py` compares each
with that rule on random inputs. Scores, verdicts, deviations and burns are equal to the unit.
Amounts are within one unit: the rules divide exact integers of 90 digits, this room divides
float64 (53 bits) and rounds down, so an amount that is a whole number but for the last bits may
come out one lower or higher. What rounding leaves belongs to the customer, as in the rules.

Shapes: B tasks (all worlds and tasks of a seed), N seats of a role, V validators, D delegators.
Amounts and stakes are int64; `check_sizes` refuses stakes with which a product would pass 2**63.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.sim.economy.parameters import Parameters
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.consensus.quorum import compute_quorum
from kumiai.learning.aggregation.networks import Comparator, build_network
from kumiai.rounds.agreement import INLIER_MADS, NOISE_FLOOR
from kumiai.rounds.scoring import CREDIT_AT_RISK
from kumiai.settlement.staircase import STEP_COUNT, build_staircase

PLACE_BITS = 5  # a validator's place beside its value: at most 31 validators
PLACE_MAX = 2**PLACE_BITS - 1
PRODUCT_MAX = 2.0**62

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def check_sizes(stakes: Floats, lent: Floats, parameters: Parameters) -> None:
    """InputError where a product would leave int64, so that no figure could be trusted.

    stakes: of members with all that is lent to them; lent: single loans. The products: a stake to
    the power alpha, a loan and the most that is paid at once, a stake and its slashed part in ppm.
    """
    loan = float(np.max(lent, initial=0.0))
    most = max(float(np.max(stakes)), loan)
    pot = parameters.budget * parameters.task_rounds
    if max(most**parameters.alpha, loan * pot, most * PPM) > PRODUCT_MAX:
        fix = f"stakes reach {most:.0e} units, too many to count with alpha = {parameters.alpha} "
        fix += "in 63 bits: lower stake, delegated, stake_spread, whale, budget or alpha"
        raise InputError("--set stake", parameters.stake, fix)


def combine_scores(values_VBN: Ints, stakes_BV: Ints) -> tuple[Ints, Floats]:
    """Return (consensus_BN, deviations_VBN in whole ppm), as `rounds.agreement.judge` does."""
    sorted_VBN, stakes_VBN = sort_sheets(values_VBN, stakes_BV)
    centre_BN = find_weighted_median(sorted_VBN, stakes_VBN)
    distance_VBN = np.abs(sorted_VBN - centre_BN)
    spread_BN = _find_middle(distance_VBN.copy())
    limit_BN = INLIER_MADS * np.maximum(spread_BN, NOISE_FLOOR)
    stakes_VBN *= distance_VBN <= limit_BN
    consensus_BN = find_weighted_median(sorted_VBN, stakes_VBN)
    # a quotient of integers below 2**50 is never rounded up to a whole number
    off_VBN = np.abs(values_VBN - consensus_BN) * (1.0 * PPM)
    off_VBN /= limit_BN
    np.minimum(off_VBN, PPM, out=off_VBN)
    return consensus_BN, np.floor(off_VBN, out=off_VBN)


def sort_sheets(values_VBN: Ints, stakes_BV: Ints) -> tuple[Ints, Ints]:
    """Return each member's values, ascending over V, and the stakes of who stated them."""
    count = len(values_VBN)
    places_VBN = (values_VBN << PLACE_BITS) + _count(values_VBN)  # one sort moves both
    _exchange(places_VBN, build_network(count, 0, count))
    sorted_VBN = places_VBN >> PLACE_BITS
    places_VBN &= PLACE_MAX
    places_VBN += (np.arange(len(stakes_BV), dtype=places_VBN.dtype) * count)[:, None]
    return sorted_VBN, stakes_BV.ravel()[places_VBN]


def _count(values_VBN: Ints) -> Ints:
    """0, 1, .. along V, in the values' own type."""
    numbers: Ints = np.arange(len(values_VBN), dtype=values_VBN.dtype)[:, None, None]
    return numbers


def find_weighted_median(sorted_VBN: Ints, weights_VBN: Ints) -> Ints:
    """As `stake_weighted_median`; values ascending over V, weights beside, some > 0."""
    below_VBN = np.cumsum(weights_VBN, axis=0)
    total_BN = below_VBN[-1].copy()
    below_VBN *= 2
    first_BN, second_BN = sorted_VBN[-1].copy(), sorted_VBN[-1].copy()
    for v in range(len(sorted_VBN) - 2, -1, -1):
        np.copyto(first_BN, sorted_VBN[v], where=below_VBN[v] >= total_BN)
        np.copyto(second_BN, sorted_VBN[v], where=below_VBN[v] > total_BN)
    median_BN: Ints = (first_BN + second_BN) // 2  # the same twice, unless just half lies below
    return median_BN


def _find_middle(values_VBN: Ints) -> Ints:
    """The upper of the middle values over V; spoils its argument."""
    count = len(values_VBN)
    middle = count // 2
    _exchange(values_VBN, build_network(count, middle, middle + 1))
    return values_VBN[middle]


def _exchange(values_VBN: Ints, network: Sequence[Comparator]) -> None:
    """Pass everybody's values through a sorting network: few, over many."""
    for i, j in network:
        smaller_BN = np.minimum(values_VBN[i], values_VBN[j])
        np.maximum(values_VBN[i], values_VBN[j], out=values_VBN[j])
        values_VBN[i] = smaller_BN


def find_majority(opinions_VBN: Bools, stakes_BV: Ints) -> Bools:
    """Tell what more than half of the stake says, as `rounds.agreement` counts it."""
    agreeing_BN = np.zeros(opinions_VBN.shape[1:], dtype=np.int64)
    for v, opinions_BN in enumerate(opinions_VBN):
        agreeing_BN += opinions_BN * stakes_BV[:, v, None]
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


def find_verdicts(
    value_BN: Ints,
    before_BN: Ints,
    values_VBN: Ints,
    flags_VBN: Bools,
    stakes_BV: Ints,
    limit_B: Ints,
    harm_floor: int,
) -> tuple[Bools, Bools, Bools, Bools]:
    """Return (flagged, harmful, VALID, carried by credit) as `agreement` and `scoring` judge.

    value_BN: the consensus; before_BN: the balance before this round; sheets state no error.
    """
    balance_BN = before_BN + value_BN
    flagged_BN = find_majority(flags_VBN, stakes_BV)
    harmful_BN = ~flagged_BN & (value_BN <= -harm_floor) & (balance_BN <= -limit_B[:, None])
    harmful_BN &= find_majority(values_VBN < 0, stakes_BV)
    gains_BN = np.minimum(value_BN, balance_BN) > 0
    valid_BN = ~flagged_BN & ~harmful_BN & gains_BN
    carried_BN = ~flagged_BN & ~harmful_BN & ~gains_BN & (before_BN > 0)
    carried_BN &= before_BN + CREDIT_AT_RISK * value_BN > 0
    return flagged_BN, harmful_BN, valid_BN, carried_BN


def pay_nodes(
    pool_B: Ints, shares: tuple[Floats, Floats], at_once_ppm: int, sigma_ppm: int
) -> tuple[Ints, Ints, Ints]:
    """Return (immediate pay, the backers' part of it, gross), node by node, as `settlement` pays.

    shares: of the pool with all stake and with a node's own alone.
    """
    gross_BN = _floor(pool_B[:, None] * shares[0])
    alone_BN = np.minimum(_floor(pool_B[:, None] * shares[1]), gross_BN)
    at_once_BN = cut_ppm(gross_BN, at_once_ppm)
    added_BN = at_once_BN - cut_ppm(alone_BN, at_once_ppm)
    return at_once_BN, cut_ppm(added_BN, PPM - sigma_ppm), gross_BN


def _floor(amounts: Floats) -> Ints:
    floored: Ints = np.floor(amounts + 1e-7).astype(np.int64)
    return floored


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
    counted_BN = np.where(values_BN > 0, measures_BN, 0).astype(np.float64)
    before_BN, same_BN = _rank(values_BN, counted_BN)
    total_B1 = counted_BN.sum(axis=-1, keepdims=True)

    def share(measure_BN: Floats) -> Floats:
        all_BN = np.maximum(total_B1 - counted_BN + measure_BN, 1.0)
        group_BN = np.maximum(same_BN - counted_BN + measure_BN, 1.0)
        upto_BN = integrate_density((before_BN + group_BN) / all_BN, ratio_ppm)
        stretch_BN = upto_BN - integrate_density(before_BN / all_BN, ratio_ppm)
        shares_BN: Floats = np.where(measure_BN > 0, stretch_BN * measure_BN / group_BN, 0.0)
        return shares_BN

    alone_BN = np.where(values_BN > 0, own_BN, 0).astype(np.float64)
    return share(counted_BN), share(alone_BN)


def _rank(values_BN: Ints, counted_BN: Floats) -> tuple[Floats, Floats]:
    """What counts of everybody with a better value, and of everybody with the same one."""
    order_BN = np.argsort(-values_BN, axis=1, kind="stable")
    values_BX = np.take_along_axis(values_BN, order_BN, axis=1)
    upto_BX = np.cumsum(np.take_along_axis(counted_BN, order_BN, axis=1), axis=1)
    is_new_BX = np.ones(values_BX.shape, dtype=bool)
    is_new_BX[:, 1:] = values_BX[:, 1:] != values_BX[:, :-1]
    start_BX = np.zeros(values_BX.shape)
    start_BX[:, 1:] = np.where(is_new_BX[:, 1:], upto_BX[:, :-1], 0.0)
    start_BX = np.maximum.accumulate(start_BX, axis=1)
    end_BX = np.where(np.roll(is_new_BX, -1, axis=1), upto_BX, np.inf)
    end_BX = np.minimum.accumulate(end_BX[:, ::-1], axis=1)[:, ::-1]
    before_BN, same_BN = np.empty(start_BX.shape), np.empty(start_BX.shape)
    np.put_along_axis(before_BN, order_BN, start_BX, axis=1)
    np.put_along_axis(same_BN, order_BN, end_BX - start_BX, axis=1)
    return before_BN, same_BN


def share_by_score(scores_BV: Floats, own_BV: Ints, measures_BV: Ints) -> tuple[Floats, Floats]:
    """As `share_by_rank` for validators: shares in proportion to F times stake."""
    weights_BV = scores_BV * measures_BV
    others_BV = weights_BV.sum(axis=-1, keepdims=True) - weights_BV
    alone_BV = scores_BV * own_BV
    full_BV = weights_BV / np.maximum(others_BV + weights_BV, 1e-9)
    single_BV = alone_BV / np.maximum(others_BV + alone_BV, 1e-9)
    return full_BV, np.minimum(single_BV, full_BV)


def score_validators(deviations_VBN: Floats, judged_BN: Bools, lambda_ppm: int) -> Floats:
    """F of every validator, as `rounds.settle` feeds `settlement.validators`, 1.0 for 1."""
    count_B1 = np.maximum(judged_BN.sum(axis=-1), 1)[:, None]
    sums_BV = np.einsum("vbn,bn->bv", deviations_VBN, judged_BN.astype(np.float64))
    distance_BV = np.floor(sums_BV / count_B1)
    scores_BV: Floats = np.exp(-lambda_ppm / PPM * np.minimum(distance_BV, PPM) / PPM)
    return scores_BV


def find_convicted(false_BV: Bools, draws_BV: Floats, recheck: float, rounds: int) -> Bools:
    """Tell who is convicted at the end, as `rounds.rechecks` does where everybody is live.

    draws_BV: uniform. A validator that lies has a false sheet in every round; one is enough, if it
    is drawn, its rechecker is honest, and the honest are a quorum. Who lies accuses nobody.
    """
    count = false_BV.shape[-1]
    honest_B1 = count - false_BV.sum(axis=-1, keepdims=True)
    chance_B1 = 1 - (1 - recheck * honest_B1 / max(1, count - 1)) ** rounds
    convicted_BV: Bools = false_BV & (draws_BV < chance_B1) & (honest_B1 >= compute_quorum(count))
    return convicted_BV


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
