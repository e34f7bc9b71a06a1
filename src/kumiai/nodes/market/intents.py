"""Intents: what a member is about to do with money, written down before its wallet is asked.

An intent outlives a crash between deciding and paying; the wallet is then asked what became of it.
Which intents exclude each other is checked where they are kept, in the same step that keeps them:

- a key belongs to one intent for ever;
- of the intents to pay one debt (purpose, job, round, counterpart) or one payment hash, at most one
  is live: pending, locked or settled. Another invoice is paid only when the first is known dead;
- one hash is settled or cancelled, never both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from kumiai.nodes.market.ports import Invoice, PaymentState

FINAL: Final = frozenset(
    {PaymentState.SETTLED, PaymentState.FAILED, PaymentState.EXPIRED, PaymentState.CANCELED}
)
DEAD: Final = FINAL - {PaymentState.SETTLED}  # nothing moved, nothing will


class Action(StrEnum):
    """What the wallet is asked to do."""

    PAY = "pay"
    ASK = "ask"  # an invoice of ours
    ASK_HOLD = "ask_hold"
    SETTLE = "settle"  # take what a hold invoice of ours locked
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Debt:
    """What money is for: the same four words are owed once. round: 0 where none applies.

    counterpart: the other member's public key. purpose: "round", "deposit", "model key", ...; where
    one member is owed several amounts in a round, it tells them apart.
    """

    purpose: str
    job: str
    round: int
    counterpart: str


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing to be done with money. bolt11, payment_hash, payee: "" while not known.

    preimage: chosen for an invoice, or shown to settle. expires_at_s: of the invoice, 0 if unknown.
    """

    key: str
    action: Action
    debt: Debt
    amount_msat: int
    payment_hash: str = ""
    bolt11: str = ""
    payee: str = ""
    fee_msat_max: int = 0
    preimage: str = ""
    created_at_s: int = 0
    expires_at_s: int = 0

    @property
    def is_incoming(self) -> bool:
        """Whether the money comes to us."""
        return self.action is not Action.PAY


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the own wallet told of an intent; note: why, in words, where it is not plain."""

    state: PaymentState
    preimage: str = ""
    fee_msat: int = 0
    settled_at_s: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An intent and the last that is known of it."""

    intent: Intent
    outcome: Outcome

    @property
    def is_open(self) -> bool:
        """Whether it may still change."""
        return self.outcome.state not in FINAL


class IntentStorePort(Protocol):
    """Keeps intents. Every call is durable when it returns, and whole or not at all."""

    def add(self, intent: Intent) -> None:
        """Keep a new intent as PENDING.

        Raises WalletError: ALREADY_PAID where one that excludes it is kept (the module says which).
        """
        ...

    def put_invoice(self, key: str, invoice: Invoice) -> None:
        """Add what our wallet made to an intent to ask; StoreError for a second invoice."""
        ...

    def put_outcome(self, key: str, outcome: Outcome) -> None:
        """Change what is known; what is final stays (StoreError for another state)."""
        ...

    def get(self, key: str) -> Record | None: ...

    def find_live(self, debt: Debt, payment_hash: str) -> list[Record]:
        """Return the live intents to pay this debt or this hash."""
        ...

    def list_open(self) -> list[Record]:
        """Return all that may still change, oldest first."""
        ...

    def list_all(self) -> list[Record]:
        """Return everything ever intended, oldest first."""
        ...
