"""The embedded bank's ecash as its owner uses it: `PursePort` without a mint, for play and tests.

There is no Lightning behind it: its invoices count as paid as soon as they are asked for, and an
invoice that is paid out of it is paid to nobody. So it is money out of nothing, and into nothing;
that each movement happens once, across kill -9, is as at a mint.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, select

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.adapters.payments.cashu.embedded import EmbeddedEcash, read_result
from kumiai.adapters.payments.checks import check_unexpired, compute_payment_hash
from kumiai.adapters.store import sqlite
from kumiai.base.canonical import hash_document
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import PaymentState
from kumiai.nodes.market.purse import MoveKind, Movement, TakenUp

EXPIRY_S = 3_600

_metadata = MetaData()
_invoices = Table(
    "invoices",
    _metadata,
    Column("pubkey", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("kind", String, nullable=False),  # of `MoveKind`
    Column("bolt11", String, nullable=False),
    Column("amount_msat", Integer, nullable=False),
    Column("expires_at_s", Integer, nullable=False),
    Column("created_at_s", Integer, nullable=False),
    Column("ended_at_s", Integer, nullable=False),  # 0: it was not claimed
)


class EmbeddedPurse(EmbeddedEcash):
    """`PursePort` of the owner of `key` at the bank in the file `path`."""

    def __init__(
        self, path: Path, key: SigningKey, *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, key, clock=clock)
        self._secret = key.secret
        with sqlite.store_errors(path), self.engine.begin() as connection:
            _metadata.create_all(connection)

    async def fill(self, key: str, amount_msat: int) -> Movement:
        """Make an invoice, which counts as paid."""
        if amount_msat <= 0:
            raise InputError("amount_msat", amount_msat, "give more than 0")
        now_s = int(self._clock())
        bolt11 = invoices.sign(
            self._secret,
            compute_payment_hash(secrets.token_hex(32)),
            secrets.token_hex(32),
            amount_msat,
            now_s,
            EXPIRY_S,
        )
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            row = self._find_invoice(connection, key)
            if row is None:
                self._keep(connection, key, MoveKind.FILLED, bolt11, amount_msat, now_s)
                row = self._find_invoice(connection, key)
        if (row.kind, row.amount_msat) != (MoveKind.FILLED, amount_msat):
            raise WalletError("OTHER", f"key {key!r} was used for another movement of money")
        return _make_movement(row)

    async def claim(self, key: str) -> Movement:
        """Fetch what an invoice was over."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            row = self._find_invoice(connection, key)
            if row is None or row.kind != MoveKind.FILLED:
                raise WalletError("NOT_FOUND", f"no funds were asked for with key {key!r}")
            if not row.ended_at_s:
                self._add(connection, row.amount_msat)
                self._end(connection, key)
                row = self._find_invoice(connection, key)
        return _make_movement(row)

    async def pay(self, bolt11: str, fee_msat_max: int) -> Movement:
        """Take an invoice's amount away; nobody gets it."""
        invoice = invoices.decode(bolt11)
        key, now_s = f"pay/{invoice.payment_hash}", int(self._clock())
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            row = self._find_invoice(connection, key)
            if row is None:
                check_unexpired(invoice, now_s)
                self._add(connection, -invoice.amount_msat)
                self._keep(
                    connection, key, MoveKind.PAID, invoice.bolt11, invoice.amount_msat, now_s
                )
                self._end(connection, key)
                row = self._find_invoice(connection, key)
        return _make_movement(row)

    async def send(self, key: str, amount_msat: int) -> str:
        """Take the amount from our account into a token, money for whoever reads it."""
        if amount_msat <= 0:
            raise InputError("amount_msat", amount_msat, "give more than 0")
        request = hash_document(["send", amount_msat])
        return self._make_token(key, request, amount_msat, secrets.token_hex(32))

    async def take_up(self) -> TakenUp:
        """Claim what was asked for: nothing else can be open."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            query = select(_invoices.c.key).where(
                _invoices.c.pubkey == self.pubkey, _invoices.c.ended_at_s == 0
            )
            keys = [row.key for row in connection.execute(query)]
        return TakenUp(tuple([await self.claim(key) for key in keys]))

    async def list_movements(self) -> list[Movement]:
        """Everything that moved or was asked for."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            query = select(_invoices).where(_invoices.c.pubkey == self.pubkey)
            found = [_make_movement(row) for row in connection.execute(query)]
            for key, result in self._list_moves(connection):
                kind, amount_msat, token = read_result(result)
                settled = PaymentState.SETTLED
                found.append(Movement(key, MoveKind(kind), amount_msat, settled, token=token))
        return found

    def _find_invoice(self, connection: Connection, key: str) -> Any:
        query = select(_invoices).where(_invoices.c.pubkey == self.pubkey, _invoices.c.key == key)
        return connection.execute(query).first()

    def _keep(
        self,
        connection: Connection,
        key: str,
        kind: MoveKind,
        bolt11: str,
        amount_msat: int,
        now_s: int,
    ) -> None:
        row = {
            "pubkey": self.pubkey,
            "key": key,
            "kind": str(kind),
            "bolt11": bolt11,
            "amount_msat": amount_msat,
            "expires_at_s": now_s + EXPIRY_S,
            "created_at_s": now_s,
            "ended_at_s": 0,
        }
        connection.execute(_invoices.insert(), [row])

    def _end(self, connection: Connection, key: str) -> None:
        connection.execute(
            _invoices.update()
            .where(_invoices.c.pubkey == self.pubkey, _invoices.c.key == key)
            .values(ended_at_s=int(self._clock()))
        )


def _make_movement(row: Any) -> Movement:
    return Movement(
        key=row.key,
        kind=MoveKind(row.kind),
        amount_msat=row.amount_msat,
        state=PaymentState.SETTLED if row.ended_at_s else PaymentState.PENDING,
        bolt11=row.bolt11,
        expires_at_s=row.expires_at_s,
        created_at_s=row.created_at_s,
        ended_at_s=row.ended_at_s,
    )
