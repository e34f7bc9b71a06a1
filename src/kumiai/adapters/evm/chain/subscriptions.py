"""eth_subscribe over one connection: new heads and logs, pushed as blocks are sealed.

A reader that does not keep up loses its subscriptions instead of the server's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType

from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.errors import LIMITED, RpcError, reject_params
from kumiai.adapters.evm.chain.log_methods import LogMethods
from kumiai.adapters.evm.chain.params import LogFilter, read_filter
from kumiai.adapters.evm.chain.rendering import render_header
from kumiai.adapters.evm.chain.store import SealedBlock

SUBSCRIPTIONS_MAX = 100
BLOCKS_QUEUED_MAX = 10_000

Send = Callable[[str], Awaitable[None]]


class Subscriptions:
    """One connection's subscriptions; used as an async context."""

    def __init__(self, chain: EmbeddedChain, logs: LogMethods, send: Send) -> None:
        self._chain = chain
        self._logs = logs
        self._send = send
        self._wanted: dict[str, LogFilter | None] = {}  # None: new heads
        self._blocks: asyncio.Queue[SealedBlock] = asyncio.Queue(BLOCKS_QUEUED_MAX)

    async def __aenter__(self) -> Subscriptions:
        loop = asyncio.get_running_loop()
        # the listener is called by the thread that sealed the block
        self._stop = self._chain.listen(
            lambda block: _call_if_open(loop, lambda: self._on_block(block))
        )
        self._pusher = asyncio.create_task(self._push())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop()
        self._pusher.cancel()
        await asyncio.gather(self._pusher, return_exceptions=True)

    def is_mine(self, method: str) -> bool:
        """Whether the connection itself answers this method."""
        return method in ("eth_subscribe", "eth_unsubscribe")

    async def request(self, method: str, params: list[object]) -> object:
        """Subscribe (an id) or unsubscribe (whether it was there)."""
        if not params or not isinstance(params[0], str):
            raise reject_params("the kind or the id of a subscription is expected")
        if method == "eth_unsubscribe":
            return self._wanted.pop(params[0], self) is not self
        if params[0] not in ("newHeads", "logs"):
            raise reject_params(
                f"no {params[0][:50]!r} subscription: newHeads and logs are offered"
            )
        if len(self._wanted) >= SUBSCRIPTIONS_MAX:
            raise RpcError(LIMITED, f"at most {SUBSCRIPTIONS_MAX} subscriptions")
        wanted = None
        if params[0] == "logs":
            wanted = read_filter(params[1] if len(params) > 1 else {})
        name = hex(secrets.randbits(128) | 1 << 127)
        self._wanted[name] = wanted
        return name

    def _on_block(self, block: SealedBlock) -> None:
        if not self._wanted:
            return
        try:
            self._blocks.put_nowait(block)
        except asyncio.QueueFull:
            self._wanted.clear()

    async def _push(self) -> None:
        while True:
            block = await self._blocks.get()
            number = block.header.number
            for name, wanted in list(self._wanted.items()):
                if wanted is None:
                    await self._notify(name, render_header(block.header))
                    continue
                for log in await asyncio.to_thread(self._logs.list_logs_of, wanted, number, number):
                    await self._notify(name, log)

    async def _notify(self, name: str, result: object) -> None:
        said = {"subscription": name, "result": result}
        body = {"jsonrpc": "2.0", "method": "eth_subscription", "params": said}
        await self._send(json.dumps(body, separators=(",", ":")))


def _call_if_open(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the server's loop has ended, its connections, too
        loop.call_soon_threadsafe(callback)
