"""How much money a round has, how much of it is the trainers', and exact shares of a pool.

Source: Z. Wang et al., AIArena (arXiv 2412.14566) and the documentation that reuses its notation.
The paper's text was not read in full; the formulas are those of the documentation:

    R_T = R_0 * (gamma + (1 - 2 gamma) * T / (T + V))      R_V = R_0 - R_T
    f_i = R_T * g_i t_i^alpha / sum_k g_k t_k^alpha        t_i = own + eps * delegated

R_0 = `budget`, gamma = `gamma_ppm`, T and V = sums of direct stakes (delegations do not move money
between the roles), g_i = `scores` of trainers or F_j of validators, eps = `delegation_weight_ppm`.

Everything is rounded down; the rest is returned and belongs to the customer. With alpha >= 1 and
equal scores, splitting a stake over several identities never pays: alpha below 1 would reward it
and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.base.amounts import PPM, split_floor


def budget_of_round(budget: int, rounds: int, round_index: int) -> int:
    """Return the part of `budget` that round 1..`rounds` may spend; the parts sum to the budget."""
    if budget < 0 or not 1 <= round_index <= rounds:
        raise ValueError(f"budget {budget}, round {round_index} of {rounds}")
    return budget * round_index // rounds - budget * (round_index - 1) // rounds


def split_pools(
    budget: int, gamma_ppm: int, trainer_stake_sum: int, validator_stake_sum: int
) -> tuple[int, int]:
    """Return (trainer pool, validator pool); they sum to `budget`.

    gamma is the part each role has for certain, 0..1/2. Nobody staked: halves.
    """
    if budget < 0 or trainer_stake_sum < 0 or validator_stake_sum < 0:
        sums = f"{trainer_stake_sum} and {validator_stake_sum}"
        raise ValueError(f"budget {budget} or stakes {sums} are negative")
    if not 0 <= gamma_ppm <= PPM // 2:
        raise ValueError(f"gamma {gamma_ppm} ppm is outside 0..{PPM // 2}")
    stake_sum = trainer_stake_sum + validator_stake_sum
    if stake_sum == 0:
        return budget - budget // 2, budget // 2
    numerator = gamma_ppm * stake_sum + (PPM - 2 * gamma_ppm) * trainer_stake_sum
    trainer_pool = budget * numerator // (PPM * stake_sum)
    return trainer_pool, budget - trainer_pool


def compute_effective_stake(own: int, delegated: int, delegation_weight_ppm: int) -> int:
    """Return own + floor(eps * delegated), eps within 0..1."""
    if own < 0 or delegated < 0:
        raise ValueError(f"stake {own} or delegation {delegated} is negative")
    if not 0 <= delegation_weight_ppm <= PPM:
        raise ValueError(f"delegation weight {delegation_weight_ppm} ppm is outside 0..{PPM}")
    return own + delegated * delegation_weight_ppm // PPM


def compute_measure(effective_stake: int, alpha: int) -> int:
    """Return stake^alpha, what a member's stake counts for; raises ValueError unless alpha >= 1."""
    if alpha < 1:
        raise ValueError(f"alpha {alpha} is below 1: splitting a stake would pay")
    return int(effective_stake**alpha)


def share_pool(
    pool: int, scores: Sequence[int], stakes: Sequence[int], alpha: int = 1
) -> tuple[list[int], int]:
    """Share `pool` by score * stake^alpha; return (parts, remainder), which sum to the pool.

    Serves trainers (scores g) and validators (scores F) alike; stakes are effective ones.
    """
    if len(scores) != len(stakes):
        raise ValueError(f"{len(scores)} scores but {len(stakes)} stakes")
    weights = [
        score * compute_measure(stake, alpha) for score, stake in zip(scores, stakes, strict=True)
    ]
    return split_floor(pool, weights)


def share_trainer_pool(
    pool: int, scores: Sequence[int], stakes: Sequence[int], alpha: int = 1
) -> tuple[list[int], int]:
    """Share the trainers' pool R_T by g_i t_i^alpha."""
    return share_pool(pool, scores, stakes, alpha)


def share_validator_pool(
    pool: int, scores: Sequence[int], stakes: Sequence[int], alpha: int = 1
) -> tuple[list[int], int]:
    """Share the validators' pool R_V by F_j s_j^alpha."""
    return share_pool(pool, scores, stakes, alpha)
