"""The embedded bank's books, added up anew: every balance follows from fundings and payments."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from kumiai.adapters.payments import bank_tables as tables
from kumiai.nodes.market.ports import PaymentState

_LIVE = tuple(state.value for state in tables.LIVE)
_MOVED = (PaymentState.SETTLED.value, PaymentState.ACCEPTED.value)


def check_books(connection: Connection) -> str | None:
    """Return what is wrong with the books in one sentence, or None."""
    owners = {row.place: row for row in connection.execute(select(tables.invoices))}
    paid = connection.execute(select(tables.payments)).all()
    return (
        _find_wrong_invoice(owners, paid)
        or _find_wrong_balance(connection, owners, paid)
        or _find_lost_money(connection)
    )


def _find_wrong_invoice(owners: Mapping[int, Any], paid: Sequence[Any]) -> str | None:
    """Both sides of a payment tell the same, and a settled one has its preimage."""
    states: dict[int, str] = {}
    for row in paid:
        invoice = owners.get(row.invoice)
        if invoice is None or (invoice.amount_msat, invoice.payment_hash) != (
            row.amount_msat,
            row.payment_hash,
        ):
            return f"payment {row.key} of {row.name} has no such invoice"
        if row.state in _LIVE:
            states[row.invoice] = row.state
    for place, row in owners.items():
        told = states.get(place)
        if (row.state in _MOVED or told in _MOVED) and row.state != told:
            return f"invoice {row.key} of {row.name} is {row.state}, its payment {told}"
        if row.state == PaymentState.SETTLED.value and row.payment_hash != _hash(row.preimage):
            return f"the preimage of invoice {row.key} of {row.name} has another hash"
    return None


def _find_wrong_balance(
    connection: Connection, owners: Mapping[int, Any], paid: Sequence[Any]
) -> str | None:
    spendable: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for row in connection.execute(select(tables.fundings)):
        spendable[row.name] += row.amount_msat
    for row in paid:
        if row.state not in _LIVE:
            continue
        spendable[row.name] -= row.amount_msat
        if row.state == PaymentState.SETTLED.value:
            spendable[owners[row.invoice].name] += row.amount_msat
        else:
            held[row.name] += row.amount_msat
    for row in connection.execute(select(tables.members)):
        computed = (spendable[row.name], held[row.name])
        if computed != (row.spendable_msat, row.held_msat):
            kept = (row.spendable_msat, row.held_msat)
            return f"{row.name} has {kept} msat, its payments make {computed}"
    return None


def _find_lost_money(connection: Connection) -> str | None:
    """The law: all balances together are what was funded."""
    funded = sum(row.amount_msat for row in connection.execute(select(tables.fundings)))
    rows = connection.execute(select(tables.members))
    there = sum(row.spendable_msat + row.held_msat for row in rows)
    return None if there == funded else f"{funded} msat were funded, {there} are there"


def _hash(preimage: str) -> str:
    return hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
