"""The chain's HTTP and WebSocket door: standard JSON-RPC for cast, ethers, web3.py and wallets.

Sizes are capped before anything is parsed. Subscriptions (newHeads, logs) over WebSocket only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from aiohttp import WSCloseCode, WSMsgType, web

from kumiai.adapters.evm.chain.chain import EmbeddedChain
from kumiai.adapters.evm.chain.doors import BATCH_MAX, Call, EmbeddedTransport
from kumiai.adapters.evm.chain.errors import INTERNAL, INVALID_REQUEST, PARSE, RpcError
from kumiai.adapters.evm.chain.subscriptions import Subscriptions
from kumiai.base.errors import InputError

REQUEST_BYTES_MAX = 2 * 2**20
NESTING_MAX = 64
CONNECTIONS_MAX = 256  # open WebSockets
CLOSE_SECONDS_MAX = 5.0
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


@dataclass
class RunningServer:
    """A server that listens: its `url`, until `close`. The chain stays open."""

    host: str
    port: int
    _runner: web.AppRunner
    _transport: EmbeddedTransport

    @property
    def url(self) -> str:
        """Where HTTP is answered; the same with ws:// for WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def close(self) -> None:
        """Stop listening and end the open connections."""
        await self._runner.cleanup()
        await self._transport.close()


async def serve(chain: EmbeddedChain, host: str = "127.0.0.1", port: int = 0) -> RunningServer:
    """Answer on host:port (0: any free one) until closed; InputError where it cannot listen.

    No password stands before it: give it to other machines only behind something that asks for one.
    """
    transport = EmbeddedTransport(chain)
    app = web.Application(client_max_size=REQUEST_BYTES_MAX)
    handler = _Handler(chain, transport)
    app.router.add_post("/", handler.post)
    app.router.add_get("/", handler.get)
    app.on_shutdown.append(handler.on_shutdown)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS_MAX)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        await transport.close()
        raise InputError("port", port, f"cannot listen on {host}: {error.strerror}") from None
    bound = runner.addresses[0][1]
    return RunningServer(host, bound, runner, transport)


class _Handler:
    """One chain's requests."""

    def __init__(self, chain: EmbeddedChain, transport: EmbeddedTransport) -> None:
        self._chain = chain
        self._transport = transport
        self._sockets: set[web.WebSocketResponse] = set()

    async def post(self, request: web.Request) -> web.Response:
        """One request object or a batch."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            error = RpcError(INVALID_REQUEST, f"request larger than {REQUEST_BYTES_MAX} bytes")
            return web.Response(
                body=_dump(_fail(None, error)), status=413, content_type="application/json"
            )
        answer = await self.answer(body, None)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=_dump(answer), content_type="application/json")

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket; a browser that only looks is told what this is."""
        socket = web.WebSocketResponse(max_msg_size=REQUEST_BYTES_MAX, heartbeat=30.0)
        if not socket.can_prepare(request):
            return web.Response(text="Kumiai's embedded chain: JSON-RPC over POST or WebSocket\n")
        if len(self._sockets) >= CONNECTIONS_MAX:
            return web.Response(status=503, text="too many open connections\n")
        await socket.prepare(request)
        self._sockets.add(socket)
        rpc = self._transport.door.rpc
        try:
            async with Subscriptions(self._chain, rpc.logs, socket.send_str) as subscriptions:
                async for message in socket:
                    if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                        answer = await self.answer(message.data, subscriptions)
                        if answer is not None:
                            await socket.send_str(_dump(answer).decode())
        except ConnectionError:
            pass  # it went away while we spoke
        finally:
            self._sockets.discard(socket)
        return socket

    async def on_shutdown(self, _: web.Application) -> None:
        """Say goodbye to who is connected."""
        for socket in list(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the chain is closing")

    async def answer(self, body: bytes | str, subscriptions: Subscriptions | None) -> object:
        """The response to a body; None where none is owed (only notifications came)."""
        try:
            check_nesting(body)
            said = json.loads(body)
        except (ValueError, RecursionError):
            return _fail(None, RpcError(PARSE, "parse error: the body is not JSON"))
        if not isinstance(said, list):
            (response,) = await self._answer_all([said], subscriptions)
            return response
        if not 0 < len(said) <= BATCH_MAX:
            told = f"batch of {len(said)} calls: 1 to {BATCH_MAX} are answered"
            return _fail(None, RpcError(INVALID_REQUEST, told))
        return [it for it in await self._answer_all(said, subscriptions) if it is not None] or None

    async def _answer_all(
        self, requests: list[object], subscriptions: Subscriptions | None
    ) -> list[object]:
        answers: list[object] = [None] * len(requests)
        calls: dict[int, Call] = {}
        for at, it in enumerate(requests):
            if not _is_request(it):
                name = it.get("id") if isinstance(it, Mapping) else None
                name = name if isinstance(name, str | int) else None
                answers[at] = _fail(name, RpcError(INVALID_REQUEST, "invalid request"))
                continue
            method, params = it["method"], it.get("params", [])
            if subscriptions is not None and subscriptions.is_mine(method):
                answers[at] = await _finish(it, subscriptions.request(method, params))
            else:
                calls[at] = (method, params)
        results = await self._run(list(calls.values()))
        for at, result in zip(calls, results, strict=True):
            answers[at] = _shape(requests[at], result)
        return answers

    async def _run(self, calls: list[Call]) -> list[object]:
        if not calls:
            return []
        try:
            if len(calls) == 1:
                return [await self._transport.request(*calls[0])]
            return await self._transport.batch(calls)
        except RpcError as error:
            return [error] * len(calls)
        except Exception as error:  # noqa: BLE001 (a caller's request must not end the server)
            return [RpcError(INTERNAL, f"internal error: {type(error).__name__}")] * len(calls)


def check_nesting(body: bytes | str) -> None:
    """ValueError where brackets stand deeper in each other than any request needs.

    The parser recurses in C: a deep text could end the process before Python says no.
    """
    text = body.encode() if isinstance(body, str) else body
    if text.count(b"[") + text.count(b"{") <= NESTING_MAX:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        if depth > NESTING_MAX:
            raise ValueError(f"nested deeper than {NESTING_MAX}")


async def _finish(request: object, coroutine: Awaitable[object]) -> object:
    try:
        return _shape(request, await coroutine)
    except RpcError as error:
        return _shape(request, error)


def _is_request(it: object) -> TypeGuard[Mapping[str, Any]]:
    return (
        isinstance(it, Mapping)
        and isinstance(it.get("method"), str)
        and isinstance(it.get("params", []), list)
        and isinstance(it.get("id"), str | int | float | None)
    )


def _shape(request: object, result: object) -> object:
    assert isinstance(request, Mapping)
    if "id" not in request:  # a notification is carried out and not answered
        return None
    if isinstance(result, RpcError):
        return _fail(request["id"], result)
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


def _fail(name: object, error: RpcError) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": name, "error": error.to_json()}


def _dump(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
