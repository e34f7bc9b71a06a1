"""Where somebody reads: the outbox model of NIP-65, from their own relay list (kind 10002).

An event for somebody goes to the relays that they say they read, beside our own:
`relays.publish(event, [*own, *pick_relays(their_list, ...)])`. The list is theirs alone: it must be
signed by them, and what it names is bounded. A list can name any address, also one inside our own
network, so only public ones are taken unless the caller says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kumiai.adapters.nostr.relays import normalize_url
from kumiai.base.errors import InputError
from kumiai.market.nips.nip01 import Event, check_event
from kumiai.market.nips.urls import is_public

RELAY_LIST_KIND: Final = 10_002
PICKED_MAX: Final = 4  # NIP-65 advises lists of two to four


def pick_relays(
    recipient: str,
    lists: Iterable[Event],
    count_max: int = PICKED_MAX,
    *,
    is_private_allowed: bool = False,
) -> tuple[str, ...]:
    """Return the relays that `recipient` (a public key) reads, by the newest of their own lists.

    Events that are no true list of theirs are passed over; () if none is left. Addresses that are
    misspelt, and private ones unless allowed, are left out.
    """
    own = [
        event
        for event in lists
        if event.kind == RELAY_LIST_KIND
        and event.pubkey == recipient
        and check_event(event) is None
    ]
    if not own:
        return ()
    # NIP-01: of two replaceable events of one second the one with the lower id counts
    newest = min(own, key=lambda it: (-it.created_at, it.id))
    picked: dict[str, None] = {}
    for tag in newest.tags:
        if len(picked) < count_max and _is_read(tag):
            url = _read_url(tag[1], is_private_allowed=is_private_allowed)
            if url is not None:
                picked[url] = None
    return tuple(picked)


def _is_read(tag: Sequence[str]) -> bool:
    return len(tag) >= 2 and tag[0] == "r" and (len(tag) == 2 or tag[2] in {"", "read"})


def _read_url(text: str, *, is_private_allowed: bool) -> str | None:
    try:
        url = normalize_url(text)
    except InputError:
        return None
    return url if is_private_allowed or is_public(url) else None
