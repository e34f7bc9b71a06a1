"""The embedded chain as the client's transport: the same errors as from a node, and no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.doors import EmbeddedTransport
from kumiai.adapters.evm.chain.errors import RpcError
from kumiai.adapters.evm.errors import ChainError, error_from_rpc
from kumiai.adapters.evm.transport import Call


class LocalTransport:
    """`Transport` over a chain of this process; closing it leaves the chain open."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._inner = EmbeddedTransport(chain)

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        try:
            return await self._inner.request(method, params)
        except RpcError as error:
            raise _translate(error) from error

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        answers = await self._inner.batch(calls)
        return [_translate(a) if isinstance(a, RpcError) else a for a in answers]

    async def close(self) -> None:
        """End the threads."""
        await self._inner.close()


def _translate(error: RpcError) -> ChainError:
    return error_from_rpc(error.code, error.message, error.data)
