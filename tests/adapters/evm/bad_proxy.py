"""A node's door that misbehaves on command: between the client and a real anvil."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

Change = Callable[[str, Any], Any]  # method, result -> what is said instead


@dataclass
class BadProxy:
    """`faults` are used up one a request, then it is honest; `lie` changes results for good."""

    url: str = ""
    target: str = ""
    faults: list[str] = field(default_factory=list)
    lie: Change | None = None
    asked: list[str] = field(default_factory=list)  # methods, a batch's one by one
    requests: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        body = await request.read()
        calls = json.loads(body)
        many = calls if isinstance(calls, list) else [calls]
        self.asked += [call["method"] for call in many]
        fault = self.faults.pop(0) if self.faults else ""
        if said := await self._misbehave(fault, request):
            return said
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.target, data=body, headers={"Content-Type": "application/json"}) as a,
        ):
            answers = await a.json()
        if fault == "swallow":  # the node did it, and nobody hears of it
            return web.Response(status=502)
        if self.lie is not None:
            by_id = {call["id"]: call["method"] for call in many}
            for one in answers if isinstance(answers, list) else [answers]:
                if "result" in one:
                    one["result"] = self.lie(by_id[one["id"]], one["result"])
        if fault == "other-id":
            answers["id"] += 1000
        if fault == "fewer":
            answers = answers[1:]
        return web.json_response(answers)

    async def _misbehave(self, fault: str, request: web.Request) -> web.StreamResponse | None:
        if fault in {"500", "503", "429", "403"}:
            return web.Response(status=int(fault), text="no")
        if fault == "hang":
            await asyncio.sleep(5)
        if fault == "cut":
            assert request.transport is not None
            request.transport.close()
        if fault in _TEXTS:
            return web.Response(text=_TEXTS[fault], content_type="application/json")
        if fault == "huge":
            answer = web.StreamResponse()
            await answer.prepare(request)
            try:
                for _ in range(100_000):
                    await answer.write(b" " * 65_536)
            except ConnectionError:
                pass
            return answer
        return None


_TEXTS = {
    "html": "<html>welcome</html>",
    "half": '{"jsonrpc": "2.0", "id": 1, "resu',
    "deep": "[" * 200_000,
    "list": "[1, 2]",
    "null": "null",
    "empty": "{}",
    "odd-error": '{"jsonrpc": "2.0", "id": 1, "error": "yes"}',
    "no-text": '{"jsonrpc": "2.0", "id": 1, "error": {"code": "x", "message": 7, "data": [1]}}',
}


@asynccontextmanager
async def run_proxy(target: str) -> AsyncIterator[BadProxy]:
    """A proxy before the node at `target`, on a free port of 127.0.0.1."""
    proxy = BadProxy(target=target)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/", proxy.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    proxy.url = f"http://{host}:{port}/"
    try:
        yield proxy
    finally:
        await runner.cleanup()
