"""What a blob server knows beside the bytes: whose they are, their type, quotas, open invoices.

One SQLite file, whichever shelf holds the bytes. A blob has one entry and one owner row for each
key that uploaded it; it is forgotten when the last owner deletes it. Every call is one transaction
of well under a millisecond, so the server makes them without a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    func,
    or_,
    select,
)

from kumiai.adapters.store import sqlite

_metadata = MetaData()
_blobs = Table(
    "blobs",
    _metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)
_owners = Table(
    "blob_owners",
    _metadata,
    Column("pubkey", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True, index=True),
    Column("media_type", String, nullable=False),
    Column("uploaded_at_s", BigInteger, nullable=False),
)
_partials = Table(
    "blob_partials",
    _metadata,
    Column("pubkey", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),  # when it is complete
    Column("touched_at_s", BigInteger, nullable=False),
)
_bills = Table(
    "blob_bills",
    _metadata,
    Column("pubkey", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("paid_msat", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),  # of the open invoice, from 1
    Column("open_msat", BigInteger, nullable=False),
    Column("payment_hash", String, nullable=False),
    Column("bolt11", String, nullable=False),
)


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """One blob as one owner uploaded it."""

    sha256: str
    size_bytes: int
    media_type: str
    uploaded_at_s: int


@dataclass(frozen=True, slots=True)
class Partial:
    """An upload that may be taken up again."""

    pubkey: str
    sha256: str
    size_bytes: int
    touched_at_s: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What one key paid for one blob, and the invoice that is open ("" for none)."""

    paid_msat: int = 0
    number: int = 0
    open_msat: int = 0
    payment_hash: str = ""
    bolt11: str = ""


