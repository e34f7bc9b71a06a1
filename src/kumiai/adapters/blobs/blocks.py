"""Bytes between a file and a stream, in blocks: written, hashed and read in threads.

Hashing and disk work of one block run in a thread while the next one comes in, so the slower of
the two decides and the event loop stays free. At most two blocks are held at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 1 << 20


class BlockWriter:
    """Append to a file and hash what it holds; `offset` bytes are there already and `hasher` knows
    them. OSError is raised by the `write` or `finish` after the one it belongs to.
    """

    def __init__(self, descriptor: int, offset: int, hasher: hashlib._Hash) -> None:
        self._descriptor = descriptor
        self._hasher = hasher
        self._next = offset
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._job: asyncio.Future[None] | None = None
        self.size_bytes = offset  # taken in so far; on the disk after `flush`

    async def write(self, part: bytes) -> None:
        """Take in a part; returns before it is on the disk."""
        self._parts.append(part)
        self._held_bytes += len(part)
        self.size_bytes += len(part)
        if self._held_bytes >= BLOCK_BYTES:
            await self._hand_over()

    async def flush(self) -> None:
        """Wait until all is in the file and hashed."""
        if self._held_bytes:
            await self._hand_over()
        await self._wait()

    async def finish(self) -> str:
        """Flush; return the sha256 of the whole file as hex digits."""
        await self.flush()
        return self._hasher.hexdigest()

    async def settle(self) -> None:
        """Wait for the running thread and drop what it raised: before the file is closed."""
        if self._job is not None:
            await asyncio.wait([self._job])
            self._job.exception()

    async def _hand_over(self) -> None:
        await self._wait()
        parts, self._parts, self._held_bytes = self._parts, [], 0
        loop = asyncio.get_running_loop()
        self._job = loop.run_in_executor(None, self._store, parts)

    async def _wait(self) -> None:
        job = self._job
        if job is not None:
            await asyncio.shield(job)  # a cancelled caller must not leave the thread unwatched
            self._job = None

    def _store(self, parts: list[bytes]) -> None:
        for part in parts:
            self._hasher.update(part)
            view = memoryview(part)
            while view:
                count = os.pwrite(self._descriptor, view, self._next)
                self._next += count
                view = view[count:]


async def read_blocks(
    path: Path, start: int, end: int, block_bytes: int = BLOCK_BYTES
) -> AsyncIterator[bytes]:
    """Yield the file's bytes from `start` up to but without `end`, one block ahead of the caller.

    Raises OSError; EOFError if the file is shorter.
    """
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY)
    loop = asyncio.get_running_loop()

    def ask(at: int) -> asyncio.Future[bytes]:
        return loop.run_in_executor(
            None, os.pread, descriptor, min(block_bytes, max(0, end - at)), at
        )

    job = ask(start)
    try:
        while start < end:
            block = await asyncio.shield(job)
            if not block:
                raise EOFError(f"{path}: ends at byte {start}, before {end}")
            start += len(block)
            job = ask(start)
            yield block
    finally:
        await asyncio.wait([job])
        job.exception()
        os.close(descriptor)


def hash_file(path: Path, size_bytes: int | None = None) -> tuple[hashlib._Hash, int]:
    """Hash a file, or its first `size_bytes`; return the hash and how many bytes were read."""
    hasher = hashlib.sha256()
    count = 0
    with path.open("rb", buffering=0) as file:
        while size_bytes is None or count < size_bytes:
            wanted = BLOCK_BYTES if size_bytes is None else min(BLOCK_BYTES, size_bytes - count)
            block = file.read(wanted)
            if not block:
                break
            hasher.update(block)
            count += len(block)
    return hasher, count
