"""ComFedSV: values over a run that do not depend on who happened to be selected.

    U_tS = v_t(S) - v_t({})                 known where S is within round t's cohort
    value_i = sum over t of phi_i(U_t completed)

FedSV pays nothing for a round in which a member was not selected. Here the T x 2^N matrix of
utilities is completed by a low-rank fit (`completion`): what this round would have been with that
coalition follows from the rounds in which the coalition was seen. Then every member is valued in
every round. v_t({}) is the round's starting model, so U_tS is the fall of its loss.

Source: Z. Fan, H. Fang, Z. Zhou, J. Pei, M. P. Friedlander, C. Liu, Y. Zhang, "Improving Fairness
for Data Valuation in Horizontal Federated Learning", ICDE 2022 (a reconstruction). As there, one
round must have everybody in it, or some coalitions are never seen. Deviations: what was measured is
kept as measured, the fit fills only holes, so that with everybody in every round the values are
Shapley's own; where all 2^N coalitions cost no more than the prefixes of the sampled orders, they
are used, and nothing is sampled.

errors_N is the standard error over the sampled orders, 0 with all coalitions; the error of the
completion is **not** in it. Two members with the same data get near the same value, as near as the
fit is good. Values sum to the sum over rounds of the completed U_tN. Cost: the known entries, which
are one utility each (evaluation_count), and the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import or_

import numpy as np

from kumiai.valuation.completion import BoolArray, CompletionLimits, complete_matrix
from kumiai.valuation.exact import PLAYERS_MAX, compute_shapley
from kumiai.valuation.fedsv import CohortRound, check_cohort
from kumiai.valuation.game import FloatArray, Valuation, measure
from kumiai.valuation.permutation import average_gains, check_permutations, draw_orders


@dataclass(frozen=True, slots=True)
class ComfedsvLimits:
    """permutations_max: orders of all members whose prefixes are the columns, two or more;
    completion: of the fit.
    """

    permutations_max: int = 100
    completion: CompletionLimits = field(default_factory=CompletionLimits)


def value_comfedsv(
    member_count: int,
    rounds: Sequence[CohortRound],
    seed: int = 0,
    limits: ComfedsvLimits | None = None,
) -> Valuation:
    """Value members 0..member_count-1 over all rounds.

    Raises ValueError if no round selected everybody, for a cohort that is not ascending members, or
    a utility that is not finite (naming round and coalition).
    """
    limits = limits or ComfedsvLimits()
    check_permutations(limits.permutations_max)
    for index, now in enumerate(rounds):
        check_cohort(index, now, member_count)
    if member_count < 1 or all(len(now.selected) < member_count for now in rounds):
        raise ValueError(
            f"no round of {len(rounds)} selected all {member_count} members: "
            "coalitions of members who never met cannot be completed"
        )
    if member_count <= PLAYERS_MAX and 2**member_count <= limits.permutations_max * member_count:
        masks = list(range(1, 2**member_count))
        total_C, count = _measure_and_complete(rounds, masks, limits)
        values_N = compute_shapley(member_count, np.concatenate([[0.0], total_C]))
        return Valuation(values_N, np.zeros(member_count), count)
    orders_RN = draw_orders(np.random.PCG64(seed), member_count, limits.permutations_max)
    prefixes = [
        list(accumulate((1 << player for player in order), or_)) for order in orders_RN.tolist()
    ]
    masks = sorted({mask for row in prefixes for mask in row})
    total_C, count = _measure_and_complete(rounds, masks, limits)
    total_of = dict(zip(masks, total_C.tolist(), strict=True))
    reached_RN = np.array([[total_of[mask] for mask in row] for row in prefixes])
    gains_RN = np.zeros(orders_RN.shape)
    np.put_along_axis(gains_RN, orders_RN, np.diff(reached_RN, axis=1, prepend=0.0), axis=1)
    return replace(average_gains(gains_RN), evaluation_count=count)


def _measure_and_complete(
    rounds: Sequence[CohortRound], masks: Sequence[int], limits: ComfedsvLimits
) -> tuple[FloatArray, int]:
    """Return the sum over rounds of the completed U [C], and how many utilities were measured."""
    rows: list[FloatArray] = []
    known_rows: list[BoolArray] = []
    count = 0
    for index, now in enumerate(rounds):
        outside = ~sum(1 << member for member in now.selected)
        known_C = np.array([mask & outside == 0 for mask in masks])
        if not known_C.any():  # nobody selected, or nobody's prefix: the round says nothing
            continue
        asked = [mask for mask in masks if mask & outside == 0]
        try:
            utilities = measure([0, *asked], now.utility)
        except ValueError as error:
            raise ValueError(f"round {index}: {error}") from error
        row_C = np.zeros(len(masks))
        row_C[known_C] = utilities[1:] - utilities[0]
        rows.append(row_C)
        known_rows.append(known_C)
        count += len(utilities)
    full_TC = complete_matrix(np.stack(rows), np.stack(known_rows), limits.completion)
    return full_TC.sum(axis=0), count
