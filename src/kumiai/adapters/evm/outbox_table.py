"""The outbox's file: every transaction by its caller's key, and every form in which it was signed.

One SQLite file (WAL, `synchronous = FULL`), locked by the process that opened it. What a method
wrote is on the disk when it returns. States::

    queued --sign--> pending --mined--> mined --deep enough--> settled
      |  ^             ^  |               |
      |  +--displaced--+--+               |       (its nonce went to a foreign transaction)
      v                ^------reorg-------+
    refused                                       (never signed, or no node would ever take it)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.evm.fees import Offer
from kumiai.base.errors import StoreError

VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS about (chain INTEGER NOT NULL, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sends (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, sender TEXT NOT NULL, target TEXT,
    value TEXT NOT NULL, data BLOB NOT NULL, gas_asked INTEGER, gas INTEGER, state TEXT NOT NULL,
    nonce INTEGER, hash TEXT, block INTEGER, block_hash TEXT, is_success INTEGER, refusal TEXT);
CREATE INDEX IF NOT EXISTS sends_by_state ON sends (sender, state, nonce);
CREATE TABLE IF NOT EXISTS attempts (
    hash TEXT PRIMARY KEY, send INTEGER NOT NULL, nonce INTEGER NOT NULL, raw BLOB NOT NULL,
    max_fee INTEGER NOT NULL, tip INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_by_send ON attempts (send, nonce);
"""
_COLUMNS = (
    "id, key, sender, target, value, data, gas_asked, gas, state, nonce, hash, block, block_hash,"
    " is_success, refusal"
)

_FIELDS = _COLUMNS.split(", ")[:13]  # those that are read as they are, but for the value


@dataclass(frozen=True, slots=True)
class Row:
    """A transaction as its caller asked for it, and where it stands; value in wei."""

    id: int
    key: str
    sender: str
    target: str | None
    value: int
    data: bytes
    gas_asked: int | None
    gas: int | None
    state: str
    nonce: int | None
    hash: str | None
    block: int | None
    block_hash: str | None
    is_success: bool | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed form of a transaction."""

    hash: str
    send: int
    nonce: int
    raw: bytes
    offer: Offer


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction was found in a block, in the form with this hash."""

    send: int
    hash: str
    block: int
    block_hash: str
    is_success: bool


