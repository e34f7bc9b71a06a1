"""The blob server on granian: within this process for tests and tools, or as a program of its own.

granian's transfers run outside the interpreter; the application sees whole buffers. Its settings
here: HTTP/1.1 only, one worker (the catalogue belongs to one process), headers within ten seconds.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import BlobError

if TYPE_CHECKING:
    from granian.server.embed import Server

    from kumiai.adapters.blobs.mirroring import MirrorPolicy
    from kumiai.adapters.blobs.payment import Till
    from kumiai.adapters.blobs.store import BlobStore

HEADERS_WITHIN_MS = 10_000
BUFFER_BYTES = 1 << 20  # of a connection; granian's 400 kB cost a quarter of the speed of uploads
START_S = 60.0


class BlobServer:
    """A running server; `url` is its address. Use `start` and `stop`, or `serve`."""

    def __init__(self, store: BlobStore, url: str, server: Server, task: asyncio.Task[None]):
        self.store = store
        self.url = url
        self._server = server
        self._task = task

    @classmethod
    async def start(
        cls,
        store: BlobStore,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        public_url: str = "",
        till: Till | None = None,
        mirrors: MirrorPolicy | None = None,
    ) -> BlobServer:
        """Serve `store` in this event loop; returns when connections are taken. Port 0: any free.

        public_url: how others reach it, where that is another address. InputError: the port is
        taken.
        """
        from granian.constants import HTTPModes, Interfaces
        from granian.http import HTTP1Settings
        from granian.server.embed import Server

        from kumiai.adapters.blobs.app import make_app

        holder = _hold_port(host, port)
        port = holder.getsockname()[1]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        server = Server(
            make_app(store, public_url or url, till, mirrors),
            address=host,
            port=port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            http1_settings=HTTP1Settings(
                header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=BUFFER_BYTES
            ),
        )
        task = asyncio.create_task(server.serve())
        try:
            await _wait_for(host, port, task)
        finally:
            holder.close()
        return cls(store, url, server, task)

    async def stop(self) -> None:
        """End connections and close the store."""
        self._server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait([self._task])
        await self.store.close()

    async def wait(self) -> None:
        """Return when the server ended by itself."""
        await asyncio.wait([self._task])


def serve(
    store: BlobStore,
    host: str,
    port: int,
    *,
    public_url: str = "",
    till: Till | None = None,
    mirrors: MirrorPolicy | None = None,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; `on_start` is told the address."""

    async def run() -> None:
        await store.tidy()
        server = await BlobServer.start(
            store, host, port, public_url=public_url, till=till, mirrors=mirrors
        )
        if on_start is not None:
            on_start(server.url)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        waiting = [asyncio.create_task(stopping.wait()), asyncio.create_task(server.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await server.stop()

    asyncio.run(run())


def _hold_port(host: str, port: int) -> socket.socket:
    """Hold a port until granian listens there. granian shares ports with others that allow it, so a
    second server on a taken port would go unnoticed without this.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        holder = socket.socket(family, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
    except OSError as error:
        raise InputError("port", f"{host}:{port}", f"cannot listen there: {error}") from error
    return holder


async def _wait_for(host: str, port: int, task: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + START_S
    while loop.time() < end and not task.done():
        with suppress(OSError):
            _reader, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.01)
    raise BlobError(f"the blob server did not start at {host}:{port}")
