"""Intents on disk: one SQLite file for each member, and a twin in memory.

What excludes what (`nodes.market.intents`) is kept by unique indexes, so that it also holds between
two processes that were started by mistake. Every call is one transaction and waits for the disk: an
intent that is lost could be carried out twice. Cost: benchmarks/market_wallet.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    insert,
    inspect,
    or_,
    select,
    text,
    update,
)

from kumiai.adapters.store import sqlite
from kumiai.base.errors import StoreError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import DEAD, FINAL, Action, Debt, Intent, Outcome, Record
from kumiai.nodes.market.ports import Invoice, PaymentState

_FINAL: Final = sorted(state.value for state in FINAL)
_DEAD: Final = sorted(state.value for state in DEAD)
_DEBT: Final = ("purpose", "job", "round", "counterpart")

_metadata = MetaData()
_intents = Table(
    "intents",
    _metadata,
    Column("place", Integer, primary_key=True),
    Column("key", String, nullable=False, unique=True),
    Column("action", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("job", String, nullable=False),
    Column("round", BigInteger, nullable=False),
    Column("counterpart", String, nullable=False),
    Column("amount_msat", BigInteger, nullable=False),
    Column("payment_hash", String, nullable=False),
    Column("bolt11", String, nullable=False),
    Column("payee", String, nullable=False),
    Column("fee_msat_max", BigInteger, nullable=False),
    Column("preimage", String, nullable=False),
    Column("created_at_s", BigInteger, nullable=False),
    Column("expires_at_s", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("shown", String, nullable=False),  # the preimage that the wallet showed
    Column("fee_msat", BigInteger, nullable=False),
    Column("settled_at_s", BigInteger, nullable=False),
    Column("note", String, nullable=False),
)
_c = _intents.c
_is_live_payment = and_(_c.action == Action.PAY.value, _c.state.not_in(_DEAD))
_live_sql = f"action = 'pay' AND state NOT IN ({', '.join(repr(it) for it in _DEAD)})"
_end_sql = "action IN ('settle', 'cancel')"


_debt = tuple(_c[name] for name in _DEBT)
Index("intents_debt", *_debt, unique=True, sqlite_where=text(_live_sql))
Index("intents_hash", _c.payment_hash, unique=True, sqlite_where=text(_live_sql))
Index("intents_end", _c.payment_hash, unique=True, sqlite_where=text(_end_sql))
Index("intents_state", _c.state)


class SqliteIntents:
    """IntentStorePort in one SQLite file; `is_synced` False survives a killed process only.

    is_readonly: only look into a file that is there; a member may be using it meanwhile.
    """

    def __init__(self, path: Path, *, is_synced: bool = True, is_readonly: bool = False) -> None:
        self._path = path
        if is_readonly:
            self._engine = sqlite.open_engine(path, is_looking=True)
            with sqlite.store_errors(path):
                if not path.is_file() or not inspect(self._engine).has_table(_intents.name):
                    raise StoreError(f"{path}: holds no intents")
            return
        sqlite.create_private(path)  # it holds preimages
        self._engine = sqlite.open_engine(path, is_synced=is_synced)
        with sqlite.store_errors(path), sqlite.begin_writing(self._engine) as connection:
            _metadata.create_all(connection)

    def add(self, intent: Intent) -> None:
        fresh = _encode(intent)
        with sqlite.store_errors(self._path), sqlite.begin_writing(self._engine) as connection:
            # looked for first, for a plain sentence; the indexes would refuse it all the same
            other = connection.execute(select(_intents).where(_excludes(intent))).first()
            if other is not None:
                raise _refuse(intent, _decode(other))
            connection.execute(insert(_intents), fresh)

    def put_invoice(self, key: str, invoice: Invoice) -> None:
        change = {
            "bolt11": invoice.bolt11,
            "payment_hash": invoice.payment_hash,
            "payee": invoice.payee,
            "expires_at_s": invoice.expires_at_s,
        }
        with sqlite.store_errors(self._path), sqlite.begin_writing(self._engine) as connection:
            known = connection.execute(select(_intents).where(_c.key == key)).one_or_none()
            _check_invoice(key, _decode(known).intent if known else None, invoice)
            connection.execute(update(_intents).where(_c.key == key).values(**change))

    def put_outcome(self, key: str, outcome: Outcome) -> None:
        change = {
            "state": outcome.state.value,
            "shown": outcome.preimage,
            "fee_msat": outcome.fee_msat,
            "settled_at_s": outcome.settled_at_s,
            "note": outcome.note,
        }
        with sqlite.store_errors(self._path), sqlite.begin_writing(self._engine) as connection:
            known = connection.execute(select(_intents).where(_c.key == key)).one_or_none()
            if _is_new(key, _decode(known) if known else None, outcome):
                connection.execute(update(_intents).where(_c.key == key).values(**change))

    def get(self, key: str) -> Record | None:
        found = self._fetch(select(_intents).where(_c.key == key))
        return found[0] if found else None

    def find_live(self, debt: Debt, payment_hash: str) -> list[Record]:
        is_about = or_(_is_debt(debt), _c.payment_hash == payment_hash)
        return self._fetch(select(_intents).where(_is_live_payment, is_about))

    def list_open(self) -> list[Record]:
        return self._fetch(select(_intents).where(_c.state.not_in(_FINAL)))

    def list_all(self) -> list[Record]:
        return self._fetch(select(_intents))

    def close(self) -> None:
        """Give the connections back; the store must not be used afterwards."""
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

    def _fetch(self, query: Any) -> list[Record]:
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            return [_decode(row) for row in connection.execute(query.order_by(_c.place))]


class MemoryIntents:
    """IntentStorePort that forgets when the process ends: the twin, and for simulations."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def add(self, intent: Intent) -> None:
        for other in self._records.values():
            if _is_excluded(intent, other):
                raise _refuse(intent, other)
        self._records[intent.key] = Record(intent, Outcome(PaymentState.PENDING))

    def put_invoice(self, key: str, invoice: Invoice) -> None:
        known = self._records.get(key)
        _check_invoice(key, known.intent if known else None, invoice)
        assert known is not None
        made = replace(
            known.intent, bolt11=invoice.bolt11, payment_hash=invoice.payment_hash,
            payee=invoice.payee, expires_at_s=invoice.expires_at_s,
        )  # fmt: skip
        self._records[key] = replace(known, intent=made)

    def put_outcome(self, key: str, outcome: Outcome) -> None:
        known = self._records.get(key)
        if _is_new(key, known, outcome):
            assert known is not None
            self._records[key] = replace(known, outcome=outcome)

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def find_live(self, debt: Debt, payment_hash: str) -> list[Record]:
        wanted = Intent("", Action.PAY, debt, 0, payment_hash)
        return [it for it in self._records.values() if it.intent.key and _is_excluded(wanted, it)]

    def list_open(self) -> list[Record]:
        return [it for it in self._records.values() if it.is_open]

    def list_all(self) -> list[Record]:
        return list(self._records.values())


