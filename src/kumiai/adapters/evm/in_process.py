"""The embedded chain as a way to a node: its doors, with errors of the room's tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumiai.adapters.evm.chain.doors import BATCH_MAX, EmbeddedTransport
from kumiai.adapters.evm.chain.errors import RpcError
from kumiai.adapters.evm.errors import error_from_rpc
from kumiai.adapters.evm.transport import Call


class InProcessTransport:
    """Asks the embedded chain without HTTP between; the chain stays its owner's to close."""

    connections = 1  # there is no other node it could lead to

    def __init__(self, doors: EmbeddedTransport) -> None:
        self._doors = doors

    async def close(self) -> None:
        """End the doors' threads; the chain stays open."""
        await self._doors.close()

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        try:
            return await self._doors.request(method, list(params))
        except RpcError as error:
            raise error_from_rpc(error.code, error.message, error.data) from None

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        answers: list[Any] = []
        for first in range(0, len(calls), BATCH_MAX):
            answers += await self._doors.batch([(m, list(p)) for m, p in calls[first:][:BATCH_MAX]])
        return [
            error_from_rpc(a.code, a.message, a.data) if isinstance(a, RpcError) else a
            for a in answers
        ]
