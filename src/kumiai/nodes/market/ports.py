"""The doors between a market member and the world: relays, blob servers, wallets, mints, a journal.

Every port has an embedded part that needs no service and passes the same contract suite as the real
ones. All amounts are millisatoshi (msat); wallets and mints that know whole satoshi only refuse
others with an InputError. Methods raise errors of the tree in `base.errors`; `is_retriable` tells
whether the same call may be made again. Every call that moves money takes a `key`: the same key
moves it once, however often the call is made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from kumiai.base.events import Event
from kumiai.market.nips.nip01 import Filter


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an event: relays that took it, and (relay, reason) of those that did not."""

    accepted: tuple[str, ...]
    refused: tuple[tuple[str, str], ...] = ()


class EventStream(Protocol):
    """Events of a subscription. What is not closed is asked for, and kept, for ever."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def aclose(self) -> None: ...


class RelayPort(Protocol):
    """Several relays as one: events go to all of them and come back once, checked.

    An event that was handed out has a true id and signature and matches one of the filters. No
    promise is made about order, completeness or the times in events: relays are not trusted.
    """

    async def publish(self, event: Event, relays: Sequence[str] = ()) -> Published:
        """Send to all relays, and to those named; done when each has answered or is out of time.

        Publishing the same event again is harmless. Raises RelayError (retriable) only if no relay
        took it.
        """
        ...

    def subscribe(self, filters: Sequence[Filter]) -> EventStream:
        """Yield stored and then new events, each once, until the stream is closed.

        After a lost connection it subscribes again and fetches what was missed.
        """
        ...

    async def fetch(self, filters: Sequence[Filter], timeout_s: float = 10.0) -> list[Event]:
        """Return what the relays have stored, oldest first; RelayError if none answers."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BlobLocation:
    """Where a blob is and what it must be: its name is the sha256 of its bytes."""

    sha256: str
    size_bytes: int
    servers: tuple[str, ...]  # base URLs, e.g. http://127.0.0.1:24242


class RemoteBlobPort(Protocol):
    """Blobs on servers that are not trusted: every byte is checked against the name."""

    async def upload(
        self, path: Path, media_type: str = "application/octet-stream", sha256: str = ""
    ) -> BlobLocation:
        """Put a file on all servers of this member; done when one has it. Resumes what it can.

        sha256: its name where that is known already, so that it is read once only; servers refuse
        a file that has another.
        """
        ...

    async def download(self, wanted: BlobLocation, path: Path, size_bytes_max: int) -> None:
        """Fetch into `path` from whichever servers answer; nothing is left there if it fails.

        Raises BlobError: no server has it (retriable), too big, or not what its name says.
        """
        ...

    async def has(self, wanted: BlobLocation) -> bool: ...

    async def delete(self, wanted: BlobLocation) -> None: ...

    async def close(self) -> None: ...


class PaymentState(StrEnum):
    """Where an amount is. NIP-47's words; `CANCELED` is `failed` there."""

    PENDING = "pending"  # asked for or under way; it may still move
    ACCEPTED = "accepted"  # a hold invoice: the payer's money is locked, nobody has it
    SETTLED = "settled"  # moved; the payer knows the preimage
    FAILED = "failed"  # did not move and never will: a new invoice may be paid
    EXPIRED = "expired"
    CANCELED = "canceled"  # a hold invoice given back to the payer


@dataclass(frozen=True, slots=True)
class Invoice:
    """A BOLT11 invoice as a wallet made it or a decoder read it. Times are seconds."""

    bolt11: str
    payment_hash: str  # 64 hex digits
    amount_msat: int
    payee: str  # 66 hex digits: compressed public key of the node that is paid
    created_at_s: int
    expires_at_s: int
    description: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """One movement as the own wallet tells it: the only evidence that is believed."""

    payment_hash: str
    is_incoming: bool
    amount_msat: int
    state: PaymentState
    fee_msat: int = 0
    preimage: str | None = None  # 64 hex digits, once settled
    created_at_s: int = 0
    settled_at_s: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """spendable: can be paid out now; held: locked in hold invoices or payments under way."""

    spendable_msat: int
    held_msat: int = 0


