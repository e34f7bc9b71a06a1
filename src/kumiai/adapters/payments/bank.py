"""The embedded bank: many members' wallets in one SQLite file, with real BOLT11 invoices.

It stands in for the Lightning network where none is wanted: tests, demonstrations, members of one
machine. Invoices are signed by each member's own node key on the network regtest (lnbcrt...), so
any decoder reads them; but nothing leaves the file, and who can write the file owns all the money.

Guarantee: each call is one transaction, whole or not at all, also after kill -9 and with several
processes at once; spendable and held money of all members add up to what was funded, to the msat
(`check_books` adds it up anew). Limit: money that a hold invoice locks goes back to the payer
`lock_s` after it was locked, as a channel's time lock would force.

Cost: benchmarks/market_wallet.py.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from coincurve import PrivateKey
from sqlalchemy import Connection, insert, select

from kumiai.adapters.payments import bank_moves as moves
from kumiai.adapters.payments import bank_tables as tables
from kumiai.adapters.payments.bank_books import check_books
from kumiai.adapters.payments.bank_moves import Fate
from kumiai.adapters.payments.bolt11 import AMOUNT_MSAT_MAX
from kumiai.adapters.store import sqlite
from kumiai.base.errors import InputError, StoreError
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, Invoice, Payment, PaymentState

SEED_BYTES: Final = 32
LOCK_S: Final = 86_400  # a day: 144 blocks
NAME_CHARS_MAX: Final = 100
OPEN_TRIES: Final = 40  # two processes that make one file at once: one of them waits
OPEN_PAUSE_S: Final = 0.05
FUNDING: Final = "funding"  # begins the description of money that was made here


def get_time_s() -> int:
    """Return the machine's clock in seconds."""
    return int(time.time())


