"""Where a blob server keeps the bytes: a folder here, or a bucket (see `bucket`).

A shelf knows nothing of owners and rights: that is the catalogue's. It takes a complete, checked
file and gives back ranges of it. Only names of 64 hex digits ever reach a path.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from kumiai.adapters.blobs.blocks import BLOCK_BYTES, read_blocks
from kumiai.base.canonical import is_hash
from kumiai.base.errors import StoreError


class ShelfPort(Protocol):
    """Bytes under the names of their own sha256. Faults are StoreError."""

    async def put(self, sha256: str, path: Path) -> None:
        """Keep the file at `path`, which is gone afterwards; all or nothing, twice is harmless."""
        ...

    async def get_size(self, sha256: str) -> int | None:
        """Return how many bytes are kept under the name, None if there are none."""
        ...

    def read(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to but without `end`."""
        ...

    async def remove(self, sha256: str) -> None:
        """Forget the bytes; harmless if there are none."""
        ...

    def list_names(self) -> AsyncIterator[str]:
        """Yield all names."""
        ...

    async def close(self) -> None: ...


def check_name(sha256: str) -> str:
    """Return the name; ValueError for anything but 64 lower-case hex digits."""
    if not is_hash(sha256):
        raise ValueError(f"{sha256!r:.80} is no sha256 in lower-case hex digits")
    return sha256


class DirectoryShelf:
    """A folder: `<root>/<first two digits>/<sha256>`, put there by renaming.

    `root` must be on the same disk as the files that are put. `is_synced` waits for the disk at
    every put, so that also a power cut loses nothing that was confirmed.
    """

    def __init__(self, root: Path, *, is_synced: bool = False) -> None:
        self._root = root
        self._is_synced = is_synced

    async def put(self, sha256: str, path: Path) -> None:
        """As the port says."""
        target = self._path_of(sha256)
        try:
            await asyncio.to_thread(self._move, path, target)
        except OSError as error:
            raise StoreError(f"{target}: {error.strerror}", is_retriable=True) from error

    async def get_size(self, sha256: str) -> int | None:
        """As the port says."""
        try:
            return self._path_of(sha256).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._root}: {error.strerror}") from error

    async def read(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """As the port says."""
        path = self._path_of(sha256)
        try:
            async for block in read_blocks(path, start, end, BLOCK_BYTES // 2):
                yield block
        except (OSError, EOFError) as error:
            raise StoreError(f"{path}: {error}") from error

    async def remove(self, sha256: str) -> None:
        """As the port says."""
        try:
            self._path_of(sha256).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._root}: {error.strerror}") from error

    async def list_names(self) -> AsyncIterator[str]:
        """As the port says."""
        for path in sorted(self._root.glob("[0-9a-f][0-9a-f]/*")):
            if is_hash(path.name):
                yield path.name

    async def close(self) -> None:
        """Nothing is open between calls."""

    def _path_of(self, sha256: str) -> Path:
        return self._root / check_name(sha256)[:2] / sha256

    def _move(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._is_synced:
            _sync(path)
        path.replace(target)
        if self._is_synced:
            _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
