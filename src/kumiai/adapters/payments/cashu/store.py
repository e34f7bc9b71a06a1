"""A wallet's ecash on disk: every swap is written down before the mint hears of it.

An operation is planned in one transaction: its inputs are set aside and its outputs, secrets and
blinding factors included, are kept. Only then is the mint asked; its answer is written in one more
transaction. Whatever happens in between, the outputs on disk are enough to ask the mint what it
answered, so money is neither lost nor spent twice. The file is money: its owner alone may read it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, event, select

from kumiai.adapters.payments.cashu import facts as facts_module
from kumiai.adapters.payments.cashu.facts import Facts
from kumiai.adapters.payments.cashu.tokens import Dleq, Proof
from kumiai.adapters.store import sqlite
from kumiai.nodes.market.errors import WalletError

_metadata = MetaData()
_proofs = Table(
    "proofs",
    _metadata,
    Column("secret", String, primary_key=True),
    Column("keyset", String, nullable=False),
    Column("amount", Integer, nullable=False),
    Column("signature", String, nullable=False),
    Column("dleq", String, nullable=False),
    Column("operation", String, index=True),  # that has set it aside or spent it
    Column("is_spent", Integer, nullable=False, index=True),
)
_operations = Table(
    "operations",
    _metadata,
    Column("key", String, primary_key=True),
    Column("kind", String, nullable=False),  # lock | redeem | mint | melt
    Column("request", String, nullable=False),  # what it was asked to do: the same key, the same
    Column(
        "state", String, nullable=False, index=True
    ),  # quoted | planned | refused | done | dropped | lapsed
    Column("inputs", String, nullable=False),
    Column("outputs", String, nullable=False),
    Column("result", String, nullable=False),
)

_SPENDING = ("lock", "melt")  # the others gain only

_shown = Table(
    "shown",
    _metadata,
    Column("secret", String, primary_key=True),
    Column("token", String, nullable=False),  # sha256 of the token that was found good with it
)


@dataclass(frozen=True, slots=True)
class Output:
    """One piece that the mint is asked for; `factor` blinds it, is_for_token: not our own."""

    amount: int
    keyset: str
    secret: str
    factor: str
    is_for_token: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One movement of money, by the caller's key."""

    key: str
    kind: str
    request: str
    state: str
    inputs: tuple[Proof, ...] = ()
    outputs: tuple[Output, ...] = ()
    result: str = ""


