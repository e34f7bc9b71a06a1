"""NIP-01: events as anybody's programs write them, and filters.

Source: nostr-protocol/nips, 01.md. An `Event` here is the one of `base.events`, whose id and
signature are checked there; its content is any text, not canonical JSON alone.

Guarantee: `decode_event` returns an event whose fields have the right types and sizes, or raises
ValueError; it does not check the signature (`check_event` does). Unknown fields of the JSON object
are ignored, as relays may add some; the id covers those that count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kumiai.base import keys
from kumiai.base.canonical import is_hash
from kumiai.base.events import Event, Tags, check_event, compute_id
from kumiai.base.keys import SigningKey

EVENT_BYTES_MAX: Final = 64 * 1024  # common relays refuse more
SUBSCRIPTION_ID_CHARS_MAX: Final = 64
FILTER_VALUES_MAX: Final = 1_024  # of one list in a filter

__all__ = ["Event", "Filter", "check_event"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are asked for: all given fields must match, any value of a field does.

    tags: letter (one of a-zA-Z) -> values; only the first value of an event's tag counts. since and
    until are seconds, inclusive; limit: at most so many of the newest stored events.
    """

    kinds: tuple[int, ...] = ()
    authors: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    since: int | None = None
    until: int | None = None
    limit: int | None = None

    def has(self, event: Event) -> bool:
        """Tell whether `event` matches (`limit` is about how many, not which)."""
        if self.ids and event.id not in self.ids:
            return False
        if self.authors and event.pubkey not in self.authors:
            return False
        if self.kinds and event.kind not in self.kinds:
            return False
        if self.since is not None and event.created_at < self.since:
            return False
        if self.until is not None and event.created_at > self.until:
            return False
        return all(
            any(value in values for value in get_values(event.tags, letter))
            for letter, values in self.tags.items()
        )


def sign_text(
    key: SigningKey, kind: int, created_at: int, text: str, tags: Sequence[Sequence[str]] = ()
) -> Event:
    """Make and sign an event with any text as content; ValueError for one that checks refuse."""
    frozen = tuple(tuple(tag) for tag in tags)
    event_id = compute_id(key.pubkey, created_at, kind, frozen, text)
    signature = keys.sign_digest(key, bytes.fromhex(event_id))
    event = Event(event_id, key.pubkey, created_at, kind, frozen, text, signature)
    flaw = check_event(event)
    if flaw is not None:
        raise ValueError(f"event of kind {kind}: {flaw}")
    if len(encode_event(event)) > EVENT_BYTES_MAX:
        raise ValueError(f"event of kind {kind}: more than {EVENT_BYTES_MAX} bytes")
    return event


def encode_event(event: Event) -> bytes:
    """Return the event as the JSON object that relays take."""
    return json.dumps(to_mapping(event), ensure_ascii=False, separators=(",", ":")).encode()


def decode_event(data: bytes | str, size_bytes_max: int = EVENT_BYTES_MAX) -> Event:
    """Parse one event; ValueError when too big or not of NIP-01's shape. Checks no signature."""
    if len(data) > size_bytes_max:
        raise ValueError(f"an event of {len(data)} bytes, more than the {size_bytes_max} allowed")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    return read_event(document)


def read_event(document: Any) -> Event:
    """Read an event from parsed JSON; ValueError names the field that does not fit."""
    if not isinstance(document, dict):
        raise ValueError("an event is a JSON object")
    for name, wanted in _FIELD_TYPES.items():
        value = document.get(name)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"field {name} of an event is not {wanted.__name__}")
    for name in ("id", "pubkey"):
        if not is_hash(document[name]):
            raise ValueError(f"field {name} of an event is not 64 lower-case hex digits")
    tags = document["tags"]
    if not all(isinstance(tag, list) and all(isinstance(x, str) for x in tag) for tag in tags):
        raise ValueError("field tags of an event is not a list of lists of text")
    return Event(
        id=document["id"],
        pubkey=document["pubkey"],
        created_at=document["created_at"],
        kind=document["kind"],
        tags=tuple(tuple(tag) for tag in tags),
        content=document["content"],
        sig=document["sig"],
    )


def to_mapping(event: Event) -> dict[str, Any]:
    """Return the event's fields under NIP-01's names."""
    return {
        "id": event.id,
        "pubkey": event.pubkey,
        "created_at": event.created_at,
        "kind": event.kind,
        "tags": [list(tag) for tag in event.tags],
        "content": event.content,
        "sig": event.sig,
    }


def encode_filter(wanted: Filter) -> dict[str, Any]:
    """Return the filter as NIP-01's JSON object."""
    document: dict[str, Any] = {}
    for name in ("ids", "authors", "kinds"):
        values = getattr(wanted, name)
        if values:
            document[name] = list(values)
    for letter, texts in wanted.tags.items():
        document[f"#{letter}"] = list(texts)
    for name in ("since", "until", "limit"):
        number = getattr(wanted, name)
        if number is not None:
            document[name] = number
    return document


def get_values(tags: Tags, name: str) -> list[str]:
    """Return the first value of every tag called `name`."""
    return [tag[1] for tag in tags if len(tag) > 1 and tag[0] == name]


def get_value(tags: Tags, name: str) -> str | None:
    """Return the first value of the only tag called `name`; None if there is none.

    Raises ValueError if there are several: which one counts would be up to the reader.
    """
    values = get_values(tags, name)
    if len(values) > 1:
        raise ValueError(f"{len(values)} tags {name!r}, at most one is allowed")
    return values[0] if values else None


def has_any(filters: Iterable[Filter], event: Event) -> bool:
    """Tell whether one of the filters matches."""
    return any(wanted.has(event) for wanted in filters)


_FIELD_TYPES: dict[str, type] = {
    "content": str,
    "created_at": int,
    "id": str,
    "kind": int,
    "pubkey": str,
    "sig": str,
    "tags": list,
}
