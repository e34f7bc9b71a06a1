"""A web3.py provider as a way to the node: for users who have one configured already.

web3 is not imported: whatever has `make_request(method, params)` as a coroutine will do, as the
`provider` of an AsyncWeb3 does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kumiai.adapters.evm.errors import (
    ChainError,
    MalformedAnswerError,
    NodeUnreachableError,
    error_from_rpc,
)
from kumiai.adapters.evm.transport import Call

# web3.py's WebSocket provider loses the formatting of answers above 500 requests in flight.
IN_FLIGHT_MAX = 100


class Web3Transport:
    """Asks through an AsyncWeb3, or through its provider; both stay the caller's to close."""

    def __init__(self, web3_or_provider: Any) -> None:
        self._provider = getattr(web3_or_provider, "provider", web3_or_provider)
        if not hasattr(self._provider, "make_request"):
            raise ValueError("give an AsyncWeb3 or an async provider of web3.py")
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self.connections = 0  # counted by failures: after one, the node may be another

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        async with self._slots:
            try:
                answer = await self._provider.make_request(method, list(params))
            except Exception as error:
                self.connections += 1
                raise NodeUnreachableError(
                    f"the provider failed ({type(error).__name__})"
                ) from error
        if not isinstance(answer, dict):
            raise MalformedAnswerError("the provider's answer is no JSON-RPC answer")
        refusal = answer.get("error")
        if isinstance(refusal, dict):
            raise error_from_rpc(refusal.get("code"), refusal.get("message"), refusal.get("data"))
        if refusal is not None or "result" not in answer:
            raise MalformedAnswerError("the provider's answer has neither result nor error")
        return answer["result"]

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        async def one(method: str, params: Sequence[Any]) -> Any:
            try:
                return await self.request(method, params)
            except ChainError as error:
                return error

        return list(await asyncio.gather(*(one(*call) for call in calls)))
