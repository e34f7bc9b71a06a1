"""NIP-65: where a member reads and where it writes; the outbox model stands on these lists.

Source: nostr-protocol/nips, 65.md. Events of a member are looked for at its write relays; events
that name a member go to its read relays. Deviation: only the first eight addresses that are well
formed are kept, so that nobody can send others to hundreds of relays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kumiai.base.events import Event
from kumiai.market.nips.drafts import Draft, check_count, get_tags
from kumiai.market.nips.urls import normalise_relay_url

KIND: Final = 10_002
RELAY_COUNT_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class RelayList:
    """Normalised addresses; one that is in both is for both."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


def encode_relay_list(relays: RelayList) -> Draft:
    """Return the draft; ValueError for more than eight relays or a bad address."""
    urls = list(dict.fromkeys(normalise_relay_url(url) for url in (*relays.write, *relays.read)))
    check_count(urls, "r", RELAY_COUNT_MAX)
    read = {normalise_relay_url(url) for url in relays.read}
    write = {normalise_relay_url(url) for url in relays.write}
    tags: list[tuple[str, ...]] = []
    for url in urls:
        if url in read and url in write:
            tags.append(("r", url))
        else:
            tags.append(("r", url, "read" if url in read else "write"))
    return Draft(KIND, tuple(tags))


def decode_relay_list(event: Event) -> RelayList:
    """Read a list, leaving out what is no relay's address; ValueError for another kind."""
    if event.kind != KIND:
        raise ValueError(f"kind {event.kind} is not a list of relays ({KIND})")
    uses: dict[str, set[str]] = {}
    for found in get_tags(event.tags, "r"):
        marker = found[1] if len(found) > 1 and found[1] else "both"
        try:
            url = normalise_relay_url(found[0] if found else "")
        except ValueError:
            continue
        if marker not in {"read", "write", "both"}:
            continue
        if url in uses or len(uses) < RELAY_COUNT_MAX:
            uses.setdefault(url, set()).add(marker)
    return RelayList(
        read=tuple(url for url, markers in uses.items() if markers & {"read", "both"}),
        write=tuple(url for url, markers in uses.items() if markers & {"write", "both"}),
    )
