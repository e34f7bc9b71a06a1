"""NIP-13: an event that cost work to make, so that sending very many costs much.

Source: nostr-protocol/nips, 13.md. The work of an event is the number of leading zero bits of its
id, but never more than its author committed to in the tag `nonce`: who aims low and is lucky is
not taken for one who aimed high. Deviation: without a commitment the work is 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kumiai.base.events import Event, compute_id
from kumiai.market.nips.drafts import Draft, get_tag, read_number

TAG: Final = "nonce"
BITS_MAX: Final = 256


def count_zero_bits(event_id: str) -> int:
    """Return how many bits of a 64-digit id are 0 before the first 1."""
    return BITS_MAX - int(event_id, 16).bit_length()


def get_work(event: Event) -> int:
    """Return the bits of work that the event committed to and has; 0 if it has fewer.

    The id is taken as given: `check_event` tells whether it is true.
    """
    try:
        nonce = get_tag(event.tags, TAG)
        target = 0 if nonce is None or len(nonce) < 2 else read_number(nonce[1], TAG, BITS_MAX)
    except ValueError:
        return 0
    return target if count_zero_bits(event.id) >= target else 0


def check_work(event: Event, bits: int) -> str | None:
    """Return why the event has less than `bits` of work, in a relay's words; None if it has."""
    work = get_work(event)
    return None if work >= bits else f"pow: {work} bits of committed work, {bits} are needed"


def mine(
    draft: Draft, pubkey: str, created_at: int, bits: int, try_count_max: int, start: int = 0
) -> Draft | None:
    """Return the draft with a nonce that gives `bits` of work; None after so many tries.

    Deterministic: the first nonce from `start` on. Expects 2**bits tries of about 5 microseconds.
    """
    kept = tuple(tag for tag in draft.tags if tag[:1] != (TAG,))
    for number in range(start, start + try_count_max):
        tags = (*kept, (TAG, str(number), str(bits)))
        event_id = compute_id(pubkey, created_at, draft.kind, tags, draft.content)
        if count_zero_bits(event_id) >= bits:
            return replace(draft, tags=tags)
    return None
