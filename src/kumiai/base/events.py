"""Signed events: the only kind of message in Kumiai, in NOSTR's NIP-01 form.

Source: NIP-01 (nostr-protocol/nips), "Events and signatures":
id = sha256 of the JSON array [0, pubkey, created_at, kind, tags, content]; sig = BIP-340 over id.
Deviation: `content` is canonical JSON (RFC 8785) of a document without floats. The control
characters that NIP-01 writes raw and JSON escapes are refused everywhere, so that Python's encoder
produces NIP-01's bytes and no byte takes more than two in an encoded event.

Guarantee: `check_event` accepts only what the owner of `pubkey` signed, byte for byte. Identity
comes from the signature alone; a name inside `content` proves nothing. Cost: about 0.1 ms to sign,
0.06 ms to check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.base import canonical, keys
from kumiai.base.keys import SigningKey

EVENT_SIZE_BYTES_MAX = 256 * 1024  # content and tags together; tensors travel as blobs
EVENT_ENCODED_BYTES_MAX = 2 * EVENT_SIZE_BYTES_MAX + 65_536  # escapes double at most; field names
TAG_COUNT_MAX = 64
TAG_ITEM_BYTES = 4  # what a text of a tag counts beside its own bytes: quotes, comma, brackets
KIND_MAX = 65_535
CREATED_AT_MAX = 2**40

Tags = tuple[tuple[str, ...], ...]

_RAW_IN_NIP01 = re.compile(r"[\x00-\x07\x0b\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Event:
    """One signed message. `created_at` is in seconds; `content` is canonical JSON text."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str
    sig: str


def sign_event(
    key: SigningKey,
    kind: int,
    created_at: int,
    content: Mapping[str, Any],
    tags: Sequence[Sequence[str]] = (),
) -> Event:
    """Make and sign an event; raises ValueError for one that `check_event` would refuse."""
    text = canonical.encode_checked(content).decode()
    frozen_tags = tuple(tuple(tag) for tag in tags)
    flaw = _find_flaw(created_at, kind, frozen_tags, text)
    if flaw is not None:
        raise ValueError(f"event of kind {kind}: {flaw}")
    event_id = compute_id(key.pubkey, created_at, kind, frozen_tags, text)
    signature = keys.sign_digest(key, bytes.fromhex(event_id))
    return Event(event_id, key.pubkey, created_at, kind, frozen_tags, text, signature)


def check_event(event: Event) -> str | None:
    """Return why `event` must not be believed, or None if it is what its signer signed."""
    flaw = _find_flaw(event.created_at, event.kind, event.tags, event.content)
    if flaw is not None:
        return flaw
    expected = compute_id(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    if event.id != expected:
        return "id does not match the content"
    if not keys.is_signature(event.pubkey, bytes.fromhex(event.id), event.sig):
        return "signature does not match the key"
    return None


def read_content(event: Event) -> dict[str, Any]:
    """Parse the content; raises ValueError unless it is one canonical JSON object."""
    document = canonical.decode(event.content.encode(), EVENT_SIZE_BYTES_MAX)
    if not isinstance(document, dict):
        raise ValueError("content is not a JSON object")
    return document


def encode_event(event: Event) -> bytes:
    """Return the event as canonical JSON bytes (NIP-01 field names)."""
    return canonical.encode(
        {
            "content": event.content,
            "created_at": event.created_at,
            "id": event.id,
            "kind": event.kind,
            "pubkey": event.pubkey,
            "sig": event.sig,
            "tags": event.tags,
        }
    )


def decode_event(data: bytes) -> Event:
    """Parse what `encode_event` wrote; raises ValueError on anything else. Checks no signature."""
    document = canonical.decode(data, EVENT_ENCODED_BYTES_MAX)
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ValueError(f"an event has exactly the fields {sorted(_FIELDS)}")
    for name, wanted in _FIELD_TYPES.items():
        if not isinstance(document[name], wanted) or isinstance(document[name], bool):
            raise ValueError(f"field {name} is not {wanted.__name__}")
    tags = document["tags"]
    if not all(isinstance(tag, list) and all(isinstance(x, str) for x in tag) for tag in tags):
        raise ValueError("tags is not a list of lists of text")
    return Event(
        id=document["id"],
        pubkey=document["pubkey"],
        created_at=document["created_at"],
        kind=document["kind"],
        tags=tuple(tuple(tag) for tag in tags),
        content=document["content"],
        sig=document["sig"],
    )


def compute_id(pubkey: str, created_at: int, kind: int, tags: Tags, content: str) -> str:
    """Return the NIP-01 id of an event with these fields."""
    array = [0, pubkey, created_at, kind, tags, content]  # NIP-01's form is the canonical one here
    return canonical.sha256_hex(canonical.encode(array))


def _find_flaw(created_at: int, kind: int, tags: Tags, content: str) -> str | None:
    if not 0 <= kind <= KIND_MAX or not 0 <= created_at <= CREATED_AT_MAX:
        return "kind or created_at out of range"
    items = [item for tag in tags for item in tag]
    try:
        size_bytes = sum(TAG_ITEM_BYTES + len(item.encode()) for item in items)
        size_bytes += len(content.encode())
    except UnicodeEncodeError:
        return "text that has no UTF-8 form"
    if size_bytes > EVENT_SIZE_BYTES_MAX or len(tags) > TAG_COUNT_MAX:
        return f"too big: {size_bytes} bytes, {len(tags)} tags"
    if any(_RAW_IN_NIP01.search(text) for text in (content, *items)):
        return "control character"
    return None


_FIELD_TYPES: dict[str, type] = {
    "content": str,
    "created_at": int,
    "id": str,
    "kind": int,
    "pubkey": str,
    "sig": str,
    "tags": list,
}
_FIELDS = frozenset(_FIELD_TYPES)
