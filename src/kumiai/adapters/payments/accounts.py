"""Accounts: every msat that came or went, by three witnesses: our intents, the wallet, receipts.

`reconcile` puts them side by side, one line each, with a verdict and the reason in words. Amounts
are msat, integers throughout. The wallet's own movements must explain its balance:

    difference = spendable - (received - sent - fees - locked)      0 where the history is whole

A wallet that was used before, or for other things as well, has movements that no intent explains;
they are listed as UNKNOWN and are no fault. Everything in FAULTS is one that a person should see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from kumiai.base.errors import InputError
from kumiai.nodes.market.intents import DEAD, Action, Record
from kumiai.nodes.market.ports import Balance, Payment, PaymentState

RECEIPT_BYTES_MAX: Final = 4_096
RECEIPTS_MAX: Final = 1_000_000


class Verdict(StrEnum):
    """What the witnesses say together."""

    MATCHED = "matched"
    OPEN = "open"  # not decided yet
    VOID = "void"  # nothing moved, and all agree
    UNKNOWN = "unknown"  # the wallet's alone: not of this member's jobs
    MISSING = "missing"  # ours alone: the wallet does not list it
    DIFFERS = "differs"
    NO_RECEIPT = "no receipt"
    NO_PAYMENT = "no payment"  # a receipt alone


FAULTS: Final = frozenset(
    {Verdict.MISSING, Verdict.DIFFERS, Verdict.NO_RECEIPT, Verdict.NO_PAYMENT}
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the market says was paid under an intent's key."""

    key: str
    amount_msat: int
    is_incoming: bool
    job: str


@dataclass(frozen=True, slots=True)
class Line:
    """One amount. key, job, ...: "" where nobody knows them; at_s: when it moved or was begun."""

    verdict: Verdict
    reason: str
    is_incoming: bool
    amount_msat: int
    fee_msat: int
    state: str
    at_s: int
    payment_hash: str
    key: str = ""
    purpose: str = ""
    job: str = ""
    round: int = 0
    counterpart: str = ""
    description: str = ""  # of the invoice, as the wallet tells it


@dataclass(frozen=True, slots=True)
class Books:
    """All lines, oldest first, and what they add up to by the wallet's own history."""

    lines: tuple[Line, ...]
    balance: Balance
    received_msat: int
    sent_msat: int
    fee_msat: int
    locked_msat: int

    @property
    def difference_msat(self) -> int:
        """What the wallet has beyond what its movements explain; 0 where all is listed."""
        explained = self.received_msat - self.sent_msat - self.fee_msat - self.locked_msat
        return self.balance.spendable_msat - explained

    @property
    def faults(self) -> tuple[Line, ...]:
        """The lines that a person should look at."""
        return tuple(line for line in self.lines if line.verdict in FAULTS)

    @property
    def is_reconciled(self) -> bool:
        """Whether no line is a fault and every msat of the balance is explained."""
        return not self.faults and self.difference_msat == 0


def reconcile(
    records: Iterable[Record],
    movements: Iterable[Payment],
    balance: Balance,
    receipts: Iterable[Receipt] | None = None,
) -> Books:
    """Compare intents, the wallet's history since its beginning, and receipts (None: none kept)."""
    movements = list(movements)
    by_hash: dict[tuple[str, bool], Payment] = {}
    for it in movements:
        place = (it.payment_hash, it.is_incoming)
        if place not in by_hash or _RANK[it.state] > _RANK[by_hash[place].state]:
            by_hash[place] = it  # of several attempts the one that came furthest
    receipts = None if receipts is None else list(receipts)
    said = None if receipts is None else {it.key: it for it in reversed(receipts)}
    twice = [it for it in receipts or () if said and said[it.key] is not it]
    # SETTLE and CANCEL end what another intent is about
    records = [it for it in records if it.intent.action not in (Action.SETTLE, Action.CANCEL)]
    alive = {_place(it) for it in records if it.outcome.state not in DEAD}
    lines, used = [], set()
    for record in records:
        place = _place(record)
        # an invoice that failed may be paid under another key: what moved then is that one's
        is_others = record.outcome.state in DEAD and place in alive
        line = _compare(record, None if is_others else by_hash.get(place))
        used.add(place)
        if said is not None:
            line = _compare_receipt(line, said.pop(record.intent.key, None))
        lines.append(line)
    lines += [
        _describe_unknown(it)
        for place, it in by_hash.items()
        if place not in used and it.state not in DEAD
    ]
    lines += [_describe_unpaid(it) for it in (*(said or {}).values(), *twice)]
    settled = [it for it in movements if it.state is PaymentState.SETTLED]
    under_way = [it for it in movements if it.state in _LOCKED and not it.is_incoming]
    return Books(
        lines=tuple(sorted(lines, key=lambda line: (line.at_s, line.key, line.payment_hash))),
        balance=balance,
        received_msat=sum(it.amount_msat for it in settled if it.is_incoming),
        sent_msat=sum(it.amount_msat for it in settled if not it.is_incoming),
        fee_msat=sum(it.fee_msat for it in settled if not it.is_incoming),
        locked_msat=sum(it.amount_msat + it.fee_msat for it in under_way),
    )


def read_receipts(path: Path) -> list[Receipt]:
    """Read JSON lines of {key, amount_msat, is_incoming, job}; InputError names a bad line."""
    found: list[Receipt] = []
    try:
        with path.open("rb") as file:
            while row := file.readline(RECEIPT_BYTES_MAX + 1):
                found.append(_read_receipt(row, f"{path}, line {len(found) + 1}"))
                if len(found) > RECEIPTS_MAX:
                    raise InputError("receipts", str(path), f"more than {RECEIPTS_MAX} lines")
    except OSError as error:
        raise InputError("receipts", str(path), f"cannot be read: {error.strerror}") from None
    return found


