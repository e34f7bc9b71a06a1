"""What can be asked of a wallet and what it answers, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Direction(StrEnum):
    """Seen from the wallet that answers."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class State(StrEnum):
    """Where a payment is. ACCEPTED: a hold invoice whose money is locked, not yet taken."""

    PENDING = "pending"
    SETTLED = "settled"
    ACCEPTED = "accepted"
    EXPIRED = "expired"
    FAILED = "failed"


class ErrorCode(StrEnum):
    """Why a wallet did not do as asked; a word that is none of these is read as OTHER."""

    RATE_LIMITED = "RATE_LIMITED"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    RESTRICTED = "RESTRICTED"
    UNAUTHORIZED = "UNAUTHORIZED"
    INTERNAL = "INTERNAL"
    UNSUPPORTED_ENCRYPTION = "UNSUPPORTED_ENCRYPTION"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    NOT_FOUND = "NOT_FOUND"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class PayInvoice:
    """amount_msat: only for an invoice that names none. Answer: `Paid`."""

    invoice: str
    amount_msat: int | None = None


@dataclass(frozen=True, slots=True)
class PayKeysend:
    """tlv_records: (type, hex) each. Answer: `Paid`."""

    amount_msat: int
    pubkey: str
    preimage: str = ""
    tlv_records: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class MakeInvoice:
    """Answer: `Transaction`."""

    amount_msat: int
    description: str = ""
    description_hash: str = ""
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class MakeHoldInvoice:
    """The wallet does not know the preimage of `payment_hash`. Answer: `Transaction`."""

    amount_msat: int
    payment_hash: str
    description: str = ""
    description_hash: str = ""
    expiry_s: int | None = None
    min_cltv_expiry_delta: int | None = None


@dataclass(frozen=True, slots=True)
class SettleHoldInvoice:
    """Answer: `Done`."""

    preimage: str


@dataclass(frozen=True, slots=True)
class CancelHoldInvoice:
    """Answer: `Done`."""

    payment_hash: str


@dataclass(frozen=True, slots=True)
class LookupInvoice:
    """One of both is needed. Answer: `Transaction`."""

    payment_hash: str = ""
    invoice: str = ""


@dataclass(frozen=True, slots=True)
class ListTransactions:
    """Newest first. Answer: `Transactions`."""

    from_s: int | None = None
    until_s: int | None = None
    limit: int | None = None
    offset: int | None = None
    unpaid: bool | None = None
    direction: Direction | None = None


@dataclass(frozen=True, slots=True)
class GetBalance:
    """Answer: `WalletBalance`."""


@dataclass(frozen=True, slots=True)
class GetInfo:
    """Answer: `NodeInfo`."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment that settled."""

    preimage: str
    fees_paid_msat: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """An invoice or payment as the wallet tells it; what it leaves out is empty or None here.

    settle_deadline: the block before which a hold invoice must be settled or given back.
    """

    payment_hash: str
    amount_msat: int
    direction: Direction | None = None
    state: State | None = None
    invoice: str = ""
    description: str = ""
    description_hash: str = ""
    preimage: str = ""
    fees_paid_msat: int = 0
    created_at_s: int = 0
    expires_at_s: int | None = None
    settled_at_s: int | None = None
    settle_deadline: int | None = None


@dataclass(frozen=True, slots=True)
class Transactions:
    """One page."""

    transactions: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True)
class WalletBalance:
    """What can be paid out."""

    balance_msat: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """methods: what this connection may ask."""

    methods: tuple[str, ...] = ()
    notifications: tuple[str, ...] = ()
    alias: str = ""
    color: str = ""
    pubkey: str = ""
    network: str = ""
    block_height: int = 0
    block_hash: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Settled or canceled as asked."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why not, in the wallet's words; `code` is one of `ErrorCode`."""

    code: ErrorCode
    message: str = ""


Request = (
    PayInvoice
    | PayKeysend
    | MakeInvoice
    | MakeHoldInvoice
    | SettleHoldInvoice
    | CancelHoldInvoice
    | LookupInvoice
    | ListTransactions
    | GetBalance
    | GetInfo
)
Result = Paid | Transaction | Transactions | WalletBalance | NodeInfo | Done

# How a method is called, what asks for it, what answers it.
METHODS: Final[Mapping[str, tuple[type[Request], type[Result]]]] = {
    "pay_invoice": (PayInvoice, Paid),
    "pay_keysend": (PayKeysend, Paid),
    "make_invoice": (MakeInvoice, Transaction),
    "make_hold_invoice": (MakeHoldInvoice, Transaction),
    "settle_hold_invoice": (SettleHoldInvoice, Done),
    "cancel_hold_invoice": (CancelHoldInvoice, Done),
    "lookup_invoice": (LookupInvoice, Transaction),
    "list_transactions": (ListTransactions, Transactions),
    "get_balance": (GetBalance, WalletBalance),
    "get_info": (GetInfo, NodeInfo),
}
METHOD_NAMES: Final = {request: name for name, (request, _) in METHODS.items()}