class EmbeddedBank:
    """One file's members and their money; `EmbeddedWallet` gives one of them a `WalletPort`.

    clock: seconds. seed: of a new file, from which all node keys follow (default: a random one).
    is_synced: also survives a power cut (a disk wait a payment).
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] = get_time_s,
        lock_s: int = LOCK_S,
        seed: bytes | None = None,
        is_synced: bool = False,
    ) -> None:
        self._path, self._clock, self._lock_s = path, clock, lock_s
        sqlite.create_private(path)
        self._engine = sqlite.open_engine(path, is_synced=is_synced)
        self._seed = self._open(seed or os.urandom(SEED_BYTES))
        if seed is not None and seed != self._seed:
            self.close()
            raise StoreError(f"{path}: this bank was made from another seed")

    def _open(self, seed: bytes) -> bytes:
        for left in reversed(range(OPEN_TRIES)):
            try:
                return self._make_tables(seed)
            except StoreError as error:
                if not error.is_retriable or not left:
                    raise
                time.sleep(OPEN_PAUSE_S)
        raise AssertionError

    def _make_tables(self, seed: bytes) -> bytes:
        with self._begin() as connection:
            sqlite.check_purpose(connection, self._path, tables.members.name, "an embedded bank")
            tables.metadata.create_all(connection)
            kept = connection.execute(select(tables.bank.c.seed)).scalar_one_or_none()
            if kept is None:
                connection.execute(insert(tables.bank), {"place": 1, "seed": seed})
            return seed if kept is None else bytes(kept)

    # -- members --

    def add_member(self, name: str) -> str:
        """Let `name` have a wallet, if it has none; return its node's public key (66 hex)."""
        if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
            fix = f"a wallet's name has 1 to {NAME_CHARS_MAX} printable characters"
            raise InputError("wallet", name, fix)
        node = PrivateKey(self.get_secret(name)).public_key.format(compressed=True).hex()
        with self._writing() as connection:
            if tables.get_row(connection, tables.GET_MEMBER, name=name) is None:
                fresh = {"name": name, "node": node, "spendable_msat": 0, "held_msat": 0}
                connection.execute(tables.ADD_MEMBER, fresh)
        return node

    def get_secret(self, name: str) -> bytes:
        """Return the secret of a member's node key."""
        return derive_key(self._seed, f"embedded wallet/{name}").secret

    def derive_secret(self, name: str, label: str) -> str:
        """Return 32 bytes as hex that only this member can foretell: preimages and the like."""
        return hmac.digest(self.get_secret(name), label.encode(), "sha256").hex()

    def has_member(self, name: str) -> bool:
        """Tell whether the name has a wallet here."""
        with self._reading() as connection:
            return tables.get_row(connection, tables.GET_MEMBER, name=name) is not None

    def get_names(self) -> list[str]:
        """Return all members' names, in order."""
        with self._reading() as connection:
            return sorted(connection.execute(select(tables.members.c.name)).scalars())

    def fund(self, name: str, amount_msat: int, key: str = "") -> None:
        """Make play money: the only way that money gets into the bank. A key funds once.

        All members together never have more than there can be of bitcoin.
        """
        if not 1 <= amount_msat <= AMOUNT_MSAT_MAX:
            raise InputError("amount_msat", amount_msat, f"give 1 to {AMOUNT_MSAT_MAX} msat")
        self.add_member(name)
        funding = tables.fundings
        with self._writing() as connection:
            mine = funding.c.name == name
            count = len(connection.execute(select(funding.c.place).where(mine)).all())
            key = key or f"funding {count + 1}"
            known = connection.execute(select(funding).where(mine, funding.c.key == key)).first()
            if known is not None:
                if known.amount_msat != amount_msat:
                    raise WalletError("AMOUNT_DIFFERS", f"{key} brought {known.amount_msat} msat")
                return
            total_msat = sum(connection.execute(select(funding.c.amount_msat)).scalars())
            if total_msat + amount_msat > AMOUNT_MSAT_MAX:
                fix = f"the bank has {total_msat} of at most {AMOUNT_MSAT_MAX} msat"
                raise InputError("amount_msat", amount_msat, fix)
            row = {"name": name, "key": key, "amount_msat": amount_msat,
                   "created_at_s": self._clock()}  # fmt: skip
            connection.execute(insert(funding), row)
            moves.move(connection, name, spendable_msat=amount_msat)

    # -- what wallets ask --

    def now_s(self) -> int:
        """Return the bank's time."""
        return self._clock()

    def add_invoice(self, name: str, key: str, invoice: Invoice, preimage: str | None) -> Any:
        """Take an invoice of the member's, or the one that the key has; return it as a row.

        Without a preimage it is a hold invoice.
        """
        row = {
            "name": name, "key": key, "payment_hash": invoice.payment_hash,
            "amount_msat": invoice.amount_msat, "bolt11": invoice.bolt11,
            "description": invoice.description, "is_hold": preimage is None,
            "preimage": preimage, "state": PaymentState.PENDING.value,
            "created_at_s": invoice.created_at_s, "expires_at_s": invoice.expires_at_s,
        }  # fmt: skip
        with self._writing() as connection:
            found = tables.get_row(connection, tables.GET_INVOICE_OF_KEY, name=name, key=key)
            if found is not None:  # another process was quicker with this key
                return found
            connection.execute(tables.ADD_INVOICE, row)
            return tables.get_row(connection, tables.GET_INVOICE_OF_KEY, name=name, key=key)

    def get_invoice(
        self, name: str, *, key: str | None = None, payment_hash: str | None = None
    ) -> Any:
        """Return the member's invoice as a row, by key or by hash; None if there is none."""
        with self._reading() as connection:
            if key is not None:
                return tables.get_row(connection, tables.GET_INVOICE_OF_KEY, name=name, key=key)
            return tables.get_row(connection, tables.GET_INVOICE, name=name, hash=payment_hash)

    def pay(self, name: str, key: str, invoice: Invoice, fate: Fate = Fate.DELIVER) -> Payment:
        """Pay an invoice whose amount and payee the caller has compared; see `WalletPort.pay`."""
        with self._writing() as connection:
            return moves.pay(connection, name, key, invoice, fate, self._clock(), self._lock_s)

    def settle(self, name: str, preimage: str) -> Payment:
        """Give the member what is locked for the preimage's hash; see `WalletPort.settle`."""
        with self._writing() as connection:
            return moves.settle(connection, name, preimage, self._clock())

    def cancel(self, name: str, payment_hash: str) -> Payment:
        """Give locked money back, or withdraw the invoice; see `WalletPort.cancel`."""
        with self._writing() as connection:
            return moves.cancel(connection, name, payment_hash)

    def resolve(self, name: str, payment_hash: str, *, is_delivered: bool) -> Payment:
        """End a payment of the member's that is stuck: it arrives if it still can, or fails."""
        with self._writing() as connection:
            until_s = self._clock() + self._lock_s
            return moves.resolve(
                connection, name, payment_hash, self._clock(), until_s, is_delivered=is_delivered
            )

    def lookup(self, name: str, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        """What the member may know of a payment: of several attempts the newest."""
        query = tables.GET_INVOICE if is_incoming else tables.GET_PAYMENT
        with self._reading() as connection:
            row = tables.get_row(connection, query, name=name, hash=payment_hash)
        if row is None:
            return None
        return tables.read_incoming(row) if is_incoming else tables.read_outgoing(row)

    def get_balance(self, name: str) -> Balance:
        """What the member has; nothing for one that was never heard of."""
        with self._reading() as connection:
            row = tables.get_row(connection, tables.GET_MEMBER, name=name)
        return Balance(row.spendable_msat, row.held_msat) if row else Balance(0, 0)

    def list_payments(self, name: str, since_s: int) -> list[Payment]:
        """All movements of the member's since then, oldest first; funding counts as income."""
        mine = {"name": name}
        with self._reading() as connection:
            found = [
                *map(tables.read_outgoing, connection.execute(tables.LIST_OUTGOING, mine)),
                *map(tables.read_incoming, connection.execute(tables.LIST_INCOMING, mine)),
                *map(self._describe_funding, connection.execute(tables.LIST_FUNDINGS, mine)),
            ]
        recent = (it for it in found if max(it.created_at_s, it.settled_at_s or 0) >= since_s)
        return sorted(recent, key=lambda it: (it.created_at_s, it.payment_hash))

    def check_books(self) -> None:
        """Add everything up anew; raises StoreError where the books contradict themselves."""
        with self._reading() as connection:
            flaw = check_books(connection)
        if flaw:
            raise StoreError(f"{self._path}: damaged: {flaw}")

    def close(self) -> None:
        """Give the connections back; the bank must not be used afterwards."""
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

    # -- transactions --

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction of its own in which everything that is due by now has happened."""
        with self._begin() as connection:
            moves.release_due(connection, self._clock())
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """The same for looking only: it takes the write lock only where something is due."""
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            is_due = moves.has_due(connection, self._clock())
        if is_due:
            with self._writing():
                pass
        with sqlite.store_errors(self._path), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with sqlite.store_errors(self._path), sqlite.begin_writing(self._engine) as connection:
            yield connection

    def _describe_funding(self, row: Any) -> Payment:
        preimage = self.derive_secret(row.name, f"funding/{row.key}")
        return Payment(
            payment_hash=hashlib.sha256(bytes.fromhex(preimage)).hexdigest(),
            is_incoming=True,
            amount_msat=row.amount_msat,
            state=PaymentState.SETTLED,
            preimage=preimage,
            created_at_s=row.created_at_s,
            settled_at_s=row.created_at_s,
            description=f"{FUNDING}: {row.key}",
        )
