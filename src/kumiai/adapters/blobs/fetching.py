"""Fetching one blob from servers that are not trusted: one after the other, or several at once.

What the plan is: a big blob is cut in pieces that all mirrors fetch from one queue; whoever is
faster gets more, and a free one also takes up the piece that another is slow with. Otherwise, and
where the pieces did not add up to the hash (some mirror lied, nobody knows which), each mirror in
turn serves the whole, and one that breaks off is followed by the next from there on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kumiai.adapters.blobs.blocks import BlockWriter, hash_file
from kumiai.adapters.blobs.options import ClientOptions
from kumiai.nodes.market.errors import BlobError
from kumiai.nodes.market.ports import BlobLocation

STRIKES_MAX = 3  # of one mirror, then it is left for this download


class Sink(Protocol):
    """Where a response's body goes, part by part."""

    async def write(self, part: bytes) -> None: ...


class RangeSource(Protocol):
    """What a mirror must do."""

    async def pull(
        self, server: str, sha256: str, start: int, end: int, total: int, to: Sink
    ) -> None:
        """Write exactly the bytes from `start` up to but without `end`; BlobError otherwise.

        What was written before the error are bytes that the server sent for that place.
        """
        ...


@dataclass
class _Mirror:
    server: str
    strikes: int = 0
    has_lied: bool = False
    is_missing: bool = False
    reason: str = ""

    @property
    def is_usable(self) -> bool:
        return not self.has_lied and not self.is_missing and self.strikes < STRIKES_MAX


@dataclass
class Fetch:
    """One download into the file `partial`, which may hold a beginning from an earlier process."""

    source: RangeSource
    wanted: BlobLocation
    partial: Path
    options: ClientOptions
    servers: Sequence[str]
    _mirrors: list[_Mirror] = field(init=False)

    def __post_init__(self) -> None:
        self._mirrors = [_Mirror(server) for server in dict.fromkeys(self.servers)]

    async def run(self) -> None:
        """Return when the file holds the blob; BlobError when no server gave it."""
        descriptor = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            await self._run(descriptor)
        finally:
            os.close(descriptor)

    async def _run(self, descriptor: int) -> None:
        size_bytes = self.wanted.size_bytes
        may_split = size_bytes > self.options.split_above_bytes
        for attempt in range(self.options.attempts):
            if attempt:
                await self.options.rest(attempt - 1)
                for mirror in self._mirrors:
                    mirror.strikes = 0
                    mirror.is_missing = False
            if may_split and len(self._get_usable()) > 1:
                may_split = False  # once: pieces that do not add up would not the next time either
                if await self._fetch_pieces(descriptor):
                    return
            elif await self._fetch_in_turn(descriptor):
                return
            if all(mirror.has_lied for mirror in self._mirrors):
                break
        raise self._fail()

    def _get_usable(self) -> list[_Mirror]:
        return [mirror for mirror in self._mirrors if mirror.is_usable]

    def _fail(self) -> BlobError:
        told = "; ".join(f"{m.server}: {m.reason or 'no answer'}" for m in self._mirrors)
        is_lost = bool(self._mirrors) and all(mirror.has_lied for mirror in self._mirrors)
        return BlobError(
            f"blob {self.wanted.sha256}: not had from any server ({told or 'none is known'})",
            is_retriable=not is_lost,
        )

    # ------------------------------------------------------------------ one after the other

    async def _fetch_in_turn(self, descriptor: int) -> bool:
        """Go through the mirrors once; the file keeps what one after the other gave."""
        givers: set[str] = set()  # whose bytes the file holds; "" for an earlier process's
        hasher, offset = await asyncio.to_thread(hash_file, self.partial, self.wanted.size_bytes)
        if offset:
            givers.add("")
        for mirror in self._get_usable():
            writer = BlockWriter(descriptor, offset, hasher)
            try:
                await self._pull(mirror, writer, offset)
            except BlobError:
                await writer.flush()
                if writer.size_bytes > offset:
                    givers.add(mirror.server)
                offset = writer.size_bytes
                continue
            givers.add(mirror.server)
            if await writer.finish() == self.wanted.sha256:
                os.ftruncate(descriptor, self.wanted.size_bytes)
                return True
            if givers == {mirror.server}:
                mirror.has_lied = True
                mirror.reason = "its bytes have another sha256"
            elif await self._fetch_from_one(mirror, descriptor):
                return True
            hasher, offset, givers = hashlib.sha256(), 0, set()
            os.ftruncate(descriptor, 0)
        return False

    async def _fetch_from_one(self, mirror: _Mirror, descriptor: int) -> bool:
        """The whole from one mirror alone: what it gives then is its own doing."""
        os.ftruncate(descriptor, 0)
        writer = BlockWriter(descriptor, 0, hashlib.sha256())
        try:
            await self._pull(mirror, writer, 0)
        except BlobError:
            await writer.settle()
            return False
        if await writer.finish() == self.wanted.sha256:
            return True
        mirror.has_lied = True
        mirror.reason = "its bytes have another sha256"
        return False

    async def _pull(self, mirror: _Mirror, writer: BlockWriter, offset: int) -> None:
        size_bytes = self.wanted.size_bytes
        if offset >= size_bytes > 0:
            return  # all is there already: the hash decides
        try:
            await self.source.pull(
                mirror.server, self.wanted.sha256, offset, size_bytes, size_bytes, writer
            )
        except BlobError as error:
            _blame(mirror, error)
            raise
        finally:
            await writer.flush()

    # ------------------------------------------------------------------ several at once

    async def _fetch_pieces(self, descriptor: int) -> bool:
        """Pull pieces from several mirrors; True if they are the blob."""
        os.ftruncate(descriptor, 0)  # no holes that an earlier process left
        os.ftruncate(descriptor, self.wanted.size_bytes)
        work = _Pieces(self.wanted.size_bytes, self.options.piece_bytes)
        mirrors = self._get_usable()[: self.options.mirrors_at_once]
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._work(mirror, work, descriptor)) for mirror in mirrors
        ]
        try:
            done: asyncio.Task[Any] = asyncio.create_task(work.finished.wait())
            tasks.append(done)
            waiting = set(tasks)
            while waiting and not work.finished.is_set() and waiting != {done}:
                _ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        faults = [it for it in results if isinstance(it, Exception)]
        if faults:
            raise faults[0]
        if work.finished.is_set():
            hasher, _count = await asyncio.to_thread(hash_file, self.partial)
            if hasher.hexdigest() == self.wanted.sha256:
                return True
        os.ftruncate(descriptor, 0)  # holes or lies: nobody knows where
        return False

    async def _work(self, mirror: _Mirror, work: _Pieces, descriptor: int) -> None:
        while mirror.is_usable and (piece := work.take()) is not None:
            start, end = work.get_span(piece)
            sink = _Memory()
            try:
                await self.source.pull(
                    mirror.server, self.wanted.sha256, start, end, self.wanted.size_bytes, sink
                )
            except BlobError as error:
                _blame(mirror, error)
                work.give_back(piece)
                await asyncio.sleep(self.options.retry_s * mirror.strikes)
                continue
            except asyncio.CancelledError:
                work.give_back(piece)
                raise
            if not work.is_done(piece):  # another mirror may have been faster
                await asyncio.to_thread(_write_all, descriptor, sink.parts, start)
                mirror.strikes = 0
                work.finish(piece)


