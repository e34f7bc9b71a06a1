"""What a provider says about one work, and whether there is room for it in an event.

Source: docs/nip-training.md, sections 2, 4 and 8. A result embeds its request, a dispute the
verdict and the request's ecash: what a customer makes too long could be trained for and never paid.
"""

from __future__ import annotations

from kumiai.base.events import Event
from kumiai.market.drafts import compute_commitment, draft_dispute, draft_result
from kumiai.market.effects import Publish
from kumiai.market.judging_terms import DisputeTerms
from kumiai.market.kinds import EVENT_BYTES_MAX, Policy
from kumiai.market.letters import Draft, RoundAsked
from kumiai.market.nips.nip01 import encode_event
from kumiai.market.params import INTEGER_MAX
from kumiai.market.provider.state import Stage, Work
from kumiai.market.provider.turn import Turn
from kumiai.market.sizes import compute_event_bytes
from kumiai.market.terms import BLOB_BYTES_MAX, PPM_LIMIT, BlobRef, ResultTerms

# Room that is kept for what is not known when a request comes.
SERVERS_CHARS = 512  # addresses of our own blob servers
BOLT11_CHARS = 1_024
VERDICT_CHARS = 1_400  # as a dispute holds it; one of ours has 1,200
_ANY = "f" * 64
_NUMBER_MAX = 2**40


def publish(turn: Turn, work: Work, name: str, draft: Draft) -> None:
    """Answer where the job asked for answers, beside our own relays."""
    relays = turn.get_relays(work.request.job)
    turn.ask(Publish(f"publish/{name}/{work.key}", draft, relays))


def get_seal_key(turn: Turn, work: Work) -> str:
    """Return the key that a work's update is sealed under."""
    return turn.derive(f"update/{work.key}")


def make_result(turn: Turn, work: Work) -> Draft:
    """Return a work's result; ValueError while its update is not sealed."""
    request = work.request
    is_open = turn.get_contract(work).terms.payment in (Policy.INVOICE, Policy.ESCROW)
    terms = ResultTerms(
        update=_get_sealed(work),
        commitment=_commit(turn, work),
        samples=work.samples,
        iterations=work.iterations,
        flop=work.flop,
        loss_ppm=work.loss_ppm,
        key=get_seal_key(turn, work) if is_open else "",
    )
    place = (request.event, request.job, request.contract, request.terms.round)
    return draft_result(*place, terms, work.amount_msat, work.bolt11)


def make_dispute(turn: Turn, work: Work, verdict: str, verdict_text: str, juror: str) -> Draft:
    """Return a dispute of a work's verdict (its id, the event as JSON); ValueError as above."""
    request = work.request
    terms = DisputeTerms(
        update=_get_sealed(work),
        key=get_seal_key(turn, work),
        model=request.terms.model,
        attempt=request.terms.attempt,
        commitment=_commit(turn, work),
        token=request.terms.token,
        verdict=verdict_text,
    )
    return draft_dispute(request.job, request.contract, verdict, request.terms.round, juror, terms)


def find_overlong(turn: Turn, message: RoundAsked) -> str:
    """Return which answer to a request would have no room in an event, "" if each has."""
    payment = turn.s.contracts[message.contract].terms.payment
    worst = Work(
        message,
        Stage.STORING,
        update=_ANY,
        sealed=BlobRef(_ANY, BLOB_BYTES_MAX, ("x" * SERVERS_CHARS,)),
        amount_msat=message.terms.price_msat,
        samples=_NUMBER_MAX,
        iterations=_NUMBER_MAX,
        flop=INTEGER_MAX,
        loss_ppm=-PPM_LIMIT,
        bolt11="" if payment is Policy.ESCROW else "x" * BOLT11_CHARS,
    )
    answers = {"a result": make_result(turn, worst)}
    if turn.get_terms(worst).jury:
        answers["a dispute"] = make_dispute(turn, worst, _ANY, "x" * VERDICT_CHARS, _ANY)
    for name, draft in answers.items():
        size_bytes = compute_event_bytes(draft)
        if size_bytes > EVENT_BYTES_MAX:
            return f"{name} for it could have {size_bytes} bytes, {EVENT_BYTES_MAX} are allowed"
    return ""


def has_room_to_dispute(turn: Turn, work: Work, verdict: Event) -> bool:
    """Tell whether a verdict on a delivered work is short enough for a dispute to hold it."""
    text = encode_event(verdict).decode()
    draft = make_dispute(turn, work, verdict.id, text, _ANY)
    return compute_event_bytes(draft) <= EVENT_BYTES_MAX


def _commit(turn: Turn, work: Work) -> str:
    request = work.request
    place = (request.job, request.contract, request.terms.round, request.terms.attempt)
    return compute_commitment(*place, turn.policy.pubkey, work.update)


def _get_sealed(work: Work) -> BlobRef:
    if work.sealed is None:
        raise ValueError(f"work {work.key} has no sealed update yet")
    return work.sealed
