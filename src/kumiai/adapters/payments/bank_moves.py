"""What moves money in the embedded bank, each within the one transaction that the caller opened.

invoice:  pending -> settled                     payment: settled        (or failed, or pending)
          pending -> accepted -> settled                  accepted -> settled
                              -> canceled, expired                 -> canceled, expired
          pending -> canceled, expired
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Any

from sqlalchemy import Connection

from kumiai.adapters.payments import bank_tables as tables
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState

_WHY_NOT = {
    PaymentState.EXPIRED: ("EXPIRED", "the invoice has expired"),
    PaymentState.CANCELED: ("PAYMENT_FAILED", "the payee has withdrawn the invoice"),
    PaymentState.ACCEPTED: ("ALREADY_PAID", "money is locked for this invoice already"),
    PaymentState.SETTLED: ("ALREADY_PAID", "the invoice is paid already"),
}


class Fate(Enum):
    """What becomes of a payment: tests choose others than DELIVER to see a member cope."""

    DELIVER = "deliver"
    FAIL = "fail"  # no route: nothing moves, and never will
    STICK = "stick"  # under way, until `EmbeddedBank.resolve` ends it


def pay(
    connection: Connection,
    name: str,
    key: str,
    invoice: Invoice,
    fate: Fate,
    now_s: int,
    lock_s: int,
) -> Payment:
    """Carry out one payment of the member `name`; WalletError if it is refused."""
    known = tables.get_row(connection, tables.GET_PAYMENT_OF_KEY, name=name, key=key)
    payee = tables.get_row(connection, tables.GET_NODE, node=invoice.payee)
    row = None
    if payee is not None:
        row = tables.get_row(
            connection, tables.GET_INVOICE, name=payee.name, hash=invoice.payment_hash
        )
    if known is not None:
        if row is None or known.invoice != row.place:
            raise WalletError("ALREADY_PAID", f"key {key} was used for another invoice")
        return tables.read_outgoing(known)
    if row is None:
        raise WalletError("PAYMENT_FAILED", "no way to the payee: it has no such invoice here")
    _check_payable(connection, name, row)
    amount = row.amount_msat
    payer = tables.get_row(connection, tables.GET_MEMBER, name=name)
    if payer.spendable_msat < amount:
        have = f"{payer.spendable_msat} msat are there"
        raise WalletError("INSUFFICIENT_BALANCE", f"{amount} msat are asked, {have}")
    state = _choose_state(row, fate)
    is_settled = state is PaymentState.SETTLED
    entry = {
        "name": name,
        "key": key,
        "invoice": row.place,
        "payment_hash": row.payment_hash,
        "amount_msat": amount,
        "state": state.value,
        "created_at_s": now_s,
        "settled_at_s": now_s if is_settled else None,
    }
    connection.execute(tables.ADD_PAYMENT, entry)
    if is_settled:
        move(connection, name, spendable_msat=-amount)
        move(connection, row.name, spendable_msat=amount)
        _set_invoice(connection, row, state, preimage=row.preimage, settled_at_s=now_s)
    elif state in tables.LIVE:
        move(connection, name, spendable_msat=-amount, held_msat=amount)
        if state is PaymentState.ACCEPTED:
            _set_invoice(connection, row, state, locked_until_s=now_s + lock_s)
    return tables.read_outgoing(
        tables.get_row(connection, tables.GET_PAYMENT_OF_KEY, name=name, key=key)
    )


def settle(connection: Connection, name: str, preimage: str, now_s: int) -> Payment:
    """Give the member what is locked for the hash of `preimage`."""
    payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
    row = _get_own(connection, name, payment_hash)
    state = PaymentState(row.state)
    if state is PaymentState.ACCEPTED:
        _deliver(connection, row, preimage, now_s)
    elif state is not PaymentState.SETTLED:
        code = "EXPIRED" if state is PaymentState.EXPIRED else "OTHER"
        raise WalletError(code, f"nothing is locked: the invoice is {state.value}")
    return _read_invoice(connection, row.place)


def cancel(connection: Connection, name: str, payment_hash: str) -> Payment:
    """Give locked money back, or withdraw an invoice that nobody has paid."""
    row = _get_own(connection, name, payment_hash)
    state = PaymentState(row.state)
    if state is PaymentState.SETTLED:
        raise WalletError("ALREADY_PAID", "the invoice is settled: the money is yours")
    if state is PaymentState.ACCEPTED:
        _give_back(connection, row, PaymentState.CANCELED)
    elif state is PaymentState.PENDING:
        _set_invoice(connection, row, PaymentState.CANCELED)
    return _read_invoice(connection, row.place)


def resolve(
    connection: Connection,
    name: str,
    payment_hash: str,
    now_s: int,
    locked_until_s: int,
    *,
    is_delivered: bool,
) -> Payment:
    """End a payment that is stuck: it arrives, if the invoice still stands, or fails."""
    paid = tables.get_row(connection, tables.GET_PAYMENT, name=name, hash=payment_hash)
    if paid is None or paid.state != PaymentState.PENDING.value:
        raise WalletError("NOT_FOUND", f"no payment of {payment_hash} is under way")
    row = tables.get_row(connection, tables.GET_INVOICE_AT, at=paid.invoice)
    if not is_delivered or row.state != PaymentState.PENDING.value:
        move(connection, name, spendable_msat=paid.amount_msat, held_msat=-paid.amount_msat)
        _set_payment(connection, paid.place, PaymentState.FAILED)
    elif row.is_hold:
        _set_payment(connection, paid.place, PaymentState.ACCEPTED)
        _set_invoice(connection, row, PaymentState.ACCEPTED, locked_until_s=locked_until_s)
    else:
        _deliver(connection, row, row.preimage, now_s)
    return tables.read_outgoing(
        tables.get_row(connection, tables.GET_PAYMENT, name=name, hash=payment_hash)
    )


def has_due(connection: Connection, now_s: int) -> bool:
    """Tell whether time alone has changed something that is not written down yet."""
    for query in (tables.HAS_EXPIRED, tables.GET_DUE_LOCKS):
        if connection.execute(query, {"now": now_s}).first() is not None:
            return True
    return False


def release_due(connection: Connection, now_s: int) -> None:
    """Write down what time alone has changed: invoices expire, old locks go back to the payer."""
    connection.execute(tables.EXPIRE, {"now": now_s})
    for row in connection.execute(tables.GET_DUE_LOCKS, {"now": now_s}).all():
        _give_back(connection, row, PaymentState.EXPIRED)


def move(connection: Connection, name: str, *, spendable_msat: int = 0, held_msat: int = 0) -> None:
    """Change a member's balance by these amounts."""
    change = {"who": name, "spendable": spendable_msat, "held": held_msat}
    connection.execute(tables.MOVE, change)


