"""A month of a task by the Python rules: what everybody has earned, and the roots that say so.

Every round is settled by `kumiai.settlement.settle` and booked by `kumiai.settlement.ledger`, the
executable specification of who holds the money; both must agree to the wei.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from aiarena_people import Crew, Day, draw_days
from kumiai.base.errors import Reject
from kumiai.settlement.accounts import escrow_account, locked_account
from kumiai.settlement.ledger import Deposit, Fund, LedgerCommand, LedgerState, step
from kumiai.settlement.payroll import compute_pay_root
from kumiai.settlement.settle import (
    FinalInput,
    RewardTerms,
    RoundInput,
    Trainer,
    Validator,
    settle_final,
    settle_round,
    to_final_command,
    to_round_command,
)

TERMS = RewardTerms()
PAYER = "customer"


@dataclass(frozen=True, slots=True)
class Settled:
    """A round as a certificate carries it, wei; the end has `locked` 0."""

    root: bytes
    paid: int
    locked: int


@dataclass(frozen=True)
class Month:
    """A task by the rules. cumulative: by address, wei; refund: what goes back to the payer."""

    budget: int
    rounds: tuple[Settled, ...]  # the last one is the end
    cumulative: Mapping[str, int]
    refund: int


def plan_month(crew: Crew, key: bytes, rounds: int, seed: int) -> Month:
    """Settle a task from its first round to its end. key: its id on the chain.

    AssertionError where the settlement and the ledger differ.
    """
    book = _Book(key, crew.emission * rounds)
    *days, last = draw_days(crew, rounds, seed)
    settled = [book.settle_day(crew, index, day) for index, day in enumerate(days, 1)]
    settled.append(book.settle_end(crew, last))
    assert book.get_balance(locked_account(book.task)) == 0
    return Month(
        book.budget,
        tuple(settled),
        book.cumulative,
        book.get_balance(escrow_account(book.task)),
    )


class _Book:
    """The ledger of one task, and everybody's cumulative pay beside it."""

    def __init__(self, key: bytes, budget: int) -> None:
        self.task, self.budget, self.cumulative = key.hex(), budget, dict[str, int]()
        self._key, self._state = key, LedgerState()
        self._apply(Deposit("deposit", self.task, PAYER, budget))
        self._apply(Fund("fund", self.task, PAYER, budget))

    def get_balance(self, account: str) -> int:
        return self._state.balances.get(account, 0)

    def settle_day(self, crew: Crew, index: int, day: Day) -> Settled:
        validators = tuple(
            Validator(each.wallet.address, each.stake, score, each.sigma_ppm, lent)
            for each, score, lent in zip(
                crew.validators, day.scores, _lent(crew, validators=True), strict=True
            )
        )
        given = RoundInput(crew.emission, TERMS, _seat_trainers(crew, day), validators)
        result = settle_round(given)
        command = to_round_command(result, self.task, f"round {index}", index)
        paid = self._pay(command, command.payments)
        assert paid + result.locked + result.refund == crew.emission
        return Settled(compute_pay_root(self._key, self.cumulative), paid, result.locked)

    def settle_end(self, crew: Crew, day: Day) -> Settled:
        locked = self.get_balance(locked_account(self.task))
        result = settle_final(FinalInput(locked, TERMS, _seat_trainers(crew, day)))
        command = to_final_command(result, self.task, "end")
        paid = self._pay(command, command.payments)
        assert paid + result.refund == locked
        return Settled(compute_pay_root(self._key, self.cumulative), paid, 0)

    def _pay(self, command: LedgerCommand, payments: tuple[tuple[str, int], ...]) -> int:
        self._apply(command)
        for account, amount in payments:
            self.cumulative[account] = self.cumulative.get(account, 0) + amount
            assert self.get_balance(account) == self.cumulative[account]
        return sum(amount for _, amount in payments)

    def _apply(self, command: LedgerCommand) -> None:
        answer = step(self._state, command)
        assert not isinstance(answer, Reject), answer
        self._state = answer[0]


def _seat_trainers(crew: Crew, day: Day) -> tuple[Trainer, ...]:
    lent = _lent(crew, validators=False)
    return tuple(
        Trainer(each.wallet.address, each.stake, value, "", each.sigma_ppm, backing)
        for each, value, backing in zip(crew.trainers, day.values, lent, strict=True)
    )


def _lent(crew: Crew, *, validators: bool) -> list[tuple[tuple[str, int], ...]]:
    """What each trainer (or validator) of the crew was lent, in the crew's order."""
    by_node: dict[str, list[tuple[str, int]]] = {}
    for backer in crew.backers:
        by_node.setdefault(backer.node, []).append((backer.wallet.address, backer.amount))
    workers = crew.validators if validators else crew.trainers
    return [tuple(by_node.get(each.wallet.address, ())) for each in workers]
