"""The doors of the chain within the process: one call, many at once, from threads or from asyncio.

The transport of Kumiai's client (`request`, `batch`) without HTTP between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.errors import INTERNAL, RpcError
from kumiai.adapters.evm.chain.params import read_data
from kumiai.adapters.evm.chain.rpc import Rpc
from kumiai.base.errors import KumiaiError

BATCH_MAX = 1_000
WORKERS = 16  # threads: who waits for a block being made holds one
SEND = "eth_sendRawTransaction"

Call = tuple[str, Sequence[object]]


class Door:
    """Answers from any thread; failures of the disk come out as -32603."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain = chain
        self.rpc = Rpc(chain)

    def request(self, method: str, params: Sequence[object] = ()) -> object:
        """The result of one call; RpcError where there is none."""
        try:
            return self.rpc.request(method, params)
        except RpcError:
            raise
        except KumiaiError as error:
            raise RpcError(INTERNAL, str(error)) from error

    def batch(self, calls: Sequence[Call]) -> list[object]:
        """A result or an RpcError for each call, in order; transactions in a row share blocks."""
        if len(calls) > BATCH_MAX:
            raise RpcError(-32600, f"batch too large: {len(calls)} calls, at most {BATCH_MAX}")
        answers: list[object] = []
        sent: list[Call] = []
        for method, params in calls:
            if method == SEND:
                sent.append((method, params))
                continue
            answers += self._send(sent)
            sent = []
            answers.append(self._try(method, params))
        return answers + self._send(sent)

    def _try(self, method: str, params: Sequence[object]) -> object:
        try:
            return self.request(method, params)
        except RpcError as error:
            return error

    def _send(self, calls: Sequence[Call]) -> list[object]:
        if len(calls) < 2:
            return [self._try(method, params) for method, params in calls]
        answers: list[object] = [None] * len(calls)
        raws: dict[int, bytes] = {}
        for at, (_, params) in enumerate(calls):
            try:
                (raw,) = params
                raws[at] = read_data(raw, "transaction")
            except RpcError as error:
                answers[at] = error
            except (TypeError, ValueError):
                answers[at] = RpcError(-32602, f"{SEND} takes one argument")
        try:
            done = self.rpc.send_many(list(raws.values()))
        except KumiaiError as error:
            done = [RpcError(INTERNAL, str(error))] * len(raws)
        for at, answer in zip(raws, done, strict=True):
            is_ours = isinstance(answer, RpcError | str)
            answers[at] = answer if is_ours else RpcError(INTERNAL, str(answer))
        return answers


class EmbeddedTransport:
    """The same for asyncio: the loop is free while a block is made."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self.door = Door(chain)
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="kumiai-chain")

    async def request(self, method: str, params: Sequence[object] = ()) -> object:
        """The result of one call; RpcError where there is none."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.door.request, method, params)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        """A result or an RpcError for each call, in order."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.door.batch, calls)

    async def close(self) -> None:
        """End the threads; the chain stays open."""
        self._threads.shutdown(wait=False)
