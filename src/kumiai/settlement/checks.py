"""Why a ledger refuses a command: each check returns a `Reject` with the numbers, or None."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kumiai.base.errors import Reject
from kumiai.settlement.accounts import NAME_LENGTH_MAX, is_name, may_be_negative
from kumiai.settlement.commands import (
    AMOUNT_MAX,
    Delegate,
    Fund,
    LedgerCommand,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
)

PAYMENT_COUNT_MAX = 200_000
KEY_LENGTH_MAX = 256


def check_form(command: LedgerCommand) -> Reject | None:
    """Refuse names that could forge another account, amounts that are none, lists without bound."""
    if isinstance(command, SettleRound | SettleFinal):
        count = len(command.payments) + len(command.burnt)
        if count > PAYMENT_COUNT_MAX:
            return Reject("too-many-payments", f"{count}, more than {PAYMENT_COUNT_MAX}")
        if len(command.burnt) != len(command.evidence):
            counts = f"{len(command.burnt)} burns, {len(command.evidence)} pieces of evidence"
            return Reject("burn-without-evidence", f"{counts}: each burn names its own")
    for text in _list_names(command):
        if not is_name(text):
            return Reject(
                "bad-name", f"{text!r} is not 1..{NAME_LENGTH_MAX} characters without ':' or space"
            )
    for amount in _list_amounts(command):
        if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
            return Reject("bad-amount", f"{amount!r} is not an integer in 0..2**256-1")
    if not isinstance(command.key, str) or not 0 < len(command.key) <= KEY_LENGTH_MAX:
        return Reject("bad-key", f"key {command.key!r} is not 1..{KEY_LENGTH_MAX} characters")
    return None


def check_phase(command: LedgerCommand, *, is_closed: bool) -> Reject | None:
    """Stake and escrow stay bound while the task is open; a closed task takes nothing more."""
    if isinstance(command, Refund | ReleaseStake | ReleaseDelegation) and not is_closed:
        detail = f"task {command.task} is not settled: its money is bound until SettleFinal"
        return Reject("task-open", detail)
    if isinstance(command, Fund | Stake | Delegate | SettleRound) and is_closed:
        return Reject("task-closed", f"task {command.task} is settled: nothing can be added")
    return None


def check_balances(
    changes: Sequence[tuple[str, int]], get_balance: Callable[[str], int]
) -> Reject | None:
    """Refuse `changes` (account, signed amount; one an account) that overdraw an account."""
    for account, amount in changes:
        if amount >= 0 or may_be_negative(account):
            continue
        balance = get_balance(account)
        if balance + amount < 0:
            numbers = {"balance": str(balance), "asked": str(-amount)}
            detail = f"{account} holds {balance}, {-amount} asked"
            return Reject("overdrawn", detail, {"account": account, **numbers})
    return None


def _list_names(command: LedgerCommand) -> list[object]:
    attributes = ("task", "account", "payer", "member", "delegator", "node")
    names: list[object] = [getattr(command, a) for a in attributes if hasattr(command, a)]
    if isinstance(command, SettleRound | SettleFinal):
        names += [who for who, _ in (*command.payments, *command.burnt)]
        names += command.evidence
    return names


def _list_amounts(command: LedgerCommand) -> list[object]:
    attributes = ("amount", "locked", "round")
    amounts: list[object] = [getattr(command, a) for a in attributes if hasattr(command, a)]
    if isinstance(command, SettleRound | SettleFinal):
        amounts += [amount for _, amount in (*command.payments, *command.burnt)]
    return amounts
