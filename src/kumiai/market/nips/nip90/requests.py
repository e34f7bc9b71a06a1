"""NIP-90, kinds 5000-5999: what a customer asks for."""

from __future__ import annotations

import json
from typing import Any, Final

from kumiai.base.canonical import INTEGER_MAX
from kumiai.base.events import Event, Tags
from kumiai.market.nips.drafts import (
    Draft,
    check_count,
    check_text,
    get_rest,
    get_tag,
    get_tags,
    has_tag,
    read_hash,
    read_number,
)
from kumiai.market.nips.nip01 import get_value, get_values
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
    NAME_CHARS_MAX,
    OUTPUT_CHARS_MAX,
    PARAM_COUNT_MAX,
    PARAM_VALUE_COUNT_MAX,
    RELAY_COUNT_MAX,
    REQUEST_KINDS,
    SEALED_CHARS_MAX,
    TEXT_CHARS_MAX,
    Decrypt,
    Encrypt,
    JobRequest,
    Param,
)
from kumiai.market.nips.urls import normalise_relay_url

_REQUEST_TAGS: Final = frozenset(
    ("i", "param", "output", "bid", "relays", "p", "t", "expiration", "encrypted")
)


def encode_request(request: JobRequest, encrypt: Encrypt | None = None) -> Draft:
    """Return kind, tags and content; `encrypt` is needed exactly if `is_encrypted`."""
    _check_request(request)
    check_cipher(request.is_encrypted, encrypt)
    hidden = write_inputs(request.inputs)
    hidden += [("param", param.name, *param.values) for param in request.params]
    tags: list[tuple[str, ...]] = [] if encrypt else list(hidden)
    content = request.content
    if encrypt is not None:
        if content:
            raise ValueError("content: an encrypted request has its inputs there")
        content = encrypt(json.dumps(hidden, ensure_ascii=False, separators=(",", ":")))
        tags.append(("encrypted",))
    if request.output:
        tags.append(("output", request.output))
    if request.bid_msat is not None:
        tags.append(("bid", str(request.bid_msat)))
    if request.relays:
        tags.append(("relays", *request.relays))
    tags += [("p", provider) for provider in request.providers]
    tags += [("t", topic) for topic in request.topics]
    return finish(request.kind, tags, request.expires_at_s, request.others, content)


def decode_request(event: Event, decrypt: Decrypt | None = None) -> JobRequest:
    """Read a request; one that is encrypted is opened if `decrypt` is given."""
    tags = event.tags
    is_encrypted = has_tag(tags, "encrypted")
    if is_encrypted and (has_tag(tags, "i") or has_tag(tags, "param")):
        raise ValueError("an encrypted request has no `i` or `param` in clear")
    hidden, content = tags, event.content
    if is_encrypted and decrypt is not None:
        hidden, content = _open(content, decrypt), ""
    bid, relays = get_value(tags, "bid"), get_tag(tags, "relays")
    request = JobRequest(
        kind=event.kind,
        inputs=read_inputs(hidden),
        params=_read_params(hidden),
        output=get_value(tags, "output") or "",
        bid_msat=None if bid is None else read_number(bid, "bid"),
        relays=tuple(normalise_relay_url(each) for each in (relays or ())[:RELAY_COUNT_MAX]),
        providers=tuple(get_values(tags, "p")),
        topics=tuple(get_values(tags, "t")),
        expires_at_s=get_expiration(tags),
        content=content,
        is_encrypted=is_encrypted,
        others=get_rest(tags, _REQUEST_TAGS),
    )
    _check_request(request)
    return request


def _check_request(request: JobRequest) -> None:
    if request.kind not in REQUEST_KINDS:
        raise ValueError(f"kind {request.kind} is not a job request (5000-5999)")
    check_count(request.params, "param", PARAM_COUNT_MAX)
    for param in request.params:
        check_text(param.name, "param", NAME_CHARS_MAX)
        check_count(param.values, f"param {param.name}", PARAM_VALUE_COUNT_MAX)
        for value in param.values:
            check_text(value, f"param {param.name}", TEXT_CHARS_MAX)
        if not param.name or not param.values:
            raise ValueError("param: a name and at least one value")
    check_inputs(request.inputs)
    check_text(request.output, "output", OUTPUT_CHARS_MAX)
    if request.bid_msat is not None and not 0 <= request.bid_msat <= INTEGER_MAX:
        raise ValueError(f"bid: {request.bid_msat} msat is out of range")
    check_count(request.relays, "relays", RELAY_COUNT_MAX)
    for relay in request.relays:
        if normalise_relay_url(relay) != relay:
            raise ValueError(f"relays: {relay!r} is not in normal form")
    for provider in request.providers:
        read_hash(provider, "p")
    for topic in request.topics:
        check_text(topic, "t", NAME_CHARS_MAX)
    check_others(request.others, _REQUEST_TAGS)


def _read_params(tags: Tags) -> tuple[Param, ...]:
    return tuple(Param(found[0] if found else "", found[1:]) for found in get_tags(tags, "param"))


def _open(payload: str, decrypt: Decrypt) -> Tags:
    text = decrypt(payload)
    if len(text) > SEALED_CHARS_MAX:
        raise ValueError(f"encrypted tags of {len(text)} characters: too many")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"encrypted tags are not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(tag, list) for tag in found):
        raise ValueError("encrypted tags are not a list of lists")
    if not all(isinstance(item, str) for tag in found for item in tag):
        raise ValueError("encrypted tags hold more than text")
    for item in (item for tag in found for item in tag):
        item.encode()  # JSON can spell half a surrogate pair: UnicodeEncodeError is a ValueError
    if any(not tag or tag[0] not in {"i", "param"} for tag in found):
        raise ValueError("encrypted tags are `i` and `param` only")
    return tuple(tuple(tag) for tag in found)
