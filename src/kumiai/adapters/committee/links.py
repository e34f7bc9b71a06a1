"""Links between validators: a WebSocket to each of the others, over which messages go one way.

Nobody is believed for being connected: messages carry their senders' signatures. So a link only
has to be bounded. A message above `wire.MESSAGE_BYTES_MAX` closes the connection that brought it;
what does not fit into a queue is dropped, oldest first, because replicas make good what was lost
and newer messages matter more; a broken link is taken up again after a pause that doubles, with a
random part so that all do not come back at once.

TLS is the caller's `ssl` context, on both ends; without one the link is plain.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from kumiai.consensus.pbft import wire

QUEUE_MAX = 4_096  # messages to one peer
QUEUE_BYTES_MAX = 64 * 1024 * 1024
PAUSE_SECONDS = (0.05, 2.0)  # first and longest, before a link is tried again
CONNECTIONS_MAX = 512
RECEIVED_MAX = 32  # messages of one connection that wait to be read


@dataclass(frozen=True)
class Address:
    """Where a validator listens."""

    host: str
    port: int

    def make_url(self, is_tls: bool = False) -> str:
        """Return how others reach it."""
        return f"{'wss' if is_tls else 'ws'}://{self.host}:{self.port}"


class Outbox:
    """Messages on their way to one peer; `run` keeps the link."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None) -> None:
        self._address, self._tls = address, tls
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._has_some = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Queue a message; the oldest go where there is no room."""
        self._waiting.append(data)
        self._bytes += len(data)
        while len(self._waiting) > QUEUE_MAX or self._bytes > QUEUE_BYTES_MAX:
            self._bytes -= len(self._waiting.popleft())
        self._has_some.set()

    async def run(self) -> None:
        """Connect, send, connect again; until cancelled."""
        pause, url = PAUSE_SECONDS[0], self._address.make_url(self._tls is not None)
        while True:
            try:
                async with connect(url, ssl=self._tls, compression=None) as link:
                    pause = PAUSE_SECONDS[0]
                    await self._send_all(link)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, PAUSE_SECONDS[1])

    async def _send_all(self, link: ClientConnection) -> None:
        while True:
            await self._has_some.wait()
            while self._waiting:
                data = self._waiting.popleft()
                self._bytes -= len(data)
                await link.send(data)
            self._has_some.clear()


class Links:
    """A validator's door and its links to the others.

    on_message: awaited with each message's bytes and its connection, which is read on when it
    returns: so nobody sends faster than is worked on.
    """

    def __init__(
        self,
        own: Address,
        peers: Sequence[Address],
        on_message: Callable[[bytes, ServerConnection], Awaitable[None]],
        tls_server: ssl.SSLContext | None = None,
        tls_client: ssl.SSLContext | None = None,
    ) -> None:
        self._own, self._on_message, self._tls = own, on_message, tls_server
        self.outboxes = [Outbox(peer, tls_client) for peer in peers]
        self._tasks: list[asyncio.Task[None]] = []
        self._server: Server | None = None
        self._count = 0

    async def open(self) -> None:
        """Listen, and begin to connect; raises OSError where the address is taken."""
        self._server = await serve(
            self._receive,
            self._own.host,
            self._own.port,
            ssl=self._tls,
            max_size=wire.MESSAGE_BYTES_MAX,
            max_queue=RECEIVED_MAX,
            compression=None,
        )
        self._tasks = [asyncio.create_task(outbox.run()) for outbox in self.outboxes]

    async def close(self) -> None:
        """End all links."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _receive(self, connection: ServerConnection) -> None:
        if self._count >= CONNECTIONS_MAX:
            await connection.close(1013, "too many connections")
            return
        self._count += 1
        try:
            async for data in connection:
                raw = data.encode() if isinstance(data, str) else data
                await self._on_message(raw, connection)
        except ConnectionClosed:
            pass
        finally:
            self._count -= 1
