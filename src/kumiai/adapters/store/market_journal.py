"""A member's market journal on disk: every input of its machine, before it has an effect.

One SQLite file: `entries`, one row an entry as canonical JSON with its number and chained head, and
`format`, one row that says what the file is and whose. Every append is one transaction that is on
the disk when it returns, so neither kill -9 nor a power cut leaves half a batch. A changed, missing
or foreign row is found when the file is read.

One process writes: it holds a lock beside the file while it is open. Anybody may read meanwhile
(`is_readonly`). The file holds secrets (keys of shards and updates, preimages, ecash): it is made
readable for its owner alone.

Cost: about a disk's sync for each batch, 10 microseconds for each entry.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    inspect,
    select,
)

from kumiai.adapters.store import sqlite
from kumiai.adapters.store.market_entries import (
    GENESIS_HEAD,
    compute_head,
    decode_entry,
    encode_entry,
)
from kumiai.base.errors import StoreError

VERSION = 1
LOOK_S_MAX = 1.0  # nobody looks for longer
LOOK_PAUSE_S = 0.01

_metadata = MetaData()
_format = Table(
    "format",
    _metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(200), nullable=False),
)
_entries = Table(
    "entries",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("head", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
)


class SqliteMarketJournal:
    """MarketJournalPort in one file. Every method raises StoreError where the file fails."""

    def __init__(
        self, path: Path, owner: str, *, is_readonly: bool = False, is_synced: bool = True
    ) -> None:
        """owner: whose journal it is, e.g. public key and job; another owner's is refused.

        Without is_synced a power cut may lose the last batches; kill -9 still loses none.

        Raises StoreError: another process writes to it, it is of another version or owner.
        """
        self._path, self._is_readonly = path, is_readonly
        if is_readonly and not path.is_file():
            raise StoreError(f"{path}: there is no such file")
        self._lock = None if is_readonly else _lock(path)
        try:
            if not is_readonly:
                _make_private(path)
            with sqlite.store_errors(path):
                self._engine: Engine = sqlite.open_engine(
                    path, is_synced=is_synced, is_looking=is_readonly
                )
                if not is_readonly:
                    _metadata.create_all(self._engine)
                self._check_format(owner)
            self._number, self._head = self._find_end()
        except BaseException:
            self.close()
            raise

    @property
    def head(self) -> str:
        """The hash that stands for everything written so far."""
        return self._head

    def append(self, entries: Sequence[Mapping[str, object]]) -> None:
        """Write all entries, or none; ValueError for one that has no written form."""
        if self._is_readonly:
            raise ValueError(f"{self._path} was opened for reading")
        rows: list[dict[str, Any]] = []
        number, head = self._number, self._head
        for entry in entries:
            body = encode_entry(entry)
            number += 1
            head = compute_head(head, number, body)
            rows.append({"number": number, "head": head, "body": body})
        if not rows:
            return
        with sqlite.store_errors(self._path), self._engine.begin() as connection:
            connection.execute(_entries.insert(), rows)
        self._number, self._head = number, head

    def read(self) -> list[Mapping[str, object]]:
        """Return all entries, oldest first, the chain checked."""
        query = select(_entries).order_by(_entries.c.number)
        found: list[Mapping[str, object]] = []
        head = GENESIS_HEAD
        for number, (stored_number, stored_head, body) in enumerate(self._fetch(query), 1):
            try:
                entry = decode_entry(body)
            except ValueError as error:
                raise StoreError(f"{self._path}: damaged: entry {number}: {error}") from error
            head = compute_head(head, number, body)
            if stored_number != number or stored_head != head:
                raise StoreError(f"{self._path}: damaged: entry {number} does not follow")
            found.append(entry)
        return found

    def mark(self, at_s: int) -> None:
        """Set the time of the lock's file: no disk is waited for."""
        if self._lock is not None:
            with suppress(OSError):
                os.utime(self._lock, (at_s, at_s))

    def find_mark(self) -> int:
        """Return the time of the lock's file: of the last mark, or of its making."""
        try:
            return int(os.fstat(self._lock).st_mtime) if self._lock is not None else 0
        except OSError:
            return 0

    def close(self) -> None:
        """Let go of file and lock; twice is harmless. A file that was written is put to rest.

        While somebody looks into it that must wait: whoever writes to it next does it.
        """
        engine, self._engine = getattr(self, "_engine", None), None  # type: ignore[assignment]
        lock, self._lock = self._lock, None
        try:
            if engine is not None:
                engine.dispose()
                if lock is not None:
                    self._rest(engine)
        finally:
            if lock is not None:
                os.close(lock)

    def _rest(self, engine: Engine) -> None:
        try:
            sqlite.rest_engine(engine, self._path)
        except StoreError as error:
            if not error.is_retriable:
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_format(self, owner: str) -> None:
        if not inspect(self._engine).has_table(_format.name):
            raise StoreError(f"{self._path}: holds no market journal")
        rows = self._fetch(select(_format))
        if not rows and not self._is_readonly:
            with self._engine.begin() as connection:
                connection.execute(_format.insert(), {"version": VERSION, "owner": owner})
            return
        if [tuple(row) for row in rows] != [(VERSION, owner)]:
            said = ", ".join(f"version {row[0]} of {row[1]}" for row in rows) or "nobody's"
            raise StoreError(
                f"{self._path}: is {said}, not version {VERSION} of {owner}: give the right file"
            )

    def _find_end(self) -> tuple[int, str]:
        query = select(_entries.c.number, _entries.c.head).order_by(_entries.c.number.desc())
        rows = self._fetch(query.limit(1))
        return (rows[0][0], rows[0][1]) if rows else (0, GENESIS_HEAD)

    def _fetch(self, query: Any) -> Sequence[Any]:
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            try:
                return connection.execute(query).all()
            except (TypeError, ValueError) as error:  # a damaged cell of another type
                raise StoreError(f"{self._path}: damaged: {error}") from error


def _make_private(path: Path) -> None:
    """Let the owner alone read it, before SQLite copies the file's rights to its log beside it."""
    sqlite.create_private(path)
    try:
        path.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _lock(path: Path) -> int:
    """Hold the file's lock until closed or killed; StoreError if another process has it.

    Who only looks whether it is held (`MarketFolder.is_running`) has it for a moment as well.
    """
    name = path.with_name(path.name + ".lock")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror}") from error
    give_up = time.monotonic() + LOOK_S_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < give_up:
                time.sleep(LOOK_PAUSE_S)
                continue
            os.close(descriptor)
            raise StoreError(
                f"{path}: another process is writing to it: stop that one first"
            ) from error
        return descriptor
