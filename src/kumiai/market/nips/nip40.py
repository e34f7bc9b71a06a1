"""NIP-40: an event says when it ends. Relays drop it then; who reads it must check too.

Source: nostr-protocol/nips, 40.md. Not a security feature: everybody may have kept a copy, and a
relay that does not know the tag hands out ended events.
"""

from __future__ import annotations

from kumiai.base.events import CREATED_AT_MAX, Tags
from kumiai.market.nips.drafts import read_number
from kumiai.market.nips.nip01 import get_value

TAG = "expiration"


def make_expiration(at_s: int) -> tuple[str, str]:
    """Return the tag of an event that ends at `at_s`; ValueError out of range."""
    return (TAG, str(read_number(str(at_s), TAG, CREATED_AT_MAX)))


def get_expiration(tags: Tags) -> int | None:
    """Return when the event ends, in seconds; None for never, ValueError for no such number."""
    text = get_value(tags, TAG)
    return None if text is None else read_number(text, TAG, CREATED_AT_MAX)


def is_expired(tags: Tags, now_s: int) -> bool:
    """Tell whether the event has ended at `now_s`; ValueError as `get_expiration`."""
    at_s = get_expiration(tags)
    return at_s is not None and now_s >= at_s
