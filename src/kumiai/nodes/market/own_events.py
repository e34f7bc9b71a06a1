"""Our own events: which of them should be on the relays.

An event matters until it expires, is replaced by a newer one of its place (NIP-01's replaceable and
addressable kinds), or its job has been closed for a day; and for 30 days at most.
"""

from __future__ import annotations

from typing import Final

from kumiai.base.events import Event
from kumiai.market.kinds import Kind
from kumiai.market.nips.nip01 import get_values
from kumiai.nodes.market.replay import Said

MATTERS_S: Final = 30 * 24 * 3600
CLOSED_MATTERS_S: Final = 24 * 3600


class OwnEvents:
    """What one member said and may have to say again. Pure but for its own fields."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}
        self._place_of: dict[tuple[int, str], str] = {}
        self._closed_at_s: dict[str, int] = {}

    def remember(self, said: Said) -> None:
        """Add an event that is in the journal."""
        event = said.event
        self._said[event.id] = said
        place = find_place(event)
        if place is not None:
            older = self._place_of.get(place)
            self._place_of[place] = event.id
            if older is not None and older != event.id:
                self._said.pop(older, None)
        if event.kind == Kind.CLOSING:
            for job in _list_jobs(event):
                self._closed_at_s[job] = event.created_at

    def list_mattering(self, now_s: int) -> list[Said]:
        """Return what should be on the relays, oldest first, and forget the rest."""
        self._said = {key: said for key, said in self._said.items() if self.matters(said, now_s)}
        return list(self._said.values())

    def matters(self, said: Said, now_s: int) -> bool:
        """Tell whether an event should still be on the relays."""
        event = said.event
        if event.id not in self._said or now_s - event.created_at > MATTERS_S:
            return False
        if any(t.isdecimal() and int(t) <= now_s for t in get_values(event.tags, "expiration")):
            return False
        if event.kind in (Kind.CLOSING, Kind.RATING):
            return True
        jobs = (event.id, *_list_jobs(event))
        closed = [self._closed_at_s[job] for job in jobs if job in self._closed_at_s]
        return not closed or now_s - max(closed) <= CLOSED_MATTERS_S


def find_place(event: Event) -> tuple[int, str] | None:
    """Return the place that a newer event of its author takes from it; None for regular ones."""
    if 10_000 <= event.kind < 20_000:
        return event.kind, ""
    if 30_000 <= event.kind < 40_000:
        return event.kind, next(iter(get_values(event.tags, "d")), "")
    return None


def _list_jobs(event: Event) -> list[str]:
    return [tag[1] for tag in event.tags if len(tag) >= 4 and tag[::3] == ("e", "job")]
