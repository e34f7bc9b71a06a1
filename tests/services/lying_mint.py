"""A mint that loses, changes and delays what a real one answers: a proxy on 127.0.0.1.

::

    async with LyingMint(mint.url) as liar:
        liar.alter("/v1/swap", lose)     # the next answers under that path go through `lose`

An alteration takes (status, body) as the real mint gave them and returns others; None closes the
connection without an answer. The real mint has done its work by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import aiohttp
from aiohttp import web

Answer = tuple[int, bytes]
Alteration = Callable[[int, bytes], Answer | None]


class LyingMint:
    """Forwards every request to `origin`; `requests` are the paths that were asked for."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._alterations: dict[str, Alteration] = {}
        self.requests: list[str] = []
        self.url = ""

    def move(self, origin: str) -> None:
        """From now on requests go to another address."""
        self._origin = origin

    def alter(self, path: str, alteration: Alteration | None) -> None:
        """Answers to paths that begin so are altered from now on; None: no longer."""
        self._alterations.pop(path, None)
        if alteration is not None:
            self._alterations[path] = alteration

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        async with self._session.request(
            request.method,
            self._origin + request.path,
            data=await request.read(),
            headers={"content-type": "application/json"},
        ) as response:
            answer: Answer | None = response.status, await response.read()
        for path, alteration in self._alterations.items():
            if request.path.startswith(path) and answer is not None:
                answer = alteration(*answer)
        if answer is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(status=answer[0], body=answer[1], content_type="application/json")


def lose(_status: int, _body: bytes) -> None:
    """The mint did it, and nobody hears of it."""
