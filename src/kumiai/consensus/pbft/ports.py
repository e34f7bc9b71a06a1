"""What a replica's life needs besides messages: a memory that outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from kumiai.consensus.pbft.messages import Decided
from kumiai.consensus.pbft.safety import Entry


class JournalPort(Protocol):
    """What was promised and what was decided, over crashes. Raises StoreError where it fails."""

    def persist(self, entries: tuple[Entry, ...]) -> None:
        """Write down the entries; all that was written lasts when this returns.

        Entries that a stable checkpoint makes superfluous may go: `safety.recall` finds the same.
        """
        ...

    def append(self, decided: Decided) -> None:
        """Write down the next decided batch; it lasts from the next `persist` on."""
        ...

    def read_entries(self) -> Iterator[Entry]:
        """Yield what was written down, in its order."""
        ...

    def read_decided(self, first: int = 1, count_max: int = -1) -> Iterator[Decided]:
        """Yield decided batches from a place on, at most so many (-1: all)."""
        ...