@dataclass(frozen=True, slots=True)
class WalletInfo:
    """What a wallet can do. unit_msat: amounts are multiples of it (1000: whole satoshi)."""

    name: str
    kind: str  # embedded | nwc | lnbits | cashu | ldk
    has_hold: bool
    unit_msat: int = 1
    payee: str = ""  # key that its invoices are signed by, where it is known
    has_preimage: bool = False  # makes invoices on a preimage of ours, as fair exchange needs


class WalletPort(Protocol):
    """A Lightning wallet of one member."""

    async def get_info(self) -> WalletInfo: ...

    async def make_invoice(
        self,
        key: str,
        amount_msat: int,
        description: str = "",
        expiry_s: int = 3600,
        preimage: str | None = None,
    ) -> Invoice:
        """Ask to be paid. `preimage` (64 hex digits): the one that a settled payment reveals.

        The same key gives the same invoice. Raises WalletError with code NOT_IMPLEMENTED where the
        wallet cannot choose preimages.
        """
        ...

    async def make_hold_invoice(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str = "",
        expiry_s: int = 3600,
    ) -> Invoice:
        """Ask for money that stays locked until `settle` or `cancel`; same key, same invoice."""
        ...

    async def settle(self, preimage: str) -> Payment:
        """Take locked money with the preimage of its hash; settling twice is harmless."""
        ...

    async def cancel(self, payment_hash: str) -> Payment:
        """Give locked money back, or withdraw the invoice; twice is harmless."""
        ...

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        """Pay once. Returns as soon as the money is settled, locked, or known to have failed;
        PENDING where that takes longer than the wallet waits: `lookup` tells later.

        Refused before anything moves (WalletError, permanent): another amount or payee than given,
        expired, own invoice, already paid under another key.
        """
        ...

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        """What the wallet knows of a payment; None if it never heard of it."""
        ...

    async def get_balance(self) -> Balance: ...

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        """All movements since then, oldest first."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class EcashLock:
    """Who may spend a token (NUT-11, NUT-14). Keys are compressed, 66 hex digits.

    signers and signatures_required: that many of these must sign. hash: the preimage must be shown
    too (HTLC); "" for none. From locktime_s on, `refund` alone may spend as well: who is paid must
    redeem before it. about: 64 hex digits of what the token pays for, written into it so that
    nobody takes it for another; "" for nothing.
    """

    signers: tuple[str, ...]
    signatures_required: int
    locktime_s: int
    refund: str
    payment_hash: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class TokenState:
    """What the mint says: unspent, pending or spent, and the preimage if it was shown."""

    state: str
    preimage: str | None = None


class EcashPort(Protocol):
    """Ecash of one member at one mint, for escrow."""

    @property
    def pubkey(self) -> str:
        """The key that tokens are locked to for this member: not its NOSTR key."""
        ...

    async def lock(self, key: str, amount_msat: int, lock: EcashLock) -> str:
        """Make a token that only `lock` lets spend; the same key gives the same token."""
        ...

    async def check(self, token: str, amount_msat: int, lock: EcashLock) -> None:
        """Raise WalletError unless the token is of our mint, unspent, worth that much after the
        mint's fee for redeeming, and locked exactly so.
        """
        ...

    async def sign(self, token: str, about: str = "") -> tuple[str, ...]:
        """Return this member's signatures, one a proof, that let another redeem.

        WalletError if the token was not locked for `about`, where that is given.
        """
        ...

    async def redeem(
        self,
        key: str,
        token: str,
        signatures: Sequence[Sequence[str]] = (),
        preimage: str | None = None,
    ) -> int:
        """Spend with our signature, those given and the preimage; return the msat received."""
        ...

    async def get_state(self, token: str) -> TokenState: ...

    async def get_balance(self) -> Balance: ...

    async def close(self) -> None: ...


class MarketJournalPort(Protocol):
    """A member's own record of the market: every input of its machine, before it has an effect.

    Append-only, all or nothing, survives kill -9. Entries are canonical JSON documents.
    """

    def append(self, entries: Sequence[Mapping[str, object]]) -> None: ...

    def read(self) -> list[Mapping[str, object]]: ...

    def mark(self, at_s: int) -> None:
        """Note that the member was awake then. Costs no entry, may be lost, never raises."""
        ...

    def find_mark(self) -> int:
        """Return when it was last noted, 0 if that is not known."""
        ...
