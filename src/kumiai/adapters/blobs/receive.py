"""A request's body, taken in with an eye on the clock: stalled and crawling uploads are ended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect, Request

from kumiai.adapters.blobs.limits import BlobLimits, RefusedError

if TYPE_CHECKING:
    from kumiai.adapters.blobs.incoming import Incoming

DOCUMENT_BYTES_MAX: Final = 16 * 1024


async def receive_body(request: Request, incoming: Incoming, limits: BlobLimits) -> None:
    """Write the body into `incoming`. RefusedError 408: no byte in time, or too slow for long."""
    loop = asyncio.get_running_loop()
    begun, size_bytes = loop.time(), 0
    try:
        async with asyncio.timeout(limits.idle_s) as deadline:
            async for part in request.stream():
                size_bytes += len(part)
                await incoming.write(part)
                now = loop.time()
                deadline.reschedule(now + limits.idle_s)
                if now - begun > limits.slow_after_s:
                    _check_speed(size_bytes, now - begun, limits)
    except TimeoutError as error:
        raise RefusedError(408, f"no byte came for {limits.idle_s:g} seconds") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the connection broke") from error


async def receive_document(request: Request, limits: BlobLimits) -> Any:
    """Read a small JSON body; RefusedError 400, 408 or 413."""
    data = b""
    try:
        async with asyncio.timeout(limits.idle_s):
            async for part in request.stream():
                data += part
                if len(data) > DOCUMENT_BYTES_MAX:
                    raise RefusedError(413, f"a document of at most {DOCUMENT_BYTES_MAX} bytes")
    except TimeoutError as error:
        raise RefusedError(408, "the body did not come in time") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "the connection broke") from error
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the body is not JSON") from error


def _check_speed(size_bytes: int, passed_s: float, limits: BlobLimits) -> None:
    if size_bytes < limits.bytes_per_s_min * passed_s:
        raise RefusedError(
            408, f"slower than {limits.bytes_per_s_min} bytes a second for {passed_s:.0f} seconds"
        )
