"""The chain's file: one SQLite database, in which a block is there whole or not at all.

Written by one connection, under the chain's lock; each thread that reads has a connection of its
own and sees the last block that was committed. A second process that opens the file is refused.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kumiai.adapters.evm.chain.blocks import Header, decode_header
from kumiai.adapters.evm.chain.engine import Nodes, Outcome
from kumiai.adapters.evm.chain.transactions import Transaction
from kumiai.base.errors import InputError, StoreError

VERSION = "1"
CACHED_NODES_MAX = 100_000  # some 50 MB
SCHEMA = """
create table if not exists meta(key text primary key, value text) without rowid;
create table if not exists nodes(hash blob primary key, value blob) without rowid;
create table if not exists blocks(
    number integer primary key, hash blob unique, header blob, size integer);
create table if not exists transactions(
    number integer, position integer, hash blob unique, raw blob, sender blob, is_ok integer,
    gas_used integer, gas_cumulative integer, created blob, primary key(number, position)
) without rowid;
create table if not exists logs(
    number integer, log_index integer, position integer, address blob,
    topic0 blob, topic1 blob, topic2 blob, topic3 blob, data blob,
    primary key(number, log_index)) without rowid;
create index if not exists logs_by_address on logs(address, number);
create index if not exists logs_by_topic on logs(topic0, number);
create table if not exists pending(
    sender blob, nonce integer, raw blob, primary key(sender, nonce)) without rowid;
