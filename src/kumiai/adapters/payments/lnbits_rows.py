"""What an LNbits server says of a payment, read with care: its rows become `Payment`.

Source: LNbits 1.6.2, `core/models/payments.py`. A row is one side of a payment in one wallet:
amount in msat, negative where it goes out; status pending, success or failed. Three things differ
from what a reader would expect: the preimage of an unpaid invoice stands in the row (it is not
handed on), an expired invoice is `failed` with the label `expired`, and money that is locked in a
hold invoice has no word at all (it is `pending`).

Guarantee: SETTLED is said only with a preimage that hashes to the payment hash; a row that claims
success without one is PENDING, as nobody can show that it moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from kumiai.adapters.payments.checks import is_preimage
from kumiai.base.canonical import is_hash
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Payment, PaymentState

AMOUNT_MSAT_MAX: Final = 21_000_000 * 10**11  # every bitcoin there will be
DESCRIPTION_CHARS_MAX: Final = 640
_STATES: Final = {"pending", "success", "failed"}


@dataclass(frozen=True, slots=True)
class Row:
    """A payment and what else the server keeps with it; changed_at_s: its latest change.

    external_id: the name under which it was made, "" where there is none.
    """

    payment: Payment
    bolt11: str
    external_id: str
    changed_at_s: int
    is_movement: bool  # not an invoice that nobody has paid


def read_rows(document: Any) -> list[Row]:
    """Read a page of rows; WalletError for one that is not of the shape."""
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise _refuse("a page of payments without a list")
    return [read_row(row) for row in rows]


def read_row(document: Any) -> Row:
    """Read one row; WalletError names the field that does not fit."""
    if not isinstance(document, dict):
        raise _refuse("a payment that is no JSON object")
    payment_hash, status = document.get("payment_hash"), document.get("status")
    amount_msat = _read_amount(document.get("amount"))
    fee_msat = _read_amount(document.get("fee"))
    if not isinstance(payment_hash, str) or not is_hash(payment_hash):
        raise _refuse("a payment without a payment_hash")
    if not isinstance(status, str) or status not in _STATES:
        raise _refuse("a payment without a status that is known")
    is_incoming = amount_msat > 0
    state, preimage = _read_state(document, payment_hash, status, is_incoming)
    changed_at_s = _read_time(document.get("updated_at"))
    payment = Payment(
        payment_hash=payment_hash,
        is_incoming=is_incoming,
        amount_msat=abs(amount_msat),
        state=state,
        fee_msat=abs(fee_msat),
        preimage=preimage,
        created_at_s=_read_time(document.get("time")),
        settled_at_s=changed_at_s if state is PaymentState.SETTLED else None,
        description=_read_text(document.get("memo"))[:DESCRIPTION_CHARS_MAX],
    )
    return Row(
        payment=payment,
        bolt11=_read_text(document.get("bolt11")).lower(),
        external_id=_read_text(document.get("external_id")),
        changed_at_s=changed_at_s,
        is_movement=not is_incoming or status == "success",
    )


def _read_state(
    document: dict[str, Any], payment_hash: str, status: str, is_incoming: bool
) -> tuple[PaymentState, str | None]:
    """Return the state, and the preimage where it is settled."""
    if status == "success":
        preimage = document.get("preimage")
        if is_preimage(preimage, payment_hash):
            return PaymentState.SETTLED, preimage
        return PaymentState.PENDING, None
    if status == "pending":
        return PaymentState.PENDING, None
    labels, extra = document.get("labels"), document.get("extra")
    if isinstance(extra, dict) and extra.get("hold_invoice_cancelled") is True:
        return PaymentState.CANCELED, None
    if is_incoming and isinstance(labels, list) and "expired" in labels:
        return PaymentState.EXPIRED, None
    return PaymentState.FAILED, None


def _read_amount(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > AMOUNT_MSAT_MAX:
        raise _refuse("a payment whose amount or fee is no number of msat")
    return value


def _read_time(value: object) -> int:
    """Return seconds since 1970 of an ISO time, which is UTC where it names no zone; 0 for none."""
    try:
        time = datetime.fromisoformat(_read_text(value))
    except ValueError:
        return 0
    try:
        return max(0, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()))
    except (OverflowError, ValueError):
        return 0


def _read_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _refuse(what: str) -> WalletError:
    return WalletError("INTERNAL", f"LNbits told of {what}", is_retriable=True)