class OutboxTable:
    """The file; `close` it. Every call raises StoreError where the file fails."""

    def __init__(self, path: Path, chain_id: int) -> None:
        """StoreError where another process has the file open, or it is of another chain."""
        self._path = path
        with self._telling():
            self._file = sqlite3.connect(path, isolation_level=None, timeout=0)
            self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.execute("BEGIN EXCLUSIVE")
            self._file.execute("COMMIT")
            self._file.executescript(_TABLES)
            self._check_about(chain_id)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, rows: Sequence[tuple[str, str, str | None, int, bytes, int | None]]) -> None:
        """Keep (key, sender, target, value, data, gas), all or none; a known key adds nothing.

        A refused one is queued again. ValueError where a key stands for something else already.
        """
        with self._writing():
            for key, sender, target, value, data, gas in rows:
                known = self._find("key = ?", (key,))
                if not known:
                    self._file.execute(
                        "INSERT INTO sends (key, sender, target, value, data, gas_asked, state)"
                        " VALUES (?, ?, ?, ?, ?, ?, 'queued')",
                        (key, sender, target, str(value), data, gas),
                    )
                    continue
                row = known[0]
                if (row.sender, row.target, row.value, row.data) != (sender, target, value, data):
                    raise ValueError(f"the key {key!r} stands for another transaction already")
                if row.state == "refused":
                    self._file.execute(
                        "UPDATE sends SET state = 'queued', refusal = NULL, gas_asked = ?"
                        " WHERE id = ?",
                        (gas, row.id),
                    )

    def get(self, key: str) -> Row | None:
        """Return the transaction of a key."""
        with self._telling():
            return next(iter(self._find("key = ?", (key,))), None)

    def list_rows(self, sender: str, state: str, count_max: int = -1) -> list[Row]:
        """Return rows in the order of nonces, those without one as they were asked for."""
        with self._telling():
            where = "sender = ? AND state = ? ORDER BY nonce, id LIMIT ?"
            return self._find(where, (sender, state, count_max))

    def list_places(self, sender: str) -> list[tuple[int, int]]:
        """Return (row, nonce) of what is pending, by nonce."""
        query = "SELECT id, nonce FROM sends WHERE sender = ? AND state = 'pending' ORDER BY nonce"
        with self._telling():
            return [(i, nonce) for i, nonce in self._file.execute(query, (sender,))]

    def get_rows(self, ids: Sequence[int]) -> list[Row]:
        """Return the rows with these ids, in their order; those of no row are left out."""
        with self._telling():
            return [row for send in ids for row in self._find("id = ?", (send,))]

    def count(self, sender: str, *states: str) -> int:
        """Return how many rows are in these states."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT COUNT(*) FROM sends WHERE sender = ? AND state IN ({marks})"  # noqa: S608
        with self._telling():
            return int(self._file.execute(query, (sender, *states)).fetchone()[0])

    def list_nonces(self, sender: str, first: int) -> set[int]:
        """Return the nonces from `first` on that are taken by our own transactions."""
        query = (
            "SELECT nonce FROM sends WHERE sender = ? AND nonce >= ?"
            " AND state IN ('pending', 'mined', 'settled')"
        )
        with self._telling():
            return {nonce for (nonce,) in self._file.execute(query, (sender, first))}

    def list_attempts(self, row: Row) -> list[Attempt]:
        """Return the signed forms of a row under its present nonce, the newest last."""
        query = (
            "SELECT hash, send, nonce, raw, max_fee, tip FROM attempts"
            " WHERE send = ? AND nonce = ? ORDER BY max_fee, tip"
        )
        with self._telling():
            found = self._file.execute(query, (row.id, row.nonce)).fetchall()
        return [Attempt(h, s, n, raw, Offer(most, tip)) for h, s, n, raw, most, tip in found]

    def list_blocks(self, sender: str) -> list[tuple[int, str]]:
        """Return (number, hash) of the blocks that hold mined transactions."""
        query = "SELECT DISTINCT block, block_hash FROM sends WHERE sender = ? AND state = 'mined'"
        with self._telling():
            return [(n, h) for n, h in self._file.execute(query, (sender,))]

    def sign(self, signed: Sequence[tuple[Attempt, int]]) -> None:
        """Keep signed forms (with their gas): their rows are pending with their nonces."""
        with self._writing():
            self._file.executemany(
                "UPDATE sends SET state = 'pending', nonce = ?, gas = ?, refusal = NULL"
                " WHERE id = ?",
                [(a.nonce, gas, a.send) for a, gas in signed],
            )
            self._file.executemany(
                "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?)",
                [(a.hash, a.send, a.nonce, a.raw, a.offer.max_fee, a.offer.tip) for a, _ in signed],
            )

    def refuse(self, send: int, refusal: str) -> None:
        """A transaction that was never signed, and is not going to be."""
        with self._writing():
            self._file.execute(
                "UPDATE sends SET state = 'refused', nonce = NULL, refusal = ? WHERE id = ?",
                (refusal, send),
            )

    def refuse_sole_attempt(self, attempt: Attempt, refusal: str) -> str | None:
        """Refuse the row of an attempt that no node takes; return its key.

        None, and nothing changes, where there are other forms of it: one of them may be taken.
        """
        query = (
            "UPDATE sends SET state = 'refused', nonce = NULL, refusal = ? WHERE id = ? AND 1 ="
            " (SELECT COUNT(*) FROM attempts WHERE send = id AND attempts.nonce = sends.nonce)"
            " RETURNING key"
        )
        with self._writing():
            found = self._file.execute(query, (refusal, attempt.send)).fetchall()
        return str(found[0][0]) if found else None

    def displace(self, send: int) -> None:
        """Its nonce went to a foreign transaction for good: it is to be signed with another."""
        with self._writing():
            self._file.execute(
                "UPDATE sends SET state = 'queued', nonce = NULL WHERE id = ?", (send,)
            )

    def mine(self, found: Sequence[Mined]) -> None:
        """Rows were found in blocks."""
        with self._writing():
            self._file.executemany(
                "UPDATE sends SET state = 'mined', hash = ?, block = ?, block_hash = ?,"
                " is_success = ? WHERE id = ? AND state = 'pending'",
                [(m.hash, m.block, m.block_hash, m.is_success, m.send) for m in found],
            )

    def unmine(self, sender: str, block: int, block_hash: str) -> None:
        """A block vanished: its rows are pending again."""
        with self._writing():
            self._file.execute(
                "UPDATE sends SET state = 'pending', hash = NULL, block = NULL, block_hash = NULL,"
                " is_success = NULL WHERE sender = ? AND state = 'mined' AND block = ?"
                " AND block_hash = ?",
                (sender, block, block_hash),
            )

    def settle(self, sender: str, block: int, block_hash: str) -> list[str]:
        """A block is deep enough: its rows are settled, their raw bytes go. Return their keys."""
        with self._writing():
            where = "sender = ? AND state = 'mined' AND block = ? AND block_hash = ?"
            self._file.execute(
                f"DELETE FROM attempts WHERE send IN (SELECT id FROM sends WHERE {where})",  # noqa: S608
                (sender, block, block_hash),
            )
            found = self._file.execute(
                f"UPDATE sends SET state = 'settled' WHERE {where} RETURNING key",  # noqa: S608
                (sender, block, block_hash),
            ).fetchall()
        return [key for (key,) in found]

    def _find(self, where: str, values: tuple[Any, ...]) -> list[Row]:
        query = f"SELECT {_COLUMNS} FROM sends WHERE {where}"  # noqa: S608 - our own texts
        rows = []
        for columns in self._file.execute(query, values):
            fields: list[Any] = list(columns[:13])
            is_success, refusal = columns[13:]
            fields[4] = int(fields[4])  # amounts may be above SQLite's 64 bits
            success = None if is_success is None else bool(is_success)
            named = dict(zip(_FIELDS, fields, strict=True))
            rows.append(Row(**named, is_success=success, refusal=refusal))
        return rows

    def _check_about(self, chain_id: int) -> None:
        found = self._file.execute("SELECT chain, version FROM about").fetchone()
        if found is None:
            self._file.execute("INSERT INTO about VALUES (?, ?)", (chain_id, VERSION))
        elif found != (chain_id, VERSION):
            raise ValueError(
                f"it is of chain {found[0]}, format {found[1]}, not of {chain_id}, {VERSION}"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._telling(misuse=True):
            self._file.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    @contextmanager
    def _telling(self, *, misuse: bool = False) -> Iterator[None]:
        """Say which file it was that failed; a caller's ValueError is its own."""
        try:
            yield
        except sqlite3.Error as error:
            busy = " (another process has it open)" if "locked" in str(error) else ""
            raise StoreError(f"outbox {self._path}: {error}{busy}") from error
        except ValueError as error:
            if misuse:
                raise
            raise StoreError(f"outbox {self._path}: {error}") from error
