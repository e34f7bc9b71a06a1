"""From a letter to a message: every rule of the microstandard about one event by itself.

Source: docs/nip-training.md, section 10. Guarantee: what `read_message` returns has the right
version, is not expired, is small enough, its embedded request is the receiver's own, and its sender
is the key that signed. Whether it fits the contract is the machines' question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kumiai.base.canonical import is_hash
from kumiai.base.errors import Reject
from kumiai.base.events import Event, check_event
from kumiai.market import judging_terms as j
from kumiai.market import terms as t
from kumiai.market.kinds import EVENT_BYTES_MAX, TOPIC, VERSION, Kind, Ruling, Status
from kumiai.market.letters import (
    Cancelled,
    Closed,
    ContractAccepted,
    ContractSent,
    DisputeRaised,
    FeedbackGiven,
    JobPosted,
    JudgementGiven,
    JudgingAsked,
    Letter,
    Message,
    OfferMade,
    Rated,
    ResultGiven,
    RoundAsked,
    RulingGiven,
    VerdictGiven,
)
from kumiai.market.nips.nip01 import decode_event, encode_event, get_value, get_values
from kumiai.market.nips.urls import normalise_relay_url
from kumiai.market.params import ParamError, Params, read_int, read_params
from kumiai.market.terms import Tag

SENTENCE_CHARS_MAX = 500
SIGNATURES_MAX = 64
RELAYS_MAX = 8  # of a job: where it asks for answers


def read_message(letter: Letter, now_s: int) -> Message | Reject:
    """Read one letter; a Reject names the event and the flaw, and is the evidence to keep."""
    event = letter.event
    evidence = {"event": event.id, "author": event.pubkey, "kind": str(event.kind)}
    try:
        if len(encode_event(event)) > EVENT_BYTES_MAX:
            return Reject("too-big", f"more than {EVENT_BYTES_MAX} bytes", evidence)
        kind = Kind(event.kind)
        if kind is Kind.CANCEL:
            return Cancelled(event.id, event.pubkey, tuple(get_values(event.tags, "e")[:64]))
        if get_value(event.tags, "v") != VERSION:
            return Reject("wrong-version", "another version of the microstandard", evidence)
        if TOPIC not in get_values(event.tags, "t"):
            return Reject("wrong-topic", f"no tag t = {TOPIC}", evidence)
        expires = get_value(event.tags, "expiration")
        expires_at_s = read_int("expiration", expires, 0, 2**40) if expires is not None else 0
        if expires is not None and expires_at_s <= now_s:
            return Reject("expired", f"expired at {expires_at_s}", evidence)
        if kind in _PUBLIC and letter.hidden is not None:
            return Reject("malformed", "hides what is for everybody", evidence)
        params = read_params(letter.tags)
        return _READERS[kind](_Open(letter, params, expires_at_s))
    except (ValueError, KeyError, RecursionError) as error:
        return Reject("malformed", str(error)[:SENTENCE_CHARS_MAX], evidence)


@dataclass(frozen=True, slots=True)
class _Open:
    letter: Letter
    params: Params
    expires_at_s: int

    @property
    def event(self) -> Event:
        return self.letter.event

    @property
    def is_opened(self) -> bool:
        return self.letter.hidden is not None or not self.is_encrypted

    @property
    def is_encrypted(self) -> bool:
        return any(tag[:1] == ("encrypted",) for tag in self.event.tags)

    def need_opened(self) -> tuple[Tag, ...]:
        """Hidden tags of an event that must have them; clear ones must not stand beside."""
        if self.letter.hidden is None:
            raise ValueError("its hidden tags are not for us, or cannot be opened")
        if any(tag[:1] in (("i",), ("param",)) for tag in self.event.tags):
            raise ValueError("clear i or param tags beside encrypted ones")
        return self.letter.hidden

    def get_ref(self, marker: str) -> str:
        found = [tag[1] for tag in self.event.tags if len(tag) >= 4 and tag[::3] == ("e", marker)]
        if len(found) != 1 or not is_hash(found[0]):
            raise ValueError(f"must have exactly one e tag with the marker {marker}")
        return found[0]

    def get_receiver(self) -> str:
        receiver = get_value(self.event.tags, "p")
        if not is_hash(receiver):
            raise ValueError("must have exactly one p tag with a key")
        return str(receiver)

    def get_round(self) -> int:
        return read_int("n", get_value(self.event.tags, "n") or "", 1, t.ROUNDS_MAX)

    def get_request(self) -> Event:
        """The request that a result embeds: it must be the receiver's own, and the one named."""
        request = decode_event(get_value(self.event.tags, "request") or "", EVENT_BYTES_MAX)
        flaw = check_event(request)
        if flaw is not None:
            raise ValueError(f"the embedded request is not what its author signed: {flaw}")
        if request.id != self.get_ref("request"):
            raise ValueError("the embedded request is not the one that its e tag names")
        if request.pubkey != self.get_receiver():
            raise ValueError("the embedded request is not the receiver's")
        if request.kind != self.event.kind - 1000:
            raise ValueError("a result's kind is its request's plus 1000")
        return request

    def get_amount(self) -> tuple[int, str]:
        found = [tag for tag in self.event.tags if tag and tag[0] == "amount"]
        if len(found) != 1 or len(found[0]) < 2:
            raise ValueError("must have exactly one amount tag")
        bolt11 = found[0][2] if len(found[0]) > 2 else ""
        if len(bolt11) > 2_000:
            raise ValueError("an invoice of more than 2000 characters")
        return read_int("amount", found[0][1], 0, t.MSAT_MAX), bolt11

    def get_status(self) -> tuple[str, str, str]:
        found = [tag for tag in self.event.tags if tag and tag[0] == "status"]
        if len(found) != 1 or len(found[0]) < 2:
            raise ValueError("must have exactly one status tag")
        padded = (*found[0], "", "")
        return padded[1], padded[2][:SENTENCE_CHARS_MAX], padded[3][:SENTENCE_CHARS_MAX]


