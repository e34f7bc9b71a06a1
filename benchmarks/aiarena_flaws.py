"""AIArena's weaknesses, tried against the arena: each function says what happened to the attempt.

Source: the contracts FlockTaskManagerUpgradeable and its V2, as read for this project: an admin
uploads percentages that nothing sums up, `claimRewards` loops over all tasks, and the arrays of
one upload grow with the members.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_desk import TRAINER, VALIDATOR, Desk, Place, make_certificate
from chain_lab import COIN, Lab, Wallet
from kumiai.settlement.payroll import PayProof, compute_pay_proofs, compute_pay_root

BUDGET = 10 * COIN
COMMITTEE = 4
PEOPLE = COMMITTEE + 2  # an owner that trains, another trainer
CALLDATA_SLACK = 500  # gas: roots and amounts have more or fewer zero bytes


@dataclass(frozen=True)
class Overpaid:
    """What became of more than 100 %: wei of two tasks that share the contract."""

    is_certificate_refused: bool  # paid above the escrow
    certified: int  # of a second certificate, within the budget
    promised: int  # by its root, to everybody together
    claimed: int  # by all who tried
    other_before: int  # escrow of another task
    other_after: int


@dataclass(frozen=True)
class ClaimGrowth:
    """Gas of one claim, first ever for its account, alone and after much has happened."""

    alone: int  # one task, one round
    later: int  # `tasks` tasks, `rounds` rounds of this one unclaimed
    tasks: int
    rounds: int

    @property
    def is_flat(self) -> bool:
        return abs(self.later - self.alone) <= CALLDATA_SLACK


@dataclass(frozen=True)
class SettleGrowth:
    """Gas of the same settlement for few and for many members."""

    few: int
    few_gas: int
    many: int
    many_gas: int

    @property
    def is_flat(self) -> bool:
        return abs(self.many_gas - self.few_gas) <= CALLDATA_SLACK


def open_task(lab: Lab, desk: Desk, people: Sequence[Wallet], label: str) -> Place:
    """Return a started task with a budget of `BUDGET`, of PEOPLE people."""
    owner, other, *committee = people[:PEOPLE]
    place, job = desk.create(owner, label)
    stakes = [desk.stake(place, each, TRAINER, COIN) for each in (owner, other)]
    stakes += [desk.stake(place, each, VALIDATOR, COIN) for each in committee]
    started, start = desk.start(place, committee)
    lab.run_phases([[job, desk.fund(place, BUDGET)], stakes, [start]])
    return started


def try_overpaying(lab: Lab, desk: Desk, people: Sequence[Wallet]) -> Overpaid:
    """A whole committee certifies more than there is; then a root that promises too much."""
    owner, other = people[:2]
    place, neighbour = (open_task(lab, desk, people, f"over {n}") for n in range(2))
    before = desk.get_task(neighbour).escrow
    promise = {owner.address: BUDGET, other.address: BUDGET}
    root = compute_pay_root(place.key, promise)
    too_much = make_certificate(place, 1, root, 2 * BUDGET, 0, is_final=False)
    (refused,) = lab.run([desk.settle(owner, place, too_much)], may_fail=True)
    within = replace(too_much, paid=BUDGET)
    lab.run_one(desk.settle(owner, place, within))
    proofs = compute_pay_proofs(place.key, promise)
    jobs = [desk.claim(each, place, 1, proofs[each.address]) for each in (owner, other)]
    lab.run(jobs, may_fail=True)
    claimed = sum(desk.get_claimed(place, list(promise)))
    after = desk.get_task(neighbour).escrow
    return Overpaid(not refused.is_ok, BUDGET, 2 * BUDGET, claimed, before, after)


def measure_claim_growth(
    lab: Lab, desk: Desk, people: Sequence[Wallet], tasks: int, rounds: int
) -> ClaimGrowth:
    """One claim after the first round of the only task; the other after `rounds`, among `tasks`."""
    owner, other = people[:2]

    def settle(place: Place, index: int) -> PayProof:
        earned = {who.address: index * COIN // 16 + 12_345 for who in (owner, other)}
        root = compute_pay_root(place.key, earned)
        paid = 2 * (COIN // 16 + 12_345 * (index == 1))
        given = make_certificate(place, index, root, paid, 0, is_final=False)
        lab.run_one(desk.settle(owner, place, given))
        return compute_pay_proofs(place.key, earned)[other.address]

    first = open_task(lab, desk, people, "growth 0")
    alone = lab.run_one(desk.claim(other, first, 1, settle(first, 1)))
    others = [open_task(lab, desk, people, f"growth {n}") for n in range(1, tasks)]
    for place in others[:-1]:
        settle(place, 1)
    proofs = [settle(others[-1], index) for index in range(1, rounds + 1)]
    later = lab.run_one(desk.claim(other, others[-1], rounds, proofs[-1]))
    return ClaimGrowth(alone, later, tasks, rounds)


def measure_settle_growth(
    lab: Lab, desk: Desk, people: Sequence[Wallet], many: int
) -> SettleGrowth:
    """Settle a second round for two accounts, and one for `many`."""
    gases = []
    for count in (2, many):
        place = open_task(lab, desk, people, f"settle {count}")
        for index in (1, 2):
            earned = {f"0x{2**40 + n:040x}": index * COIN // count for n in range(count)}
            root = compute_pay_root(place.key, earned)
            given = make_certificate(place, index, root, COIN, COIN, is_final=False)
            gas = lab.run_one(desk.settle(people[0], place, given))
        gases.append(gas)
    return SettleGrowth(2, gases[0], many, gases[1])
