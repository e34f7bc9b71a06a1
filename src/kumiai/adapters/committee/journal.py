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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    ViewShown,
    Voted,
)

VERSION = 3
ENTRY_BYTES_MAX = wire.MESSAGE_BYTES_MAX
EVIDENCE_MAX = 8  # of one replica
_TABLES = """
CREATE TABLE IF NOT EXISTS entries
    (number INTEGER PRIMARY KEY, kind TEXT, place INTEGER, body BLOB);
CREATE TABLE IF NOT EXISTS decided (place INTEGER PRIMARY KEY, body BLOB);
CREATE TABLE IF NOT EXISTS evidence (replica INTEGER, body BLOB);
"""


class Journal:
    """One replica's file; `close` it. Every call raises StoreError where the file fails."""

    def __init__(self, path: Path, committee: str) -> None:
        """committee: its name; a journal of another committee is refused."""
        self._path = path
        with self._telling():
            self._file = sqlite3.connect(path, isolation_level=None)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.executescript(_TABLES)
            self._check_owner(committee)
        self._is_open = False

    def persist(self, entries: tuple[Entry, ...]) -> None:
        """Write down the entries; all that was written is on the disk when this returns."""
        self.write(entries)
        self.sync()

    def write(self, entries: tuple[Entry, ...]) -> None:
        """Write down the entries; they last from the next `persist` or `sync` on, all or none."""
        with self._telling():
            self._begin()
            for entry in entries:
                row = encode_entry(entry)
                self._file.execute("INSERT INTO entries VALUES (NULL, ?, ?, ?)", row)
                if isinstance(entry, Stabilised):
                    self._forget(entry.proof.sequence)

    def append(self, decided: m.Decided) -> None:
        """Write down a decided batch; it lasts from the next `persist` or `sync` on."""
        row = (decided.proof.sequence, wire.encode(decided))
        with self._telling():
            self._begin()
            self._file.execute("INSERT OR REPLACE INTO decided VALUES (?, ?)", row)

    def keep_evidence(self, found: Equivocation) -> None:
        """Keep the proof of a fault, some of each replica: one is enough to convict it."""
        replica = found.first.sender
        count = "SELECT COUNT(*) FROM evidence WHERE replica = ?"
        with self._telling():
            (kept,) = self._file.execute(count, (replica,)).fetchone()
            if kept < EVIDENCE_MAX:
                self._begin()
                row = (replica, wire.encode_evidence(found))
                self._file.execute("INSERT INTO evidence VALUES (?, ?)", row)

    def read_evidence(self) -> Iterator[Equivocation]:
        """Yield the proofs that were kept."""
        with self._telling():
            for (body,) in self._file.execute("SELECT body FROM evidence ORDER BY replica, rowid"):
                yield wire.decode_evidence(body)

    def sync(self) -> None:
        """Make everything last that was written."""
        if self._is_open:
            with self._telling():
                self._file.execute("COMMIT")
            self._is_open = False

    def read_entries(self) -> Iterator[Entry]:
        """Yield what was written down, in its order."""
        with self._telling():
            for kind, body in self._file.execute("SELECT kind, body FROM entries ORDER BY number"):
                yield decode_entry(kind, body)

    def read_decided(self, first: int = 1, count_max: int = -1) -> Iterator[m.Decided]:
        """Yield decided batches from a place on, at most so many (-1: all)."""
        wanted = "SELECT body FROM decided WHERE place >= ? ORDER BY place LIMIT ?"
        with self._telling():
            for (body,) in self._file.execute(wanted, (first, count_max)):
                decided = wire.decode(body)
                if not isinstance(decided, m.Decided):
                    raise ValueError("a decided batch is none")
                yield decided

    def close(self) -> None:
        """Write down what is open and close the file."""
        self.sync()
        self._file.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say which file it was that failed, or cannot be read."""
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"journal {self._path}: {error}") from error

    def _begin(self) -> None:
        if not self._is_open:
            self._file.execute("BEGIN")
            self._is_open = True

    def _forget(self, place: int) -> None:
        """Delete what a checkpoint at this place makes superfluous: old votes, older promises."""
        self._file.execute(
            "DELETE FROM entries WHERE kind IN ('voted', 'prepared') AND place <= ?", (place,)
        )
        for kind in ("view", "shown", "stable"):
            self._file.execute(
                "DELETE FROM entries WHERE kind = ? AND number < "
                "(SELECT MAX(number) FROM entries WHERE kind = ?)",
                (kind, kind),
            )

    def _check_owner(self, committee: str) -> None:
        """Refuse a file of another version or committee; mark a new one."""
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._file.execute(f"PRAGMA user_version = {VERSION}")
            self._file.execute("CREATE TABLE owner (committee TEXT)")
            self._file.execute("INSERT INTO owner VALUES (?)", (committee,))
            return
        if version != VERSION:
            raise ValueError(f"it is of version {version}, this is {VERSION}")
        (owner,) = self._file.execute("SELECT committee FROM owner").fetchone()
        if owner != committee:
            raise ValueError(f"it belongs to committee {owner[:12]}, not to this one")


def encode_entry(entry: Entry) -> tuple[str, int, bytes]:
    """Return an entry's kind, its place and its bytes."""
    if isinstance(entry, ViewEntered):
        return "view", 0, canonical.encode([entry.view, entry.is_changing, entry.proposals])
    if isinstance(entry, Voted):
        batch = None if entry.batch is None else wire.write_batch(entry.batch)
        fields = [entry.phase, entry.view, entry.sequence, entry.digest, batch]
        return "voted", entry.sequence, canonical.encode(fields)
    if isinstance(entry, BatchPrepared):
        fields = [entry.proof.fields(), wire.write_batch(entry.batch)]
        return "prepared", entry.proof.sequence, canonical.encode(fields)
    if isinstance(entry, ViewShown):
        return "shown", 0, canonical.encode(wire.write_signed(entry.signed))
    return "stable", entry.proof.sequence, canonical.encode(entry.proof.fields())


def decode_entry(kind: str, body: bytes) -> Entry:
    """Return the entry that was encoded; raises ValueError for what is none."""
    try:
        entry = _read_entry(kind, canonical.decode(body, ENTRY_BYTES_MAX))
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"an entry cannot be read: {error}") from error
    if encode_entry(entry)[2] != body:
        raise ValueError("an entry is not as it was written")
    return entry


def _read_entry(kind: str, fields: Any) -> Entry:
    if kind == "view":
        view, is_changing, proposals = fields
        return ViewEntered(view, is_changing, tuple((p, digest) for p, digest in proposals))
    if kind == "voted":
        phase, view, place, digest, batch = fields
        kept = None if batch is None else wire.read_batch(batch)
        return Voted(phase, view, place, digest, kept)
    if kind == "prepared":
        proof, batch = fields
        return BatchPrepared(wire.read_prepared(proof), wire.read_batch(batch))
    if kind == "shown":
        return ViewShown(wire.read_signed(fields))
    if kind == "stable":
        return Stabilised(wire.read_stable(fields))
    raise ValueError(f"an entry is of the unknown kind {kind!r}")
