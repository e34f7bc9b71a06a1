"""The vault on disk: what a node must remember before it speaks: salts, scores, votes, seeds.

A value once kept is not changed by accident: `put` under a key that holds another value is an
error unless the caller says `replace`. A node that answers twice with what the vault holds
cannot contradict itself after a crash. The file can be read by its owner only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    select,
)

from kumiai.adapters.memory.vault import check_items, check_unchanged
from kumiai.adapters.store import sqlite

_QUERY_KEYS_MAX = 500  # a database limits the parameters of one statement

_metadata = MetaData()
_vault = Table(
    "vault",
    _metadata,
    Column("key", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


class SqlVault:
    """VaultPort over any SQLAlchemy engine; `name` stands for the database in messages."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        with sqlite.store_errors(name):
            _metadata.create_all(engine)

    def put(self, key: str, value: bytes, *, replace: bool = False) -> None:
        """Keep `value` under `key`; raises StoreError if it holds another, unless `replace`."""
        self.put_many({key: value}, replace=replace)

    def put_many(self, items: Mapping[str, bytes], *, replace: bool = False) -> None:
        """Keep all of `items` or none, in one transaction; errors as in `put`."""
        check_items(items)
        with sqlite.store_errors(self._name), self._engine.begin() as connection:
            known = _fetch(connection, list(items))
            if not replace:
                check_unchanged(known, items)
            fresh = [{"key": k, "value": v} for k, v in items.items() if k not in known]
            changed = [{"k": k, "v": items[k]} for k in known if items[k] != known[k]]
            if fresh:
                connection.execute(_vault.insert(), fresh)
            if changed:
                statement = _vault.update().where(_vault.c.key == bindparam("k"))
                connection.execute(statement.values(value=bindparam("v")), changed)

    def get(self, key: str) -> bytes | None:
        """Return what is kept under `key`, or None."""
        check_items({key: b""})
        with sqlite.store_errors(self._name), self._engine.connect() as connection:
            return _fetch(connection, [key]).get(key)

    def close(self) -> None:
        """Give the connections back; the vault must not be used afterwards."""
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


class SqliteVault(SqlVault):
    """The vault in one SQLite file; `is_synced` also survives a power cut (a disk wait a put)."""

    def __init__(self, path: Path, *, is_synced: bool = False) -> None:
        self._path = path
        sqlite.create_private(path)
        with sqlite.store_errors(path):
            engine = sqlite.open_engine(path, is_synced=is_synced)
        super().__init__(engine, str(path))

    def close(self) -> None:
        """Write everything into the one file and leave it in journal mode DELETE."""
        super().close()
        sqlite.rest_engine(self._engine, self._path)


def _fetch(connection: Connection, keys: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), _QUERY_KEYS_MAX):
        part = keys[start : start + _QUERY_KEYS_MAX]
        query = select(_vault.c.key, _vault.c.value).where(_vault.c.key.in_(part))
        found.update({row.key: bytes(row.value) for row in connection.execute(query)})
    return found
