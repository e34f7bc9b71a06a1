"""How questions reach a node: JSON-RPC over HTTP, with every answer bounded before it is parsed.

`Transport` is all that the rest of this room asks for: one call, or many at once. `HttpTransport`
keeps connections alive, reads at most `answer_bytes_max`, and tries again what can succeed later,
with a pause that doubles. A raw transaction may be sent twice without harm, because it is the same
transaction; so every method may be retried.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp

from kumiai.adapters.evm.errors import (
    AnswerTooBigError,
    ChainError,
    MalformedAnswerError,
    NodeUnreachableError,
    PermanentChainError,
    RateLimitedError,
    error_from_rpc,
)
from kumiai.adapters.evm.json_input import load_json

ANSWER_BYTES_MAX = 32 * 1024 * 1024
READ_BYTES = 256 * 1024
ATTEMPTS_MAX = 5
PAUSE_SECONDS = (0.1, 3.0)  # first and longest
BATCH_CALLS_MAX = 250
BATCHES_MAX = 4  # under way at once
CONNECTIONS_MAX = 16
Call = tuple[str, Sequence[Any]]


class Transport(Protocol):
    """A way to a node. An error the node answers with is a ChainError of the room's tree."""

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        """Return the call's result; raises ChainError."""

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Return for each call its result or a ChainError; raises where nothing could be asked."""


class HttpTransport:
    """JSON-RPC over HTTP(S); `close` it, or use it as an async context.

    `connections` counts the connections made so far: after a new one, the node at the other end
    may be another, and its chain id is asked again before anything is signed for it.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 20.0,
        attempts_max: int = ATTEMPTS_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        pause_seconds: tuple[float, float] = PAUSE_SECONDS,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("the node's URL must begin with http:// or https://")
        self._url, self._bytes_max = url, answer_bytes_max
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=timeout_seconds)
        self._attempts_max, self._pause_seconds = attempts_max, pause_seconds
        self._session: aiohttp.ClientSession | None = None
        self._number = 0
        self._slots = asyncio.Semaphore(BATCHES_MAX)
        self.connections = 0

    async def __aenter__(self) -> HttpTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        async def once() -> Any:
            (body,) = self._bodies([(method, params)])
            return _result_of(await self._post(body), body["id"])

        return await self._retrying(once)

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        parts = [calls[n : n + BATCH_CALLS_MAX] for n in range(0, len(calls), BATCH_CALLS_MAX)]

        async def one(part: Sequence[Call]) -> list[Any]:
            async with self._slots:
                answers: list[Any] = await self._retrying(lambda: self._batch_once(part))
                return answers

        return [a for answers in await asyncio.gather(*map(one, parts)) for a in answers]

    async def _batch_once(self, calls: Sequence[Call]) -> list[Any]:
        bodies = self._bodies(calls)
        answers = await self._post(bodies)
        if isinstance(answers, dict) and "error" in answers:  # the batch as a whole was refused
            _result_of(answers, None)
        if not isinstance(answers, list) or len(answers) != len(bodies):
            raise MalformedAnswerError("a batch was not answered with as many answers")
        by_id = {a["id"]: a for a in answers if isinstance(a, dict) and _is_id(a.get("id"))}
        results: list[Any] = []
        for body in bodies:
            if body["id"] not in by_id:
                raise MalformedAnswerError("a call of a batch was not answered")
            try:
                results.append(_result_of(by_id[body["id"]], body["id"]))
            except MalformedAnswerError:
                raise
            except ChainError as error:
                results.append(error)
        return results

    def _bodies(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        first = self._number + 1
        self._number += len(calls)
        return [
            {"jsonrpc": "2.0", "id": first + n, "method": method, "params": list(params)}
            for n, (method, params) in enumerate(calls)
        ]

    async def _retrying(self, once: Any) -> Any:
        pause, longest = self._pause_seconds
        for attempt in range(1, self._attempts_max + 1):
            try:
                return await once()
            except ChainError as error:
                if not error.is_retriable or attempt == self._attempts_max:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, longest)
        raise AssertionError("unreachable")

    async def _post(self, body: object) -> Any:
        """Send one HTTP request; return the parsed answer, whatever it says."""
        session = self._open()
        try:
            async with session.post(
                self._url, data=json.dumps(body).encode(), headers=_HEADERS
            ) as answer:
                text = await self._read(answer)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Without the URL: it may hold a key of a node provider.
            raise NodeUnreachableError(f"no answer ({type(error).__name__})") from error
        if status == 429:
            raise RateLimitedError("HTTP 429")
        if status >= 500:
            raise NodeUnreachableError(f"HTTP {status}")
        try:
            return load_json(text)
        except (ValueError, RecursionError) as error:
            if status >= 400:
                raise PermanentChainError(f"HTTP {status}: the node refuses") from error
            raise MalformedAnswerError(f"an answer of {len(text)} bytes is no JSON") from error

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in answer.content.iter_chunked(READ_BYTES):
            parts.append(part)
            size += len(part)
            if size > self._bytes_max:
                answer.close()  # what is left of it is not read
                raise AnswerTooBigError(f"an answer above {self._bytes_max} bytes")
        return b"".join(parts)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(self._on_connected)
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                trace_configs=[trace],
                auto_decompress=True,
            )
        return self._session

    async def _on_connected(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, _made: object
    ) -> None:
        self.connections += 1


_HEADERS = {"Content-Type": "application/json"}


def _is_id(value: object) -> bool:
    return isinstance(value, int | str)


def _result_of(answer: object, number: int | None) -> Any:
    """Return the result in an answer to the request with this number; raises what it says."""
    if not isinstance(answer, dict):
        raise MalformedAnswerError("an answer is no JSON object")
    error = answer.get("error")
    if error is not None:
        if not isinstance(error, dict):
            raise MalformedAnswerError("an error is no JSON object")
        raise error_from_rpc(error.get("code"), error.get("message"), error.get("data"))
    if "result" not in answer:
        raise MalformedAnswerError("an answer has neither result nor error")
    if answer.get("id") != number:
        raise MalformedAnswerError("an answer is to another request")
    return answer["result"]
