"""Filters that callers poll: each remembers the block up to which it has answered. Bounded."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from kumiai.adapters.evm.chain.errors import refuse
from kumiai.adapters.evm.chain.params import LogFilter

FILTERS_MAX = 1_000
IDLE_SECONDS_MAX = 300.0  # as geth: who does not ask for so long is forgotten


@dataclass(slots=True)
class Filter:
    """One filter; criteria: None for new blocks. next_block: the first not answered yet."""

    criteria: LogFilter | None
    next_block: int
    used_at: float


class Filters:
    """The filters of all callers, by ids that nobody can guess."""

    def __init__(self) -> None:
        self._filters: dict[str, Filter] = {}

    def add(self, criteria: LogFilter | None, next_block: int) -> str:
        """A new filter's id; the one idle for longest leaves where there are too many."""
        now = time.monotonic()
        for name in [n for n, f in self._filters.items() if now - f.used_at > IDLE_SECONDS_MAX]:
            self._filters.pop(name, None)
        if len(self._filters) >= FILTERS_MAX:
            self._filters.pop(min(self._filters, key=lambda n: self._filters[n].used_at), None)
        name = hex(secrets.randbits(128) | 1 << 127)
        self._filters[name] = Filter(criteria, next_block, now)
        return name

    def get(self, name: object) -> Filter:
        """RpcError "filter not found" for one that was removed or forgotten."""
        found = self._filters.get(name) if isinstance(name, str) else None
        if found is None:
            raise refuse("filter not found")
        found.used_at = time.monotonic()
        return found

    def remove(self, name: object) -> bool:
        """Whether it was there."""
        return isinstance(name, str) and self._filters.pop(name, None) is not None
