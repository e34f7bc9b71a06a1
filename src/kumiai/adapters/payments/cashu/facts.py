"""What people ask about a wallet's operations: invoices, times, fees, beside what moves the money.

A table of its own: a wallet's file from before has none of it, and is opened all the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, select

metadata = MetaData()
_facts = Table(
    "facts",
    metadata,
    Column("key", String, primary_key=True),  # of the operation, as the table of these has it
    Column("bolt11", String, nullable=False),
    Column("amount", Integer, nullable=False),
    Column("fee_reserve", Integer, nullable=False),
    Column("fee", Integer, nullable=False),
    Column("preimage", String, nullable=False),
    Column("expires_at_s", Integer, nullable=False),
    Column("created_at_s", Integer, nullable=False),
    Column("ended_at_s", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Amounts are in the mint's unit; 0 and "" where something is not known (yet).

    fee: what a payment has cost beside its amount, the mint's fee for the inputs included.
    """

    bolt11: str = ""
    amount: int = 0
    fee_reserve: int = 0
    fee: int = 0
    preimage: str = ""
    expires_at_s: int = 0
    created_at_s: int = 0
    ended_at_s: int = 0


def find(connection: Connection, name: str) -> Facts:
    """Return what is known of an operation."""
    row = connection.execute(select(_facts).where(_facts.c.key == name)).mappings().first()
    return Facts(**{key: value for key, value in row.items() if key != "key"}) if row else Facts()


def find_all(connection: Connection) -> dict[str, Facts]:
    """Return what is known of all operations, by their names."""
    return {
        row["key"]: Facts(**{key: value for key, value in row.items() if key != "key"})
        for row in connection.execute(select(_facts)).mappings()
    }


def begin(connection: Connection, name: str, facts: Facts) -> None:
    """Write down what is known at the beginning; what is there already stays."""
    if connection.execute(select(_facts.c.key).where(_facts.c.key == name)).first() is None:
        connection.execute(_facts.insert(), [{"key": name, **asdict(facts)}])


def end(connection: Connection, name: str, now_s: int, fee: int, preimage: str) -> None:
    """Write down when it ended, and what is known only then."""
    change = {"ended_at_s": now_s, "fee": fee, "preimage": preimage}
    connection.execute(_facts.update().where(_facts.c.key == name).values(**change))


def rename(connection: Connection, name: str, kept: str) -> None:
    """An operation that was dropped has another name from now on."""
    connection.execute(_facts.update().where(_facts.c.key == name).values(key=kept))
