"""A member's market journal in memory: the naive twin of the one on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kumiai.adapters.store.market_entries import decode_entry, encode_entry


class MemoryMarketJournal:
    """MarketJournalPort that lasts as long as this object."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._mark_s = 0

    def append(self, entries: Sequence[Mapping[str, object]]) -> None:
        """Add all entries or, if one has no written form (ValueError), none."""
        self._entries += [encode_entry(entry) for entry in entries]

    def read(self) -> list[Mapping[str, object]]:
        """Return all entries, oldest first."""
        return [decode_entry(body) for body in self._entries]

    def mark(self, at_s: int) -> None:
        """Keep that time."""
        self._mark_s = at_s

    def find_mark(self) -> int:
        """Return it."""
        return self._mark_s
