"""The embedded bank's tables, and the rules that SQLite itself keeps.

Nobody's balance falls below zero, a settled invoice has a preimage, an invoice has one payer at
most, and a payer pays a hash once at most: a transaction that breaks one of these fails as a whole.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    insert,
    select,
    update,
)

from kumiai.nodes.market.ports import Payment, PaymentState

_STATES = ", ".join(f"'{state.value}'" for state in PaymentState)
LIVE = (PaymentState.PENDING, PaymentState.ACCEPTED, PaymentState.SETTLED)
_LIVE_SQL = ", ".join(f"'{state.value}'" for state in LIVE)

metadata = MetaData()
bank = Table(
    "bank",
    metadata,
    Column("place", Integer, CheckConstraint("place = 1"), primary_key=True),
    Column("seed", LargeBinary, nullable=False),
)
members = Table(
    "bank_members",
    metadata,
    Column("name", String, primary_key=True),
    Column("node", String(66), nullable=False, unique=True),  # compressed public key
    Column("spendable_msat", BigInteger, CheckConstraint("spendable_msat >= 0"), nullable=False),
    Column("held_msat", BigInteger, CheckConstraint("held_msat >= 0"), nullable=False),
)
fundings = Table(
    "bank_fundings",
    metadata,
    Column("place", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("key", String, nullable=False),
    Column("amount_msat", BigInteger, CheckConstraint("amount_msat > 0"), nullable=False),
    Column("created_at_s", BigInteger, nullable=False),
    UniqueConstraint("name", "key"),
)
invoices = Table(
    "bank_invoices",
    metadata,
    Column("place", Integer, primary_key=True),
    Column("name", String, nullable=False),  # who is paid
    Column("key", String, nullable=False),
    Column("payment_hash", String(64), nullable=False),
    Column("amount_msat", BigInteger, CheckConstraint("amount_msat > 0"), nullable=False),
    Column("bolt11", String, nullable=False),
    Column("description", String, nullable=False),
    Column("is_hold", Boolean, nullable=False),
    Column("preimage", String(64)),
    Column("state", String, CheckConstraint(f"state IN ({_STATES})"), nullable=False),
    Column("created_at_s", BigInteger, nullable=False),
    Column("expires_at_s", BigInteger, nullable=False),  # nobody can begin to pay from then on
    Column("locked_until_s", BigInteger),  # locked money goes back then
    Column("settled_at_s", BigInteger),
    UniqueConstraint("name", "key"),
    UniqueConstraint("name", "payment_hash"),
    CheckConstraint("state <> 'settled' OR (preimage IS NOT NULL AND settled_at_s IS NOT NULL)"),
    CheckConstraint("state <> 'accepted' OR (is_hold AND locked_until_s IS NOT NULL)"),
    Index("bank_invoices_expiry", "state", "expires_at_s"),
    Index("bank_invoices_locks", "state", "locked_until_s"),
)
payments = Table(
    "bank_payments",
    metadata,
    Column("place", Integer, primary_key=True),
    Column("name", String, nullable=False),  # who pays
    Column("key", String, nullable=False),
    Column("invoice", Integer, nullable=False),  # its place
    Column("payment_hash", String(64), nullable=False),
    Column("amount_msat", BigInteger, CheckConstraint("amount_msat > 0"), nullable=False),
    Column("state", String, CheckConstraint(f"state IN ({_STATES})"), nullable=False),
    Column("created_at_s", BigInteger, nullable=False),
    Column("settled_at_s", BigInteger),
    UniqueConstraint("name", "key"),
)
_is_live = payments.c.state.in_([state.value for state in LIVE])
Index("bank_payments_once", payments.c.invoice, unique=True, sqlite_where=_is_live)
Index(
    "bank_payments_hash", payments.c.name, payments.c.payment_hash, unique=True,
    sqlite_where=_is_live,
)  # fmt: skip

# Made once: putting a statement together costs more than carrying it out.
_outgoing = select(payments, invoices.c.preimage, invoices.c.description).join(
    invoices, invoices.c.place == payments.c.invoice
)
GET_MEMBER = select(members).where(members.c.name == bindparam("name"))
GET_NODE = select(members.c.name).where(members.c.node == bindparam("node"))
ADD_MEMBER = insert(members)
MOVE = (
    update(members)
    .where(members.c.name == bindparam("who"))
    .values(
        spendable_msat=members.c.spendable_msat + bindparam("spendable"),
        held_msat=members.c.held_msat + bindparam("held"),
    )
)
ADD_INVOICE = insert(invoices)
GET_INVOICE_OF_KEY = select(invoices).where(
    invoices.c.name == bindparam("name"), invoices.c.key == bindparam("key")
)
GET_INVOICE = select(invoices).where(
    invoices.c.name == bindparam("name"), invoices.c.payment_hash == bindparam("hash")
)
GET_INVOICE_AT = select(invoices).where(invoices.c.place == bindparam("at"))
SET_INVOICE = (
    update(invoices)
    .where(invoices.c.place == bindparam("at"))
    .values(
        state=bindparam("to"),
        preimage=bindparam("shown"),
        locked_until_s=bindparam("until"),
        settled_at_s=bindparam("now"),
    )
)
ADD_PAYMENT = insert(payments)
GET_PAYMENT_OF_KEY = _outgoing.where(
    payments.c.name == bindparam("name"), payments.c.key == bindparam("key")
)
GET_PAYMENT = (
    _outgoing.where(
        payments.c.name == bindparam("name"), payments.c.payment_hash == bindparam("hash")
    )
    .order_by(payments.c.place.desc())
    .limit(1)
)
GET_PAYMENT_OF_INVOICE = select(payments).where(payments.c.invoice == bindparam("at"), _is_live)
SET_PAYMENT = (
    update(payments)
    .where(payments.c.place == bindparam("at"))
    .values(state=bindparam("to"), settled_at_s=bindparam("now"))
)
_PENDING, _ACCEPTED = PaymentState.PENDING.value, PaymentState.ACCEPTED.value
GET_DUE_LOCKS = select(invoices).where(
    invoices.c.state == _ACCEPTED, invoices.c.locked_until_s <= bindparam("now")
)
HAS_EXPIRED = (
    select(invoices.c.place)
    .where(invoices.c.state == _PENDING, invoices.c.expires_at_s <= bindparam("now"))
    .limit(1)
)
EXPIRE = (
    update(invoices)
    .where(invoices.c.state == _PENDING, invoices.c.expires_at_s <= bindparam("now"))
    .values(state=PaymentState.EXPIRED.value)
)
# Movements: what was tried, locked or moved; invoices that nobody paid are none.
LIST_OUTGOING = _outgoing.where(payments.c.name == bindparam("name")).order_by(payments.c.place)
LIST_INCOMING = (
    select(invoices)
    .where(
        invoices.c.name == bindparam("name"),
        (invoices.c.locked_until_s.is_not(None)) | (invoices.c.settled_at_s.is_not(None)),
    )
    .order_by(invoices.c.place)
)
LIST_FUNDINGS = select(fundings).where(fundings.c.name == bindparam("name"))


def get_row(connection: Connection, query: Any, **values: object) -> Any:
    """Return the one row that a query finds, or None."""
    return connection.execute(query, values).one_or_none()


def read_incoming(row: Any) -> Payment:
    """Return what an invoice's owner is told of it."""
    return _read(row, is_incoming=True)


def read_outgoing(row: Any) -> Payment:
    """Return what a payer is told of its payment."""
    return _read(row, is_incoming=False)


def _read(row: Any, *, is_incoming: bool) -> Payment:
    state = PaymentState(row.state)
    return Payment(
        payment_hash=row.payment_hash,
        is_incoming=is_incoming,
        amount_msat=row.amount_msat,
        state=state,
        preimage=row.preimage if state is PaymentState.SETTLED else None,
        created_at_s=row.created_at_s,
        settled_at_s=row.settled_at_s,
        description=row.description,
    )
