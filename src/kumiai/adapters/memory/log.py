"""The log in memory: the naive twin of the durable log, and the rules that both enforce."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from kumiai.base.errors import StoreError
from kumiai.base.log import GENESIS_HEAD, Record, compute_head


class MemoryLog:
    """LogPort without a disk. `append` takes a batch wholly or not at all."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def append(self, records: Sequence[Record]) -> None:
        """Add what is new; what is already there must be identical. Raises StoreError."""
        check_consecutive(self.last(), records)
        known = [record for record in records if record.height <= len(self._records)]
        for record in known:
            check_same(self._records[record.height - 1], record)
        fresh = records[len(known) :]
        check_chained(self.last(), fresh)
        self._records.extend(fresh)

    def read(self, from_height: int = 1) -> Iterator[Record]:
        """Yield the records from `from_height` (>= 1) on, in order."""
        if from_height < 1:
            raise ValueError(f"from_height {from_height}: heights count from 1")
        return iter(self._records[from_height - 1 :])

    def last(self) -> Record | None:
        """Return the newest record, or None for an empty log."""
        return self._records[-1] if self._records else None


def check_consecutive(last: Record | None, records: Sequence[Record]) -> None:
    """Raise StoreError unless heights rise by one and leave no gap after `last`."""
    if not records:
        return
    expected_max = last.height + 1 if last else 1
    if not 1 <= records[0].height <= expected_max:
        raise StoreError(f"gap at height {records[0].height}: the log goes on at {expected_max}")
    for previous, record in pairwise(records):
        if record.height != previous.height + 1:
            raise StoreError(f"gap at height {record.height}: {previous.height} came before it")


def check_chained(last: Record | None, records: Sequence[Record]) -> None:
    """Raise StoreError unless each record's head and time follow from the one before it."""
    head, time_ms = (last.head, last.time_ms) if last else (GENESIS_HEAD, None)
    for record in records:
        if time_ms is not None and record.time_ms < time_ms:
            raise StoreError(
                f"time runs backwards at height {record.height}: {record.time_ms} after {time_ms}"
            )
        expected = compute_head(head, record.height, record.time_ms, record.event.id)
        if record.head != expected:
            raise StoreError(f"wrong head at height {record.height}: {record.head} != {expected}")
        head, time_ms = record.head, record.time_ms


def check_same(stored: Record, offered: Record) -> None:
    """Raise StoreError unless a record offered again is the stored one to the last byte."""
    if stored == offered:
        return
    for name in ("time_ms", "event", "head"):
        if getattr(stored, name) != getattr(offered, name):
            break
    what = {
        "time_ms": f"time {offered.time_ms} offered, {stored.time_ms} stored",
        "event": f"event {offered.event.id} offered, {stored.event.id} stored",
        "head": f"head {offered.head} offered, {stored.head} stored",
    }[name]
    raise StoreError(f"diverged at height {offered.height}: {what}")
