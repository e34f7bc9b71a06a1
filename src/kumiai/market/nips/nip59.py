"""NIP-59: a letter in a sealed envelope in another envelope; relays learn only the receiver.

Source: nostr-protocol/nips, 59.md. ::

    rumor      what is said: an event with an id and no signature, so it proves nothing to others
    seal       kind 13: the rumor encrypted, signed by its author, without tags
    gift wrap  kind 1059 (kept) or 21059 (ephemeral): the seal encrypted, signed by a one-time key

Guarantee: `open_gift` returns a rumor whose author signed the seal for this receiver, or raises
ValueError. A rumor that names another author is refused: otherwise any member could put words into
another's mouth. Times and the one-time key are arguments: draw the key anew for each gift, and
dates of seal and wrap up to two days back, each its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from kumiai.base.events import Event, Tags, check_event, compute_id
from kumiai.base.keys import SigningKey
from kumiai.market.nips import nip44
from kumiai.market.nips.drafts import Draft
from kumiai.market.nips.nip01 import (
    decode_event,
    encode_event,
    get_values,
    read_event,
    sign_text,
)

SEAL_KIND: Final = 13
WRAP_KIND: Final = 1_059
EPHEMERAL_WRAP_KIND: Final = 21_059
WRAP_KINDS: Final = (WRAP_KIND, EPHEMERAL_WRAP_KIND)
BACKDATE_S_MAX: Final = 2 * 24 * 3_600
RUMOR_BYTES_MAX: Final = 48 * 1_024


@dataclass(frozen=True, slots=True)
class Rumor:
    """An event that its author did not sign."""

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str


def make_rumor(pubkey: str, draft: Draft, created_at: int) -> Rumor:
    """Return the rumor that `pubkey` says at `created_at` (seconds)."""
    event_id = compute_id(pubkey, created_at, draft.kind, draft.tags, draft.content)
    return Rumor(event_id, pubkey, created_at, draft.kind, draft.tags, draft.content)


def seal(key: SigningKey, receiver: str, rumor: Rumor, created_at: int, nonce: bytes) -> Event:
    """Encrypt our own rumor for `receiver` and sign it; ValueError for another's rumor."""
    if rumor.pubkey != key.pubkey:
        raise ValueError(f"the rumor is of {rumor.pubkey}, the key of {key.pubkey}")
    document = {
        "id": rumor.id,
        "pubkey": rumor.pubkey,
        "created_at": rumor.created_at,
        "kind": rumor.kind,
        "tags": rumor.tags,
        "content": rumor.content,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > RUMOR_BYTES_MAX:
        raise ValueError(f"a rumor of more than {RUMOR_BYTES_MAX} bytes")
    return sign_text(key, SEAL_KIND, created_at, nip44.encrypt(key, receiver, text, nonce))


def wrap(
    one_time_key: SigningKey,
    receiver: str,
    sealed: Event,
    created_at: int,
    nonce: bytes,
    *,
    kind: int = WRAP_KIND,
    tags: Tags = (),
) -> Event:
    """Put a seal into a gift wrap for `receiver`; `tags`: e.g. an expiration, never a name."""
    if kind not in WRAP_KINDS:
        raise ValueError(f"kind {kind} is none of {WRAP_KINDS}")
    if one_time_key.pubkey == sealed.pubkey:
        raise ValueError("a gift wrap is signed by a one-time key, not by the author's")
    content = nip44.encrypt(one_time_key, receiver, encode_event(sealed).decode(), nonce)
    return sign_text(one_time_key, kind, created_at, content, (("p", receiver), *tags))


def open_gift(key: SigningKey, wrapped: Event) -> Rumor:
    """Return what was said to us; ValueError says at which envelope it failed."""
    if wrapped.kind not in WRAP_KINDS:
        raise ValueError(f"kind {wrapped.kind} is no gift wrap")
    if key.pubkey not in get_values(wrapped.tags, "p"):
        raise ValueError("the gift is for somebody else")
    _check(wrapped, "gift wrap")
    sealed = decode_event(nip44.decrypt(key, wrapped.pubkey, wrapped.content))
    if sealed.kind != SEAL_KIND or sealed.tags:
        raise ValueError(f"not a seal: kind {sealed.kind} with {len(sealed.tags)} tags")
    _check(sealed, "seal")
    rumor = _read_rumor(nip44.decrypt(key, sealed.pubkey, sealed.content))
    if rumor.pubkey != sealed.pubkey:
        raise ValueError(f"{sealed.pubkey} sealed words of {rumor.pubkey}: a forgery")
    return rumor


def _read_rumor(text: str) -> Rumor:
    if len(text) > RUMOR_BYTES_MAX:
        raise ValueError(f"a rumor of {len(text)} characters, more than {RUMOR_BYTES_MAX}")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the rumor is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("the rumor is not a JSON object")
    if document.get("sig"):
        raise ValueError("the rumor is signed: it could be shown to others")
    event = read_event({**document, "sig": ""})
    expected = compute_id(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    if event.id != expected:
        raise ValueError("the rumor's id does not match its content")
    return Rumor(event.id, event.pubkey, event.created_at, event.kind, event.tags, event.content)


def _check(event: Event, what: str) -> None:
    flaw = check_event(event)
    if flaw is not None:
        raise ValueError(f"{what}: {flaw}")
