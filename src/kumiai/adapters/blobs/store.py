"""The store behind a blob server: uploads checked before they count, owners, quotas, partials.

An upload is written to a file of its own under `<folder>/partial/` and hashed on the way. Only
when its size and hash are right does it move to the shelf and enter the catalogue, in this order:
after kill -9 there may be bytes that nobody owns (`tidy` removes them), never an entry without its
bytes. A resumable upload keeps its file, named by owner and hash, until it is taken up again or
grows old; its whole size counts for the quota from the beginning.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from kumiai.adapters.blobs.catalogue import BlobEntry, Catalogue, Partial
from kumiai.adapters.blobs.incoming import Incoming
from kumiai.adapters.blobs.limits import BlobLimits, RefusedError
from kumiai.adapters.blobs.shelves import DirectoryShelf, ShelfPort, check_name
from kumiai.base.errors import StoreError

_PARTIAL = "partial"


class BlobStore:
    """One server's blobs. One process at a time may open a folder.

    `folder` holds the catalogue and what is coming in; the bytes lie on `shelf`, by default in the
    same folder. `now_s` is the clock of entries and of old partials.
    """

    def __init__(
        self,
        folder: Path,
        limits: BlobLimits | None = None,
        shelf: ShelfPort | None = None,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self.limits = limits or BlobLimits()
        self.now_s = now_s
        self._folder = folder
        self._lock_file = _lock(folder)
        self.catalogue = Catalogue(folder / "catalogue.sqlite")
        self.shelf = shelf or DirectoryShelf(folder / "blobs")
        self._reserved: dict[str, int] = defaultdict(int)  # bytes of plain uploads under way
        self._running: dict[str, int] = defaultdict(int)  # uploads under way
        self._writers: dict[tuple[str, str], asyncio.Task[object]] = {}
        self._name_locks: dict[str, asyncio.Lock] = {}
        self._drop_strays()

    # ------------------------------------------------------------------ reading

    def find(self, sha256: str) -> BlobEntry | None:
        """Return what is known of a blob, None if it is not here."""
        return self.catalogue.find(check_name(sha256))

    def read(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield a range of a blob's bytes."""
        return self.shelf.read(sha256, start, end)

    # ------------------------------------------------------------------ uploads

    def check_room(self, pubkey: str, sha256: str | None, size_bytes: int) -> None:
        """Raise RefusedError if this key may not upload that many bytes now."""
        limits = self.limits
        if limits.members and pubkey not in limits.members:
            raise RefusedError(403, "this server takes blobs of its members only")
        if size_bytes > limits.blob_bytes_max:
            raise RefusedError(
                413, f"{size_bytes} bytes, this server takes {limits.blob_bytes_max} at most"
            )
        if self._running[pubkey] >= limits.upload_count_max:
            raise RefusedError(429, f"{limits.upload_count_max} uploads of this key are under way")
        if sha256 is not None and self.catalogue.is_owner(pubkey, sha256):
            return  # it counts already
        begun = self._find_partial(pubkey, sha256)
        more = size_bytes - (begun.size_bytes if begun is not None else 0)
        self._check_quota(pubkey, more)

    def get_offset(self, pubkey: str, sha256: str) -> int:
        """Return how many bytes of the blob this server holds for this key, to go on from there."""
        entry = self.catalogue.find(sha256)
        if entry is not None:
            return entry.size_bytes
        if self._find_partial(pubkey, sha256) is None:
            return 0
        try:
            return self._path_of_partial(pubkey, sha256).stat().st_size
        except FileNotFoundError:
            return 0

    async def begin(self, pubkey: str, sha256: str | None, size_bytes: int | None) -> Incoming:
        """Begin a plain upload; `size_bytes` None: as many as the limits leave.

        Raises RefusedError before a byte is stored.
        """
        self.check_room(pubkey, sha256, size_bytes or 0)
        counted = 0
        if size_bytes is not None and not (sha256 and self.catalogue.is_owner(pubkey, sha256)):
            counted = size_bytes
        path = self._folder / _PARTIAL / f"plain-{secrets.token_hex(8)}"
        return await Incoming.open(self, pubkey, path, sha256, size_bytes, counted)

    async def resume(self, pubkey: str, sha256: str, offset: int, size_bytes: int) -> Incoming:
        """Begin a resumable upload or go on with it; the blob will have `size_bytes`.

        Whoever comes later wins: a connection that is still open for the same upload is ended.
        Raises RefusedError; 409 with the true `Upload-Offset` if it is another.
        """
        await self._end_writer(pubkey, sha256)
        self._drop_old()
        if self.find(sha256) is not None:
            end = {"Upload-Offset": str(self.get_offset(pubkey, sha256))}
            raise RefusedError(409, "the blob is here: send an empty body from its end", end)
        begun = self._find_partial(pubkey, sha256)
        if begun is not None and begun.size_bytes != size_bytes:
            self.drop_partial(pubkey, sha256)
            begun = None
        self.check_room(pubkey, sha256, size_bytes)
        here = self.get_offset(pubkey, sha256) if begun is not None else 0
        if offset != here:
            raise RefusedError(
                409, f"go on from byte {here}, not {offset}", {"Upload-Offset": str(here)}
            )
        if begun is None and len(self.catalogue.list_partials(pubkey)) >= (
            self.limits.partial_count_max
        ):
            raise RefusedError(
                429, f"this key has {self.limits.partial_count_max} unfinished uploads already"
            )
        self.catalogue.put_partial(Partial(pubkey, sha256, size_bytes, self.now_s()))
        path = self._path_of_partial(pubkey, sha256)
        return await Incoming.open(
            self, pubkey, path, sha256, size_bytes, 0, offset=offset, is_kept=True
        )

    async def keep(
        self, pubkey: str, sha256: str, path: Path, size_bytes: int, media_type: str
    ) -> tuple[BlobEntry, bool]:
        """Take a checked file in; return its entry and whether the blob is new here."""
        entry = BlobEntry(sha256, size_bytes, media_type, self.now_s())
        async with self._lock_of(sha256):
            is_new = await self.shelf.get_size(sha256) != size_bytes or not self.find(sha256)
            if is_new:
                await self.shelf.put(sha256, path)
            else:
                path.unlink(missing_ok=True)
            self.catalogue.add(pubkey, entry)
        first = self.catalogue.find(sha256)
        return replace(entry, uploaded_at_s=first.uploaded_at_s) if first else entry, is_new

    def adopt(self, pubkey: str, sha256: str, media_type: str) -> BlobEntry | None:
        """Make this key an owner of a blob that is here already; None if it is not."""
        entry = self.find(sha256)
        if entry is not None:
            self._unlink_partial(pubkey, sha256)
            entry = replace(entry, media_type=media_type)
            self.catalogue.add(pubkey, entry)
        return entry

    async def remove(self, pubkey: str, sha256: str) -> None:
        """Take a blob from this owner; the bytes go with the last one. RefusedError 404, 403."""
        check_name(sha256)
        async with self._lock_of(sha256):
            if self.catalogue.is_owner(pubkey, sha256):
                if self.catalogue.remove(pubkey, sha256):
                    await self.shelf.remove(sha256)
                return
            if self.find(sha256) is None:
                raise RefusedError(404, "there is no such blob")
            raise RefusedError(403, "the blob belongs to other keys")

    # ------------------------------------------------------------------ housekeeping

    async def tidy(self) -> int:
        """Remove bytes that no entry names, left by a killed process; return how many blobs."""
        strays = [name async for name in self.shelf.list_names() if self.find(name) is None]
        for name in strays:
            async with self._lock_of(name):
                if self.find(name) is None:
                    await self.shelf.remove(name)
        return len(strays)

    async def close(self) -> None:
        """End what is under way and put the files to rest."""
        for pubkey, sha256 in list(self._writers):
            await self._end_writer(pubkey, sha256)
        await self.shelf.close()
        self.catalogue.close()
        self._lock_file.close()

    def reserve(self, pubkey: str, size_bytes: int) -> None:
        """Count bytes that are about to come for the quota; RefusedError if they are too many."""
        self._check_quota(pubkey, size_bytes)
        self._reserved[pubkey] += size_bytes

    def enter(self, incoming: Incoming, counted_bytes: int) -> None:
        """An upload begins."""
        self._reserved[incoming.pubkey] += counted_bytes
        self._running[incoming.pubkey] += 1
        task = asyncio.current_task()
        if incoming.is_kept and incoming.sha256 is not None and task is not None:
            self._writers[incoming.pubkey, incoming.sha256] = task

    def leave(self, incoming: Incoming, counted_bytes: int) -> None:
        """An upload ended, well or not."""
        for counts, by in ((self._reserved, counted_bytes), (self._running, 1)):
            counts[incoming.pubkey] -= by
            if counts[incoming.pubkey] <= 0:
                del counts[incoming.pubkey]
        key = (incoming.pubkey, incoming.sha256 or "")
        if self._writers.get(key) is asyncio.current_task():
            del self._writers[key]

    def drop_partial(self, pubkey: str, sha256: str) -> None:
        """Forget an unfinished upload and its bytes."""
        self._unlink_partial(pubkey, sha256)
        self.catalogue.drop_partial(pubkey, sha256)

    def _unlink_partial(self, pubkey: str, sha256: str) -> None:
        self._path_of_partial(pubkey, sha256).unlink(missing_ok=True)

    def _path_of_partial(self, pubkey: str, sha256: str) -> Path:
        return self._folder / _PARTIAL / f"{check_name(pubkey)}-{check_name(sha256)}"

    def _find_partial(self, pubkey: str, sha256: str | None) -> Partial | None:
        partials = self.catalogue.list_partials(pubkey) if sha256 is not None else ()
        return next((it for it in partials if it.sha256 == sha256), None)

    def _check_quota(self, pubkey: str, more_bytes: int) -> None:
        used = self.catalogue.count_bytes(pubkey) + self._reserved[pubkey]
        if used + more_bytes > self.limits.quota_bytes:
            raise RefusedError(
                429, f"{used} bytes of this key's {self.limits.quota_bytes} are used already"
            )
        total = self.catalogue.count_bytes() + sum(self._reserved.values())
        if total + more_bytes > self.limits.total_bytes_max:
            raise RefusedError(507, "this server is full")

    def _lock_of(self, sha256: str) -> asyncio.Lock:
        if len(self._name_locks) > 1_000:
            self._name_locks = {k: v for k, v in self._name_locks.items() if v.locked()}
        return self._name_locks.setdefault(sha256, asyncio.Lock())

    async def _end_writer(self, pubkey: str, sha256: str) -> None:
        task = self._writers.get((pubkey, sha256))
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    def _drop_old(self) -> None:
        oldest = self.now_s() - self.limits.partial_age_s
        for partial in self.catalogue.list_partials():
            if partial.touched_at_s >= oldest:
                break  # they come oldest first
            if (partial.pubkey, partial.sha256) not in self._writers:
                self.drop_partial(partial.pubkey, partial.sha256)

    def _drop_strays(self) -> None:
        """What a killed process left: files of plain uploads, partials without an entry."""
        folder = self._folder / _PARTIAL
        folder.mkdir(exist_ok=True)
        known = {f"{it.pubkey}-{it.sha256}" for it in self.catalogue.list_partials()}
        for path in folder.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)


def _lock(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(f"{folder}: another process uses it: stop that one first") from error
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from error
    os.set_inheritable(file.fileno(), False)
    return file
