"""FedSV: a member is worth the sum of its Shapley values in the rounds it was selected for.

    value_i = sum over rounds t with i in I_t of phi_i(v_t on I_t)        (0 where i is not in I_t)

I_t is the cohort selected in round t, v_t(S) the utility of the round's model built from the
updates of S, phi the Shapley value of the game that the cohort alone plays.

Source: T. Wang, J. Rausch, C. Zhang, R. Jia, D. Song, "A Principled Approach to Data Valuation for
Federated Learning", Federated Learning, LNCS 12500, 2020 (a reconstruction).

Values sum to the sum of v_t(I_t) - v_t({}). The weakness is known: two members with the same data
are worth different sums when one was selected more often, or into better company. Where that
matters and one round had everybody in it, use `comfedsv`.

errors_N adds the rounds' standard errors in quadrature: every round draws its own orders.
evaluation_count is the sum over rounds. Cost: T games of |I_t| players.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kumiai.valuation.assess import SHAPLEY_METHODS, Limits, assess_group
from kumiai.valuation.game import Utility, Valuation


@dataclass(frozen=True, slots=True)
class CohortRound:
    """One round as the across-round methods see it.

    selected: the members whose updates the round has, ascending; none at all is allowed.
    utility: v_t, masks over all members (bit i is member i) -> float64 [M]. It is asked for parts
    of `selected` only, the empty one included.
    """

    selected: tuple[int, ...]
    utility: Utility


def value_fedsv(
    member_count: int,
    rounds: Sequence[CohortRound],
    method: str = "gtg",
    seed: int = 0,
    limits: Limits | None = None,
) -> Valuation:
    """Value members 0..member_count-1 over all rounds; no rounds, no value.

    method: one of `SHAPLEY_METHODS`, played by each cohort. Raises ValueError for another, for a
    cohort that is not ascending members, or a utility that is not finite (naming round and
    coalition).
    """
    if method not in SHAPLEY_METHODS:
        raise ValueError(f"fedsv sums Shapley values: {method!r} is not in {SHAPLEY_METHODS}")
    values_N, variances_N = np.zeros(member_count), np.zeros(member_count)
    evaluation_count = 0
    for index, now in enumerate(rounds):
        check_cohort(index, now, member_count)
        if not now.selected:
            continue
        own_seed = derive_seed(seed, index)
        try:
            found = assess_group(method, now.selected, member_count, now.utility, own_seed, limits)
        except ValueError as error:
            raise ValueError(f"round {index}: {error}") from error
        values_N += found.values_N
        variances_N += found.errors_N**2
        evaluation_count += found.evaluation_count
    return Valuation(values_N, variances_N**0.5, evaluation_count)


def check_cohort(index: int, now: CohortRound, member_count: int) -> None:
    """Raise ValueError unless round `index` selected different members, in ascending order."""
    expected = sorted(set(now.selected))
    if list(now.selected) != expected or any(not 0 <= i < member_count for i in expected):
        raise ValueError(
            f"round {index} selected {list(now.selected)}: "
            f"expected different members below {member_count}, ascending"
        )


def derive_seed(seed: int, index: int) -> int:
    """Return round `index`'s own seed: no two rounds, nor runs of nearby seeds, share orders."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