class _Pieces:
    """Which pieces are done, which are under way, and what a free mirror does next."""

    def __init__(self, size_bytes: int, piece_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._piece_bytes = piece_bytes
        count = -(-size_bytes // piece_bytes)
        self._waiting = list(range(count - 1, -1, -1))
        self._missing = set(range(count))
        self._takers: dict[int, int] = {}  # in the order in which they were begun
        self.finished = asyncio.Event()

    def take(self) -> int | None:
        """Return the next piece; where none waits, the one that is under way longest."""
        if self._waiting:
            piece = self._waiting.pop()
        else:
            late = [it for it, count in self._takers.items() if count == 1]
            if not late:
                return None
            piece = late[0]
        self._takers[piece] = self._takers.get(piece, 0) + 1
        return piece

    def give_back(self, piece: int) -> None:
        """It did not work."""
        self._takers[piece] = self._takers.get(piece, 1) - 1
        if self._takers[piece] <= 0:
            del self._takers[piece]
            if piece in self._missing:
                self._waiting.append(piece)

    def finish(self, piece: int) -> None:
        """The piece is in the file."""
        self._missing.discard(piece)
        self._takers.pop(piece, None)
        if not self._missing:
            self.finished.set()

    def is_done(self, piece: int) -> bool:
        return piece not in self._missing

    def get_span(self, piece: int) -> tuple[int, int]:
        start = piece * self._piece_bytes
        return start, min(start + self._piece_bytes, self._size_bytes)


class _Memory:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    async def write(self, part: bytes) -> None:
        self.parts.append(part)


class MissingBlobError(BlobError):
    """A server says that it has no such blob."""


class LyingServerError(BlobError):
    """A server sent what cannot be that blob, whatever its bytes are: another size, for one."""


def _blame(mirror: _Mirror, error: BlobError) -> None:
    mirror.strikes += 1
    mirror.reason = str(error)
    mirror.is_missing = isinstance(error, MissingBlobError)
    mirror.has_lied = isinstance(error, LyingServerError)


def _write_all(descriptor: int, parts: Sequence[bytes], at: int) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            count = os.pwrite(descriptor, view, at)
            at += count
            view = view[count:]


async def fetch_to(fetch: Fetch, path: Path) -> None:
    """Run a download and rename its file to `path`; after an error nothing is left of it."""
    try:
        await fetch.run()
        fetch.partial.replace(path)
    except OSError as error:
        raise BlobError(f"{error.filename or path}: {error.strerror}", is_retriable=True) from error
    finally:
        with suppress(OSError):
            fetch.partial.unlink(missing_ok=True)
