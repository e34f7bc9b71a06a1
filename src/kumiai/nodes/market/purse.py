"""The door to an ecash wallet as its owner uses it: fill it, pay out of it, see what moved.

Beside `EcashPort`, which is for escrow. Filling and paying go over Lightning, through the mint.
Every call that moves money takes a key, or its invoice is the key: made again, also by another
process after kill -9, it moves the money once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import EcashPort, PaymentState


class MoveKind(StrEnum):
    """Which way ecash came or went."""

    FILLED = "filled"  # an invoice of the mint was paid from elsewhere
    PAID = "paid"  # the mint paid an invoice
    SENT = "sent"  # a token, money for whoever reads it
    LOCKED = "locked"  # a token in escrow
    RECEIVED = "received"  # a token, redeemed or taken back


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement of ecash. Times are seconds, 0: not known. fee: the mint's and the route's.

    bolt11: of FILLED and PAID. preimage: the proof of a payment, where the mint showed it.
    fee_msat_max: what a payment was allowed to cost. token: of SENT and LOCKED.
    """

    key: str
    kind: MoveKind
    amount_msat: int
    state: PaymentState
    fee_msat: int = 0
    fee_msat_max: int = 0
    bolt11: str = ""
    preimage: str = ""
    token: str = ""
    expires_at_s: int = 0
    created_at_s: int = 0
    ended_at_s: int = 0

    @property
    def is_incoming(self) -> bool:
        return self.kind in (MoveKind.FILLED, MoveKind.RECEIVED)


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What was left by a command that was cut off: what ended now, and what keeps the rest open."""

    ended: tuple[Movement, ...]
    fault: WalletError | None = None


class PursePort(EcashPort, Protocol):
    """Ecash of one member at one mint, for its owner."""

    async def fill(self, key: str, amount_msat: int) -> Movement:
        """Ask for an invoice; paid, `claim` turns it into ecash. The same key, the same invoice.

        The mint's invoice is checked: it asks for that amount and no other.
        """
        ...

    async def claim(self, key: str) -> Movement:
        """Fetch the ecash of a paid invoice.

        WalletError: not paid yet (retriable), EXPIRED (not paid, and its time is over).
        """
        ...

    async def pay(self, bolt11: str, fee_msat_max: int) -> Movement:
        """Pay an invoice; called again for the same invoice it tells what became of that.

        PENDING where the mint is not done yet. WalletError, nothing moved: FEE_TOO_HIGH,
        AMOUNT_DIFFERS, ALREADY_PAID (of the invoice), EXPIRED, INSUFFICIENT_BALANCE,
        PAYMENT_FAILED. Retriable: it is not known yet.
        """
        ...

    async def send(self, key: str, amount_msat: int) -> str:
        """Return a token that is worth the amount to whoever redeems it; same key, same token."""
        ...

    async def take_up(self) -> TakenUp:
        """Learn what became of everything that a crash cut off. Nothing new is paid."""
        ...

    async def list_movements(self) -> list[Movement]:
        """Everything, in the order of its beginning; of what is open, as it was known last."""
        ...
