"""Events of the microstandard as values: drafts that a node signs, letters that it opened.

A `Draft` is everything of an event but its time, nonce and signature; a `Letter` is an event whose
signature was checked and whose hidden tags were opened, as far as this party can. `reading`
turns a letter into one of the message classes here.

Source: docs/nip-training.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumiai.base.events import Event
from kumiai.market import terms as t
from kumiai.market.judging_terms import DisputeTerms, JudgementLine, JudgingTerms
from kumiai.market.kinds import Kind, Policy, Ruling, Status
from kumiai.market.terms import Tag


@dataclass(frozen=True, slots=True)
class Draft:
    """An event to be signed. hidden: tags to be encrypted to `recipient`, or under `job_key`."""

    kind: Kind
    tags: tuple[Tag, ...]
    recipient: str = ""
    hidden: tuple[Tag, ...] | None = None
    job_key: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A checked event; hidden: its opened tags, None where there are none or not for us."""

    event: Event
    hidden: tuple[Tag, ...] | None = None

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Clear and opened tags together."""
        return (*self.event.tags, *(self.hidden or ()))


@dataclass(frozen=True, slots=True)
class JobPosted:
    """5600. terms: None while the job is sealed to us. payment: what a sealed job says openly."""

    id: str
    customer: str
    expires_at_s: int
    bid_msat: int
    relays: tuple[str, ...]
    terms: t.JobTerms | None
    payment: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True)
class OfferMade:
    """6600."""

    id: str
    job: str
    provider: str
    terms: t.OfferTerms


@dataclass(frozen=True, slots=True)
class ContractSent:
    """5601. The event itself is the agreement: its id names it."""

    id: str
    job: str
    offer: str
    customer: str
    provider: str
    terms: t.ContractTerms
    event: Event


@dataclass(frozen=True, slots=True)
class ContractAccepted:
    """6601."""

    id: str
    job: str
    contract: str
    provider: str


@dataclass(frozen=True, slots=True)
class RoundAsked:
    """5602."""

    id: str
    job: str
    contract: str
    customer: str
    provider: str
    terms: t.RoundTerms
    event: Event


@dataclass(frozen=True, slots=True)
class ResultGiven:
    """6602."""

    id: str
    job: str
    contract: str
    request: str
    round: int
    provider: str
    amount_msat: int
    bolt11: str
    terms: t.ResultTerms


@dataclass(frozen=True, slots=True)
class FeedbackGiven:
    """7000. request: what it is about (any of our requests). key: of a sealed update, or ""."""

    id: str
    job: str
    request: str
    provider: str
    status: Status
    sentence: str
    key: str


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """7601. preimage and signatures are what the payment policy hands over."""

    id: str
    job: str
    contract: str
    result: str
    round: int
    judge: str
    provider: str
    ruling: Ruling
    code: str
    sentence: str
    gain_ppm: int
    update: str
    preimage: str
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JudgingAsked:
    """5603, to one member of the committee: part of what it shall judge."""

    id: str
    job: str
    customer: str
    judge: str
    event: Event
    terms: JudgingTerms


@dataclass(frozen=True, slots=True)
class JudgementGiven:
    """6603: what one member of the committee measured; public, so that anybody can count."""

    id: str
    job: str
    judge: str
    round: int
    attempt: int
    loss_ppm: int
    accuracy_ppm: int
    lines: tuple[JudgementLine, ...]


@dataclass(frozen=True, slots=True)
class DisputeRaised:
    """7602, to one juror: what it needs to judge anew."""

    id: str
    job: str
    contract: str
    verdict: str
    provider: str
    juror: str
    round: int
    event: Event
    terms: DisputeTerms


@dataclass(frozen=True, slots=True)
class RulingGiven:
    """7603."""

    id: str
    job: str
    contract: str
    dispute: str
    verdict: str
    juror: str
    ruling: Ruling
    code: str
    sentence: str
    signatures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """7604."""

    id: str
    job: str
    customer: str
    rounds: int
    paid_msat: int
    model: str


@dataclass(frozen=True, slots=True)
class Rated:
    """31602. points: 0 to 100."""

    id: str
    contract: str
    rater: str
    rated: str
    points: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Kind 5: these requests of `author` are withdrawn."""

    id: str
    author: str
    requests: tuple[str, ...]


Message = (
    JobPosted
    | OfferMade
    | ContractSent
    | ContractAccepted
    | RoundAsked
    | ResultGiven
    | FeedbackGiven
    | VerdictGiven
    | JudgingAsked
    | JudgementGiven
    | DisputeRaised
    | RulingGiven
    | Closed
    | Rated
    | Cancelled
)
