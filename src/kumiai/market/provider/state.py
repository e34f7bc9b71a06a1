"""What a provider knows: its policy, the jobs it saw, its contracts, and the work it did.

All of it is a fold of the inputs in the provider's journal. Money is in msat, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kumiai.base.canonical import sha256_hex
from kumiai.base.events import Event
from kumiai.market.effects import Effect, Rejected
from kumiai.market.kinds import Policy
from kumiai.market.letters import JobPosted, RoundAsked
from kumiai.market.terms import BlobRef, ContractTerms, JobTerms, OfferTerms

JOBS_KEPT_MAX = 1_000
CONTRACTS_MAX = 100


@dataclass(frozen=True, slots=True)
class ProviderPolicy:
    """What the owner of the machine takes on. secret: 64 hex digits that derive keys of updates.

    price_msat: for one accepted round. recipes: names that are trained, () for all of the library;
    `code`: hashes of foreign code that may run here (none by default). bytes_max: of a job's shard,
    model or update. refused: customers' keys.
    """

    pubkey: str
    secret: str
    name: str
    price_msat: int
    payee: str
    payment: tuple[Policy, ...]
    train_s: int = 60
    ecash: str = ""
    recipes: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    bytes_max: int = 2**31
    contracts_max: int = 4
    hardware: str = "cpu"
    about: str = ""
    offer_life_s: int = 3600
    refused: tuple[str, ...] = ()
    unpaid_max: int = 1  # rounds of one contract that may be delivered and not yet settled
    losses_max: int = 3  # rounds of one contract in a row that may be rejected; then it is ended
    disputes: bool = False  # ask the jury, where a job has one, about work that was judged bad
    wait_s_max: int = 24 * 3600  # a job's own times may hold a place or pay so long; 0: any time
    offers_max: int = 100  # open at once, to customers that never paid us; 0: any number
    offers_of_one_max: int = 4  # open at once, to one customer; 0: any number


class Standing(StrEnum):
    """Where a contract is."""

    OPENING = "opening"  # a sealed job's terms are being opened
    FETCHING = "fetching"
    ACTIVE = "active"
    ENDED = "ended"


class Stage(StrEnum):
    """Where one round's work is."""

    ASKED = "asked"
    OWED = "owed"  # earlier rounds are not paid: this one waits for that
    CHECKING = "checking"  # ecash
    FETCHING = "fetching"
    WAITING = "waiting"  # for the machine: one training at a time
    TRAINING = "training"
    STORING = "storing"
    INVOICING = "invoicing"
    DELIVERED = "delivered"
    LOCKED = "locked"  # the customer's money is held: the key is out
    ACCEPTED = "accepted"
    PAID = "paid"
    REJECTED = "rejected"
    FAILED = "failed"
    DISPUTED = "disputed"


OVER = frozenset({Stage.PAID, Stage.REJECTED, Stage.FAILED})


@dataclass(frozen=True, slots=True)
class Contract:
    """An agreement with a customer; id: its event."""

    id: str
    job: str
    customer: str
    event: Event
    terms: ContractTerms
    standing: Standing
    job_terms: JobTerms | None = None
    shard: str = ""
    since_s: int = 0  # of the last thing that its customer said
    needs: tuple[str, ...] = ()  # blobs that are still on their way
    reason: str = ""
    paid_msat: int = 0  # by our own wallet's word
    asked_count: int = 0  # requests that we took
    failed_count: int = 0  # of these could not be worked on


@dataclass(frozen=True, slots=True)
class Work:
    """One round request and what came of it."""

    request: RoundAsked
    stage: Stage
    update: str = ""
    sealed: BlobRef | None = None
    amount_msat: int = 0
    samples: int = 0
    iterations: int = 0
    flop: int = 0
    loss_ppm: int = 0
    bolt11: str = ""
    payment_hash: str = ""
    result: str = ""  # our result's event
    verdict: Event | None = None
    code: str = ""
    payment: str = ""
    paid_msat: int = 0
    against: tuple[str, ...] = ()  # jurors that ruled against us

    @property
    def key(self) -> str:
        """Name of this work in effects: the request's event."""
        return self.request.id


@dataclass(frozen=True, slots=True)
class ProviderState:
    """The whole of it; a plain value."""

    is_open: bool = False
    is_away: bool = False  # switched off for now
    is_shown: bool = False  # our last heartbeat says that we are there
    announced_s: int = 0  # of the last heartbeat
    jobs: Mapping[str, JobPosted] = field(default_factory=dict)
    job_events: Mapping[str, Event] = field(default_factory=dict)
    offers: Mapping[str, tuple[str, OfferTerms]] = field(
        default_factory=dict
    )  # offer -> job, terms
    open_until_s: Mapping[str, int] = field(default_factory=dict)  # job -> end of our offer for it
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    works: Mapping[str, Work] = field(default_factory=dict)
    open_works: Mapping[str, str] = field(default_factory=dict)  # work that is not over -> contract
    names: Mapping[str, str] = field(default_factory=dict)  # what names a work -> the work
    disputes: Mapping[str, str] = field(default_factory=dict)  # dispute event -> work
    pending: Mapping[str, Effect] = field(default_factory=dict)
    rejected: tuple[Rejected, ...] = ()

    @property
    def earned_msat(self) -> int:
        """What our own wallet has said to be settled."""
        return sum(work.paid_msat for work in self.works.values())


def name_round(request: RoundAsked) -> str:
    """Return the name of a request's place in its contract."""
    return f"round/{request.contract}/{request.terms.round}/{request.terms.attempt}"


def name_hash(payment_hash: str) -> str:
    """Return the name of a work that money was to be locked for."""
    return f"hash/{payment_hash}"


def name_token(token: str) -> str:
    """Return the name of a work that ecash came for."""
    return f"token/{sha256_hex(token.encode())}"


def name_result(result: str) -> str:
    """Return the name of a work by its result's event."""
    return f"result/{result}"


def list_names(request: RoundAsked) -> list[str]:
    """Return what of a request no other may have."""
    terms = request.terms
    names = [name_round(request)]
    if terms.payment_hash:
        names.append(name_hash(terms.payment_hash))
    if terms.token:
        names.append(name_token(terms.token))
    return names


@dataclass(frozen=True, slots=True)
class Start:
    """Command: announce, and take work."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Command: take no more work; what was agreed on is finished."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Command: the machine is about to be switched off; `Start` comes back."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """Command: ask the job's jury about the verdict on this request."""

    request: str


@dataclass(frozen=True, slots=True)
class RateCustomer:
    """Command: say publicly how a customer was, 0 to 100."""

    contract: str
    points: int
    sentence: str = ""


Command = Start | Leave | Pause | Dispute | RateCustomer
