"""What makes an event of a relay one to hand out: read, asked for, signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import Event, Filter, check_event

EPHEMERAL_KINDS: Final = range(20_000, 30_000)  # NIP-01: relays hand them on and keep none
PAGE_EVENTS: Final = 500  # asked for at once; relays often give fewer


def read_wanted(document: dict[str, Any], filters: Sequence[Filter]) -> Event:
    """Return the event, or raise ValueError: misread, not asked for, not what its signer signed.

    The cheap checks come first: about 10 us, and 0.06 ms for the signature.
    """
    event = nip01.read_event(document)
    if not nip01.has_any(filters, event):
        raise ValueError("an event that was not asked for")
    flaw = check_event(event)
    if flaw is not None:
        raise ValueError(f"an event that is not true: {flaw}")
    return event


def is_ephemeral(event: Event) -> bool:
    """Tell whether relays are to forget it at once."""
    return event.kind in EPHEMERAL_KINDS
