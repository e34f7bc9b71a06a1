"""Who holds the money: the executable specification of the escrow, as one pure function.

Every ledger (memory, SQLite, later an EVM contract or Lightning) must answer as `step` does on the
same commands. A command becomes signed postings that sum to zero (double entry), or a `Reject` that
leaves the state as it was.

Guarantees: no account but the two counters that `accounts` names ever falls below zero; a key, a
round, a task's end and a piece of evidence against a member each count once; the sum over all
accounts is zero. Keys are scoped by task. While a task is open its money is bound: stakes,
delegations and the escrow's rest move out only after `SettleFinal`.
Assumes that commands come from whoever may give them: authority is checked before, not here.
Cost: proportional to the accounts that the command names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kumiai.base.errors import KumiaiError, Reject
from kumiai.settlement.accounts import (
    OUTSIDE,
    burnt_account,
    delegation_account,
    escrow_account,
    locked_account,
    paid_account,
    paid_counter_account,
    stake_account,
)
from kumiai.settlement.checks import check_balances, check_form, check_phase
from kumiai.settlement.commands import (
    Delegate,
    Deposit,
    Fund,
    LedgerCommand,
    Payment,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
    Withdraw,
    compute_digest,
    decode_command,
    encode_command,
)

__all__ = [
    "OUTSIDE",
    "Delegate",
    "Deposit",
    "Entry",
    "Fund",
    "LedgerCommand",
    "LedgerRejectError",
    "LedgerState",
    "Payment",
    "Posting",
    "Refund",
    "ReleaseDelegation",
    "ReleaseStake",
    "SettleFinal",
    "SettleRound",
    "Stake",
    "Withdraw",
    "burnt_account",
    "decode_command",
    "delegation_account",
    "encode_command",
    "escrow_account",
    "locked_account",
    "plan",
    "stake_account",
    "step",
]


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of a booking: `amount` is added to `account` (negative: taken from it)."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a command does: postings that sum to zero, and marks that may be set only once."""

    postings: tuple[Posting, ...]
    marks: tuple[tuple[str, str], ...]  # (name, digest of the command that set it)


@dataclass(frozen=True, slots=True)
class LedgerState:
    """All balances (zero ones left out) and all marks: keys, rounds, ends, evidence."""

    balances: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    marks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class LedgerRejectError(KumiaiError):
    """A ledger refused a command; `reject` says why, with the numbers. Trying again cannot help."""

    def __init__(self, reject: Reject) -> None:
        self.reject = reject
        super().__init__(f"{reject.reason}: {reject.detail}")


def step(
    state: LedgerState, command: LedgerCommand
) -> tuple[LedgerState, tuple[Posting, ...]] | Reject:
    """Apply `command`; a key seen before with the same content changes nothing (no postings)."""
    entry = plan(command, lambda account: state.balances.get(account, 0), state.marks.get)
    if isinstance(entry, Reject):
        return entry
    if not entry.marks:
        return state, ()
    balances = dict(state.balances)
    for posting in entry.postings:
        balance = balances.get(posting.account, 0) + posting.amount
        if balance:
            balances[posting.account] = balance
        else:
            balances.pop(posting.account, None)
    marks = {**state.marks, **dict(entry.marks)}
    return LedgerState(MappingProxyType(balances), MappingProxyType(marks)), entry.postings


def plan(
    command: LedgerCommand,
    get_balance: Callable[[str], int],
    get_mark: Callable[[str], str | None],
) -> Entry | Reject:
    """Say what `command` would do; an adapter looks up only the accounts that are asked for.

    An entry without marks means: applied before, nothing to do.
    """
    if malformed := check_form(command):
        return malformed
    digest = compute_digest(command)
    key_mark = f"key:{command.task}:{command.key}"
    known = get_mark(key_mark)
    if known == digest:
        return Entry((), ())
    if known is not None:
        detail = f"key {command.key!r} was used by another command"
        return Reject("key-reused", detail, {"known": known, "given": digest})
    is_closed = get_mark(_final_mark(command.task)) is not None
    if refused := check_phase(command, is_closed=is_closed):
        return refused
    names = _once_marks(command)
    seen: set[str] = set()
    for name in names:
        if (known := get_mark(name)) is not None or name in seen:
            return Reject("already-done", f"{name} counts only once", {"by": known or digest})
        seen.add(name)
    postings = _merge(_compute_postings(command, get_balance))
    if refused := check_balances([(p.account, p.amount) for p in postings], get_balance):
        return refused
    return Entry(postings, tuple((name, digest) for name in (key_mark, *names)))


def _compute_postings(command: LedgerCommand, get_balance: Callable[[str], int]) -> list[Posting]:
    task = command.task
    match command:
        case Deposit():
            return _move(OUTSIDE, command.account, command.amount)
        case Withdraw():
            return _move(command.account, OUTSIDE, command.amount)
        case Fund():
            return _move(command.payer, escrow_account(task), command.amount) + _move(
                paid_counter_account(task), paid_account(task, command.payer), command.amount
            )
        case Refund():
            return _move(escrow_account(task), command.payer, command.amount) + _move(
                paid_account(task, command.payer), paid_counter_account(task), command.amount
            )
        case Stake():
            return _move(command.member, stake_account(task, command.member), command.amount)
        case Delegate():
            account = delegation_account(task, command.node, command.delegator)
            return _move(command.delegator, account, command.amount)
        case ReleaseStake():
            account = stake_account(task, command.member)
            return _move(account, command.member, get_balance(account))
        case ReleaseDelegation():
            account = delegation_account(task, command.node, command.delegator)
            return _move(account, command.delegator, get_balance(account))
        case SettleRound():
            postings = _move(escrow_account(task), locked_account(task), command.locked)
            return postings + _pay(escrow_account(task), command)
        case SettleFinal():
            rest = get_balance(locked_account(task)) - sum(a for _, a in command.payments)
            # a pot that is too small is overdrawn by the payments: `check_balances` says so
            postings = _move(locked_account(task), escrow_account(task), max(0, rest))
            return postings + _pay(locked_account(task), command)


def _pay(source: str, command: SettleRound | SettleFinal) -> list[Posting]:
    postings: list[Posting] = []
    for who, amount in command.payments:
        postings += _move(source, who, amount)
    for member, amount in command.burnt:
        postings += _move(stake_account(command.task, member), burnt_account(command.task), amount)
    return postings


def _move(source: str, target: str, amount: int) -> list[Posting]:
    return [Posting(source, -amount), Posting(target, amount)]


def _merge(postings: list[Posting]) -> tuple[Posting, ...]:
    """One posting an account, ordered by name, zeros dropped."""
    sums: dict[str, int] = {}
    for posting in postings:
        sums[posting.account] = sums.get(posting.account, 0) + posting.amount
    return tuple(Posting(account, sums[account]) for account in sorted(sums) if sums[account])


def _once_marks(command: LedgerCommand) -> list[str]:
    """What can happen only once, whatever key the command carries."""
    if isinstance(command, SettleRound):
        marks = [f"round:{command.task}:{command.round}"]
    elif isinstance(command, SettleFinal):
        marks = [_final_mark(command.task)]
    else:
        return []
    proven = zip(command.burnt, command.evidence, strict=True)
    return marks + [f"evidence:{command.task}:{who}:{item}" for (who, _), item in proven]


def _final_mark(task: str) -> str:
    return f"final:{task}"
