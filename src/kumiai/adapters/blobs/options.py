"""How a blob client behaves towards servers that it does not trust: waits, retries, speeds."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Times in seconds, sizes in bytes.

    A server is left where it falls below `bytes_per_s_min` over `slow_after_s`, or sends nothing
    for `idle_s`. straggler_s: once one server has a blob, the others get that long to follow.
    """

    attempts: int = 4  # rounds over all servers
    retry_s: float = 0.25  # before the second attempt, doubled each time, times 0.5 to 1.5
    retry_s_max: float = 10.0
    connect_s: float = 10.0
    idle_s: float = 30.0
    slow_after_s: float = 10.0
    bytes_per_s_min: int = 32 * 1024
    straggler_s: float = 30.0
    settle_s: float = 600.0  # a server may take that long to put away what was sent (in a bucket)
    piece_bytes: int = 8 * MIB  # of one request when several mirrors are pulled from
    split_above_bytes: int = 32 * MIB  # smaller blobs come from one mirror
    mirrors_at_once: int = 4
    authorization_life_s: int = 3600
    redirects_max: int = 3
    is_private_allowed: bool = False  # fetch from hosts of the own network that strangers name

    async def rest(self, attempt: int) -> None:
        """Sleep before the attempt with this number, counted from 0."""
        wait_s = min(self.retry_s * 2**attempt, self.retry_s_max)
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