"""


COLUMNS = {"blocks": 4, "transactions": 9, "logs": 9}  # what a block is written to


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """A block as it is written: its header, its transactions and what they did."""

    header: Header
    entries: Sequence[tuple[Transaction, Outcome]]
    size: int  # bytes of its RLP


class Store:
    """The file. Errors of the disk are StoreError; nothing of a failed write remains."""

    def __init__(self, path: Path, *, is_synced: bool) -> None:
        """Open or create. is_synced: each commit waits for the disk (safe against power cuts)."""
        self.path = path
        self._lock_file = _lock(path)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._opened_lock = threading.Lock()
        self._is_closed = False
        self._synchronous = "full" if is_synced else "normal"
        with _as_store_error():
            self._writer = self._connect()
            self._writer.executescript(SCHEMA)
        self.nodes = StoredNodes(self)
        version = self.get_meta("version")
        if version not in (None, VERSION):
            self.close()
            raise InputError("chain", str(path), f"format {version}, this program reads {VERSION}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma synchronous = {self._synchronous}")
        connection.execute("pragma busy_timeout = 10000")
        with self._opened_lock:
            self._opened.append(connection)
        return connection

    @property
    def reader(self) -> sqlite3.Connection:
        """This thread's connection: it sees what was committed."""
        if self._is_closed:
            raise StoreError("the chain is closed")
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            with _as_store_error():
                found = self._local.connection = self._connect()
        return found

    def close(self) -> None:
        """Close all connections and let others open the file."""
        self._is_closed = True
        with self._opened_lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._lock_file.close()

    def get_meta(self, key: str) -> str | None:
        """A value that was saved with a commit."""
        row = self.reader.execute("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def find_head(self) -> Header | None:
        """The last block's header; None in a new file."""
        row = self.reader.execute(
            "select header from blocks order by number desc limit 1"
        ).fetchone()
        return None if row is None else decode_header(row[0])

    def find_header(self, number: int) -> Header | None:
        """A block's header by its number."""
        row = self.reader.execute(
            "select header from blocks where number = ?", (number,)
        ).fetchone()
        return None if row is None else decode_header(row[0])

    def load_pending(self) -> list[bytes]:
        """The acknowledged transactions that stand in no block yet, as they were sent."""
        rows = self.reader.execute("select raw from pending order by sender, nonce")
        return [raw for (raw,) in rows]

    def commit(
        self,
        block: SealedBlock | None,
        *,
        kept: Sequence[Transaction] = (),
        dropped: Sequence[Transaction] = (),
        meta: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write a block with everything that belongs to it, or nothing.

        kept: transactions that wait in the pool and are acknowledged by this commit; a waiting one
        of the same sender and nonce is replaced. The block's and the dropped ones leave the pool.
        """
        writer = self._writer
        with _as_store_error():
            writer.execute("begin immediate")
            try:
                self._save_waiting(writer, kept, dropped)
                writer.executemany("insert or replace into meta values(?, ?)", meta)
                if block is not None:
                    self._write(writer, block)
                writer.execute("commit")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("rollback")
                self.nodes.forget_new()
                raise
        self.nodes.keep_new()

    def _save_waiting(
        self,
        writer: sqlite3.Connection,
        kept: Sequence[Transaction],
        gone: Sequence[Transaction],
    ) -> None:
        writer.executemany(
            "delete from pending where sender = ? and nonce = ?",
            [(it.sender, it.nonce) for it in gone],
        )
        writer.executemany(
            "insert or replace into pending values(?, ?, ?)",
            [(it.sender, it.nonce, it.raw) for it in kept],
        )

    def _write(self, writer: sqlite3.Connection, block: SealedBlock) -> None:
        writer.executemany("insert or ignore into nodes values(?, ?)", self.nodes.list_new())
        for table, rows in _list_rows(block).items():
            places = ", ".join("?" * COLUMNS[table])
            writer.executemany(f"insert into {table} values({places})", rows)
        self._save_waiting(writer, (), [it for it, _ in block.entries])


class StoredNodes(Nodes):
    """The tries' nodes: new ones in memory until their block is committed; a bounded cache."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: dict[bytes, bytes] = {}
        self._cache: dict[bytes, bytes] = {}

    def __getitem__(self, key: bytes) -> bytes:
        value = self._new.get(key) or self._cache.get(key)
        if value is not None:
            return value
        row = self._store.reader.execute(
            "select value from nodes where hash = ?", (key,)
        ).fetchone()
        if row is None:
            raise KeyError(key)
        self._cache[key] = row[0]
        found: bytes = row[0]
        return found

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except KeyError:
            return False
        return True

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._new[key] = value

    def __delitem__(self, key: bytes) -> None:
        """Never: older states need it."""
        raise TypeError("a node is never deleted")

    def __iter__(self) -> Iterator[bytes]:
        return (key for (key,) in self._store.reader.execute("select hash from nodes"))

    def __len__(self) -> int:
        return int(self._store.reader.execute("select count(*) from nodes").fetchone()[0])

    def list_new(self) -> list[tuple[bytes, bytes]]:
        """What the next commit writes."""
        return list(self._new.items())

    def keep_new(self) -> None:
        """They are on disk now."""
        self._cache.update(self._new)
        self._new = {}
        if len(self._cache) > CACHED_NODES_MAX:
            self._cache = dict(list(self._cache.items())[CACHED_NODES_MAX // 2 :])

    def forget_new(self) -> None:
        """Their block did not come to be."""
        self._new = {}


def is_stored(reader: sqlite3.Connection, block: SealedBlock) -> bool:
    """Tell whether a block stands in a chain's file with just its receipts and logs."""
    found = {
        table: reader.execute(
            f"select * from {table} where number = ? order by 1, 2",  # noqa: S608
            (block.header.number,),
        ).fetchall()
        for table in COLUMNS
    }
    return found == _list_rows(block)


def has_only(
    reader: sqlite3.Connection, nodes: Mapping[bytes, bytes], blocks: int, transactions: int
) -> bool:
    """Tell whether a chain's file has these nodes and so many blocks and transactions, no other."""
    counts = [
        reader.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
        for table in ("blocks", "transactions")
    ]
    strays = reader.execute(
        "select 1 from logs where (number, position) not in "
        "(select number, position from transactions) limit 1"
    ).fetchone()
    return counts == [blocks, transactions] and strays is None and list_nodes(reader) == nodes


def list_nodes(reader: sqlite3.Connection) -> dict[bytes, bytes]:
    """The tries' nodes and the contracts' code in a chain's file, by their hash."""
    return dict(reader.execute("select hash, value from nodes"))


def _list_rows(block: SealedBlock) -> dict[str, list[tuple[object, ...]]]:
    """A block as the tables have it."""
    header, number = block.header, block.header.number
    transactions: list[tuple[object, ...]] = []
    logs: list[tuple[object, ...]] = []
    cumulative = 0
    for position, (it, outcome) in enumerate(block.entries):
        cumulative += outcome.gas_used
        did = (outcome.failure is None, outcome.gas_used, cumulative, outcome.created)
        transactions.append((number, position, it.hash, it.raw, it.sender, *did))
        for log in outcome.logs:
            topics = (*log.topics, None, None, None, None)[:4]
            logs.append((number, len(logs), position, log.address, *topics, log.data))
    blocks: list[tuple[object, ...]] = [(number, header.hash, header.encode(), block.size)]
    return {"blocks": blocks, "transactions": transactions, "logs": logs}


def _lock(path: Path) -> IO[bytes]:
    try:
        file = Path(f"{path}.lock").open("wb")  # noqa: SIM115 (held until the chain is closed)
    except OSError as error:
        raise InputError("chain", str(path), f"cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        fix = "another process has this chain open: stop it, or speak to it over HTTP"
        raise InputError("chain", str(path), fix) from None
    os.set_inheritable(file.fileno(), False)
    return file


@contextmanager
def _as_store_error() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        raise StoreError(f"the chain's file: {error}", is_retriable=busy) from error
