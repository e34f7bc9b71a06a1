"""NIP-89: a provider announces what it can do; others may recommend it.

Source: nostr-protocol/nips, 89.md. Announcements cost nothing to make, so who looks for providers
by kind alone finds spam as well: start from recommendations, ratings or work (NIP-13). An
announcement says nothing about whether its author is still there: `heartbeat` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kumiai.base.canonical import is_hash
from kumiai.base.events import KIND_MAX, Event, Tags
from kumiai.market.nips.drafts import (
    Draft,
    check_count,
    check_text,
    get_needed,
    get_rest,
    get_tags,
    read_number,
)
from kumiai.market.nips.nip01 import get_values
from kumiai.market.nips.urls import normalise_relay_url

HANDLER_KIND: Final = 31_990
RECOMMENDATION_KIND: Final = 31_989
KIND_COUNT_MAX: Final = 32
HANDLER_COUNT_MAX: Final = 32
NAME_CHARS_MAX: Final = 128
CONTENT_CHARS_MAX: Final = 16_384

_NAME = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Handler:
    """name: the `d` tag, one per service; kinds: what it answers; content: free JSON object."""

    name: str
    kinds: tuple[int, ...]
    content: Mapping[str, Any] = field(default_factory=dict)
    others: Tags = ()


@dataclass(frozen=True, slots=True)
class Recommended:
    """A handler by its author and name; relay: where it is found; platform: e.g. web."""

    pubkey: str
    name: str
    relay: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Who is recommended for jobs of `kind`."""

    kind: int
    handlers: tuple[Recommended, ...]


def encode_handler(handler: Handler) -> Draft:
    """Return the announcement; ValueError for one that could not be read."""
    content = ""
    if handler.content:
        content = json.dumps(
            handler.content, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    check_text(content, "content", CONTENT_CHARS_MAX)
    tags = [("d", _check_name(handler.name))]
    tags += [("k", str(read_number(str(kind), "k", KIND_MAX))) for kind in handler.kinds]
    check_count(handler.kinds, "k", KIND_COUNT_MAX)
    if len(get_rest(handler.others, ("d", "k"))) != len(handler.others):
        raise ValueError("others: has a `d` or `k`, or a tag without a name")
    return Draft(HANDLER_KIND, (*tags, *handler.others), content)


def decode_handler(event: Event) -> Handler:
    """Read an announcement; its author is the event's signer."""
    if event.kind != HANDLER_KIND:
        raise ValueError(f"kind {event.kind} is not an announcement ({HANDLER_KIND})")
    kinds = tuple(read_number(text, "k", KIND_MAX) for text in get_values(event.tags, "k"))
    check_count(kinds, "k", KIND_COUNT_MAX)
    return Handler(
        name=_check_name(get_needed(event.tags, "d")),
        kinds=kinds,
        content=_read_object(event.content) if event.content else {},
        others=get_rest(event.tags, ("d", "k")),
    )


def encode_recommendation(recommendation: Recommendation) -> Draft:
    """Return the recommendation; ValueError for a bad key, name or relay."""
    check_count(recommendation.handlers, "a", HANDLER_COUNT_MAX)
    tags: list[tuple[str, ...]] = [("d", str(read_number(str(recommendation.kind), "d", KIND_MAX)))]
    for each in recommendation.handlers:
        if not is_hash(each.pubkey):
            raise ValueError(f"a: {each.pubkey[:80]!r} is no public key")
        relay = normalise_relay_url(each.relay) if each.relay else ""
        parts = ["a", f"{HANDLER_KIND}:{each.pubkey}:{_check_name(each.name)}"]
        parts += [relay, check_text(each.platform, "a", NAME_CHARS_MAX)]
        while not parts[-1]:
            parts.pop()
        tags.append(tuple(parts))
    return Draft(RECOMMENDATION_KIND, tuple(tags))


def decode_recommendation(event: Event) -> Recommendation:
    """Read a recommendation; ValueError for an address that is no handler's."""
    if event.kind != RECOMMENDATION_KIND:
        raise ValueError(f"kind {event.kind} is not a recommendation ({RECOMMENDATION_KIND})")
    found = get_tags(event.tags, "a")
    check_count(found, "a", HANDLER_COUNT_MAX)
    handlers: list[Recommended] = []
    for parts in found:
        address, relay, platform = (*parts, "", "", "")[:3]
        kind, pubkey, name = (*address.split(":", 2), "", "")[:3]
        if kind != str(HANDLER_KIND) or not is_hash(pubkey):
            raise ValueError(f"a: {address[:80]!r} is not {HANDLER_KIND}:pubkey:name")
        check_text(platform, "a", NAME_CHARS_MAX)
        relay = normalise_relay_url(relay) if relay else ""
        handlers.append(Recommended(pubkey, _check_name(name), relay, platform))
    return Recommendation(read_number(get_needed(event.tags, "d"), "d", KIND_MAX), tuple(handlers))


def _check_name(name: str) -> str:
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise ValueError(f"d: {name[:80]!r} is empty, too long or has control characters")
    return name


def _read_object(text: str) -> dict[str, Any]:
    check_text(text, "content", CONTENT_CHARS_MAX)
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:  # also for NaN, and half a surrogate pair
        raise ValueError(f"content is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("content is not a JSON object")
    return document
