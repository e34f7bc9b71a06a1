"""How long to wait before the next attempt: longer each time, never two members in step.

Waits grow by a half from `first_s` to `last_s`, each with up to a half of chance added, so that
a thousand members whose relay came back do not all knock at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits in seconds; `sleep` is the event loop's, or a test's."""

    first_s: float = 0.2
    last_s: float = 60.0
    growth: float = 1.5
    chance: random.Random = field(default_factory=random.Random)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def waits(self) -> Iterator[float]:
        """Yield one wait after another, for ever."""
        wait_s = self.first_s
        while True:
            yield wait_s * (1 + self.chance.random() / 2)
            wait_s = min(self.last_s, wait_s * self.growth)
