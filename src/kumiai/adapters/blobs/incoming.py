"""One upload on its way in: size and hash checked while it comes, nothing kept of what is wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kumiai.adapters.blobs.blocks import BlockWriter, hash_file
from kumiai.adapters.blobs.limits import RefusedError
from kumiai.base.errors import StoreError

if TYPE_CHECKING:
    from kumiai.adapters.blobs.catalogue import BlobEntry
    from kumiai.adapters.blobs.store import BlobStore


class Incoming:
    """Made by `BlobStore.begin` and `resume`. `write` it all, then `finish`; `close` in any case.

    is_kept: the file outlives a broken connection, so that the upload can go on later.
    """

    def __init__(
        self,
        store: BlobStore,
        pubkey: str,
        path: Path,
        sha256: str | None,
        size_bytes: int | None,
        *,
        is_kept: bool,
    ) -> None:
        self.pubkey = pubkey
        self.sha256 = sha256
        self.is_kept = is_kept
        self._store = store
        self._path = path
        self._size_bytes = size_bytes
        self._counted_bytes = 0
        self._is_open = False
        self._descriptor = -1
        self._writer: BlockWriter | None = None

    @classmethod
    async def open(
        cls,
        store: BlobStore,
        pubkey: str,
        path: Path,
        sha256: str | None,
        size_bytes: int | None,
        counted_bytes: int,
        *,
        offset: int = 0,
        is_kept: bool = False,
    ) -> Incoming:
        """Open the file and hash the `offset` bytes that are in it."""
        self = cls(store, pubkey, path, sha256, size_bytes, is_kept=is_kept)
        self._counted_bytes = counted_bytes
        self._is_open = True
        store.enter(self, counted_bytes)
        try:
            hasher = hashlib.sha256()
            if offset:
                hasher, count = await asyncio.to_thread(hash_file, path, offset)
                if count != offset:
                    raise RefusedError(409, "the partial changed", {"Upload-Offset": str(count)})
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._descriptor, offset if is_kept else 0)
            self._writer = BlockWriter(self._descriptor, offset, hasher)
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError):
                raise StoreError(f"{path}: {error.strerror}", is_retriable=True) from error
            raise
        return self

    @property
    def size_bytes(self) -> int:
        """How many bytes are here."""
        return self._get_writer().size_bytes

    async def write(self, part: bytes) -> None:
        """Take in a part; RefusedError as soon as there are more bytes than allowed."""
        writer = self._get_writer()
        size_bytes = writer.size_bytes + len(part)
        if self._size_bytes is not None and size_bytes > self._size_bytes:
            raise RefusedError(400, f"more than the {self._size_bytes} bytes that were announced")
        if size_bytes > self._store.limits.blob_bytes_max:
            raise RefusedError(
                413, f"this server takes {self._store.limits.blob_bytes_max} bytes at most"
            )
        if self._size_bytes is None:
            self._store.reserve(self.pubkey, len(part))
            self._counted_bytes += len(part)
        try:
            await writer.write(part)
        except OSError as error:
            raise self._translate(error) from error

    async def finish(self, media_type: str, allowed: tuple[str, ...]) -> tuple[BlobEntry, bool]:
        """Check size and hash, keep the blob; return its entry and whether it is new here.

        Raises RefusedError: 400 too few bytes, 409 other bytes than X-SHA-256 says, 403 a hash
        that is not among `allowed`.
        """
        writer = self._get_writer()
        if self._size_bytes is not None and writer.size_bytes != self._size_bytes:
            raise RefusedError(
                400, f"{writer.size_bytes} bytes came, {self._size_bytes} were announced"
            )
        try:
            found = await writer.finish()
        except OSError as error:
            raise self._translate(error) from error
        if self.sha256 is not None and found != self.sha256:
            if self.is_kept:
                self._store.drop_partial(self.pubkey, self.sha256)
            raise RefusedError(409, f"the bytes have sha256 {found}, not {self.sha256}")
        if found not in allowed:
            raise RefusedError(403, f"the authorization names no blob {found}")
        return await self._store.keep(self.pubkey, found, self._path, writer.size_bytes, media_type)

    async def flush(self) -> None:
        """Wait until what came is in the file, for one that goes on later."""
        try:
            await self._get_writer().flush()
        except OSError as error:
            raise self._translate(error) from error

    async def close(self) -> None:
        """Close the file; a plain upload's is removed unless it was kept as a blob."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._writer is not None:
                await self._writer.settle()
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            if not self.is_kept:
                self._path.unlink(missing_ok=True)
            self._store.leave(self, self._counted_bytes)

    def _get_writer(self) -> BlockWriter:
        if self._writer is None:
            raise ValueError("the upload was not opened")
        return self._writer

    def _translate(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path}: {error.strerror}", is_retriable=True)
