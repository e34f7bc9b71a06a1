"""A blob as an HTTP answer: ranges, and an end to readers that stop reading.

granian could send whole files by itself (`http.response.pathsend`), at much the same cost; but then
nobody would end a connection whose reader takes nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from starlette.responses import Response

from kumiai.adapters.blobs.limits import RefusedError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def choose_range(
    wanted: str | None, if_range: str | None, etag: str, size_bytes: int
) -> tuple[int, int] | None:
    """Return the (start, end) that a Range header asks for, end excluded; None: the whole blob.

    As RFC 9110 has it, what is no single range of bytes is ignored. RefusedError 416: nothing of
    the blob lies in it.
    """
    match = _RANGE.fullmatch(wanted.strip()) if wanted is not None else None
    if match is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < int(first):
            return None
    if start >= size_bytes or start >= end:
        raise RefusedError(
            416, f"the blob has {size_bytes} bytes", {"Content-Range": f"bytes */{size_bytes}"}
        )
    return start, end


class BlobResponse(Response):
    """Send `read()` block by block; None for HEAD, which has no body.

    A reader that takes nothing for `idle_s` seconds loses the connection.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        read: Callable[[], AsyncIterator[bytes]] | None,
        idle_s: float,
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._read = read
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; receive is not listened to: the server tells when it cannot send."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        if self._read is None:
            await send({"type": "http.response.body", "body": b""})
        else:
            async for block in self._read():
                async with asyncio.timeout(self._idle_s):
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
