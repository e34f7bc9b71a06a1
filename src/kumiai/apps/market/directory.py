"""Who offers training: announcements (NIP-89) and whether their authors were heard of lately.

An announcement says what its author claims; nothing in it was checked by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kumiai.adapters.nostr.relays import Relays
from kumiai.base.events import Event
from kumiai.market.kinds import HEARTBEAT_LIFE_S, TOPIC, Kind
from kumiai.market.nips.nip01 import Filter, get_value, get_values
from kumiai.market.provider.announcing import OFFLINE
from kumiai.market.terms import MSAT_MAX

TEXT_CHARS_MAX = 200
ANNOUNCEMENTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Listed:
    """One provider as it describes itself; is_alive: its heartbeat has not expired."""

    provider: str
    name: str
    price_msat: int
    payment: tuple[str, ...]
    hardware: str
    is_alive: bool


async def fetch_providers(relays: Sequence[str], now_s: int) -> list[Listed]:
    """Ask the relays; living ones first, then by price. RelayError if no relay answers."""
    port = Relays(relays)
    try:
        kinds = (int(Kind.ANNOUNCEMENT), int(Kind.HEARTBEAT))
        filters = [
            Filter(kinds=(kind,), tags={"t": (TOPIC,)}, limit=ANNOUNCEMENTS_MAX) for kind in kinds
        ]
        events = await port.fetch(filters)
    finally:
        await port.close()
    return list_providers(events, now_s)


def list_providers(events: Sequence[Event], now_s: int) -> list[Listed]:
    """Put announcements and heartbeats together; what cannot be read is left out."""
    # no heartbeat lives longer, but clocks differ: nobody is alive for years by one event
    latest = now_s + 2 * HEARTBEAT_LIFE_S
    alive = {
        event.pubkey
        for event in _list_newest(events, Kind.HEARTBEAT)
        if now_s < _get_expiration(event) <= latest
        and OFFLINE not in get_values(event.tags, "status")
    }
    newest = _list_newest(events, Kind.ANNOUNCEMENT)
    found = [_read(event, event.pubkey in alive) for event in newest]
    listed = [one for one in found if one is not None]
    return sorted(listed, key=lambda one: (not one.is_alive, one.price_msat, one.provider))


def _list_newest(events: Sequence[Event], kind: Kind) -> list[Event]:
    """Return each author's newest event of a kind; of one second the lowest id, as relays do."""
    newest: dict[str, Event] = {}
    for event in sorted(events, key=lambda one: (-one.created_at, one.id)):
        if event.kind == kind:
            newest.setdefault(event.pubkey, event)
    return list(newest.values())


def _read(event: Event, is_alive: bool) -> Listed | None:
    try:
        about = json.loads(event.content)
        price = about["price_msat"]
        payment = about["payment"]
        if type(price) is not int or not 0 <= price <= MSAT_MAX or not isinstance(payment, list):
            return None
        return Listed(
            provider=event.pubkey,
            name=str(about.get("name", ""))[:TEXT_CHARS_MAX],
            price_msat=price,
            payment=tuple(str(one)[:20] for one in payment[:8]),
            hardware=str(about.get("hardware", ""))[:TEXT_CHARS_MAX],
            is_alive=is_alive,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _get_expiration(event: Event) -> int:
    try:
        text = get_value(event.tags, "expiration") or ""
    except ValueError:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0
