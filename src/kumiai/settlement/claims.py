"""What a settlement is given and what it answers: plain data, amounts in the smallest unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kumiai.base.amounts import PPM
from kumiai.settlement.ranking import RankRule
from kumiai.settlement.slashing import Burn, Slash

Role = Literal["trainer", "validator"]


@dataclass(frozen=True, slots=True)
class RewardTerms:
    """The published rules of a task's `rewards` section; shares in ppm."""

    gamma_ppm: int = 100_000
    rank_ratio_ppm: int = 4_000_000
    alpha: int = 1
    delegation_weight_ppm: int = PPM
    locked_ppm: int = 900_000
    slash_ppm: int = 100_000
    rule: RankRule = "rank"


@dataclass(frozen=True, slots=True)
class Trainer:
    """A trainer's claim. `value` is its contribution (ppm of a nat), None unless it is VALID."""

    member: str
    stake: int
    value: int | None
    tie_group: str = ""  # members of one group share a place; "" stands alone
    sigma_ppm: int = PPM  # what the node keeps of what delegation adds
    delegations: tuple[tuple[str, int], ...] = ()  # (delegator, amount)


@dataclass(frozen=True, slots=True)
class Validator:
    """A validator's claim. `score` is F (see `validators`), 0 for one that did not answer."""

    member: str
    stake: int
    score: int
    sigma_ppm: int = PPM
    delegations: tuple[tuple[str, int], ...] = ()


Seat = Trainer | Validator


@dataclass(frozen=True, slots=True)
class RoundInput:
    """Everything that one round's amounts depend on."""

    budget: int
    terms: RewardTerms
    trainers: tuple[Trainer, ...]
    validators: tuple[Validator, ...]
    slashes: tuple[Slash, ...] = ()
    evidence_used: frozenset[Slash] = frozenset()  # slashed for in earlier rounds


@dataclass(frozen=True, slots=True)
class FinalInput:
    """The locked pot, and the trainers with their values on the second hold-out."""

    locked: int
    terms: RewardTerms
    trainers: tuple[Trainer, ...]


@dataclass(frozen=True, slots=True)
class PayLine:
    """One member's amounts; gross = floor(pool * weight / weight_total) = immediate + locked.

    `gross_alone` is what it would have earned without its delegators; own + delegators = immediate.
    """

    member: str
    role: Role
    pool: int
    weight: int
    weight_total: int
    gross: int
    gross_alone: int
    immediate: int
    locked: int
    own: int
    delegators: int
    slash: int


@dataclass(frozen=True, slots=True)
class DelegatorLine:
    """What one delegator earned by backing `node`."""

    delegator: str
    node: str
    amount: int


@dataclass(frozen=True, slots=True)
class RoundSettlement:
    """paid (own + delegators) + locked + refund = the round's budget; burns come out of stake."""

    trainer_pool: int
    validator_pool: int
    lines: tuple[PayLine, ...]  # trainers, then validators, in the order given
    delegator_lines: tuple[DelegatorLine, ...]
    burns: tuple[Burn, ...]
    locked: int
    refund: int


@dataclass(frozen=True, slots=True)
class FinalSettlement:
    """paid (own + delegators) + refund = the locked pot."""

    lines: tuple[PayLine, ...]
    delegator_lines: tuple[DelegatorLine, ...]
    refund: int
