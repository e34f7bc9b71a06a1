"""NIP-90, kinds 6000-6999 and 7000: what providers answer."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from kumiai.base.canonical import INTEGER_MAX
from kumiai.base.events import Event, Tags, check_event
from kumiai.market.nips.drafts import (
    Draft,
    check_text,
    get_needed,
    get_tag,
    has_tag,
    read_hash,
    read_number,
)
from kumiai.market.nips.nip01 import decode_event, encode_event, get_value
from kumiai.market.nips.nip40 import get_expiration
from kumiai.market.nips.nip90.parts import (
    check_cipher,
    check_inputs,
    check_others,
    finish,
    read_inputs,
    write_inputs,
)
from kumiai.market.nips.nip90.values import (
    BOLT11_CHARS_MAX,
    FEEDBACK_KIND,
    INFO_CHARS_MAX,
    REQUEST_MARKER,
    RESULT_KINDS,
    RESULT_OFFSET,
    Decrypt,
    Encrypt,
    JobFeedback,
    JobResult,
    Status,
)
from kumiai.market.nips.urls import normalise_relay_url

_BOLT11 = re.compile(r"ln[a-z0-9]+")
_RESULT_TAGS: Final = frozenset(("request", "e", "p", "i", "amount", "expiration", "encrypted"))
_FEEDBACK_TAGS: Final = frozenset(("status", "e", "p", "amount", "expiration", "encrypted"))


def encode_result(result: JobResult, encrypt: Encrypt | None = None) -> Draft:
    """Return kind, tags and content; `encrypt` is needed exactly if `is_encrypted`."""
    _check_result(result)
    check_cipher(result.is_encrypted, encrypt)
    tags: list[tuple[str, ...]] = []
    if result.request is not None:
        tags.append(("request", encode_event(result.request).decode()))
    tags += write_inputs(result.inputs)
    tags += _write_answer(result)
    content = encrypt(result.content) if encrypt else result.content
    return finish(result.kind, tags, result.expires_at_s, result.others, content)


def decode_result(event: Event, decrypt: Decrypt | None = None) -> JobResult:
    """Read a result; one that is encrypted is opened if `decrypt` is given."""
    tags = event.tags
    request_id, relay, amount_msat, bolt11 = _read_answer(tags)
    embedded = get_value(tags, "request")
    result = JobResult(
        kind=event.kind,
        request_id=request_id,
        customer=get_needed(tags, "p"),
        content=event.content,
        request=None if embedded is None else decode_event(embedded),
        request_relay=relay,
        inputs=read_inputs(tags),
        amount_msat=amount_msat,
        bolt11=bolt11,
        expires_at_s=get_expiration(tags),
        is_encrypted=has_tag(tags, "encrypted"),
        others=_get_others(tags, _RESULT_TAGS),
    )
    _check_result(result)
    if result.is_encrypted and decrypt is not None:
        return replace(result, content=decrypt(result.content))
    return result


def encode_feedback(feedback: JobFeedback, encrypt: Encrypt | None = None) -> Draft:
    """Return kind, tags and content; `encrypt` is needed exactly if `is_encrypted`."""
    _check_feedback(feedback)
    check_cipher(feedback.is_encrypted, encrypt)
    status = ("status", feedback.status.value)
    tags = [(*status, feedback.info) if feedback.info else status, *_write_answer(feedback)]
    content = encrypt(feedback.content) if encrypt and feedback.content else feedback.content
    return finish(FEEDBACK_KIND, tags, feedback.expires_at_s, feedback.others, content)


def decode_feedback(event: Event, decrypt: Decrypt | None = None) -> JobFeedback:
    """Read feedback; content that is encrypted is opened if `decrypt` is given."""
    if event.kind != FEEDBACK_KIND:
        raise ValueError(f"kind {event.kind} is not feedback ({FEEDBACK_KIND})")
    tags = event.tags
    request_id, relay, amount_msat, bolt11 = _read_answer(tags)
    status = get_tag(tags, "status") or ("",)
    if status[0] not in {each.value for each in Status}:
        raise ValueError(f"status: {status[0][:40]!r} is none of {[each.value for each in Status]}")
    feedback = JobFeedback(
        status=Status(status[0]),
        request_id=request_id,
        customer=get_needed(tags, "p"),
        info=status[1] if len(status) > 1 else "",
        content=event.content,
        request_relay=relay,
        amount_msat=amount_msat,
        bolt11=bolt11,
        expires_at_s=get_expiration(tags),
        is_encrypted=has_tag(tags, "encrypted"),
        others=_get_others(tags, _FEEDBACK_TAGS),
    )
    _check_feedback(feedback)
    if feedback.is_encrypted and feedback.content and decrypt is not None:
        return replace(feedback, content=decrypt(feedback.content))
    return feedback


def _check_result(result: JobResult) -> None:
    if result.kind not in RESULT_KINDS:
        raise ValueError(f"kind {result.kind} is not a job result (6000-6999)")
    if result.is_encrypted and result.inputs:
        raise ValueError("an encrypted result has no `i` in clear")
    check_inputs(result.inputs)
    _check_answer(result)
    _check_others(result.others, _RESULT_TAGS)
    request = result.request
    if request is None:
        return
    if request.id != result.request_id:
        raise ValueError(f"request: its id is {request.id}, `e` says {result.request_id}")
    if request.kind + RESULT_OFFSET != result.kind:
        raise ValueError(f"kind {result.kind} does not answer a request of kind {request.kind}")
    if request.pubkey != result.customer:
        raise ValueError(f"request: signed by {request.pubkey}, `p` says {result.customer}")
    flaw = check_event(request)  # the id is computed anew there
    if flaw is not None:
        raise ValueError(f"request: {flaw}")


def _check_feedback(feedback: JobFeedback) -> None:
    check_text(feedback.info, "status", INFO_CHARS_MAX)
    _check_answer(feedback)
    _check_others(feedback.others, _FEEDBACK_TAGS)


def _check_answer(answer: JobResult | JobFeedback) -> None:
    read_hash(answer.request_id, "e")
    read_hash(answer.customer, "p")
    check_text(answer.bolt11, "amount", BOLT11_CHARS_MAX)
    if answer.request_relay and normalise_relay_url(answer.request_relay) != answer.request_relay:
        raise ValueError(f"e: {answer.request_relay!r} is not in normal form")
    if answer.bolt11 and (answer.amount_msat is None or not _BOLT11.fullmatch(answer.bolt11)):
        raise ValueError("amount: an invoice is lower-case bolt11 and has its amount beside it")
    if answer.amount_msat is not None and not 0 <= answer.amount_msat <= INTEGER_MAX:
        raise ValueError(f"amount: {answer.amount_msat} msat is out of range")


def _write_answer(answer: JobResult | JobFeedback) -> list[tuple[str, ...]]:
    named: tuple[str, ...] = ("e", answer.request_id, answer.request_relay, REQUEST_MARKER)
    if not any(_is_other_reference(tag) for tag in answer.others):
        named = named[:3] if answer.request_relay else named[:2]
    tags: list[tuple[str, ...]] = [named, ("p", answer.customer)]
    if answer.amount_msat is not None:
        invoice = (answer.bolt11,) if answer.bolt11 else ()
        tags.append(("amount", str(answer.amount_msat), *invoice))
    return [*tags, ("encrypted",)] if answer.is_encrypted else tags


def _read_answer(tags: Tags) -> tuple[str, str, int | None, str]:
    """Return the request's id, its relay, the amount and the invoice."""
    named = get_tag(tuple(tag for tag in tags if not _is_other_reference(tag)), "e")
    amount = get_tag(tags, "amount")
    if not named:
        raise ValueError("the tag 'e' is missing or empty")
    relay = normalise_relay_url(named[1]) if len(named) > 1 and named[1] else ""
    if not amount:
        return named[0], relay, None, ""
    bolt11 = amount[1] if len(amount) > 1 else ""
    return named[0], relay, read_number(amount[0], "amount"), bolt11


def _is_other_reference(tag: tuple[str, ...]) -> bool:
    """Tell whether an `e` tag says by its marker that it names something else than the request."""
    return tag[:1] == ("e",) and len(tag) > 3 and tag[3] not in {"", REQUEST_MARKER}


def _get_others(tags: Tags, read: frozenset[str]) -> Tags:
    return tuple(tag for tag in tags if _is_other_reference(tag) or (tag and tag[0] not in read))


def _check_others(others: Tags, read: frozenset[str]) -> None:
    check_others(tuple(tag for tag in others if not _is_other_reference(tag)), read)
