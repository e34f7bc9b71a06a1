"""One certified round, or the end of a task, turned into amounts: who gets what, and why.

`settle_round`: the round's budget splits into the two roles' pools (`pools`); trainers share theirs
by rank and stake (`ranking`), validators by F and stake (`validators`); a node and its delegators
share by V2.1 (`delegation`). Validators are paid at once, trainers `1 - locked_ppm` at once; the
rest of what they earned goes to the task's locked pot. `settle_final` shares that whole pot by the
ranking on the second hold-out, so learning the first hold-out by heart earns little. Evidence of an
INVALID costs own stake (`slashing`), which is burnt.

Guarantee: paid + locked + refund = budget to the unit; nothing is negative; the order of members
changes nothing but the order of lines. What nobody earned (rounding, or nobody VALID) is `refund`:
it stays in the task's escrow for the customer.
Cost: n log n for n members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kumiai.base.amounts import PPM, multiply_ppm
from kumiai.settlement.claims import (
    DelegatorLine,
    FinalInput,
    FinalSettlement,
    PayLine,
    RewardTerms,
    Role,
    RoundInput,
    RoundSettlement,
    Seat,
    Trainer,
    Validator,
)
from kumiai.settlement.delegation import split_delegated
from kumiai.settlement.ledger import SettleFinal, SettleRound
from kumiai.settlement.pools import compute_effective_stake, compute_measure, split_pools
from kumiai.settlement.ranking import Standing, compute_standings, stand_linear, weigh
from kumiai.settlement.slashing import Burn, compute_burns

__all__ = [
    "DelegatorLine",
    "FinalInput",
    "FinalSettlement",
    "PayLine",
    "RewardTerms",
    "RoundInput",
    "RoundSettlement",
    "Trainer",
    "Validator",
    "settle_final",
    "settle_round",
    "to_final_command",
    "to_round_command",
]


def settle_round(given: RoundInput) -> RoundSettlement:
    """Settle one round; raises ValueError for negative amounts or a member that appears twice."""
    _check_members(given.trainers, given.validators)
    terms = given.terms
    trainer_pool, validator_pool = split_pools(
        given.budget,
        terms.gamma_ppm,
        sum(trainer.stake for trainer in given.trainers),
        sum(validator.stake for validator in given.validators),
    )
    seats: list[Seat] = [*given.trainers, *given.validators]
    stakes = {seat.member: seat.stake for seat in seats}
    burns = compute_burns(stakes, given.slashes, terms.slash_ppm, given.evidence_used)
    slashed = _sum_burns(burns)
    trainers = _pay_pool(
        given.trainers, "trainer", trainer_pool, _stand_trainers(given.trainers, terms), terms
    )
    validators = _pay_pool(
        given.validators,
        "validator",
        validator_pool,
        _stand_validators(given.validators, terms),
        replace(terms, locked_ppm=0),
    )
    lines = tuple(
        replace(line, slash=slashed.get(line.member, 0)) for line in trainers[0] + validators[0]
    )
    return RoundSettlement(
        trainer_pool=trainer_pool,
        validator_pool=validator_pool,
        lines=lines,
        delegator_lines=tuple(trainers[1] + validators[1]),
        burns=burns,
        locked=sum(line.locked for line in lines),
        refund=given.budget - sum(line.gross for line in lines),
    )


def settle_final(given: FinalInput) -> FinalSettlement:
    """Share the whole locked pot by the final ranking; nobody VALID: all of it is refunded."""
    _check_members(given.trainers, ())
    if given.locked < 0:
        raise ValueError(f"locked pot {given.locked} is negative")
    standings = _stand_trainers(given.trainers, given.terms)
    terms = replace(given.terms, locked_ppm=0)
    lines, delegator_lines = _pay_pool(given.trainers, "trainer", given.locked, standings, terms)
    return FinalSettlement(
        lines=tuple(lines),
        delegator_lines=tuple(delegator_lines),
        refund=given.locked - sum(line.gross for line in lines),
    )


def to_round_command(
    settlement: RoundSettlement, task: str, key: str, round_index: int
) -> SettleRound:
    """Return the ledger command that carries out `settlement`."""
    return SettleRound(
        key=key,
        task=task,
        round=round_index,
        payments=_sum_payments(settlement.lines, settlement.delegator_lines),
        locked=settlement.locked,
        burnt=tuple((burn.member, burn.amount) for burn in settlement.burns),
        evidence=tuple(burn.evidence for burn in settlement.burns),
    )


def to_final_command(settlement: FinalSettlement, task: str, key: str) -> SettleFinal:
    """Return the ledger command that carries out `settlement` and closes the task."""
    return SettleFinal(key, task, _sum_payments(settlement.lines, settlement.delegator_lines))


def _pay_pool(
    seats: Sequence[Seat],
    role: Role,
    pool: int,
    standings: Sequence[Standing],
    terms: RewardTerms,
) -> tuple[list[PayLine], list[DelegatorLine]]:
    """Share `pool` among `seats`, and each share with those who back it."""
    lines: list[PayLine] = []
    delegator_lines: list[DelegatorLine] = []
    for seat, standing in zip(seats, standings, strict=True):
        share = weigh(standing, _measure(seat, terms))
        alone = weigh(standing, compute_measure(seat.stake, terms.alpha))
        gross = pool * share.weight // share.total
        gross_alone = pool * alone.weight // alone.total
        immediate = multiply_ppm(gross, PPM - terms.locked_ppm)
        immediate_alone = multiply_ppm(gross_alone, PPM - terms.locked_ppm)
        lent = [amount for _, amount in seat.delegations]
        split = split_delegated(immediate, immediate_alone, seat.sigma_ppm, lent)
        lines.append(
            PayLine(
                member=seat.member,
                role=role,
                pool=pool,
                weight=share.weight,
                weight_total=share.total,
                gross=gross,
                gross_alone=gross_alone,
                immediate=immediate,
                locked=gross - immediate,
                own=split.node,
                delegators=immediate - split.node,
                slash=0,
            )
        )
        delegator_lines += [
            DelegatorLine(delegator, seat.member, amount)
            for (delegator, _), amount in zip(seat.delegations, split.delegators, strict=True)
        ]
    return lines, delegator_lines


def _stand_trainers(trainers: Sequence[Trainer], terms: RewardTerms) -> list[Standing]:
    return compute_standings(
        terms.rule,
        [trainer.value for trainer in trainers],
        [trainer.tie_group for trainer in trainers],
        [_measure(trainer, terms) for trainer in trainers],
        terms.rank_ratio_ppm,
    )


def _stand_validators(validators: Sequence[Validator], terms: RewardTerms) -> list[Standing]:
    measures = [_measure(validator, terms) for validator in validators]
    return stand_linear([validator.score for validator in validators], measures)


def _measure(seat: Seat, terms: RewardTerms) -> int:
    delegated = sum(amount for _, amount in seat.delegations)
    stake = compute_effective_stake(seat.stake, delegated, terms.delegation_weight_ppm)
    return compute_measure(stake, terms.alpha)


def _sum_payments(
    lines: Sequence[PayLine], delegator_lines: Sequence[DelegatorLine]
) -> tuple[tuple[str, int], ...]:
    """One payment an account, ordered by name, zeros left out."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.member] = sums.get(line.member, 0) + line.own
    for item in delegator_lines:
        sums[item.delegator] = sums.get(item.delegator, 0) + item.amount
    return tuple((who, sums[who]) for who in sorted(sums) if sums[who])


def _sum_burns(burns: Sequence[Burn]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for burn in burns:
        sums[burn.member] = sums.get(burn.member, 0) + burn.amount
    return sums


def _check_members(trainers: Sequence[Trainer], validators: Sequence[Validator]) -> None:
    seats: list[Seat] = [*trainers, *validators]
    names = [seat.member for seat in seats]
    if len(set(names)) != len(names):
        raise ValueError(f"a member appears twice among {sorted(names)}: one role a task")
    for seat in seats:
        delegators = [delegator for delegator, _ in seat.delegations]
        if len(set(delegators)) != len(delegators):
            raise ValueError(f"{seat.member} lists a delegator twice: {sorted(delegators)}")
        if seat.stake < 0 or any(amount < 0 for _, amount in seat.delegations):
            raise ValueError(f"{seat.member} has a negative stake or delegation")
