"""Between drafts and events: encrypt and sign what we say, open what we hear.

Source: docs/nip-training.md, section 2 (hidden tags) and 3 (sealed jobs); NIP-44. What a stranger
hid is capped before it is parsed; whatever is not a list of `i` and `param` tags, or not for us,
opens to nothing (hidden = None), which the reader then refuses with the event as evidence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from kumiai.base.canonical import is_hash
from kumiai.base.events import TAG_COUNT_MAX, Event
from kumiai.base.keys import SigningKey
from kumiai.market.kinds import EVENT_BYTES_MAX
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips import nip44
from kumiai.market.nips.nip01 import encode_event, get_values, sign_text
from kumiai.market.sizes import encode_hidden
from kumiai.market.terms import Tag
from kumiai.nodes.market.local import Nonces

TAG_ITEMS_MAX: Final = 128
PAYLOAD_CHARS_MAX: Final = EVENT_BYTES_MAX
_HIDDEN_NAMES: Final = frozenset({"i", "param"})


def sign_draft(key: SigningKey, draft: Draft, at_s: int, nonces: Nonces) -> Event:
    """Make the event; ValueError for a draft that is too big, or hides tags from nobody."""
    content = draft.text
    if draft.hidden is not None:
        if draft.text:
            raise ValueError(f"a draft of kind {draft.kind} with text and hidden tags")
        text = encode_hidden(draft.hidden)
        nonce = nonces(nip44.NONCE_BYTES)
        if draft.job_key:
            content = nip44.encrypt_with(bytes.fromhex(draft.job_key), text, nonce)
        elif draft.recipient:
            content = nip44.encrypt(key, draft.recipient, text, nonce)
        else:
            raise ValueError(f"a draft of kind {draft.kind} hides tags and names no recipient")
    event = sign_text(key, int(draft.kind), at_s, content, draft.tags)
    size_bytes = len(encode_event(event))
    if size_bytes > EVENT_BYTES_MAX:
        raise ValueError(f"a draft of kind {draft.kind}: {size_bytes} of {EVENT_BYTES_MAX} bytes")
    return event


def open_event(key: SigningKey, event: Event) -> Letter:
    """Open what is for us or from us; hidden is None where there is nothing, or not for us."""
    peer = _find_peer(key.pubkey, event)
    if peer is None or not _is_encrypted(event) or len(event.content) > PAYLOAD_CHARS_MAX:
        return Letter(event)
    try:
        return Letter(event, read_hidden(nip44.decrypt(key, peer, event.content)))
    except ValueError:
        return Letter(event)


def open_sealed(event: Event, job_key: str) -> tuple[Tag, ...]:
    """Open a sealed job with its key; ValueError if it does not fit or holds no tags."""
    if not is_hash(job_key):
        raise ValueError("a job key is 64 hex digits")
    if len(event.content) > PAYLOAD_CHARS_MAX:
        raise ValueError(f"a content of {len(event.content)} characters")
    return read_hidden(nip44.decrypt_with(bytes.fromhex(job_key), event.content))


def read_hidden(text: str) -> tuple[Tag, ...]:
    """Read a JSON array of `i` and `param` tags; ValueError for anything else."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("hidden tags nested too deeply") from error
    if not isinstance(document, list) or len(document) > TAG_COUNT_MAX:
        raise ValueError(f"hidden tags are a list of at most {TAG_COUNT_MAX}")
    return tuple(_read_tag(item) for item in document)


def _read_tag(item: object) -> Tag:
    if not isinstance(item, list) or not 1 <= len(item) <= TAG_ITEMS_MAX:
        raise ValueError(f"a hidden tag is a list of 1 to {TAG_ITEMS_MAX} texts")
    for text in item:
        if not isinstance(text, str):
            raise ValueError("a hidden tag holds texts only")
        text.encode()  # JSON can spell half a surrogate pair: UnicodeEncodeError is a ValueError
    if item[0] not in _HIDDEN_NAMES:
        raise ValueError(f"a hidden tag is one of {sorted(_HIDDEN_NAMES)}")
    return tuple(item)


def _find_peer(own: str, event: Event) -> str | None:
    """The other end of the conversation: the author, or for our own events the receiver."""
    receivers: Sequence[str] = get_values(event.tags, "p")
    if len(receivers) != 1:
        return None
    if event.pubkey == own:
        return receivers[0]
    return event.pubkey if receivers[0] == own else None


def _is_encrypted(event: Event) -> bool:
    return any(tag[:1] == ("encrypted",) for tag in event.tags)
