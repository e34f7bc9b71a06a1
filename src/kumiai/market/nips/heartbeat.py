"""Kind 11998: a provider says that it is there, for some minutes.

Source: no merged NIP; the proposal nostr-protocol/nips#2465 and what nostr-dvm 1.1.8 sends every
300 seconds: `d` (the announcement's name), `status` and `expiration`. Read here as: alive until
then. A heartbeat without expiration is refused, as it would say "for ever". The kind is
replaceable: relays keep one a key, whichever `d` it has, so one key can show life of one service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kumiai.base.events import Event, Tags
from kumiai.market.nips.drafts import Draft, check_text, get_needed, get_rest
from kumiai.market.nips.nip01 import get_value
from kumiai.market.nips.nip40 import get_expiration, make_expiration

KIND: Final = 11_998
PERIOD_S: Final = 300
NAME_CHARS_MAX: Final = 128
TEXT_CHARS_MAX: Final = 1_024

_READ: Final = ("d", "status", "expiration")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """name: of the announcement (NIP-89); status and content: words for people."""

    name: str
    expires_at_s: int
    status: str = ""
    content: str = ""
    others: Tags = ()


def encode_heartbeat(heartbeat: Heartbeat) -> Draft:
    """Return the draft; ValueError for texts that are too long."""
    _check(heartbeat)
    tags = [("d", heartbeat.name), make_expiration(heartbeat.expires_at_s)]
    if heartbeat.status:
        tags.append(("status", heartbeat.status))
    return Draft(KIND, (*tags, *heartbeat.others), heartbeat.content)


def decode_heartbeat(event: Event) -> Heartbeat:
    """Read a heartbeat; whether it has ended is `expires_at_s` against the reader's clock."""
    if event.kind != KIND:
        raise ValueError(f"kind {event.kind} is not a heartbeat ({KIND})")
    expires_at_s = get_expiration(event.tags)
    if expires_at_s is None:
        raise ValueError("a heartbeat needs an expiration")
    heartbeat = Heartbeat(
        name=get_needed(event.tags, "d"),
        expires_at_s=expires_at_s,
        status=get_value(event.tags, "status") or "",
        content=event.content,
        others=get_rest(event.tags, _READ),
    )
    _check(heartbeat)
    return heartbeat


def _check(heartbeat: Heartbeat) -> None:
    check_text(heartbeat.name, "d", NAME_CHARS_MAX)
    check_text(heartbeat.status, "status", TEXT_CHARS_MAX)
    check_text(heartbeat.content, "content", TEXT_CHARS_MAX)
    if len(get_rest(heartbeat.others, _READ)) != len(heartbeat.others):
        raise ValueError(f"others: has one of {_READ}, or a tag without a name")
