"""Sending our own events until a relay has them.

Every event is in the journal before it is sent, so a relay that forgets everything, or a node that
died between writing and sending, costs nothing: what still matters is sent again, unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.local import Clock
from kumiai.nodes.market.own_events import OwnEvents
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.ports import RelayPort
from kumiai.nodes.market.replay import Said

SENDING_MAX: Final = 32  # at once
ASKED_MAX: Final = 256  # ids in one filter

Report = Callable[[str, Exception], None]


class Outbox:
    """One member's own events. `send` and `send_all` run as tasks of the node."""

    def __init__(self, relay: RelayPort, clock: Clock, patience: Patience, report: Report) -> None:
        self._relay, self._clock, self._patience, self._report = relay, clock, patience, report
        self._own = OwnEvents()
        self._gate = asyncio.Semaphore(SENDING_MAX)
        self._under_way: set[str] = set()

    def remember(self, said: Said) -> None:
        """Add an event that is in the journal."""
        self._own.remember(said)

    def list_mattering(self) -> list[Said]:
        """Return what should be on the relays, oldest first."""
        return self._own.list_mattering(self._clock())

    async def send(self, said: Said) -> None:
        """Send until a relay has it, or it matters no longer."""
        event = said.event
        if event.id in self._under_way:
            return
        self._under_way.add(event.id)
        try:
            waits = self._patience.waits()
            while self._own.matters(said, self._clock()):
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
