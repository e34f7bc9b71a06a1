"""What a customer knows of its job: its plan, the offers, the contracts, the work of each round.

All of it is a fold of the inputs in the customer's journal. Money is in msat, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kumiai.base.events import Event
from kumiai.market.effects import Effect, Rejected
from kumiai.market.kinds import DISPUTABLE, Code, Ruling
from kumiai.market.letters import JudgementGiven, OfferMade, ResultGiven
from kumiai.market.terms import BlobRef, JobTerms

UNPAID_STATES = frozenset({"failed", "expired", "canceled"})
OFFERS_KEPT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class CustomerPlan:
    """Everything that the customer decides before it posts. Blobs lie in its own store.

    terms: the job; its `task` and `code` references are filled in when they are on the servers.
    shards: one blob each, not sealed. secret: 64 hex digits that derive all keys and preimages.
    offers_s: how long offers are waited for; wanted: how many providers work at once (shards times
    redundancy). budget_msat: never is more promised than this, the limit of fees included.
    """

    pubkey: str
    secret: str
    terms: JobTerms
    task: str
    code: str
    model: str
    shards: tuple[str, ...]
    sample_counts: tuple[int, ...]
    budget_msat: int
    relays: tuple[str, ...]
    offers_s: int = 60
    offers_enough: int = 0  # with so many offers the wait is over; 0: always wait
    accept_s: int = 120  # for a provider to fetch its part and accept
    payment_s: int = 600  # to wait for money at the end
    job_life_s: int = 24 * 3600
    is_sealed: bool = False
    is_automatic: bool = True  # take the best offers without asking
    attempts_max: int = 3  # of one round
    faults_max: int = 2  # rejected or missing results of one provider before it is replaced
    refused: tuple[str, ...] = ()  # keys that get no contract
    has_fees: bool = False  # payments may cost fees; not those of play money, nor of old plans

    @property
    def wanted(self) -> int:
        """How many providers work at once."""
        return len(self.shards) * self.terms.redundancy


class Phase(StrEnum):
    """Where a job is."""

    DRAFT = "draft"
    STORING = "storing"
    OFFERS = "offers"
    CONTRACTS = "contracts"
    ROUND = "round"
    JUDGING = "judging"
    COMBINING = "combining"
    PAYING = "paying"  # all rounds done; money is still under way
    CLOSED = "closed"


class Standing(StrEnum):
    """Where a contract is."""

    CHOSEN = "chosen"
    SENT = "sent"
    ACTIVE = "active"
    ENDED = "ended"


class Stage(StrEnum):
    """Where one provider's work of one round is: the unit of pay."""

    ASKED = "asked"
    WORKING = "working"
    DELIVERED = "delivered"  # the sealed update is announced
    FETCHED = "fetched"  # and lies in our store
    LOCKED = "locked"  # the money is held, the key is awaited
    OPENING = "opening"
    OPENED = "opened"
    ACCEPTED = "accepted"  # judged; money is on its way
    REJECTED = "rejected"
    PAID = "paid"
    CLOSED = "closed"  # nothing was delivered that could be judged


@dataclass(frozen=True, slots=True)
class Member:
    """A provider with a contract of ours. slot: shard index, replica."""

    provider: str
    offer: OfferMade
    shard: int
    standing: Standing
    since_s: int
    contract: str = ""
    faults: int = 0
    accepted: int = 0
    rejected: int = 0
    paid_msat: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """One request and what came of it."""

    round: int
    attempt: int
    provider: str
    stage: Stage
    price_msat: int
    deadline_s: int
    preimage: str = ""  # ours, with policy hold
    token: str = ""  # with policy escrow
    model: str = ""  # that the round began with
    request: str = ""
    result: ResultGiven | None = None
    order: int = 0  # of arrival: the earliest of two equal updates keeps its rank
    update: str = ""
    seal_key: str = ""
    key_by_s: int = 0
    gain_ppm: int = 0
    ruling: Ruling | None = None
    code: Code | None = None
    verdict: str = ""
    payment: str = ""  # the wallet's last word
    fee_msat: int = 0
    fee_msat_max: int = 0  # reserved beside the price until the payment is settled or dead
    tries: int = 0  # payments of this accepted work, or refunds, that failed for good
    grace_s: int = 0  # in which we were not there to hear of it

    @property
    def key(self) -> str:
        """Name of this work in effects."""
        return f"{self.round}/{self.attempt}/{self.provider}"

    @property
    def until_s(self) -> int:
        """How long we wait for its update: to the deadline, and as long as we missed."""
        return self.deadline_s + self.grace_s

    @property
    def is_accepted_unpaid(self) -> bool:
        """Tell whether it was accepted and its payment is dead: nothing moves any more."""
        return self.stage is Stage.ACCEPTED and self.payment in UNPAID_STATES

    @property
    def is_spent(self) -> bool:
        """Tell whether its money has left us: by our wallet's word, or because the mint keeps it.

        A refund that was refused for good: the provider and a juror have spent the ecash.
        """
        is_kept = bool(self.token) and self.payment == "failed"
        return self.stage is Stage.PAID or self.payment == "settled" or is_kept

    @property
    def is_open(self) -> bool:
        """Tell whether the round waits for it."""
        return self.stage in _OPEN


