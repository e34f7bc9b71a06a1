"""Requests that wait for a place, and what was executed for each client, so that it happens once.

A client numbers its requests with rising timestamps. One that is not above the last that was
executed for the same client is not executed again (Castro and Liskov 1999, section 4.1). Bounds:
`WAITING_MAX` requests in all, `WAITING_PER_CLIENT_MAX` of one client; one number per client.
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

Key = tuple[str, int]


@dataclass
class Pool:
    """waiting: by arrival. free: those of them that the present view has not proposed."""

    waiting: dict[Key, Request] = field(default_factory=dict)
    free: dict[Key, Request] = field(default_factory=dict)
    executed: dict[str, int] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def find_flaw(self, request: Request) -> str:
        """Return why a (signed) request cannot wait here, "" if it can."""
        if self.is_executed(request):
            return "it was executed, or a later one of this client was"
        if len(self.waiting) >= WAITING_MAX:
            return f"{WAITING_MAX} requests are waiting"
        if self._counts[request.client] >= WAITING_PER_CLIENT_MAX:
            return f"{WAITING_PER_CLIENT_MAX} requests of this client are waiting"
        return ""

    def is_executed(self, request: Request) -> bool:
        """Tell whether executing it would do it twice, or out of its client's order."""
        return request.timestamp <= self.executed.get(request.client, -1)

    def add(self, request: Request) -> None:
        """Let a request wait; `find_flaw` found nothing."""
        key = (request.client, request.timestamp)
        if key not in self.waiting:
            self.waiting[key] = self.free[key] = request
            self._counts[request.client] += 1

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
        done = []
        for request in requests:
            if not self.is_executed(request):
                self.executed[request.client] = request.timestamp
                done.append(request)
        if done:
            self._forget_passed({request.client for request in done})
        return tuple(done)

    def get_oldest(self) -> Key | None:
        """Return who has waited longest, None where nobody waits."""
        return next(iter(self.waiting), None)

    def _forget_passed(self, clients: set[str]) -> None:
        passed = [
            key for key in self.waiting if key[0] in clients and key[1] <= self.executed[key[0]]
        ]
        for key in passed:
            del self.waiting[key]
            self.free.pop(key, None)
            self._counts[key[0]] -= 1
