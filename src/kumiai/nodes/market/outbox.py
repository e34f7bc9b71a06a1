"""Our own events: which of them still matter, and sending until a relay has them.

Every event is in the journal before it is sent, so a relay that forgets everything, or a node that
died between writing and sending, costs nothing: what still matters is sent again, unchanged. An
event matters until it expires, is replaced by a newer one of its place (NIP-01's replaceable and
addressable kinds), or its job has been closed for a day; and for 30 days at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kumiai.base.events import Event
from kumiai.market.kinds import Kind
from kumiai.market.nips.nip01 import Filter, get_values
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.local import Clock
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.ports import RelayPort
from kumiai.nodes.market.replay import Said

MATTERS_S: Final = 30 * 24 * 3600
CLOSED_MATTERS_S: Final = 24 * 3600
SENDING_MAX: Final = 32  # at once
ASKED_MAX: Final = 256  # ids in one filter

Report = Callable[[str, Exception], None]


class Outbox:
    """One member's own events. `send` and `send_missing` run as tasks of the node."""

    def __init__(self, relay: RelayPort, clock: Clock, patience: Patience, report: Report) -> None:
        self._relay, self._clock, self._patience, self._report = relay, clock, patience, report
        self._said: dict[str, Said] = {}
        self._place_of: dict[tuple[int, str], str] = {}
        self._closed_at_s: dict[str, int] = {}
        self._gate = asyncio.Semaphore(SENDING_MAX)
        self._under_way: set[str] = set()

    def remember(self, said: Said) -> None:
        """Add an event that is in the journal."""
        event = said.event
        self._said[event.id] = said
        place = _find_place(event)
        if place is not None:
            older = self._place_of.get(place)
            self._place_of[place] = event.id
            if older is not None and older != event.id:
                self._said.pop(older, None)
        if event.kind == Kind.CLOSING:
            for job in _list_jobs(event):
                self._closed_at_s[job] = event.created_at

    def list_mattering(self) -> list[Said]:
        """Return what should be on the relays, oldest first, and forget the rest."""
        now_s = self._clock()
        self._said = {key: said for key, said in self._said.items() if self._matters(said, now_s)}
        return list(self._said.values())

    async def send(self, said: Said) -> None:
        """Send until a relay has it, or it matters no longer."""
        event = said.event
        if event.id in self._under_way:
            return
        self._under_way.add(event.id)
        try:
            waits = self._patience.waits()
            while event.id in self._said and self._matters(said, self._clock()):
                try:
                    async with self._gate:
                        await self._relay.publish(event, said.relays)
                    return
                except RelayError as error:
                    self._report(f"sending event {event.id[:12]} of kind {event.kind}", error)
                await self._patience.sleep(next(waits))
        finally:
            self._under_way.discard(event.id)

    async def send_all(self, events: Iterable[Said]) -> int:
        """Send these again; return how many."""
        wanted = list(events)
        await asyncio.gather(*(self.send(said) for said in wanted))
        return len(wanted)

    async def find_missing(self, said: Sequence[Said]) -> list[Said]:
        """Return those that no relay has; RelayError if none answers."""
        missing: list[Said] = []
        for start in range(0, len(said), ASKED_MAX):
            part = said[start : start + ASKED_MAX]
            asked = Filter(ids=tuple(one.event.id for one in part))
            found = {event.id for event in await self._relay.fetch([asked])}
            missing += [one for one in part if one.event.id not in found]
        return [one for one in missing if one.event.id not in self._under_way]

    def _matters(self, said: Said, now_s: int) -> bool:
        event = said.event
        if now_s - event.created_at > MATTERS_S:
            return False
        if any(t.isdecimal() and int(t) <= now_s for t in get_values(event.tags, "expiration")):
            return False
        if event.kind in (Kind.CLOSING, Kind.RATING):
            return True
        jobs = (event.id, *_list_jobs(event))
        closed = [self._closed_at_s[job] for job in jobs if job in self._closed_at_s]
        return not closed or now_s - max(closed) <= CLOSED_MATTERS_S


def _find_place(event: Event) -> tuple[int, str] | None:
    """The place that a newer event of ours takes from this one; None for regular events."""
    if 10_000 <= event.kind < 20_000:
        return event.kind, ""
    if 30_000 <= event.kind < 40_000:
        return event.kind, next(iter(get_values(event.tags, "d")), "")
    return None


def _list_jobs(event: Event) -> list[str]:
    return [tag[1] for tag in event.tags if len(tag) >= 4 and tag[::3] == ("e", "job")]