class WalletStore:
    """The SQLite file of one wallet at one mint and unit. One process at a time."""

    def __init__(self, path: Path, owner: str, clock: Callable[[], float] = time.time) -> None:
        """`owner` names mint, unit and key: the file is refused if it was made for another."""
        self._path = path
        self._clock = clock  # for the times that people read
        self.engine = open_money(path)
        with sqlite.store_errors(path), self.engine.begin() as connection:
            _metadata.create_all(connection)
            facts_module.metadata.create_all(connection)
            found = _find(connection, "owner")
            if found is None:
                _put(connection, Operation("owner", "owner", owner, "done"))
            elif found.request != owner:
                raise WalletError("OTHER", f"{path} is the wallet of another mint or key")

    def get(self, key: str) -> Operation | None:
        """Return the operation of this key, None if there is none yet."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            return _find(connection, f"key {key}")

    def get_facts(self, key: str) -> Facts:
        """Return what people ask about the operation of this key."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            return facts_module.find(connection, f"key {key}")

    def list_planned(self) -> list[Operation]:
        """Return the swaps that were planned and have no known end, oldest first."""
        return [it for it in self.list_open() if it.state == "planned" and it.kind != "melt"]

    def list_open(self) -> list[Operation]:
        """Return what has no known end: swaps and payments under way, invoices; oldest first."""
        query = select(_operations).where(_operations.c.state.in_(("quoted", "planned")))
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            return [_to_operation(row) for row in connection.execute(query)]

    def list_all(self) -> list[tuple[Operation, Facts]]:
        """Return every operation and what is known of it, in the order of their beginnings."""
        query = select(_operations).where(_operations.c.kind != "owner")
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            known = facts_module.find_all(connection)
            return [
                (_to_operation(row), known.get(row.key, Facts()))
                for row in connection.execute(query)
            ]

    def list_free(self) -> list[Proof]:
        """Return the proofs that are ours and not set aside, largest first."""
        query = (
            select(_proofs)
            .where(_proofs.c.operation.is_(None), _proofs.c.is_spent == 0)
            .order_by(_proofs.c.amount.desc(), _proofs.c.secret)
        )
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            return [_to_proof(row) for row in connection.execute(query)]

    def begin(self, operation: Operation, facts: Facts) -> None:
        """Keep a new operation with what is known of it, and set its inputs aside.

        Raises WalletError, retriable, where another process was quicker: nothing is kept then.
        """
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            name = f"key {operation.key}"
            if _find(connection, name) is not None:
                raise _make_busy()
            _put(connection, operation, name)
            facts_module.begin(connection, name, replace(facts, created_at_s=self._now()))
            if operation.kind in _SPENDING:
                _set_aside(connection, name, operation.inputs)

    def plan(self, operation: Operation) -> None:
        """Keep an operation, new or instead of an unfinished one, and set its inputs aside.

        Raises WalletError if an input is not free: nothing is kept then.
        """
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            name = f"key {operation.key}"
            connection.execute(_operations.delete().where(_operations.c.key == name))
            _put(connection, operation, name)
            facts_module.begin(connection, name, Facts(created_at_s=self._now()))
            if operation.kind in _SPENDING:
                _set_aside(connection, name, operation.inputs)

    def finish(
        self,
        operation: Operation,
        gained: Sequence[Proof],
        result: str,
        fee: int = 0,
        preimage: str = "",
    ) -> None:
        """Write what came of it: the inputs are spent, `gained` is ours; twice is harmless."""
        name = f"key {operation.key}"
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            changed = connection.execute(
                _operations.update()
                .where(_operations.c.key == name, _operations.c.state != "done")
                .values(state="done", result=result)
            )
            if changed.rowcount != 1:
                return  # another process, which works with the same wallet, was quicker
            facts_module.end(connection, name, self._now(), fee, preimage)
            connection.execute(
                _proofs.update().where(_proofs.c.operation == name).values(is_spent=1)
            )
            rows = [_from_proof(proof) for proof in gained]
            if rows:
                connection.execute(_proofs.insert(), rows)

    def refuse(self, operation: Operation) -> None:
        """Note that the mint said no: nothing moved, and the same key may be tried again."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            connection.execute(
                _operations.update()
                .where(_operations.c.key == f"key {operation.key}")
                .values(state="refused")
            )

    def lapse(self, operation: Operation) -> None:
        """Note that its invoice was never paid, and is not asked about any more."""
        name = f"key {operation.key}"
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            connection.execute(
                _operations.update()
                .where(_operations.c.key == name, _operations.c.state == "quoted")
                .values(state="lapsed")
            )
            facts_module.end(connection, name, self._now(), 0, "")

    def drop(self, operation: Operation, spent: frozenset[str]) -> None:
        """Forget what the mint refused: its inputs are free again, but for those `spent`.

        The operation stays on file under another name, with its secrets.
        """
        name = f"key {operation.key}"
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            kept = f"dropped {operation.outputs[0].secret} {operation.key}"
            connection.execute(
                _operations.update()
                .where(_operations.c.key == name)
                .values(key=kept, state="dropped")
            )
            facts_module.end(connection, name, self._now(), 0, "")
            facts_module.rename(connection, name, kept)
            for proof in operation.inputs if operation.kind in _SPENDING else ():
                is_spent = proof.secret in spent
                connection.execute(
                    _proofs.update()
                    .where(_proofs.c.secret == proof.secret)
                    .values(operation=kept if is_spent else None, is_spent=int(is_spent))
                )

    def compute_sums(self) -> tuple[int, int]:
        """Return what is free and what is set aside, in the mint's unit."""
        free = held = 0
        query = select(_proofs.c.amount, _proofs.c.operation).where(_proofs.c.is_spent == 0)
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            for amount, operation in connection.execute(query):
                free, held = (free + amount, held) if operation is None else (free, held + amount)
        return free, held

    def keep_shown(self, token: str, secrets: Sequence[str]) -> bool:
        """Remember in which token others' proofs were shown to us; False if it was another one."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            query = select(_shown).where(_shown.c.secret.in_(secrets))
            known = {row.secret: row.token for row in connection.execute(query)}
            if any(other != token for other in known.values()):
                return False
            rows = [{"secret": it, "token": token} for it in secrets if it not in known]
            if rows:
                connection.execute(_shown.insert(), rows)
            return True

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def _now(self) -> int:
        return int(self._clock())


def open_money(path: Path) -> Engine:
    """Open a database whose every transaction is exclusive, on the disk, and its owner's alone.

    Shared by all files that hold money here: reading, deciding and writing is one transaction.
    StoreError where the file cannot be made.
    """
    sqlite.create_private(path)
    engine = sqlite.open_engine(path, is_synced=True)

    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver would begin late, after the first reads

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _set_aside(connection: Connection, name: str, inputs: Sequence[Proof]) -> None:
    for proof in inputs:
        changed = connection.execute(
            _proofs.update()
            .where(
                _proofs.c.secret == proof.secret,
                _proofs.c.operation.is_(None),
                _proofs.c.is_spent == 0,
            )
            .values(operation=name)
        )
        if changed.rowcount != 1:
            raise _make_busy()


def _make_busy() -> WalletError:
    return WalletError("OTHER", "another process uses this wallet", is_retriable=True)


def _find(connection: Connection, name: str) -> Operation | None:
    row = connection.execute(select(_operations).where(_operations.c.key == name)).first()
    return None if row is None else _to_operation(row)


def _put(connection: Connection, operation: Operation, name: str | None = None) -> None:
    row = {
        "key": name or operation.key,
        "kind": operation.kind,
        "request": operation.request,
        "state": operation.state,
        "inputs": json.dumps([asdict(proof) for proof in operation.inputs]),
        "outputs": json.dumps([asdict(output) for output in operation.outputs]),
        "result": operation.result,
    }
    connection.execute(_operations.insert(), [row])


def _to_operation(row: Any) -> Operation:
    inputs = [
        Proof(**{**item, "dleq": Dleq(**item["dleq"]) if item["dleq"] else None})
        for item in json.loads(row.inputs)
    ]
    outputs = [Output(**item) for item in json.loads(row.outputs)]
    key = row.key.removeprefix("key ")
    return Operation(
        key, row.kind, row.request, row.state, tuple(inputs), tuple(outputs), row.result
    )


def _from_proof(proof: Proof) -> dict[str, Any]:
    return {
        "secret": proof.secret,
        "keyset": proof.keyset,
        "amount": proof.amount,
        "signature": proof.signature,
        "dleq": json.dumps(asdict(proof.dleq) if proof.dleq else None),
        "operation": None,
        "is_spent": 0,
    }


def _to_proof(row: Any) -> Proof:
    dleq = json.loads(row.dleq)
    return Proof(row.amount, row.keyset, row.secret, row.signature, Dleq(**dleq) if dleq else None)
