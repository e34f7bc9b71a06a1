"""What each connection of an NWC service has spent, in one SQLite file: written before it pays.

An amount is set aside before the wallet is asked and counts until the wallet says that it did not
move; so a restart, a lost answer or many requests at once never let a connection pay more than its
budget. Fees count with what was allowed for them until the payment is known.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)

from kumiai.adapters.store import sqlite

_metadata = MetaData()
_spends = Table(
    "nwc_spends",
    _metadata,
    Column("connection", String(100), nullable=False),
    Column("payment_hash", String(64), nullable=False),
    Column("amount_msat", BigInteger, nullable=False),  # with the fee
    Column("is_open", Boolean, nullable=False),  # set aside; what became of it is not known
    PrimaryKeyConstraint("connection", "payment_hash"),
)


class NwcBudgets:
    """The spends of all connections of one service; `close` it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = sqlite.open_engine(path)
        with sqlite.store_errors(path), sqlite.begin_writing(self._engine) as database:
            _metadata.create_all(database)  # one of several that begin it together

    def reserve(
        self, connection: str, payment_hash: str, amount_msat: int, budget_msat: int | None
    ) -> bool:
        """Set an amount aside; False where the budget has not enough left. Twice counts once."""
        mine = _spends.c.connection == connection
        with (
            sqlite.store_errors(self._path),
            sqlite.begin_writing(self._engine) as database,
        ):
            if database.execute(_select(connection, payment_hash)).first() is not None:
                return True
            spent = database.execute(select(func.sum(_spends.c.amount_msat)).where(mine)).scalar()
            if budget_msat is not None and int(spent or 0) + amount_msat > budget_msat:
                return False
            row = {
                "connection": connection,
                "payment_hash": payment_hash,
                "amount_msat": amount_msat,
                "is_open": True,
            }
            database.execute(insert(_spends), row)
        return True

    def end(self, connection: str, payment_hash: str, amount_msat: int) -> None:
        """Write down what moved in the end, with the fee; 0 where nothing did."""
        this = (_spends.c.connection == connection) & (_spends.c.payment_hash == payment_hash)
        with (
            sqlite.store_errors(self._path),
            sqlite.begin_writing(self._engine) as database,
        ):
            if amount_msat:
                change = update(_spends).where(this)
                database.execute(change.values(amount_msat=amount_msat, is_open=False))
            else:
                database.execute(delete(_spends).where(this))

    def has(self, connection: str, payment_hash: str) -> bool:
        """Tell whether the connection has paid this, or set the amount aside."""
        with sqlite.store_errors(self._path), self._engine.connect() as database:
            return database.execute(_select(connection, payment_hash)).first() is not None

    def get_spent(self, connection: str) -> int:
        """Return the msat that the connection has spent or set aside."""
        query = select(func.sum(_spends.c.amount_msat)).where(_spends.c.connection == connection)
        with sqlite.store_errors(self._path), self._engine.connect() as database:
            return int(database.execute(query).scalar() or 0)

    def list_open(self, connection: str) -> list[str]:
        """Return the hashes of payments of which the end is not known."""
        query = select(_spends.c.payment_hash).where(
            _spends.c.connection == connection, _spends.c.is_open
        )
        with sqlite.store_errors(self._path), self._engine.connect() as database:
            return [str(row.payment_hash) for row in database.execute(query)]

    def close(self) -> None:
        """Give the file back."""
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


def _select(connection: str, payment_hash: str) -> Select[tuple[str]]:
    return select(_spends.c.payment_hash).where(
        _spends.c.connection == connection, _spends.c.payment_hash == payment_hash
    )
