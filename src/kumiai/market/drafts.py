"""How each event of the microstandard is written: one function a kind, arguments in, `Draft` out.

Source: docs/nip-training.md. What is written here is read back by `letters.read_message`; a law
test does both for every kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumiai.base.canonical import sha256_hex
from kumiai.base.events import Event
from kumiai.market import judging_terms as j
from kumiai.market import terms as t
from kumiai.market.kinds import (
    SENTENCES,
    TOPIC,
    UPDATE_MEDIA_TYPE,
    VERSION,
    Code,
    Kind,
    Ruling,
    Status,
)
from kumiai.market.letters import Draft
from kumiai.market.nips.nip01 import encode_event
from kumiai.market.params import write_param
from kumiai.market.terms import Tag

MEMBERS_SHOWN_MAX = 50  # in a closing: an event has at most 64 tags
_COMMON: tuple[Tag, ...] = (("v", VERSION), ("t", TOPIC))
_ENCRYPTED: Tag = ("encrypted",)


def draft_job(
    terms: t.JobTerms, expires_at_s: int, relays: Sequence[str], job_key: str = ""
) -> Draft:
    """5600; with a job key its terms are hidden from everybody who is not given the key."""
    tags: list[Tag] = [
        *_COMMON,
        ("expiration", str(expires_at_s)),
        ("bid", str(terms.bid_msat)),
        ("relays", *relays),
        ("output", UPDATE_MEDIA_TYPE),
    ]
    hidden = tuple(terms.list_tags())
    if job_key:
        tags.append(("payment", *terms.payment))  # else nobody would know what to offer
        return Draft(Kind.JOB, (*tags, _ENCRYPTED), hidden=hidden, job_key=job_key)
    return Draft(Kind.JOB, (*tags, *hidden))


def draft_offer(job: Event, terms: t.OfferTerms) -> Draft:
    """6600."""
    tags: list[Tag] = [*_COMMON, *_answer(job), _ref(job.id, "job")]
    tags += [("amount", str(terms.price_msat)), ("expiration", str(terms.expires_at_s))]
    return Draft(Kind.OFFER, (*tags, *terms.list_tags()), job.pubkey)


def draft_contract(
    job: str, offer: str, provider: str, terms: t.ContractTerms, expires_at_s: int
) -> Draft:
    """5601."""
    tags: list[Tag] = [*_COMMON, ("p", provider), _ref(job, "job"), _ref(offer, "offer")]
    tags += [("expiration", str(expires_at_s)), _ENCRYPTED]
    return Draft(Kind.CONTRACT, tuple(tags), provider, tuple(terms.list_tags()))


def draft_acceptance(contract: Event, job: str) -> Draft:
    """6601."""
    tags: list[Tag] = [*_COMMON, *_answer(contract), _ref(job, "job")]
    tags += [_ref(contract.id, "contract"), _ENCRYPTED]
    return Draft(Kind.ACCEPTANCE, tuple(tags), contract.pubkey, ())


def draft_round(
    job: str, contract: str, provider: str, terms: t.RoundTerms, expires_at_s: int
) -> Draft:
    """5602."""
    tags: list[Tag] = [*_COMMON, ("p", provider), _ref(job, "job"), _ref(contract, "contract")]
    tags += [("n", str(terms.round)), ("expiration", str(expires_at_s)), _ENCRYPTED]
    return Draft(Kind.ROUND_REQUEST, tuple(tags), provider, tuple(terms.list_tags()))


def draft_result(
    request: Event,
    job: str,
    contract: str,
    round_number: int,
    terms: t.ResultTerms,
    amount_msat: int,
    bolt11: str = "",
) -> Draft:
    """6602."""
    amount: Tag = ("amount", str(amount_msat), *([bolt11] if bolt11 else []))
    tags: list[Tag] = [*_COMMON, *_answer(request), _ref(job, "job"), _ref(contract, "contract")]
    tags += [("n", str(round_number)), amount, _ENCRYPTED]
    return Draft(Kind.RESULT, tuple(tags), request.pubkey, tuple(terms.list_tags()))


def draft_feedback(
    request: str, job: str, receiver: str, status: Status, sentence: str = "", key: str = ""
) -> Draft:
    """7000; `key` opens a sealed update and is hidden."""
    said: Tag = ("status", str(status), *([sentence] if sentence else []))
    tags: list[Tag] = [*_COMMON, said, ("p", receiver)]
    tags += [_ref(request, "request"), _ref(job, "job")]
    if key:
        hidden = (write_param("key", key),)
        return Draft(Kind.FEEDBACK, (*tags, _ENCRYPTED), receiver, hidden)
    return Draft(Kind.FEEDBACK, tuple(tags), receiver)


def draft_verdict(
    job: str,
    contract: str,
    result: str,
    round_number: int,
    provider: str,
    ruling: Ruling,
    code: Code,
    gain_ppm: int = 0,
    update: str = "",
    preimage: str = "",
    signatures: Sequence[str] = (),
    model: str = "",
) -> Draft:
    """7601; preimage and signatures are hidden, the numbers are for everybody.

    update and model bind a later dispute to what was judged; the model only by the hash of its
    hash, as whoever knows a blob's hash can fetch it.
    """
    tags: list[Tag] = [*_COMMON, ("p", provider), _ref(job, "job"), _ref(contract, "contract")]
    tags += [_ref(result, "result"), ("n", str(round_number))]
    tags += [("status", str(ruling), str(code), SENTENCES[code])]
    if update:
        tags.append(("x", update))
    if model:
        tags.append(("model", veil_hash(model)))
    hidden = [write_param("gain_ppm", gain_ppm)]
    if preimage:
        hidden.append(write_param("preimage", preimage))
    if signatures:
        hidden.append(write_param("signature", *signatures))
    return Draft(Kind.VERDICT, (*tags, _ENCRYPTED), provider, tuple(hidden))


def draft_judging(job: str, judge: str, terms: j.JudgingTerms, expires_at_s: int) -> Draft:
    """5603, one event a judge and part."""
    tags: list[Tag] = [*_COMMON, ("p", judge), _ref(job, "job"), ("n", str(terms.round))]
    tags += [("expiration", str(expires_at_s)), _ENCRYPTED]
    return Draft(Kind.JUDGING, tuple(tags), judge, tuple(terms.list_tags()))


def draft_judgement(
    request: Event,
    job: str,
    round_number: int,
    attempt: int,
    loss_ppm: int,
    accuracy_ppm: int,
    lines: Sequence[j.JudgementLine],
) -> Draft:
    """6603, in the clear: a provider can count the quorum itself."""
    tags: list[Tag] = [*_COMMON, _ref(request.id, "request"), ("p", request.pubkey)]
    tags += [_ref(job, "job"), ("n", str(round_number)), write_param("attempt", attempt)]
    tags += [write_param("loss_ppm", loss_ppm), write_param("accuracy_ppm", accuracy_ppm)]
    return Draft(Kind.JUDGEMENT, (*tags, *map(j.write_line, lines)), request.pubkey)


def draft_dispute(
    job: str,
    contract: str,
    verdict: str,
    round_number: int,
    juror: str,
    terms: j.DisputeTerms,
) -> Draft:
    """7602, one event a juror."""
    tags: list[Tag] = [*_COMMON, ("p", juror), _ref(job, "job"), _ref(contract, "contract")]
    tags += [_ref(verdict, "verdict"), ("n", str(round_number)), _ENCRYPTED]
    return Draft(Kind.DISPUTE, tuple(tags), juror, tuple(terms.list_tags()))


def draft_ruling(
    job: str,
    contract: str,
    dispute: str,
    verdict: str,
    receiver: str,
    ruling: Ruling,
    code: Code,
    signatures: Sequence[str] = (),
) -> Draft:
    """7603, one event a party; signatures (policy escrow) are hidden to it."""
    tags: list[Tag] = [*_COMMON, ("p", receiver), _ref(job, "job"), _ref(contract, "contract")]
    tags += [
        _ref(dispute, "dispute"),
        _ref(verdict, "verdict"),
        ("status", str(ruling), str(code), SENTENCES[code]),
    ]
    if not signatures:
        return Draft(Kind.RULING, tuple(tags), receiver)
    hidden = (write_param("signature", *signatures),)
    return Draft(Kind.RULING, (*tags, _ENCRYPTED), receiver, hidden)


def draft_closing(
    job: str, rounds: int, model: str, members: Sequence[tuple[str, int, int, int]]
) -> Draft:
    """7604; members: (provider, accepted, rejected, msat paid)."""
    tags: list[Tag] = [*_COMMON, _ref(job, "job"), *([("x", model)] if model else [])]
    tags += [write_param("rounds", rounds), write_param("paid_msat", sum(m[3] for m in members))]
    tags += [write_param(f"member:{m[0]}", m[1], m[2], m[3]) for m in members[:MEMBERS_SHOWN_MAX]]
    return Draft(Kind.CLOSING, tuple(tags))


def draft_rating(contract: str, rated: str, points: int, sentence: str = "") -> Draft:
    """31602: one a contract and rater; a second one replaces the first."""
    tags: list[Tag] = [*_COMMON, ("d", contract), ("p", rated), _ref(contract, "contract")]
    return Draft(Kind.RATING, (*tags, ("rating", str(points))), rated, text=sentence)


def draft_cancel(requests: Sequence[tuple[str, Kind]], sentence: str = "") -> Draft:
    """Kind 5 (NIP-09): withdraw these requests of ours."""
    tags: list[Tag] = [("e", request) for request, _ in requests]
    kinds = dict.fromkeys(str(int(kind)) for _, kind in requests)
    return Draft(Kind.CANCEL, (*tags, *(("k", kind) for kind in kinds)), text=sentence)


def veil_hash(sha256: str) -> str:
    """Return a hash that a blob's hash can be checked against, and that fetches nothing."""
    return sha256_hex(sha256.encode())


def compute_commitment(
    job: str, contract: str, round_number: int, attempt: int, provider: str, update: str
) -> str:
    """Bind an update to its worker and place (docs/nip-training.md, section 4)."""
    parts = ("kumiai-training-1", job, contract, str(round_number), str(attempt), provider, update)
    return sha256_hex("\n".join(parts).encode())


def _ref(event_id: str, marker: str) -> Tag:
    return ("e", event_id, "", marker)


def _answer(request: Event) -> list[Tag]:
    """What NIP-90 asks of a result."""
    return [
        ("request", encode_event(request).decode()),
        _ref(request.id, "request"),
        ("p", request.pubkey),
    ]
