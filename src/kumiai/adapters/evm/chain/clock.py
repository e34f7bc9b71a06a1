"""The chain's time: seconds of a given clock, moved by a developer where the chain allows it."""

from __future__ import annotations

import time
from collections.abc import Callable

OFFSET_SECONDS_MAX = 100 * 365 * 86_400


def read_wall_clock() -> int:
    """Unix seconds."""
    return int(time.time())


class Clock:
    """Says which second the next block is of; the offset is kept with the chain."""

    def __init__(self, read: Callable[[], int], offset: int) -> None:
        self._read = read
        self.offset = offset  # seconds
        self.next_timestamp: int | None = None

    def compute_timestamp(self, parent: int) -> int:
        """The next block's second: now, or what was ordered, and never before its parent's.

        Two blocks of the same second share it (Arbitrum's do, too): under load the chain's time
        does not run ahead of the clock.
        """
        if self.next_timestamp is not None:
            return max(self.next_timestamp, parent)
        return max(self._read() + self.offset, parent)

    def on_sealed(self, timestamp: int) -> None:
        """An ordered timestamp was used: time goes on from there."""
        if self.next_timestamp is not None:
            self.next_timestamp = None
            self.offset = timestamp - self._read()
