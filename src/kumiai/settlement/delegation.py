"""How a node and those who lent it stake share what they earned together.

Source: FLock's FlockTaskManagerV2 (the V2.1 rule) and V1, which follow AIArena (arXiv 2412.14566).

    V2.1: node O + sigma * (W - O), delegators (1 - sigma) * (W - O)
    V1:   node f * (sigma + (1 - sigma) * own / (own + delegated)), delegators the rest

W = `reward` with delegation counted, O = `reward_alone` without, sigma = `sigma_ppm`, the part the
node keeps. FLock uploads O for a world in which *nobody* is delegated to, so O may exceed W when
others attract more; here O is the same world without *this* node's delegation. A share grows with
stake, hence O <= W, and V2.1 can never leave a node with less than it would have earned alone.

Delegators share in proportion to what they lent, rounded down; what the rounding leaves (less
than one unit a delegator) stays with the node. Node and delegators together get exactly the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.base.amounts import PPM, multiply_ppm, split_floor


@dataclass(frozen=True, slots=True)
class DelegationSplit:
    """Who gets how much: `node` + sum(`delegators`) is the whole reward."""

    node: int
    delegators: tuple[int, ...]  # in the order of the delegations


def split_delegated(
    reward: int, reward_alone: int, sigma_ppm: int, delegated: Sequence[int]
) -> DelegationSplit:
    """Split by V2.1; raises ValueError if `reward_alone` exceeds `reward` or sigma is no share."""
    if not 0 <= reward_alone <= reward:
        raise ValueError(f"reward alone {reward_alone} is not within 0..{reward}")
    part = multiply_ppm(reward - reward_alone, _complement(sigma_ppm))
    return _share_among(reward, part, delegated)


def split_delegated_v1(
    reward: int, own: int, sigma_ppm: int, delegated: Sequence[int]
) -> DelegationSplit:
    """Split by V1 (kept for the worked example: it can pay a node less than it had alone)."""
    if reward < 0 or own < 0:
        raise ValueError(f"reward {reward} or stake {own} is negative")
    stake_sum = own + sum(delegated)
    share = _complement(sigma_ppm) * sum(delegated)
    part = reward * share // (PPM * stake_sum) if stake_sum else 0
    return _share_among(reward, part, delegated)


def _share_among(reward: int, part: int, delegated: Sequence[int]) -> DelegationSplit:
    amounts, _ = split_floor(part, delegated)
    return DelegationSplit(reward - sum(amounts), tuple(amounts))


def _complement(sigma_ppm: int) -> int:
    if not 0 <= sigma_ppm <= PPM:
        raise ValueError(f"sigma {sigma_ppm} ppm is outside 0..{PPM}")
    return PPM - sigma_ppm
