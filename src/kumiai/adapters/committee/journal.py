"""What a replica must not forget, in one SQLite file: its votes and promises, and the order itself;
and the proofs of others' faults.

`persist` returns once the entries are on the disk (SQLite in WAL mode, `synchronous = FULL`), and
everything that was written before with them. What a stable checkpoint makes superfluous is deleted
with it, so that the journal stays as small as its window; the decided batches stay for ever.

Whoever copies this file and starts a second replica from it breaks the promise of the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from kumiai.base import canonical
from kumiai.base.errors import StoreError
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.safety import (
    BatchPrepared,
    Entry,
    Stabilised,
    ViewEntered,
    Voted,
)

VERSION = 1
ENTRY_BYTES_MAX = wire.MESSAGE_BYTES_MAX
EVIDENCE_MAX = 8  # of one replica
_TABLES = """
CREATE TABLE IF NOT EXISTS entries
    (number INTEGER PRIMARY KEY, kind TEXT, place INTEGER, body BLOB);
CREATE TABLE IF NOT EXISTS decided (place INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE IF NOT EXISTS evidence (replica INTEGER, body BLOB);
"""


class Journal:
    """One replica's file; `close` it. Raises StoreError where the file cannot be used."""

    def __init__(self, path: Path, committee: str) -> None:
        """committee: its name; a journal of another committee is refused."""
        try:
            self._file = sqlite3.connect(path, isolation_level=None)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.executescript(_TABLES)
            self._check_owner(path, committee)
        except sqlite3.Error as error:
            raise StoreError(f"journal {path}: {error}") from error
        self._is_open = False

    def persist(self, entries: tuple[Entry, ...]) -> None:
        """Write down the entries; all that was written is on the disk when this returns."""
        self._begin()
        for entry in entries:
            kind, place, body = encode_entry(entry)
            self._file.execute("INSERT INTO entries VALUES (NULL, ?, ?, ?)", (kind, place, body))
            if isinstance(entry, Stabilised):
                self._forget(entry.proof.sequence)
        self.sync()

    def append(self, decided: m.Decided) -> None:
        """Write down a decided batch; it lasts from the next `persist` or `sync` on."""
        self._begin()
        row = (decided.proof.sequence, wire.encode(decided))
        self._file.execute("INSERT OR REPLACE INTO decided VALUES (?, ?)", row)

    def keep_evidence(self, found: Equivocation) -> None:
        """Keep the proof of a fault, some of each replica: one is enough to convict it."""
        replica = found.first.sender
        count = "SELECT COUNT(*) FROM evidence WHERE replica = ?"
        (kept,) = self._file.execute(count, (replica,)).fetchone()
        if kept < EVIDENCE_MAX:
            self._begin()
            row = (replica, wire.encode_evidence(found))
            self._file.execute("INSERT INTO evidence VALUES (?, ?)", row)

    def read_evidence(self) -> Iterator[Equivocation]:
        """Yield the proofs that were kept."""
        for (body,) in self._file.execute("SELECT body FROM evidence ORDER BY replica, rowid"):
            yield wire.decode_evidence(body)

    def sync(self) -> None:
        """Make everything last that was written."""
        if self._is_open:
            self._file.execute("COMMIT")
            self._is_open = False

    def read_entries(self) -> Iterator[Entry]:
        """Yield what was written down, in its order."""
        for kind, body in self._file.execute("SELECT kind, body FROM entries ORDER BY number"):
            yield decode_entry(kind, body)

    def read_decided(self, first: int = 1, count_max: int = -1) -> Iterator[m.Decided]:
        """Yield decided batches from a place on, at most so many (-1: all)."""
        found = self._file.execute(
            "SELECT body FROM decided WHERE place >= ? ORDER BY place LIMIT ?", (first, count_max)
        )
        for (body,) in found:
            decided = wire.decode(body)
            if not isinstance(decided, m.Decided):
                raise StoreError("a decided batch of the journal is none")
            yield decided

    def close(self) -> None:
        """Write down what is open and close the file."""
        self.sync()
        self._file.close()

    def _begin(self) -> None:
        if not self._is_open:
            self._file.execute("BEGIN")
            self._is_open = True

    def _forget(self, place: int) -> None:
        """Delete what a checkpoint at this place makes superfluous: old votes, older promises."""
        self._file.execute(
            "DELETE FROM entries WHERE kind IN ('voted', 'prepared') AND place <= ?", (place,)
        )
        for kind in ("view", "stable"):
            self._file.execute(
                "DELETE FROM entries WHERE kind = ? AND number < "
                "(SELECT MAX(number) FROM entries WHERE kind = ?)",
                (kind, kind),
            )

    def _check_owner(self, path: Path, committee: str) -> None:
        """Refuse a file of another version or committee; mark a new one."""
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._file.execute(f"PRAGMA user_version = {VERSION}")
            self._file.execute("CREATE TABLE owner (committee TEXT)")
            self._file.execute("INSERT INTO owner VALUES (?)", (committee,))
            return
        if version != VERSION:
            raise StoreError(f"journal {path} is of version {version}, this is {VERSION}")
        (owner,) = self._file.execute("SELECT committee FROM owner").fetchone()
        if owner != committee:
            raise StoreError(f"journal {path} belongs to committee {owner[:12]}, not this one")


def encode_entry(entry: Entry) -> tuple[str, int, bytes]:
    """Return an entry's kind, its place and its bytes."""
    if isinstance(entry, ViewEntered):
        return "view", 0, canonical.encode([entry.view, entry.is_changing])
    if isinstance(entry, Voted):
        batch = None if entry.batch is None else wire.write_batch(entry.batch)
        fields = [entry.phase, entry.view, entry.sequence, entry.digest, batch]
        return "voted", entry.sequence, canonical.encode(fields)
    if isinstance(entry, BatchPrepared):
        fields = [entry.proof.fields(), wire.write_batch(entry.batch)]
        return "prepared", entry.proof.sequence, canonical.encode(fields)
    return "stable", entry.proof.sequence, canonical.encode(entry.proof.fields())


def decode_entry(kind: str, body: bytes) -> Entry:
    """Return the entry that was encoded; raises StoreError for what is none."""
    try:
        fields = canonical.decode(body, ENTRY_BYTES_MAX)
        if kind == "view":
            return ViewEntered(*fields)
        if kind == "voted":
            phase, view, place, digest, batch = fields
            kept = None if batch is None else wire.read_batch(batch)
            return Voted(phase, view, place, digest, kept)
        if kind == "prepared":
            return BatchPrepared(wire.read_prepared(fields[0]), wire.read_batch(fields[1]))
        if kind == "stable":
            return Stabilised(wire.read_stable(fields))
    except (ValueError, TypeError, IndexError) as error:
        raise StoreError(f"an entry of the journal cannot be read: {error}") from error
    raise StoreError(f"the journal has an entry of the unknown kind {kind!r}")
