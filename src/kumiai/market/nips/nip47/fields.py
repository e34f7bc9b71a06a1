"""Requests and results as JSON.

One table per value says how its fields are called in JSON and how each is read; a field without a
default must be there, null counts as absent, unknown fields are ignored.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from kumiai.base.canonical import INTEGER_MAX, is_hash
from kumiai.market.nips.nip47.methods import (
    CancelHoldInvoice,
    Direction,
    Done,
    GetBalance,
    GetInfo,
    ListTransactions,
    LookupInvoice,
    MakeHoldInvoice,
    MakeInvoice,
    NodeInfo,
    Paid,
    PayInvoice,
    PayKeysend,
    SettleHoldInvoice,
    State,
    Transaction,
    Transactions,
    WalletBalance,
)

TEXT_CHARS_MAX: Final = 8_192
WORD_COUNT_MAX: Final = 64
TRANSACTION_COUNT_MAX: Final = 64  # the document advises 20 a page
TLV_COUNT_MAX: Final = 32

_COMPRESSED_KEY = re.compile(r"0[23][0-9a-f]{64}")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")


def read_value(shape: type[Any], document: Any) -> Any:
    """Return a `shape` from a JSON object; ValueError names the field that does not fit."""
    if not isinstance(document, dict):
        raise ValueError(f"{shape.__name__}: not a JSON object")
    given: dict[str, Any] = {}
    for name, attribute, read in _FIELDS[shape]:
        value = document.get(name)
        if value is not None:
            try:
                given[attribute] = read(value)
            except ValueError as error:
                raise ValueError(f"{shape.__name__}: {name}: {error}") from error
    for each in dataclasses.fields(shape):
        if each.default is dataclasses.MISSING and each.name not in given:
            raise ValueError(f"{shape.__name__}: {each.name} is missing")
    value = shape(**given)
    _check(value)
    return value


def write_value(value: Any) -> dict[str, Any]:
    """Return the JSON object of a request or result; ValueError for one that cannot be read."""
    document: dict[str, Any] = {}
    for name, attribute, _ in _FIELDS[type(value)]:
        item = getattr(value, attribute)
        if attribute == "transactions":
            item = [write_value(each) for each in item]
        elif attribute == "tlv_records":
            item = [{"type": number, "value": text} for number, text in item]
        elif isinstance(item, tuple):
            item = list(item)
        if item not in (None, "", []) or attribute in {"transactions", "methods"}:
            document[name] = item
    read_value(type(value), document)
    return document


def _check(value: Any) -> None:
    if isinstance(value, LookupInvoice) and not (value.payment_hash or value.invoice):
        raise ValueError("LookupInvoice: payment_hash or invoice is needed")


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise ValueError(f"not a text of at most {TEXT_CHARS_MAX} characters")
    value.encode()  # JSON can spell half a surrogate pair: UnicodeEncodeError is a ValueError
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= INTEGER_MAX:
        raise ValueError(f"not a whole number from 0 to {INTEGER_MAX}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def _hash(value: Any) -> str:
    if value != "" and not is_hash(value):
        raise ValueError("not 64 lower-case hex digits")
    return str(value)


def _needed_hash(value: Any) -> str:
    if not is_hash(value):
        raise ValueError("not 64 lower-case hex digits")
    return str(value)


def _needed_text(value: Any) -> str:
    if not _text(value):
        raise ValueError("it is empty")
    return str(value)


def _node_key(value: Any) -> str:
    if not isinstance(value, str) or not _COMPRESSED_KEY.fullmatch(value):
        raise ValueError("not a compressed public key of 66 lower-case hex digits")
    return value


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > WORD_COUNT_MAX:
        raise ValueError(f"not a list of at most {WORD_COUNT_MAX} words")
    return tuple(_text(each) for each in value)


def _records(value: Any) -> tuple[tuple[int, str], ...]:
    if not isinstance(value, list) or len(value) > TLV_COUNT_MAX:
        raise ValueError(f"not a list of at most {TLV_COUNT_MAX} records")
    found: list[tuple[int, str]] = []
    for each in value:
        if not isinstance(each, dict) or not _HEX.fullmatch(_text(each.get("value"))):
            raise ValueError("a record has a type and a value in hex")
        found.append((_number(each.get("type")), each["value"]))
    return tuple(found)


def _transactions(value: Any) -> tuple[Transaction, ...]:
    if not isinstance(value, list) or len(value) > TRANSACTION_COUNT_MAX:
        raise ValueError(f"not a list of at most {TRANSACTION_COUNT_MAX} transactions")
    return tuple(read_value(Transaction, each) for each in value)


def _direction(value: Any) -> Direction:
    return Direction(_text(value))


def _state(value: Any) -> State:
    return State(_text(value).lower())


_Row = tuple[str, str, Callable[[Any], Any]]
_AMOUNT: Final[_Row] = ("amount", "amount_msat", _number)
_INVOICE_ROWS: Final[tuple[_Row, ...]] = (
    _AMOUNT,
    ("description", "description", _text),
    ("description_hash", "description_hash", _hash),
    ("expiry", "expiry_s", _number),
)
_FIELDS: Final[Mapping[type[Any], tuple[_Row, ...]]] = {
    PayInvoice: (("invoice", "invoice", _needed_text), _AMOUNT),
    PayKeysend: (
        _AMOUNT,
        ("pubkey", "pubkey", _node_key),
        ("preimage", "preimage", _hash),
        ("tlv_records", "tlv_records", _records),
    ),
    MakeInvoice: _INVOICE_ROWS,
    MakeHoldInvoice: (
        *_INVOICE_ROWS,
        ("payment_hash", "payment_hash", _needed_hash),
        ("min_cltv_expiry_delta", "min_cltv_expiry_delta", _number),
    ),
    SettleHoldInvoice: (("preimage", "preimage", _needed_hash),),
    CancelHoldInvoice: (("payment_hash", "payment_hash", _needed_hash),),
    LookupInvoice: (("payment_hash", "payment_hash", _hash), ("invoice", "invoice", _text)),
    ListTransactions: (
        ("from", "from_s", _number),
        ("until", "until_s", _number),
        ("limit", "limit", _number),
        ("offset", "offset", _number),
        ("unpaid", "unpaid", _flag),
        ("type", "direction", _direction),
    ),
    GetBalance: (),
    GetInfo: (),
    Paid: (("preimage", "preimage", _needed_hash), ("fees_paid", "fees_paid_msat", _number)),
    Transaction: (
        ("type", "direction", _direction),
        ("state", "state", _state),
        ("invoice", "invoice", _text),
        ("description", "description", _text),
        ("description_hash", "description_hash", _hash),
        ("preimage", "preimage", _hash),
        ("payment_hash", "payment_hash", _needed_hash),
        _AMOUNT,
        ("fees_paid", "fees_paid_msat", _number),
        ("created_at", "created_at_s", _number),
        ("expires_at", "expires_at_s", _number),
        ("settled_at", "settled_at_s", _number),
        ("settle_deadline", "settle_deadline", _number),
    ),
    Transactions: (("transactions", "transactions", _transactions),),
    WalletBalance: (("balance", "balance_msat", _number),),
    NodeInfo: (
        ("methods", "methods", _words),
        ("notifications", "notifications", _words),
        ("alias", "alias", _text),
        ("color", "color", _text),
        ("pubkey", "pubkey", _text),
        ("network", "network", _text),
        ("block_height", "block_height", _number),
        ("block_hash", "block_hash", _text),
    ),
    Done: (),
}