_OPEN = frozenset(
    {Stage.ASKED, Stage.WORKING, Stage.DELIVERED, Stage.FETCHED, Stage.LOCKED, Stage.OPENING}
)


@dataclass(frozen=True, slots=True)
class RoundDone:
    """One line of the job's history."""

    round: int
    loss_ppm: int  # of the model that the round began with
    accuracy_ppm: int
    accepted: int
    rejected: int
    ended_s: int


@dataclass(frozen=True, slots=True)
class CustomerState:
    """The whole of it; a plain value."""

    phase: Phase = Phase.DRAFT
    phase_since_s: int = 0
    terms: JobTerms | None = None
    refs: Mapping[str, BlobRef] = field(default_factory=dict)  # task, code, model:<sha>, shard:...
    job: Event | None = None
    offers: Mapping[str, OfferMade] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    contracts: Mapping[str, Event] = field(default_factory=dict)
    works: Mapping[str, Work] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)  # request event -> work key
    votes: Mapping[str, JudgementGiven] = field(default_factory=dict)  # judge -> of this round
    rulings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # work -> jurors for it
    round: int = 0
    attempt: int = 0
    model: str = ""
    previous_model: str = ""
    server_state: str = ""
    arrivals: int = 0
    final_loss_ppm: int | None = None
    final_accuracy_ppm: int | None = None
    history: tuple[RoundDone, ...] = ()
    pending: Mapping[str, Effect] = field(default_factory=dict)
    rejected: tuple[Rejected, ...] = ()
    is_cancelled: bool = False
    outcome: str = ""
    missed_s: int = 0  # in all, when we were not there although somebody was waited for

    @property
    def spent_msat(self) -> int:
        """What has left our wallet or will: settled, with fees."""
        return sum(work.price_msat + work.fee_msat for work in self.works.values() if work.is_spent)

    @property
    def reserved_msat(self) -> int:
        """What is promised and not final, with the most that its payment may cost."""
        return sum(
            work.price_msat + work.fee_msat_max
            for work in self.works.values()
            if self._is_promised(work)
        )

    def _is_promised(self, work: Work) -> bool:
        if work.is_spent:
            return False
        if work.is_accepted_unpaid:
            return False
        if work.is_open or work.stage in (Stage.OPENED, Stage.ACCEPTED):
            return True
        if work.token and work.payment != "refunded":
            return True  # until it has come back, or was asked for in vain
        if f"lock/{work.key}" in self.pending:
            return True  # the mint may be slow
        return self.is_being_paid(work) or self._may_be_ruled(work)

    def is_being_paid(self, work: Work) -> bool:
        """Tell whether it may be paid yet by what is under way, whatever we decide.

        Only a hold payment cannot end without our preimage.
        """
        return f"pay/{work.key}" in self.pending and not work.preimage

    def _may_be_ruled(self, work: Work) -> bool:
        """A jury may still say that a rejected work is to be paid."""
        if self.terms is None or not self.terms.jury or work.code not in DISPUTABLE:
            return False
        if self.phase is Phase.CLOSED:
            return False  # a ruling is followed yet, but nothing is begun any more beside it
        return work.stage is Stage.REJECTED and work.payment not in UNPAID_STATES


@dataclass(frozen=True, slots=True)
class Begin:
    """Command: post the job."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Command: contract these providers (keys), best first; () takes the best offers."""

    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Command: stop; what was delivered is judged and paid."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Command: say publicly how a provider was, 0 to 100."""

    provider: str
    points: int
    sentence: str = ""


Command = Begin | Accept | Cancel | Rate
