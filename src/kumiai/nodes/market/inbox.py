"""What waits for a node's next step: results and commands first, then letters.

Letters come from strangers and are held back at a bound: the relay's iterator waits, nothing is
dropped here. Results are few, one for each thing that was asked for, and never wait behind letters.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from kumiai.base.errors import Reject
from kumiai.base.events import Event

LETTERS_MAX: Final = 1_024
BATCH_MAX: Final = 64  # inputs that share one write to the disk


@dataclass(frozen=True, slots=True)
class Command:
    """What the owner says, and where its answer goes."""

    command: Any
    answer: asyncio.Future[tuple[Reject, ...]]


@dataclass(slots=True)
class Inbox:
    """One consumer; any number of producers on the same event loop."""

    _first: deque[Any] = field(default_factory=deque)
    _letters: deque[Event] = field(default_factory=deque)
    _has_some: asyncio.Event = field(default_factory=asyncio.Event)
    _has_room: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, item: object) -> None:
        """Add a result, a command, a tick or an end: never waits."""
        self._first.append(item)
        self._has_some.set()

    async def put_event(self, event: Event) -> None:
        """Add an event from a relay; waits while there are too many."""
        while len(self._letters) >= LETTERS_MAX:
            self._has_room.clear()
            await self._has_room.wait()
        self._letters.append(event)
        self._has_some.set()

    async def take(self) -> list[Any]:
        """Wait for something, then return up to BATCH_MAX of what is there."""
        while not self._first and not self._letters:
            self._has_some.clear()
            await self._has_some.wait()
        batch: list[Any] = []
        for source in (self._first, self._letters):
            while source and len(batch) < BATCH_MAX:
                batch.append(source.popleft())
        if len(self._letters) < LETTERS_MAX:
            self._has_room.set()
        return batch