def _check_payable(connection: Connection, name: str, row: Any) -> None:
    if row.name == name:
        raise WalletError("PAYMENT_FAILED", "this is the wallet's own invoice")
    state = PaymentState(row.state)
    if state is not PaymentState.PENDING:
        raise WalletError(*_WHY_NOT[state])
    if tables.get_row(connection, tables.GET_PAYMENT_OF_INVOICE, at=row.place) is not None:
        raise WalletError("ALREADY_PAID", "a payment of this invoice is under way")
    earlier = tables.get_row(connection, tables.GET_PAYMENT, name=name, hash=row.payment_hash)
    if earlier is not None and PaymentState(earlier.state) in tables.LIVE:
        raise WalletError("ALREADY_PAID", "this wallet has paid another invoice with this hash")


def _choose_state(row: Any, fate: Fate) -> PaymentState:
    if fate is Fate.FAIL:
        return PaymentState.FAILED
    if fate is Fate.STICK:
        return PaymentState.PENDING
    return PaymentState.ACCEPTED if row.is_hold else PaymentState.SETTLED


def _get_own(connection: Connection, name: str, payment_hash: str) -> Any:
    row = tables.get_row(connection, tables.GET_INVOICE, name=name, hash=payment_hash)
    if row is None:
        raise WalletError("NOT_FOUND", f"this wallet has no invoice with hash {payment_hash}")
    return row


def _deliver(connection: Connection, row: Any, preimage: str, now_s: int) -> None:
    """The payer's held money becomes the payee's."""
    paid = tables.get_row(connection, tables.GET_PAYMENT_OF_INVOICE, at=row.place)
    move(connection, paid.name, held_msat=-row.amount_msat)
    move(connection, row.name, spendable_msat=row.amount_msat)
    _set_payment(connection, paid.place, PaymentState.SETTLED, settled_at_s=now_s)
    _set_invoice(connection, row, PaymentState.SETTLED, preimage=preimage, settled_at_s=now_s)


def _give_back(connection: Connection, row: Any, state: PaymentState) -> None:
    """The payer's held money becomes spendable again."""
    paid = tables.get_row(connection, tables.GET_PAYMENT_OF_INVOICE, at=row.place)
    move(connection, paid.name, spendable_msat=row.amount_msat, held_msat=-row.amount_msat)
    _set_payment(connection, paid.place, state)
    _set_invoice(connection, row, state)


def _set_invoice(
    connection: Connection,
    row: Any,
    state: PaymentState,
    *,
    preimage: str | None = None,
    locked_until_s: int | None = None,
    settled_at_s: int | None = None,
) -> None:
    change = {
        "at": row.place,
        "to": state.value,
        "shown": preimage or row.preimage,
        "until": locked_until_s or row.locked_until_s,
        "now": settled_at_s,
    }
    connection.execute(tables.SET_INVOICE, change)


def _set_payment(
    connection: Connection, place: int, state: PaymentState, settled_at_s: int | None = None
) -> None:
    connection.execute(tables.SET_PAYMENT, {"at": place, "to": state.value, "now": settled_at_s})


def _read_invoice(connection: Connection, place: int) -> Payment:
    return tables.read_incoming(tables.get_row(connection, tables.GET_INVOICE_AT, at=place))