_LOCKED: Final = (PaymentState.PENDING, PaymentState.ACCEPTED)
_RANK: Final = {
    PaymentState.SETTLED: 3,
    PaymentState.ACCEPTED: 2,
    PaymentState.PENDING: 1,
    PaymentState.CANCELED: 0,
    PaymentState.EXPIRED: 0,
    PaymentState.FAILED: 0,
}


def _place(record: Record) -> tuple[str, bool]:
    """Where the wallet lists what an intent is about."""
    return record.intent.payment_hash, record.intent.is_incoming


def _compare(record: Record, told: Payment | None) -> Line:
    """One intent beside what the wallet lists of it."""
    intent, outcome = record.intent, record.outcome
    verdict, reason = _judge(record, told)
    state = outcome.state if told is None else told.state
    settled_at_s = outcome.settled_at_s if told is None else told.settled_at_s
    return Line(
        verdict=verdict,
        reason=reason,
        is_incoming=intent.is_incoming,
        amount_msat=intent.amount_msat if told is None else told.amount_msat,
        fee_msat=outcome.fee_msat if told is None else told.fee_msat,
        state=state.value,
        at_s=settled_at_s or intent.created_at_s,
        payment_hash=intent.payment_hash,
        key=intent.key,
        purpose=intent.debt.purpose,
        job=intent.debt.job,
        round=intent.debt.round,
        counterpart=intent.debt.counterpart,
        description="" if told is None else told.description,
    )


def _judge(record: Record, told: Payment | None) -> tuple[Verdict, str]:
    intent, outcome = record.intent, record.outcome
    wallet_state = None if told is None else told.state
    if outcome.state is PaymentState.SETTLED:
        if told is None:
            return Verdict.MISSING, "we hold it for settled, the wallet does not list it"
        if wallet_state is not PaymentState.SETTLED:
            return Verdict.DIFFERS, f"we hold it for settled, the wallet says {told.state.value}"
        is_less = told.amount_msat < intent.amount_msat
        if is_less or (not intent.is_incoming and told.amount_msat != intent.amount_msat):
            asked = f"{intent.amount_msat} msat were agreed"
            return Verdict.DIFFERS, f"the wallet moved {told.amount_msat} msat, {asked}"
        return Verdict.MATCHED, ""
    if record.is_open:
        if told is None:
            words = "nobody has paid it yet" if intent.is_incoming else "not known to the wallet"
            return Verdict.OPEN, outcome.note or words
        return Verdict.OPEN, outcome.note or f"the wallet says {told.state.value}"
    if wallet_state in (PaymentState.SETTLED, *_LOCKED):
        why = f"we hold it for {outcome.state.value}, the wallet says {wallet_state}"
        return Verdict.DIFFERS, why
    return Verdict.VOID, outcome.note or f"nothing moved: {outcome.state.value}"


def _compare_receipt(line: Line, receipt: Receipt | None) -> Line:
    if receipt is None:
        if line.verdict is Verdict.MATCHED:
            reason = "it moved, but no receipt speaks of it"
            return replace(line, verdict=Verdict.NO_RECEIPT, reason=reason)
        return line
    if line.verdict in (Verdict.OPEN, Verdict.VOID):
        reason = f"there is a receipt, but the payment is {line.state}"
        return replace(line, verdict=Verdict.DIFFERS, reason=reason)
    told = (receipt.amount_msat, receipt.is_incoming, receipt.job)
    if line.verdict is Verdict.MATCHED and told != (line.amount_msat, line.is_incoming, line.job):
        way = "in" if receipt.is_incoming else "out"
        reason = f"its receipt says {receipt.amount_msat} msat {way} for job {receipt.job}"
        return replace(line, verdict=Verdict.DIFFERS, reason=reason)
    return line


def _describe_unknown(told: Payment) -> Line:
    about = f": {told.description}" if told.description else ""
    return Line(
        verdict=Verdict.UNKNOWN,
        reason=f"not of this member's jobs{about}",
        is_incoming=told.is_incoming,
        amount_msat=told.amount_msat,
        fee_msat=told.fee_msat,
        state=told.state.value,
        at_s=told.settled_at_s or told.created_at_s,
        payment_hash=told.payment_hash,
    )


def _describe_unpaid(receipt: Receipt) -> Line:
    return Line(
        verdict=Verdict.NO_PAYMENT,
        reason="a receipt without a payment of ours",
        is_incoming=receipt.is_incoming,
        amount_msat=receipt.amount_msat,
        fee_msat=0,
        state="",
        at_s=0,
        payment_hash="",
        key=receipt.key,
        job=receipt.job,
    )


def _read_receipt(row: bytes, place: str) -> Receipt:
    try:
        it: Any = json.loads(row) if len(row) <= RECEIPT_BYTES_MAX else None
        receipt = Receipt(it["key"], it["amount_msat"], it["is_incoming"], it["job"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError("receipts", place, "no JSON object of a receipt") from None
    wanted = (str, int, bool, str)
    values = (receipt.key, receipt.amount_msat, receipt.is_incoming, receipt.job)
    if tuple(map(type, values)) != wanted or receipt.amount_msat < 0:
        raise InputError("receipts", place, "key and job are texts, amount_msat a whole number")
    return receipt
