"""The outbox for code that does not wait on a loop: asyncio runs in a thread of its own.

A run's driver is synchronous. It writes transactions down (`submit`), which never waits for the
chain, and asks for their fate at a few barriers (`wait`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kumiai.adapters.evm.accounts import Account
from kumiai.adapters.evm.advice import ADVICE
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS
from kumiai.adapters.evm.errors import NodeUnreachableError, RetriableChainError
from kumiai.adapters.evm.node import Node
from kumiai.adapters.evm.outbox import Outbox
from kumiai.adapters.evm.outbox_request import OutboxPolicy, Outcome, Request
from kumiai.adapters.evm.transport import Transport

T = TypeVar("T")
WAIT_SECONDS_MAX = 300.0
INSIST_SECONDS = 0.5


class Sender:
    """Sends for some accounts through one node. `close` it; what is under way is in the file.

    make_transport: called in the loop's thread; chain_id None asks the node.
    """

    def __init__(
        self,
        make_transport: Callable[[], Transport],
        path: Path,
        accounts: Sequence[Account],
        chain_id: int | None = None,
        policy: OutboxPolicy | None = None,
        wait_seconds: float = WAIT_SECONDS_MAX,
    ) -> None:
        self._accounts = [account.address for account in accounts]
        self._loop = asyncio.new_event_loop()
        self._wait_seconds = wait_seconds
        self._thread = threading.Thread(target=self._loop.run_forever, name="kumiai-evm")
        self._thread.daemon = True
        self._thread.start()
        self._transport: Transport | None = None
        self._outbox: Outbox | None = None
        try:
            self.node = self.ask(self._open(make_transport, chain_id))
            self._outbox = self.ask(self._begin(path, accounts, policy))
        except BaseException:
            self.close()
            raise

    def submit(self, sender: str, requests: Sequence[Request]) -> None:
        """Write requests down; they are sent in their order. A key that is known adds nothing."""
        assert self._outbox is not None
        outbox = self._outbox

        async def write() -> None:
            outbox.submit(sender, requests)

        self.ask(write())

    def wait(self, keys: Sequence[str]) -> list[Outcome]:
        """Wait until each is settled; raises RevertedError or what keeps the chain from it.

        NodeUnreachableError, with what holds the queue, after `wait_seconds` without an end.
        """
        assert self._outbox is not None
        outbox = self._outbox

        async def gather() -> list[Outcome]:
            return list(await asyncio.gather(*(outbox.wait(key) for key in keys)))

        try:
            return self.ask(asyncio.wait_for(gather(), self._wait_seconds))
        except TimeoutError as error:
            held = [outbox.get_trouble(account) for account in self._accounts]
            why = next((str(each) for each in held if each is not None), "no block took them")
            raise NodeUnreachableError(
                f"{len(keys)} transactions were not settled in {self._wait_seconds:.0f} s: {why}"
            ) from error

    def get_outcome(self, key: str) -> Outcome | None:
        """Return where a key's transaction stands, or None where there is none."""
        assert self._outbox is not None
        outbox = self._outbox

        async def look() -> Outcome | None:
            return outbox.get_outcome(key)

        return self.ask(look())

    def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine (a question to `node`) in the loop; return what it returns."""
        return asyncio.run_coroutine_threadsafe(question, self._loop).result()

    def insist(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run what `ask` makes, again while the node is away, for `wait_seconds`; return its value.

        Raises what keeps the chain from it after that, and at once what no waiting cures.
        """
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return self.ask(ask())
            except RetriableChainError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(INSIST_SECONDS)

    def close(self) -> None:
        """Stop sending and close the file and the connections; a second call does nothing."""
        if not self._thread.is_alive():
            return
        self.ask(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, make_transport: Callable[[], Transport], chain_id: int | None) -> Node:
        self._transport = make_transport()
        if chain_id is None:
            chain_id = int(await self._transport.request("eth_chainId", ()), 16)
        node = Node(self._transport, chain_id, errors=ERRORS, advice=ADVICE)
        await node.check_chain()
        return node

    async def _begin(
        self, path: Path, accounts: Sequence[Account], policy: OutboxPolicy | None
    ) -> Outbox:
        outbox = Outbox(path, self.node, accounts, policy)
        self._running = asyncio.create_task(outbox.run())
        return outbox

    async def _end(self) -> None:
        if self._outbox is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._outbox.close()
        close = getattr(self._transport, "close", None)
        if close is not None:
            await close()
