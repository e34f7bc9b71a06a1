"""NIP-09: an author asks that events be forgotten. Here: a job is cancelled.

Source: nostr-protocol/nips, 09.md. Nobody is bound to forget; what counts for a member is that the
author no longer stands by the event, and `has_withdrawn` tells that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kumiai.base.events import KIND_MAX, Event
from kumiai.market.nips.drafts import (
    Draft,
    check_count,
    check_text,
    get_rest,
    read_hash,
    read_number,
)
from kumiai.market.nips.nip01 import get_values

KIND: Final = 5
NAME_COUNT_MAX: Final = 32
REASON_CHARS_MAX: Final = 1_024

_GIFT_WRAP: Final = 1_059
_ADDRESS = re.compile(r"[0-9]{1,5}:[0-9a-f]{64}:[^\x00-\x1f]{0,255}")


@dataclass(frozen=True, slots=True)
class Deletion:
    """ids: events; addresses: `kind:pubkey:d` of addressable ones; kinds: of what is named."""

    ids: tuple[str, ...] = ()
    kinds: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()
    reason: str = ""
    others: tuple[tuple[str, ...], ...] = ()


def encode_deletion(deletion: Deletion) -> Draft:
    """Return the draft; ValueError if it names nothing or too much."""
    _check(deletion)
    tags = [("e", event_id) for event_id in deletion.ids]
    tags += [("a", address) for address in deletion.addresses]
    tags += [("k", str(kind)) for kind in deletion.kinds]
    return Draft(KIND, (*tags, *deletion.others), deletion.reason)


def decode_deletion(event: Event) -> Deletion:
    """Read a deletion; ValueError for another kind or a name that is none."""
    if event.kind != KIND:
        raise ValueError(f"kind {event.kind} is not a deletion ({KIND})")
    deletion = Deletion(
        ids=tuple(get_values(event.tags, "e")),
        kinds=tuple(read_number(text, "k", KIND_MAX) for text in get_values(event.tags, "k")),
        addresses=tuple(get_values(event.tags, "a")),
        reason=event.content,
        others=get_rest(event.tags, ("e", "a", "k")),
    )
    _check(deletion)
    return deletion


def has_withdrawn(deletion: Event, event: Event) -> bool:
    """Tell whether `deletion` says of `event` that it no longer stands.

    Only the author's own does; a gift wrap's author is a one-time key, so its receiver's does too.
    Signatures are the caller's to check.
    """
    if deletion.kind != KIND or event.kind == KIND:
        return False
    is_receiver = event.kind == _GIFT_WRAP and deletion.pubkey in get_values(event.tags, "p")
    if event.id in get_values(deletion.tags, "e"):
        return is_receiver or event.pubkey == deletion.pubkey
    names = get_values(event.tags, "d")
    address = f"{event.kind}:{event.pubkey}:{names[0] if names else ''}"
    return (
        event.pubkey == deletion.pubkey
        and event.created_at <= deletion.created_at
        and address in get_values(deletion.tags, "a")
    )


def _check(deletion: Deletion) -> None:
    names = (*deletion.ids, *deletion.addresses)
    if not names:
        raise ValueError("a deletion names at least one event")
    check_count(names, "e", NAME_COUNT_MAX)
    check_count(deletion.kinds, "k", NAME_COUNT_MAX)
    check_text(deletion.reason, "content", REASON_CHARS_MAX)
    for event_id in deletion.ids:
        read_hash(event_id, "e")
    for address in deletion.addresses:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"a: {address[:80]!r} is not kind:pubkey:d")
