"""The append-only log on disk: what was agreed stays readable, whatever happens to the process.

One table `records`, one row a record: the event as its canonical bytes beside height, time and
chained head. Every append is one transaction, so a kill -9 at any moment leaves a prefix that ends
between two batches. The rules are those of the memory twin: no gap, no wrong head, no time
running backwards; a record offered again must be identical, so that a resumed run may replay its
history onto the log and only adds what is new.

Cost: about 25 microseconds a record to append in batches, twice that to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    BigInteger,
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

from kumiai.adapters.memory.log import check_chained, check_consecutive, check_same
from kumiai.adapters.store import sqlite
from kumiai.base.errors import StoreError
from kumiai.base.events import decode_event, encode_event
from kumiai.base.log import Record

READ_CHUNK_ROWS = 500  # with events of at most 512 KiB a chunk stays under 256 MiB, mostly 1 MiB

_metadata = MetaData()
_records = Table(
    "records",
    _metadata,
    # SQLite keeps a table in the order of an INTEGER key; its BIGINT key would be a second tree
    Column(
        "height",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("time_ms", BigInteger, nullable=False),
    Column("head", String(64), nullable=False),
    Column("event", LargeBinary, nullable=False),
)


class SqlLog:
    """LogPort over any SQLAlchemy engine; `name` stands for the database in messages."""

    def __init__(self, engine: Engine, name: str, *, is_readonly: bool = False) -> None:
        self._engine = engine
        self._name = name
        with sqlite.store_errors(name):
            if not is_readonly:
                _metadata.create_all(engine)
            elif not inspect(engine).has_table(_records.name):
                raise StoreError(f"{name}: holds no log")
        self._last = self.last()

    def append(self, records: Sequence[Record]) -> None:
        """Add what is new in one transaction; what is already there must be identical.

        Raises StoreError: permanent for a gap, a wrong head, time running backwards or a record
        that differs from the stored one; as the database says for a full disk or a lock.
        """
        check_consecutive(self._last, records)
        height_last = self._last.height if self._last else 0
        known = [record for record in records if record.height <= height_last]
        if known:
            self._check_known(known)
        fresh = records[len(known) :]
        if not fresh:
            return
        check_chained(self._last, fresh)
        rows = [_encode_row(record) for record in fresh]
        with sqlite.store_errors(self._name), self._engine.begin() as connection:
            connection.execute(_records.insert(), rows)
        self._last = fresh[-1]

    def read(self, from_height: int = 1) -> Iterator[Record]:
        """Yield the records from `from_height` (>= 1) on, chunk by chunk, the chain checked.

        Raises StoreError naming the height where a stored record does not follow from the one
        before it. Signatures are not checked here.
        """
        if from_height < 1:
            raise ValueError(f"from_height {from_height}: heights count from 1")
        return self._read(from_height)

    def last(self) -> Record | None:
        """Return the newest stored record, or None for an empty log."""
        query = select(_records).order_by(_records.c.height.desc()).limit(1)
        rows = self._fetch(query)
        return self._decode_row(rows[0]) if rows else None

    def close(self) -> None:
        """Give the connections back; the log must not be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, from_height: int) -> Iterator[Record]:
        previous = self._get_record(from_height - 1) if from_height > 1 else None
        if from_height > 1 and previous is None:
            return
        height = from_height
        while True:
            query = select(_records).where(_records.c.height >= height)
            rows = self._fetch(query.order_by(_records.c.height).limit(READ_CHUNK_ROWS))
            for row in rows:
                record = self._decode_row(row)
                try:
                    check_consecutive(previous, [record])
                    check_chained(previous, [record])
                except StoreError as error:
                    raise StoreError(f"{self._name}: damaged: {error}") from error
                yield record
                previous = record
            if len(rows) < READ_CHUNK_ROWS:
                return
            height += len(rows)

    def _check_known(self, known: Sequence[Record]) -> None:
        heights = _records.c.height.between(known[0].height, known[-1].height)
        rows = self._fetch(select(_records).where(heights).order_by(_records.c.height))
        if len(rows) != len(known):
            raise StoreError(f"{self._name}: damaged: records {known[0].height}.. are missing")
        for row, record in zip(rows, known, strict=True):
            if _encode_row(record) != dict(row._mapping):
                check_same(self._decode_row(row), record)

    def _get_record(self, height: int) -> Record | None:
        rows = self._fetch(select(_records).where(_records.c.height == height))
        return self._decode_row(rows[0]) if rows else None

    def _fetch(self, query: Any) -> Sequence[Any]:
        with sqlite.store_errors(self._name), self._engine.connect() as connection:
            try:
                return connection.execute(query).all()
            except (TypeError, ValueError) as error:  # a damaged cell of another type
                raise StoreError(f"{self._name}: damaged: {error}") from error

    def _decode_row(self, row: Any) -> Record:
        height, time_ms, head, event = row
        if type(height) is not int or type(time_ms) is not int or type(head) is not str:
            raise StoreError(f"{self._name}: damaged: record {height} has values of wrong types")
        try:
            return Record(height, time_ms, decode_event(event), head)
        except (TypeError, ValueError) as error:
            raise StoreError(f"{self._name}: damaged: event at height {height}: {error}") from error


class SqliteLog(SqlLog):
    """The log in one SQLite file; `close` leaves nothing beside it and nothing to be done."""

    def __init__(self, path: Path, *, is_readonly: bool = False) -> None:
        self._path = None if is_readonly else path
        with sqlite.store_errors(path):
            engine = sqlite.open_readonly_engine(path) if is_readonly else sqlite.open_engine(path)
        super().__init__(engine, str(path), is_readonly=is_readonly)

    @classmethod
    def open_readonly(cls, path: Path) -> Self:
        """Open a closed log for reading and change no byte of it; raises StoreError otherwise."""
        return cls(path, is_readonly=True)

    def close(self) -> None:
        """Write everything into the one file and leave it in journal mode DELETE."""
        super().close()
        if self._path is not None:
            sqlite.rest_engine(self._engine, self._path)


def _encode_row(record: Record) -> dict[str, Any]:
    return {
        "height": record.height,
        "time_ms": record.time_ms,
        "head": record.head,
        "event": encode_event(record.event),
    }
