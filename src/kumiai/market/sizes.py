"""How long an event will be, before it is signed or encrypted.

Guarantee: `compute_event_bytes` is what `encode_event` of the signed event has, for any key and
nonce, until the year 2286.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from kumiai.base.events import Event
from kumiai.market.letters import Draft
from kumiai.market.nips.nip01 import encode_event
from kumiai.market.nips.nip44 import compute_payload_chars
from kumiai.market.terms import Tag

_AT_S = 10**9  # ten digits, as any time of now


def encode_hidden(hidden: Sequence[Tag]) -> str:
    """Return hidden tags as the text that is encrypted."""
    return json.dumps(hidden, ensure_ascii=False, separators=(",", ":"))


def compute_event_bytes(draft: Draft) -> int:
    """Return the size of a draft's event in bytes."""
    content = draft.text
    if draft.hidden is not None:
        content = "x" * compute_payload_chars(len(encode_hidden(draft.hidden).encode()))
    event = Event("0" * 64, "0" * 64, _AT_S, int(draft.kind), draft.tags, content, "0" * 128)
    return len(encode_event(event))
