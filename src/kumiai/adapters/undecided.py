"""What members said and nobody has decided yet: each sender's events in their order, and its gate.

A member hands its events to one validator, its gate. Where nothing is decided for a while it turns
to the next one with all that waits, in their order. An event counts as done once all that its
sender said before it is: one that overtook another is handed in again, and the fold refuses what
it took already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kumiai.base.events import Event

CLOCK = "orderer"  # sender of what the run's own clock says
REARM_MS = 200  # until a deadline that has passed is told again
RETRY_MS = 3_000  # without a decision: the next gate
ATTEMPTS_MAX = 50


class Undecided:
    """The bookkeeping of a world whose order is a committee's."""

    def __init__(self) -> None:
        self._pending: dict[str, list[Event]] = {}
        self._attempts: dict[str, int] = {}
        self._done: set[str] = set()
        self._heads: dict[str, str] = {}  # a sender's oldest undecided event -> the sender

    def has_any(self) -> bool:
        """Tell whether anything waits for its place."""
        return any(self._pending.values())

    def is_done(self, event: Event) -> bool:
        """Tell whether an event has its place, and all that its sender said before it."""
        return event.id in self._done

    def get(self, sender: str) -> Sequence[Event]:
        """Return what waits of a sender, oldest first."""
        return self._pending.get(sender, ())

    def list_waiting(self) -> Iterator[tuple[str, Sequence[Event]]]:
        """Yield every sender of whom something waits, with all of it, oldest first."""
        for sender, pending in self._pending.items():
            if pending:
                yield sender, pending

    def add(self, sender: str, event: Event) -> bool:
        """Let an event wait; tell whether it is the oldest, whose fate is to be looked at."""
        pending = self._pending.setdefault(sender, [])
        pending.append(event)
        if len(pending) == 1:
            self._heads[event.id] = sender
        return len(pending) == 1

    def get_gate(self, sender: str, size: int) -> int:
        """Return which of so many validators the sender hands its events to now."""
        return (sum(sender.encode()) + self._attempts.get(sender, 0)) % size

    def turn(self, sender: str) -> int:
        """Go to the next gate; after ATTEMPTS_MAX of them return how many events are given up."""
        pending = self._pending[sender]
        attempts = self._attempts.get(sender, 0) + 1
        self._attempts[sender] = attempts
        if attempts <= ATTEMPTS_MAX:
            return 0
        given_up = len(pending)
        self._heads.pop(pending[0].id, None)
        pending.clear()
        return given_up

    def acknowledge(self, event: Event) -> None:
        """Note that an event has its place: done, if all that its sender said before it is."""
        sender = self._heads.pop(event.id, None)
        if sender is None:
            return
        self._done.add(event.id)
        pending = self._pending[sender]
        pending.pop(0)
        if pending:
            self._heads[pending[0].id] = sender
