"""Requests that wait for a place, and what was executed for each client, so that it happens once.

A client numbers its requests with rising timestamps. Several may be under way, and lost or late
ones may pass each other: within the last `WINDOW` numbers each is executed once, in whatever order;
one below is taken for executed. (Castro and Liskov 1999, section 4.1, let a client have one request
under way: the window is of size one there.) Bounds: `WAITING_MAX` requests in all; of one client
`WAITING_PER_CLIENT_MAX`, `BYTES_PER_CLIENT_MAX` and two windows of numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kumiai.consensus.pbft.messages import (
    BATCH_BYTES_MAX,
    BATCH_COUNT_MAX,
    Request,
    count_bytes,
)

WAITING_MAX = 8_192
WAITING_PER_CLIENT_MAX = 1_024
BYTES_PER_CLIENT_MAX = 8 * 1024 * 1024  # a dozen of the largest requests
WINDOW = 1_024  # of one client's timestamps

Key = tuple[str, int]


@dataclass
class Done:
    """What was executed for one client: the highest timestamp, and those of the window below it."""

    last: int = -1
    recent: set[int] = field(default_factory=set)

    def has(self, timestamp: int) -> bool:
        """Tell whether it was executed, or lies below the window."""
        return timestamp <= self.last - WINDOW or timestamp in self.recent

    def add(self, timestamp: int) -> None:
        """Note that it is executed."""
        self.last = max(self.last, timestamp)
        self.recent.add(timestamp)
        if len(self.recent) >= 2 * WINDOW:
            self.recent = {each for each in self.recent if each > self.last - WINDOW}


@dataclass
class Pool:
    """waiting: by arrival. free: those of them that the present view has not proposed."""

    waiting: dict[Key, Request] = field(default_factory=dict)
    free: dict[Key, Request] = field(default_factory=dict)
    executed: dict[str, Done] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _sizes: Counter[str] = field(default_factory=Counter)  # bytes

    def find_flaw(self, request: Request) -> str:
        """Return why a (signed) request cannot wait here, "" if it can."""
        if self.is_executed(request):
            return "it was executed, or many later ones of this client were"
        if len(self.waiting) >= WAITING_MAX:
            return f"{WAITING_MAX} requests are waiting"
        if self._counts[request.client] >= WAITING_PER_CLIENT_MAX:
            return f"{WAITING_PER_CLIENT_MAX} requests of this client are waiting"
        if self._sizes[request.client] + count_bytes([request]) > BYTES_PER_CLIENT_MAX:
            return f"{self._sizes[request.client]} bytes of this client are waiting"
        return ""

    def is_executed(self, request: Request) -> bool:
        """Tell whether executing it could do it twice."""
        done = self.executed.get(request.client)
        return done is not None and done.has(request.timestamp)

    def add(self, request: Request) -> None:
        """Let a request wait; `find_flaw` found nothing."""
        key = (request.client, request.timestamp)
        if key not in self.waiting:
            self.waiting[key] = self.free[key] = request
            self._counts[request.client] += 1
            self._sizes[request.client] += count_bytes([request])

    def take(self, count_max: int) -> tuple[Request, ...]:
        """Return what the next batch holds, oldest first, a client's in its order: free no more."""
        batch: list[Request] = []
        size = 0
        for request in self.free.values():
            if len(batch) >= min(count_max, BATCH_COUNT_MAX):
                break
            size += count_bytes([request])
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(request)
        batch.sort(key=lambda request: request.timestamp)
        self.place(batch)
        return tuple(batch)

    def place(self, requests: Iterable[Request]) -> None:
        """Note that the present view proposes these."""
        for request in requests:
            self.free.pop((request.client, request.timestamp), None)

    def begin_view(self) -> None:
        """Note that a new view has proposed nothing yet."""
        self.free = dict(self.waiting)

    def execute(self, requests: Iterable[Request]) -> tuple[Request, ...]:
        """Return those of a decided batch that are executed now; none of it waits any more."""
        new = []
        for request in requests:
            key = (request.client, request.timestamp)
            if not self.is_executed(request):
                self.executed.setdefault(request.client, Done()).add(request.timestamp)
                new.append(request)
            waited = self.waiting.pop(key, None)
            if waited is not None:  # under this number it may have been another request
                self.free.pop(key, None)
                self._counts[waited.client] -= 1
                self._sizes[waited.client] -= count_bytes([waited])
        return tuple(new)

    def get_oldest(self) -> Key | None:
        """Return who has waited longest, None where nobody waits."""
        return next(iter(self.waiting), None)