def _read_job(o: _Open) -> JobPosted:
    bid = read_int("bid", get_value(o.event.tags, "bid") or "", 1, t.MSAT_MAX)
    relays = next((tag[1:] for tag in o.event.tags if tag[:1] == ("relays",)), ())
    terms = t.read_job(o.letter.tags, o.params, bid) if o.is_opened else None
    if not o.expires_at_s:
        raise ValueError("a job must have an expiration")
    said = next((tag[1:] for tag in o.event.tags if tag[:1] == ("payment",)), ())
    payment = terms.payment if terms is not None else t.read_policies(said)
    return JobPosted(
        o.event.id, o.event.pubkey, o.expires_at_s, bid, _read_relays(relays), terms, payment
    )


def _read_relays(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the first addresses that are some; what is none is left out, as nobody can go there.

    It must not go further: whoever is told to publish there would take it for its owner's mistake.
    """
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[normalise_relay_url(text)] = None
        except ValueError:
            continue
    return tuple(found)[:RELAYS_MAX]


def _read_offer(o: _Open) -> OfferMade:
    job = o.get_request()
    price, _ = o.get_amount()
    terms = t.read_offer(o.params, price, o.expires_at_s)
    bid = read_int("bid", get_value(job.tags, "bid") or "", 1, t.MSAT_MAX)
    if price > bid:
        raise ParamError("amount", price, f"must not exceed the job's bid of {bid} msat")
    return OfferMade(o.event.id, job.id, o.event.pubkey, terms)


def _read_contract(o: _Open) -> ContractSent:
    terms = t.read_contract(o.need_opened(), o.params)
    return ContractSent(
        id=o.event.id,
        job=o.get_ref("job"),
        offer=o.get_ref("offer"),
        customer=o.event.pubkey,
        provider=o.get_receiver(),
        terms=terms,
        event=o.event,
    )


def _read_acceptance(o: _Open) -> ContractAccepted:
    o.need_opened()
    return ContractAccepted(o.event.id, o.get_ref("job"), o.get_request().id, o.event.pubkey)


def _read_round(o: _Open) -> RoundAsked:
    terms = t.read_round(o.need_opened(), o.params)
    if terms.round != o.get_round():
        raise ParamError("round", terms.round, "differs from the n tag")
    return RoundAsked(
        id=o.event.id,
        job=o.get_ref("job"),
        contract=o.get_ref("contract"),
        customer=o.event.pubkey,
        provider=o.get_receiver(),
        terms=terms,
        event=o.event,
    )


def _read_result(o: _Open) -> ResultGiven:
    terms = t.read_result(o.need_opened(), o.params)
    amount, bolt11 = o.get_amount()
    return ResultGiven(
        id=o.event.id,
        job=o.get_ref("job"),
        contract=o.get_ref("contract"),
        request=o.get_request().id,
        round=o.get_round(),
        provider=o.event.pubkey,
        amount_msat=amount,
        bolt11=bolt11,
        terms=terms,
    )


def _read_feedback(o: _Open) -> FeedbackGiven:
    status, sentence, _ = o.get_status()
    if o.params.has("key"):
        o.need_opened()  # a key in the clear is everybody's
    return FeedbackGiven(
        id=o.event.id,
        job=o.get_ref("job"),
        request=o.get_ref("request"),
        provider=o.event.pubkey,
        status=Status(status),
        sentence=sentence,
        key=o.params.get_hash("key", ""),
    )


def _read_verdict(o: _Open) -> VerdictGiven:
    ruling, code, sentence = o.get_status()
    return VerdictGiven(
        id=o.event.id,
        job=o.get_ref("job"),
        contract=o.get_ref("contract"),
        result=o.get_ref("result"),
        round=o.get_round(),
        judge=o.event.pubkey,
        provider=o.get_receiver(),
        ruling=Ruling(ruling),
        code=code[:40],
        sentence=sentence,
        gain_ppm=o.params.get_int("gain_ppm", -t.PPM_LIMIT, t.PPM_LIMIT, default=0),
        update=get_value(o.event.tags, "x") or "",
        preimage=o.params.get_hash("preimage", ""),
        signatures=o.params.get_all("signature")[:SIGNATURES_MAX],
    )


def _read_judging(o: _Open) -> JudgingAsked:
    terms = j.read_judging(o.need_opened(), o.params)
    receiver = o.get_receiver()
    return JudgingAsked(o.event.id, o.get_ref("job"), o.event.pubkey, receiver, o.event, terms)


def _read_judgement(o: _Open) -> JudgementGiven:
    return JudgementGiven(
        id=o.event.id,
        job=o.get_ref("job"),
        judge=o.event.pubkey,
        round=o.get_round(),
        attempt=o.params.get_int("attempt", 0, j.ATTEMPTS_MAX),
        loss_ppm=o.params.get_int("loss_ppm", 0, t.PPM_LIMIT),
        accuracy_ppm=o.params.get_int("accuracy_ppm", 0, 10**6),
        lines=j.read_lines(o.params),
    )


def _read_dispute(o: _Open) -> DisputeRaised:
    return DisputeRaised(
        id=o.event.id,
        job=o.get_ref("job"),
        contract=o.get_ref("contract"),
        verdict=o.get_ref("verdict"),
        provider=o.event.pubkey,
        juror=o.get_receiver(),
        round=o.get_round(),
        event=o.event,
        terms=j.read_dispute(o.need_opened(), o.params),
    )


def _read_ruling(o: _Open) -> RulingGiven:
    ruling, code, sentence = o.get_status()
    if o.params.has("signature"):
        o.need_opened()
    return RulingGiven(
        id=o.event.id,
        job=o.get_ref("job"),
        contract=o.get_ref("contract"),
        dispute=o.get_ref("dispute"),
        verdict=o.get_ref("verdict"),
        juror=o.event.pubkey,
        ruling=Ruling(ruling),
        code=code[:40],
        sentence=sentence,
        signatures=o.params.get_all("signature")[:SIGNATURES_MAX],
    )


def _read_closing(o: _Open) -> Closed:
    return Closed(
        id=o.event.id,
        job=o.get_ref("job"),
        customer=o.event.pubkey,
        rounds=o.params.get_int("rounds", 0, t.ROUNDS_MAX),
        paid_msat=o.params.get_int("paid_msat", 0, t.MSAT_MAX),
        model=get_value(o.event.tags, "x") or "",
    )


def _read_rating(o: _Open) -> Rated:
    return Rated(
        id=o.event.id,
        contract=o.get_ref("contract"),
        rater=o.event.pubkey,
        rated=o.get_receiver(),
        points=read_int("rating", get_value(o.event.tags, "rating") or "", 0, 100),
        sentence=o.event.content[:SENTENCE_CHARS_MAX],
    )


_PUBLIC = frozenset({Kind.OFFER, Kind.JUDGEMENT, Kind.CLOSING, Kind.RATING})
_READERS: dict[Kind, Callable[[_Open], Message]] = {
    Kind.JOB: _read_job,
    Kind.OFFER: _read_offer,
    Kind.CONTRACT: _read_contract,
    Kind.ACCEPTANCE: _read_acceptance,
    Kind.ROUND_REQUEST: _read_round,
    Kind.RESULT: _read_result,
    Kind.FEEDBACK: _read_feedback,
    Kind.VERDICT: _read_verdict,
    Kind.JUDGING: _read_judging,
    Kind.JUDGEMENT: _read_judgement,
    Kind.DISPUTE: _read_dispute,
    Kind.RULING: _read_ruling,
    Kind.CLOSING: _read_closing,
    Kind.RATING: _read_rating,
}
