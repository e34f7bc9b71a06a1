"""Which events of strangers a member writes down, and which it forgets.

Anybody can make keys and sign valid events without end, so what is heard must not cost memory or
disk without bound. A letter that changes the state is always written down: the machine itself
bounds what it takes from whom. One that was refused is evidence, and kept within bounds: so many of
one author, more of those whose letters have changed something before, and so many of all strangers
together, in number and bytes. Everything else leaves no trace.

An event that changed nothing may only have come too early (relays do not keep an order). A bounded
number of those wait, few of one author, and are tried again when the state has moved on. So a
flood can at worst push out the early letters of strangers, never stop a member or fill its disk.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from kumiai.base.events import Event
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import encode_event

FORGOTTEN_KEPT_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds; `known` authors are those whose letters have changed the state before."""

    evidence_of_known: int = 64
    evidence_of_stranger: int = 4
    evidence_of_strangers: int = 1_024
    evidence_of_strangers_bytes: int = 8 * 1024 * 1024
    waiting: int = 256
    waiting_of_author: int = 8


class Intake:
    """What one member remembers of what it heard; all of it follows from its journal."""

    def __init__(self, limits: IntakeLimits | None = None) -> None:
        self.limits = limits or IntakeLimits()
        self._taken: set[str] = set()  # changed the state: bounded by what the machine takes
        self._kept: set[str] = set()  # evidence: bounded by the limits
        self._known: set[str] = set()
        self._evidence: Counter[str] = Counter()
        self._stranger_count = 0
        self._stranger_bytes = 0
        self._forgotten: OrderedDict[str, int] = OrderedDict()  # id -> version it was tried at
        self._waiting: OrderedDict[str, Letter] = OrderedDict()
        self._waiting_of: Counter[str] = Counter()

    def is_news(self, event: Event, version: int) -> bool:
        """Tell whether to look at an event: not taken, nor tried in this version of the state."""
        return event.id not in self._taken and self._forgotten.get(event.id) != version

    def take(self, event: Event) -> None:
        """Remember an event that changed the state."""
        self._taken.add(event.id)
        self._known.add(event.pubkey)
        self._forgotten.pop(event.id, None)
        self._let_go(event.id)

    def keep(self, event: Event) -> bool:
        """Tell whether a refused event is worth its place as evidence, and remember it if so."""
        if event.id in self._kept:
            return False
        limits, author = self.limits, event.pubkey
        if author in self._known:
            if self._evidence[author] >= limits.evidence_of_known:
                return False
        else:
            size_bytes = self._stranger_bytes + len(encode_event(event))
            if (
                self._evidence[author] >= limits.evidence_of_stranger
                or self._stranger_count >= limits.evidence_of_strangers
                or size_bytes > limits.evidence_of_strangers_bytes
            ):
                return False
            self._stranger_count += 1
            self._stranger_bytes = size_bytes
        self._evidence[author] += 1
        self._kept.add(event.id)
        return True

    def forget(self, letter: Letter, version: int) -> None:
        """Note that a letter changed nothing now; it may wait for a state that it fits."""
        event = letter.event
        self._forgotten[event.id] = version
        self._forgotten.move_to_end(event.id)
        if len(self._forgotten) > FORGOTTEN_KEPT_MAX:
            self._forgotten.popitem(last=False)
        if event.id in self._waiting:
            return
        if self._waiting_of[event.pubkey] >= self.limits.waiting_of_author:
            return
        self._waiting[event.id] = letter
        self._waiting_of[event.pubkey] += 1
        if len(self._waiting) > self.limits.waiting:
            self._let_go(self._find_least())

    def list_waiting(self, version: int) -> list[Letter]:
        """Return what waits and was not tried in this version, oldest first."""
        waiting = self._waiting.values()
        return [letter for letter in waiting if self.is_news(letter.event, version)]

    def drop_waiting(self, event: Event) -> None:
        """Let a letter wait no longer."""
        self._let_go(event.id)

    def _find_least(self) -> str:
        """A stranger's oldest, or the oldest of all."""
        for event_id, letter in self._waiting.items():
            if letter.event.pubkey not in self._known:
                return event_id
        return next(iter(self._waiting))

    def _let_go(self, event_id: str) -> None:
        letter = self._waiting.pop(event_id, None)
        if letter is not None:
            author = letter.event.pubkey
            self._waiting_of[author] -= 1
            if not self._waiting_of[author]:
                del self._waiting_of[author]
