"""The log: events in the one order that everybody agrees on, each record chained to the last.

head_0 = sha256("kumiai log v1"), head_h = sha256(head_{h-1} | height | time_ms | event id).
One head therefore stands for the whole history before it; a certificate that names a head signs
all of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kumiai.base.events import Event

GENESIS_HEAD = hashlib.sha256(b"kumiai log v1").hexdigest()


@dataclass(frozen=True, slots=True)
class Record:
    """One ordered event: `height` counts from 1, `time_ms` is the order's clock, never a node's."""

    height: int
    time_ms: int
    event: Event
    head: str


def append_record(previous: Record | None, time_ms: int, event: Event) -> Record:
    """Chain `event` to `previous` (None: it is the first); ValueError if time runs backwards."""
    height = previous.height + 1 if previous else 1
    if previous is not None and time_ms < previous.time_ms:
        raise ValueError(f"time {time_ms} is before {previous.time_ms}, the last record's")
    head = compute_head(previous.head if previous else GENESIS_HEAD, height, time_ms, event.id)
    return Record(height=height, time_ms=time_ms, event=event, head=head)


def compute_head(previous_head: str, height: int, time_ms: int, event_id: str) -> str:
    """Return the chained hash that names the log up to and including this record."""
    text = f"{previous_head}|{height}|{time_ms}|{event_id}"
    return hashlib.sha256(text.encode()).hexdigest()
