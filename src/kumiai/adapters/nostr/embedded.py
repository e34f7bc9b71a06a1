"""A relay within this process, in memory or in a folder: what a market starts with.

nostr-sdk's `LocalRelay` (MIT) on threads of its own. In memory it keeps the newest 75,000 events
and forgets them when it stops; members publish theirs again from their own logs
(`Relays.republish`). In a folder (LMDB) every event is on disk before it is acknowledged, which
costs a disk's sync each.

It has NIP 01, 09, 33, 40, 42, 45, 50, 59, 70 and 77, and no NIP-11. It closes a connection after
6,000 messages of a client; `Relays` changes over before that. What limits it: every event is
matched against every subscriber (about 1 ms with 1,000 of them).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kumiai.adapters.nostr import library
from kumiai.adapters.nostr.nodelay import set_nodelay
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import RelayError

PORT_MAX: Final = 65_535
STOP_LOOKS: Final = 3_000
STOP_LOOK_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What one connection may do, and how many there may be.

    page_events_max: of one answer to a request for stored events. All are far above what a member
    needs and far below what fills a machine.
    """

    events_per_minute: int = 600_000
    subscriptions_max: int = 256
    connections_max: int = 4_096
    page_events_max: int = 5_000


class EmbeddedRelay:
    """A running relay; `async with` it, or call `stop`. `url` is what members connect to."""

    def __init__(self, relay: object, url: str) -> None:
        self._relay: object | None = relay
        self.url = url

    async def stop(self) -> None:
        """Close the door and all connections; done when the port is free. Twice is harmless."""
        relay, self._relay = self._relay, None
        if relay is None:
            return
        parts = urlsplit(self.url)
        for _ in range(STOP_LOOKS):
            library.stop_relay(relay)  # again: told while it is busy, it does not hear it
            await asyncio.sleep(STOP_LOOK_S)
            try:
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            except OSError:
                return
            writer.close()

    async def __aenter__(self) -> EmbeddedRelay:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    folder: Path | None = None,
    limits: RelayLimits | None = None,
    *,
    is_auth_required: bool = False,
) -> EmbeddedRelay:
    """Start a relay at `host` (an IP address) and `port` (0: any free one).

    folder: where to keep events; None for memory. is_auth_required: only members that prove their
    key (NIP-42) may read or write. Raises InputError for an address that is none, RelayError if the
    port is in use or the folder cannot be written.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise InputError("host", host, "give an IP address, e.g. 127.0.0.1 or 0.0.0.0") from error
    if not 0 <= port <= PORT_MAX:
        raise InputError("port", port, f"give a number from 0 to {PORT_MAX}")
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RelayError(f"the relay's folder {folder}: {error}") from error
    limits = limits or RelayLimits()
    relay, url = await library.start_relay(
        host=host,
        port=port,
        folder=None if folder is None else str(folder),
        events_per_minute=limits.events_per_minute,
        subscriptions_max=limits.subscriptions_max,
        connections_max=limits.connections_max,
        page_events_max=limits.page_events_max,
        is_auth_required=is_auth_required,
    )
    set_nodelay(urlsplit(url).port or port)
    return EmbeddedRelay(relay, url.rstrip("/"))


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    folder: Path | None = None,
    *,
    is_auth_required: bool = False,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Run a relay until cancelled; `on_start` is told its URL."""
    async with await start(host, port, folder, is_auth_required=is_auth_required) as relay:
        if on_start is not None:
            on_start(relay.url)
        await asyncio.Event().wait()
