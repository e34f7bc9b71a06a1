"""The order of one process: whoever comes first is first.

The embedded form of `OrderPort`, and its n = 1 case: no message is exchanged, the record is decided
at once. A replicated order offers the same door, asks its peers before it decides, and hands back
the records that have been decided meanwhile, possibly none and possibly other members' too.
"""

from __future__ import annotations

from collections.abc import Callable

from kumiai.base.events import Event
from kumiai.base.log import Record, append_record


class InProcessOrder:
    """Chains every event that the fold accepts to the last one."""

    def __init__(self) -> None:
        self._last: Record | None = None

    def submit(
        self, event: Event, now_ms: int, would_accept: Callable[[Record], bool]
    ) -> tuple[Record, ...]:
        """Give `event` its place if the fold takes it there; return what is decided now."""
        record = append_record(self._last, now_ms, event)
        if not would_accept(record):
            return ()
        self._last = record
        return (record,)