def _excludes(intent: Intent) -> Any:
    """The condition on rows that `intent` cannot stand beside."""
    same_key = _c.key == intent.key
    if intent.action is Action.PAY:
        is_about = or_(_is_debt(intent.debt), _c.payment_hash == intent.payment_hash)
        return or_(same_key, and_(_is_live_payment, is_about))
    if intent.action in (Action.SETTLE, Action.CANCEL):
        ends = _c.action.in_([Action.SETTLE.value, Action.CANCEL.value])
        return or_(same_key, and_(ends, _c.payment_hash == intent.payment_hash))
    return same_key


def _is_excluded(intent: Intent, other: Record) -> bool:
    it = other.intent
    if it.key == intent.key:
        return True
    if intent.action is Action.PAY is it.action and other.outcome.state not in DEAD:
        return it.debt == intent.debt or it.payment_hash == intent.payment_hash
    ends = (Action.SETTLE, Action.CANCEL)
    is_end = intent.action in ends and it.action in ends
    return is_end and it.payment_hash == intent.payment_hash


def _is_debt(debt: Debt) -> Any:
    return and_(*(_c[name] == getattr(debt, name) for name in _DEBT))


def _refuse(intent: Intent, other: Record) -> WalletError:
    about = "this key" if other.intent.key == intent.key else "the same debt or payment hash"
    state = f"{other.intent.action.value} {other.intent.key} is {other.outcome.state.value}"
    return WalletError("ALREADY_PAID", f"{about} has an intent: {state}")


def _check_invoice(key: str, known: Intent | None, invoice: Invoice) -> None:
    if known is None:
        raise StoreError(f"no intent has the key {key}")
    if known.bolt11 not in ("", invoice.bolt11):
        raise StoreError(f"intent {key} has another invoice already")


def _is_new(key: str, known: Record | None, outcome: Outcome) -> bool:
    if known is None:
        raise StoreError(f"no intent has the key {key}")
    if known.is_open:
        return known.outcome != outcome
    if known.outcome.state is not outcome.state:
        was, told = known.outcome.state.value, outcome.state.value
        raise StoreError(f"intent {key} is {was} for good, it cannot become {told}")
    return False


def _encode(intent: Intent) -> dict[str, Any]:
    debt = {name: getattr(intent.debt, name) for name in _DEBT}
    mine = {name: getattr(intent, name) for name in _OWN}
    begun = {"state": PaymentState.PENDING.value, "shown": "", "fee_msat": 0}
    return {**debt, **mine, **begun, "action": intent.action.value, "settled_at_s": 0, "note": ""}


def _decode(row: Any) -> Record:
    debt = Debt(row.purpose, row.job, row.round, row.counterpart)
    mine = {name: getattr(row, name) for name in _OWN}
    outcome = Outcome(PaymentState(row.state), row.shown, row.fee_msat, row.settled_at_s, row.note)
    return Record(Intent(action=Action(row.action), debt=debt, **mine), outcome)


_OWN: Final = (
    "key",
    "amount_msat",
    "payment_hash",
    "bolt11",
    "payee",
    "fee_msat_max",
    "preimage",
    "created_at_s",
    "expires_at_s",
)