class Catalogue:
    """The file at `path`; one process at a time. Faults of the disk are StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = sqlite.open_engine(path)
        with sqlite.store_errors(path):
            _metadata.create_all(self._engine)

    def close(self) -> None:
        """Put the file to rest."""
        sqlite.rest_engine(self._engine, self._path)

    def find(self, sha256: str) -> BlobEntry | None:
        """Return the blob as its first owner uploaded it."""
        query = (
            select(_blobs, _owners.c.media_type, _owners.c.uploaded_at_s)
            .join(_owners, _owners.c.sha256 == _blobs.c.sha256)
            .where(_blobs.c.sha256 == sha256)
            .order_by(_owners.c.uploaded_at_s, _owners.c.pubkey)
            .limit(1)
        )
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else BlobEntry(*row)

    def is_owner(self, pubkey: str, sha256: str) -> bool:
        """Tell whether this key uploaded the blob."""
        query = select(_owners.c.sha256).where(
            _owners.c.pubkey == pubkey, _owners.c.sha256 == sha256
        )
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def add(self, pubkey: str, entry: BlobEntry) -> None:
        """Enter a blob of this owner; its partial is gone. Twice changes nothing."""
        name = entry.sha256
        with sqlite.store_errors(self._path), self._engine.begin() as connection:
            _insert_new(connection, _blobs, {"sha256": name, "size_bytes": entry.size_bytes})
            row = {
                "pubkey": pubkey,
                "sha256": name,
                "media_type": entry.media_type,
                "uploaded_at_s": entry.uploaded_at_s,
            }
            _insert_new(connection, _owners, row)
            connection.execute(_partials.delete().where(_is_key(_partials, pubkey, name)))

    def remove(self, pubkey: str, sha256: str) -> bool:
        """Take the blob from this owner; True if that was the last one and the bytes may go."""
        with sqlite.store_errors(self._path), self._engine.begin() as connection:
            connection.execute(_owners.delete().where(_is_key(_owners, pubkey, sha256)))
            connection.execute(_bills.delete().where(_is_key(_bills, pubkey, sha256)))
            left = select(_owners.c.pubkey).where(_owners.c.sha256 == sha256).limit(1)
            if connection.execute(left).first() is not None:
                return False
            connection.execute(_blobs.delete().where(_blobs.c.sha256 == sha256))
            return True

    def list_owned(
        self,
        pubkey: str,
        count_max: int,
        since_s: int | None = None,
        until_s: int | None = None,
        cursor: str | None = None,
    ) -> list[BlobEntry]:
        """Return this owner's blobs, newest first; cursor: only what comes after that blob."""
        query = (
            select(_blobs, _owners.c.media_type, _owners.c.uploaded_at_s)
            .join(_owners, _owners.c.sha256 == _blobs.c.sha256)
            .where(_owners.c.pubkey == pubkey)
        )
        if since_s is not None:
            query = query.where(_owners.c.uploaded_at_s >= since_s)
        if until_s is not None:
            query = query.where(_owners.c.uploaded_at_s <= until_s)
        at = _owners.c.uploaded_at_s
        order = (at.desc(), _owners.c.sha256)
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            if cursor is not None:
                seen = connection.execute(
                    select(at).where(_is_key(_owners, pubkey, cursor))
                ).scalar()
                if seen is None:
                    return []
                later = and_(at == seen, _owners.c.sha256 > cursor)
                query = query.where(or_(at < seen, later))
            rows = connection.execute(query.order_by(*order).limit(count_max)).all()
        return [BlobEntry(*row) for row in rows]

    def count_bytes(self, pubkey: str | None = None) -> int:
        """Return what is kept or begun for this owner, in bytes; None: for all, blobs once."""
        if pubkey is None:
            kept = select(func.coalesce(func.sum(_blobs.c.size_bytes), 0))
            begun = select(func.coalesce(func.sum(_partials.c.size_bytes), 0))
        else:
            kept = (
                select(func.coalesce(func.sum(_blobs.c.size_bytes), 0))
                .join(_owners, _owners.c.sha256 == _blobs.c.sha256)
                .where(_owners.c.pubkey == pubkey)
            )
            begun = select(func.coalesce(func.sum(_partials.c.size_bytes), 0)).where(
                _partials.c.pubkey == pubkey
            )
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            return sum(int(connection.execute(query).scalar_one()) for query in (kept, begun))

    def list_partials(self, pubkey: str | None = None) -> Sequence[Partial]:
        """Return the unfinished uploads of one key, or of all."""
        query = select(_partials).order_by(_partials.c.touched_at_s)
        if pubkey is not None:
            query = query.where(_partials.c.pubkey == pubkey)
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            return [Partial(*row) for row in connection.execute(query)]

    def put_partial(self, partial: Partial) -> None:
        """Enter an unfinished upload, or that it was touched."""
        row = {name: getattr(partial, name) for name in Partial.__slots__}
        with sqlite.store_errors(self._path), self._engine.begin() as connection:
            key = _is_key(_partials, partial.pubkey, partial.sha256)
            connection.execute(_partials.delete().where(key))
            connection.execute(_partials.insert().values(row))

    def drop_partial(self, pubkey: str, sha256: str) -> None:
        """Forget an unfinished upload."""
        with sqlite.store_errors(self._path), self._engine.begin() as connection:
            connection.execute(_partials.delete().where(_is_key(_partials, pubkey, sha256)))

    def get_bill(self, pubkey: str, sha256: str) -> Bill:
        """Return what was paid and asked for one blob of one key."""
        query = select(*list(_bills.c)[2:]).where(_is_key(_bills, pubkey, sha256))
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return Bill() if row is None else Bill(*row)

    def put_bill(self, pubkey: str, sha256: str, bill: Bill) -> None:
        """Keep a bill in place of the former one."""
        row = {name: getattr(bill, name) for name in Bill.__slots__}
        with sqlite.store_errors(self._path), self._engine.begin() as connection:
            connection.execute(_bills.delete().where(_is_key(_bills, pubkey, sha256)))
            connection.execute(_bills.insert().values(pubkey=pubkey, sha256=sha256, **row))


def _is_key(table: Table, pubkey: str, sha256: str) -> ColumnElement[bool]:
    return and_(table.c.pubkey == pubkey, table.c.sha256 == sha256)


def _insert_new(connection: Connection, table: Table, row: dict[str, object]) -> None:
    keys = and_(*(column == row[column.name] for column in table.primary_key))
    if connection.execute(select(table.primary_key.columns[0]).where(keys)).first() is None:
        connection.execute(table.insert().values(row))
