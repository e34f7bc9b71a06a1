"""A relay that misbehaves as it is told; without being told it is a small honest one.

Each hook may be replaced. A hook gets the connection and may send what it likes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from kumiai.market.nips import nip01

Hook = Callable[..., Awaitable[None]]


def read_filter(document: dict[str, Any]) -> nip01.Filter:
    tags = {name[1]: tuple(value) for name, value in document.items() if name.startswith("#")}
    lists = {name: tuple(document.get(name, ())) for name in ("kinds", "authors", "ids")}
    numbers = {name: document.get(name) for name in ("since", "until", "limit")}
    return nip01.Filter(tags=tags, **lists, **numbers)


class BadRelay:
    """Keeps events in memory. `page_max`: of one answer; `received`: every message it got."""

    def __init__(self) -> None:
        self.events: dict[str, nip01.Event] = {}
        self.open: dict[ServerConnection, dict[str, list[nip01.Filter]]] = {}
        self.received: list[list[Any]] = []
        self.page_max = 500
        self.connections = 0
        self.on_event: Hook = self.take_event
        self.on_request: Hook = self.take_request
        self.on_open: Hook | None = None
        self.url = ""

    async def take_event(self, socket: ServerConnection, event: nip01.Event) -> None:
        self.events[event.id] = event
        await self.send(socket, ["OK", event.id, True, ""])
        for other, requests in list(self.open.items()):
            for name, filters in list(requests.items()):
                if nip01.has_any(filters, event):
                    await self.send(other, ["EVENT", name, nip01.to_mapping(event)])

    async def take_request(
        self, socket: ServerConnection, name: str, filters: list[nip01.Filter]
    ) -> None:
        await self.send_stored(socket, name, filters)
        await self.send(socket, ["EOSE", name])

    async def send_stored(
        self, socket: ServerConnection, name: str, filters: list[nip01.Filter]
    ) -> None:
        for wanted in filters:
            found = sorted(filter(wanted.has, self.events.values()), key=lambda it: -it.created_at)
            limit = self.page_max if wanted.limit is None else min(wanted.limit, self.page_max)
            for event in found[:limit]:
                await self.send(socket, ["EVENT", name, nip01.to_mapping(event)])

    async def send(self, socket: ServerConnection, message: list[Any]) -> None:
        try:
            await socket.send(json.dumps(message))
        except ConnectionClosed:
            self.open.pop(socket, None)

    async def _serve(self, socket: ServerConnection) -> None:
        self.connections += 1
        self.open[socket] = {}
        try:
            if self.on_open is not None:
                await self.on_open(socket)
            async for text in socket:
                message = json.loads(text)
                self.received.append(message)
                if message[0] == "EVENT":
                    await self.on_event(socket, nip01.read_event(message[1]))
                elif message[0] == "REQ":
                    filters = [read_filter(it) for it in message[2:]]
                    self.open[socket][message[1]] = filters
                    await self.on_request(socket, message[1], filters)
                elif message[0] == "CLOSE":
                    self.open[socket].pop(message[1], None)
        except ConnectionClosed:
            pass
        finally:
            self.open.pop(socket, None)


@asynccontextmanager
async def run_bad_relay(port: int = 0) -> AsyncIterator[BadRelay]:
    """Serve it on loopback until the block ends; every connection is then cut."""
    relay = BadRelay()
    async with serve(relay._serve, "127.0.0.1", port, close_timeout=0.2, max_size=2**22) as server:
        relay.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            for socket in list(relay.open):
                socket.transport.abort()


async def never(*_: object) -> None:
    """A hook that does nothing."""
    await asyncio.sleep(0)
