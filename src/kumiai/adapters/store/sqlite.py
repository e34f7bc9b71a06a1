"""The one place that knows SQLite: how a file is opened, survives kill -9, and is put to rest.

While open, a file is in WAL mode (write-ahead log): a killed process loses at most the transaction
it was in. After `rest_engine` it is a single quiescent file in journal mode DELETE, which
`open_readonly_engine` reads without changing a byte of it. Tables and statements are elsewhere, in
portable SQLAlchemy, so that another database needs a module like this one and nothing more.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from kumiai.base.errors import StoreError

BUSY_TIMEOUT_S = 5.0
_BUSY_PAUSE_S = 0.005

# primary result code -> (what happened and what to do, whether trying again can help)
_SENTENCES: dict[int, tuple[str, bool]] = {
    sqlite3.SQLITE_FULL: ("the disk is full: free some space and try again", True),
    sqlite3.SQLITE_BUSY: ("another process is writing to it: wait or stop that process", True),
    sqlite3.SQLITE_LOCKED: ("another connection is using it: wait or close that one", True),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged: restore it from a copy", False),
    sqlite3.SQLITE_NOTADB: ("the file is damaged or no SQLite database", False),
    sqlite3.SQLITE_READONLY: ("it may only be read", False),
    sqlite3.SQLITE_PERM: ("this user has no right to open it", False),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened: check its folder and rights", False),
    sqlite3.SQLITE_CONSTRAINT: ("another process wrote the same entry: only one may write", False),
    sqlite3.SQLITE_IOERR: ("the disk reports an error on reading or writing", False),
}


def open_engine(path: Path, *, is_synced: bool = False, is_looking: bool = False) -> Engine:
    """Open or create the database at `path` for writing.

    `is_synced` waits for the disk at every transaction, so that also a power cut loses nothing;
    without it a power cut may lose the last transactions, a killed process none. `is_looking`: only
    to read, while others may write; a file at rest stays at rest.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        try:
            if not is_looking:
                _enter_wal(connection)
            connection.execute(f"PRAGMA synchronous={'FULL' if is_synced else 'NORMAL'}")
        except BaseException:
            connection.close()
            raise
        return connection

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot make its folder: {error}") from error
    return create_engine("sqlite://", creator=connect, poolclass=QueuePool)


def create_private(path: Path) -> None:
    """Make an empty file, readable for its owner alone, and its folder, where there is none yet.

    A file that is there is not opened: closing it again would drop every lock that SQLite holds on
    it in this process (POSIX locks go with the first close), and another process would then remove
    the log that this one still writes to. Raises StoreError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _enter_wal(connection: sqlite3.Connection) -> None:
    # While the mode changes SQLite does not wait for who else changes it: two that open a new file
    # at once would fail at once, whatever the timeout. So the waiting is done here.
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= give_up:
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


def open_readonly_engine(path: Path) -> Engine:
    """Open a resting file without changing it; raises StoreError if it was not put to rest."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file")
    for suffix in ("-wal", "-journal"):
        rest = path.with_name(path.name + suffix)
        if rest.exists() and rest.stat().st_size > 0:
            raise StoreError(
                f"{path}: still in use or left by a killed process ({rest.name} is not empty):"
                " finish or resume the run first"
            )
    address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool)


def rest_engine(engine: Engine, path: Path) -> None:
    """Close all connections and leave one file, with nothing beside it, in journal mode DELETE."""
    engine.dispose()
    with store_errors(path):
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
        finally:
            connection.close()


@contextmanager
def begin_writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that holds the write lock from its beginning: nobody changes what it reads.

    Without this a transaction that reads first and then writes fails where another process wrote in
    between. Rolled back by any exception; errors of the database pass through.
    """
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's own BEGIN would come too late
        yield connection


def check_purpose(connection: Connection, path: Path, marker: str, purpose: str) -> None:
    """StoreError where the database has tables, and none called `marker`: it is another's file."""
    found = inspect(connection).get_table_names()
    if found and marker not in found:
        raise StoreError(f"{path}: is another database, not {purpose}: give the right file")


@contextmanager
def store_errors(path: Path | str) -> Iterator[None]:
    """Turn what the database raises into StoreError with one plain sentence about `path`."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(path, error.orig or error) from error
    except sqlite3.Error as error:
        raise _translate(path, error) from error
    except UnicodeDecodeError as error:  # SQLite's own message quotes damaged bytes
        raise StoreError(f"{path}: the file is damaged: {error}") from error


def _translate(path: Path | str, error: BaseException) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    sentence, is_retriable = _SENTENCES.get(code, (str(error), False))
    return StoreError(f"{path}: {sentence}", is_retriable=is_retriable)
