"""Putting one file on one server: from where it broke off, as often as the options allow."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kumiai.adapters.blobs.blocks import read_blocks
from kumiai.adapters.blobs.options import ClientOptions
from kumiai.market.nips.bud import Verb
from kumiai.nodes.market.errors import BlobError

if TYPE_CHECKING:
    import aiohttp

_RETRIABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_REASON_CHARS = 200
_NO_PREFLIGHT = frozenset({404, 405, 501})  # servers without BUD-06


@dataclass(frozen=True, slots=True)
class Upload:
    """A file and what it is."""

    path: Path
    sha256: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True, slots=True)
class Sending:
    """Sends uploads; `authorize(server, verb, sha256)` gives the headers, `pay` pays an invoice."""

    session: aiohttp.ClientSession
    options: ClientOptions
    authorize: Callable[[str, Verb, str], dict[str, str]]
    pay: Callable[[str, str], Awaitable[None]] | None
    now_s: Callable[[], int]

    async def send(self, upload: Upload, server: str) -> None:
        """Return when the server has the blob and counts it as ours; BlobError if it will not."""
        import aiohttp

        fault = BlobError(f"{server}: not tried")
        paid = ""
        for attempt in range(self.options.attempts):
            if attempt:
                await self.options.rest(attempt - 1)
            try:
                fault, bolt11 = await self._try(upload, server)
            except (aiohttp.ClientError, TimeoutError) as error:
                told = str(error) or type(error).__name__
                fault, bolt11 = BlobError(f"{server}: {told}", is_retriable=True), ""
            except OSError as error:
                raise BlobError(f"{upload.path}: {error.strerror or error}") from error
            if fault is _DONE:
                return
            if bolt11 and self.pay is not None and bolt11 != paid:
                await self.pay(server, bolt11)
                paid = bolt11
            elif not fault.is_retriable:
                break
        raise fault

    async def _try(self, upload: Upload, server: str) -> tuple[BlobError, str]:
        """One attempt: (_DONE, "") or what is wrong, and the invoice that would mend it."""
        import aiohttp

        headers = self.authorize(server, Verb.UPLOAD, upload.sha256)
        headers |= {"X-SHA-256": upload.sha256}
        asked = {
            "X-Content-Length": str(upload.size_bytes),
            "X-Content-Type": upload.media_type,
        }
        url = f"{server}/upload"
        async with self.session.head(url, headers=headers | asked, allow_redirects=False) as answer:
            if answer.status == 200 and answer.headers.get("Upload-Complete") == "?1":
                return _DONE, ""
            if answer.status != 200 and answer.status not in _NO_PREFLIGHT:
                return _refusal(server, answer)
            offset = _read_offset(answer.headers.get("Upload-Offset"), upload.size_bytes)
        headers["Content-Type"] = upload.media_type
        if offset is not None:
            headers |= {"Upload-Offset": str(offset), "Upload-Length": str(upload.size_bytes)}
        start = offset or 0
        headers["Content-Length"] = str(upload.size_bytes - start)
        waits = aiohttp.ClientTimeout(sock_connect=self.options.connect_s)
        async with asyncio.timeout(self.options.settle_s) as deadline:
            body = self._read(upload, start, deadline) if start < upload.size_bytes else None
            async with self.session.put(
                url, data=body, headers=headers, allow_redirects=False, timeout=waits
            ) as answer:
                if answer.status in {200, 201}:
                    return _DONE, ""
                return _refusal(server, answer)

    async def _read(
        self, upload: Upload, start: int, deadline: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        """Yield the file; whoever does not take a block in time is left."""
        now = asyncio.get_running_loop().time
        try:
            async for block in read_blocks(upload.path, start, upload.size_bytes):
                deadline.reschedule(now() + self.options.idle_s)
                yield block
            deadline.reschedule(now() + self.options.settle_s)
        except EOFError as error:
            raise BlobError(f"{upload.path}: became shorter while it was sent") from error


def describe_refusal(answer: aiohttp.ClientResponse) -> str:
    """Return status and the server's reason, short and printable."""
    reason = re.sub(r"[^\x20-\x7e]", "?", answer.headers.get("X-Reason", ""))[:_REASON_CHARS]
    return f"answered {answer.status}" + (f" ({reason})" if reason else "")


def _refusal(server: str, answer: aiohttp.ClientResponse) -> tuple[BlobError, str]:
    fault = BlobError(
        f"{server}: {describe_refusal(answer)}", is_retriable=answer.status in _RETRIABLE
    )
    return fault, answer.headers.get("X-Lightning", "") if answer.status == 402 else ""


def _read_offset(text: str | None, size_bytes: int) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 17):
        return None
    return min(int(text), size_bytes)


_DONE = BlobError("done")
