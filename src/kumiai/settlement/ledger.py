"""Who holds the money: the executable specification of the escrow, as one pure function.

Every ledger (memory, SQLite, later an EVM contract or Lightning) must answer as `step` does on the
same commands. A command becomes signed postings that sum to zero (double entry), or a `Reject` that
leaves the state as it was.

Accounts are text. A bare name is somebody's free balance; the others have a prefix::

    NAME                           free balance of a member, delegator or customer
    escrow:TASK                    funded and not yet spent
    locked:TASK                    trainers' pay withheld for the final ranking
    stake:TASK:MEMBER              a member's own stake
    delegation:TASK:NODE:DELEGATOR what a delegator lent to a node
    burnt:TASK                     slashed stake; nothing ever leaves it, least of all to an accuser
    world:outside                  the other side of deposits and withdrawals; the only one below 0
    memo:paid:TASK[:PAYER]         a memorandum pair: what each payer put in, so that no refund
                                   exceeds it. Holds no money; the pair sums to zero

Keys are scoped by task. Guarantees: no account but the outside (and the memorandum's counter) ever falls below zero; a key,
a round, a task's end and a piece of evidence against a member each count once; the sum over all accounts is zero.
Assumes that commands come from whoever may give them: authority is checked before, not here.
Cost: proportional to the accounts that the command names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kumiai.base.errors import KumiaiError, Reject
from kumiai.settlement.commands import (
    AMOUNT_MAX,
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

OUTSIDE = "world:outside"
PAYMENT_COUNT_MAX = 200_000
NAME_LENGTH_MAX = 128
KEY_LENGTH_MAX = 256


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
    if malformed := _find_malformed(command):
        return malformed
    digest = compute_digest(command)
    key_mark = f"key:{command.task}:{command.key}"
    known = get_mark(key_mark)
    if known == digest:
        return Entry((), ())
    if known is not None:
        detail = f"key {command.key!r} was used by another command"
        return Reject("key-reused", detail, {"known": known, "given": digest})
    if refused := _check_phase(command, get_mark) or _check_evidence(command):
        return refused
    names = _once_marks(command)
    seen: set[str] = set()
    for name in names:
        if (known := get_mark(name)) is not None or name in seen:
            return Reject("already-done", f"{name} counts only once", {"by": known or digest})
        seen.add(name)
    postings = _merge(_compute_postings(command, get_balance))
    if refused := _check_balances(postings, get_balance):
        return refused
    return Entry(postings, tuple((name, digest) for name in (key_mark, *names)))


def escrow_account(task: str) -> str:
    """Name the account of what is funded and not yet spent."""
    return f"escrow:{task}"


def locked_account(task: str) -> str:
    """Name the account of trainers' pay withheld until the final ranking."""
    return f"locked:{task}"


def burnt_account(task: str) -> str:
    """Name the account of slashed stake."""
    return f"burnt:{task}"


def stake_account(task: str, member: str) -> str:
    """Name the account of a member's own stake."""
    return f"stake:{task}:{member}"


def delegation_account(task: str, node: str, delegator: str) -> str:
    """Name the account of what `delegator` lent to `node`."""
    return f"delegation:{task}:{node}:{delegator}"


def _compute_postings(command: LedgerCommand, get_balance: Callable[[str], int]) -> list[Posting]:
    task = command.task
    match command:
        case Deposit():
            return _move(OUTSIDE, command.account, command.amount)
        case Withdraw():
            return _move(command.account, OUTSIDE, command.amount)
        case Fund():
            return _move(command.payer, escrow_account(task), command.amount) + _move(
                f"memo:paid:{task}", f"memo:paid:{task}:{command.payer}", command.amount
            )
        case Refund():
            return _move(escrow_account(task), command.payer, command.amount) + _move(
                f"memo:paid:{task}:{command.payer}", f"memo:paid:{task}", command.amount
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
            # A pot that is too small leaves a negative account behind, which the balance check
            # below turns into a Reject with the numbers.
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


def _check_phase(command: LedgerCommand, get_mark: Callable[[str], str | None]) -> Reject | None:
    """Stake and escrow stay bound while the task is open; a closed task takes nothing more."""
    is_closed = get_mark(_final_mark(command.task)) is not None
    if isinstance(command, Refund | ReleaseStake | ReleaseDelegation) and not is_closed:
        detail = f"task {command.task} is not settled: its money is bound until SettleFinal"
        return Reject("task-open", detail)
    if isinstance(command, Fund | Stake | Delegate | SettleRound) and is_closed:
        return Reject("task-closed", f"task {command.task} is settled: nothing can be added")
    return None


def _check_evidence(command: LedgerCommand) -> Reject | None:
    if not isinstance(command, SettleRound | SettleFinal):
        return None
    if len(command.burnt) == len(command.evidence):
        return None
    counts = f"{len(command.burnt)} burns, {len(command.evidence)} pieces of evidence"
    return Reject("burn-without-evidence", f"{counts}: each burn names its own")


def _check_balances(
    postings: tuple[Posting, ...], get_balance: Callable[[str], int]
) -> Reject | None:
    for posting in postings:
        if posting.account == OUTSIDE or _is_memo_counter(posting.account):
            continue
        balance = get_balance(posting.account)
        if balance + posting.amount < 0:
            detail = f"{posting.account} holds {balance}, {-posting.amount} asked"
            numbers = {"balance": str(balance), "asked": str(-posting.amount)}
            return Reject("overdrawn", detail, {"account": posting.account, **numbers})
    return None


def _is_memo_counter(account: str) -> bool:
    return account.startswith("memo:paid:") and account.count(":") == 2


def _find_malformed(command: LedgerCommand) -> Reject | None:
    """Names that could forge another account, amounts that are none, lists without bound."""
    names, amounts = [command.task], []
    for name in ("account", "payer", "member", "delegator", "node"):
        if hasattr(command, name):
            names.append(getattr(command, name))
    for name in ("amount", "locked", "round"):
        if hasattr(command, name):
            amounts.append(getattr(command, name))
    if isinstance(command, SettleRound | SettleFinal):
        if len(command.payments) + len(command.burnt) > PAYMENT_COUNT_MAX:
            return Reject("too-many-payments", f"more than {PAYMENT_COUNT_MAX} payments")
        names += [who for who, _ in (*command.payments, *command.burnt)] + [*command.evidence]
        amounts += [amount for _, amount in (*command.payments, *command.burnt)]
    for text in names:
        if not _is_name(text):
            return Reject(
                "bad-name", f"{text!r} is not 1..{NAME_LENGTH_MAX} characters without ':'"
            )
    for amount in amounts:
        if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
            return Reject("bad-amount", f"{amount!r} is not an integer in 0..2**256-1")
    if not isinstance(command.key, str) or not 0 < len(command.key) <= KEY_LENGTH_MAX:
        return Reject("bad-key", f"key {command.key!r} is not 1..{KEY_LENGTH_MAX} characters")
    return None


def _is_name(text: object) -> bool:
    """Bare names hold no ':' so that nobody can be called `escrow:TASK`."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= NAME_LENGTH_MAX
        and text.isascii()
        and text.isprintable()
        and ":" not in text
        and " " not in text
    )
