"""Ecash without a mint: a ledger in one SQLite file with the same lock rules, for tests and demos.

Honest about what it is: nothing is blinded, so whoever runs the file sees who pays whom and how
much; there is no Lightning money behind it; and whoever may write the file may make himself rich.
What is the same as at a real mint: the locks and who may open them (NUT-11 and NUT-14's rules, with
real BIP-340 signatures), the race after the locktime, double spending, the preimage that the payer
reads from the state, and that a key moves money once, across kill -9. Redeeming is free.

Several members, in one process or several, share a bank by opening the same file.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coincurve import PublicKey
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, select

from kumiai.adapters.payments.cashu import conditions
from kumiai.adapters.payments.cashu.store import open_money
from kumiai.adapters.store import sqlite
from kumiai.base.canonical import hash_document, is_hash
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, EcashLock, TokenState

TOKEN_PREFIX = "kumiai-ecash:"  # noqa: S105 - no password
TOKEN_CHARS_MAX = 4_096
KEY_CHARS_MAX = 200

_metadata = MetaData()
_accounts = Table(
    "accounts",
    _metadata,
    Column("pubkey", String, primary_key=True),
    Column("balance_msat", Integer, nullable=False),
)
_tokens = Table(
    "tokens",
    _metadata,
    Column("secret", String, primary_key=True),
    Column("amount_msat", Integer, nullable=False),
    Column("spent_by", String, nullable=False),  # "" as long as nobody has
    Column("preimage", String, nullable=False),
)
_moves = Table(
    "moves",
    _metadata,
    Column("pubkey", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("request", String, nullable=False),
    Column("result", String, nullable=False),
)
_bank = Table("bank", _metadata, Column("name", String, primary_key=True))


@dataclass(frozen=True, slots=True)
class _Token:
    """A token is its secret, as at a mint; the bank keeps what it is worth."""

    bank: str
    amount_msat: int
    secret: str


class EmbeddedEcash:
    """`EcashPort` of the owner of `key` at the bank in the file `path`.

    `clock` gives seconds since 1970: the bank's and the member's.
    """

    def __init__(
        self, path: Path, key: SigningKey, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._key = key
        self._clock = clock
        self._pubkey = PublicKey.from_secret(key.secret).format().hex()
        self.engine = open_money(path)
        with sqlite.store_errors(path), self.engine.begin() as connection:
            sqlite.check_purpose(connection, path, _moves.name, "an embedded bank of ecash")
            _metadata.create_all(connection)
            name = connection.execute(select(_bank.c.name)).scalar()
            if name is None:
                name = secrets.token_hex(8)
                connection.execute(_bank.insert(), [{"name": name}])
        self._bank = str(name)

    @property
    def pubkey(self) -> str:
        """The compressed key that tokens are locked to for this member."""
        return self._pubkey

    async def lock(self, key: str, amount_msat: int, lock: EcashLock) -> str:
        """Take the amount from our account into a token that only `lock` opens."""
        conditions.check_lock(lock)
        if amount_msat <= 0:
            raise InputError("amount_msat", amount_msat, "give more than 0")
        request = hash_document(["lock", amount_msat, repr(lock)])
        secret = conditions.encode_secret(lock, conditions.make_nonce(lock.about))
        return self._make_token(key, request, amount_msat, secret)

    def _make_token(self, key: str, request: str, amount_msat: int, secret: str) -> str:
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            if (known := self._find_move(connection, key, request)) is not None:
                return known
            self._add(connection, -amount_msat)
            row = {"secret": secret, "amount_msat": amount_msat, "spent_by": "", "preimage": ""}
            connection.execute(_tokens.insert(), [row])
            token = _encode(_Token(self._bank, amount_msat, secret))
            self._keep_move(connection, key, request, token)
            return token

    async def check(self, token: str, amount_msat: int, lock: EcashLock) -> None:
        """Raise WalletError unless the token is good for that amount under exactly this lock."""
        conditions.check_lock(lock)
        parsed = self._read(token)
        if lock.locktime_s <= self._clock():
            raise WalletError("EXPIRED", "its locktime has passed: the payer may take it back")
        found = _read_lock(parsed.secret)
        if not conditions.is_same_lock(found, lock):
            raise WalletError("LOCK_DIFFERS", f"locked as {found}, not as {lock}")
        if lock.about:
            _check_about(parsed.secret, lock.about)
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            row = _find_token(connection, parsed)
        if row.amount_msat < amount_msat:
            raise WalletError("AMOUNT_DIFFERS", f"worth {row.amount_msat} msat, not {amount_msat}")
        if row.spent_by:
            raise WalletError("SPENT", "it was spent")

    async def sign(self, token: str, about: str = "") -> tuple[str, ...]:
        """Return our signature, for the one who shall redeem and nobody else."""
        parsed = self._read(token)
        lock = _read_lock(parsed.secret)
        if self._pubkey not in {*lock.signers, lock.refund}:
            raise WalletError("LOCK_DIFFERS", "this token is not locked to our key")
        if about:
            _check_about(parsed.secret, about)
        return (conditions.sign_secret(self._key, parsed.secret),)

    async def redeem(
        self,
        key: str,
        token: str,
        signatures: Sequence[Sequence[str]] = (),
        preimage: str | None = None,
    ) -> int:
        """Open the token with our signature and what is given; return the msat received."""
        if preimage is not None and not is_hash(preimage):
            raise InputError("preimage", preimage, "give 64 lower-case hex digits")
        parsed = self._read(token)
        # a plain secret is money for whoever knows it
        lock = _read_lock(parsed.secret) if _is_locked(parsed.secret) else None
        if any(len(given) != 1 for given in signatures):
            raise WalletError("UNAUTHORIZED", "a signer gives one signature for one proof")
        shown = {conditions.sign_secret(self._key, parsed.secret)}
        shown |= {given[0] for given in signatures}
        request = hash_document(["redeem", parsed.secret])
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            if (known := self._find_move(connection, key, request)) is not None:
                return int(known)
            row = _find_token(connection, parsed)
            if row.spent_by:
                raise WalletError("SPENT", "it was spent")
            by_signers = lock is None or self._is_opened(parsed.secret, lock, shown, preimage)
            if not (by_signers or (lock and self._is_refund(parsed.secret, lock, shown))):
                raise WalletError("UNAUTHORIZED", "what is shown does not open this lock")
            connection.execute(
                _tokens.update()
                .where(_tokens.c.secret == parsed.secret)
                .values(spent_by=self._pubkey, preimage=(preimage or "") if by_signers else "")
            )
            self._add(connection, row.amount_msat)
            self._keep_move(connection, key, request, str(row.amount_msat))
        return int(row.amount_msat)

    async def get_state(self, token: str) -> TokenState:
        """What the bank says; the preimage if it was shown and is the hash's."""
        parsed = self._read(token)
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            row = _find_token(connection, parsed)
        return TokenState("spent" if row.spent_by else "unspent", row.preimage or None)

    async def get_balance(self) -> Balance:
        """What is on our account; locked tokens are not counted."""
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            return Balance(_get_balance(connection, self._pubkey))

    async def deposit(self, key: str, amount_msat: int) -> None:
        """Make money out of nothing, once for each key: this bank has nothing behind it."""
        if amount_msat <= 0:
            raise InputError("amount_msat", amount_msat, "give more than 0")
        request = hash_document(["deposit", amount_msat])
        with sqlite.store_errors(self._path), self.engine.begin() as connection:
            if self._find_move(connection, key, request) is None:
                self._add(connection, amount_msat)
                self._keep_move(connection, key, request, "")

    async def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def _is_opened(
        self, secret: str, lock: EcashLock, shown: set[str], preimage: str | None
    ) -> bool:
        if lock.payment_hash and (
            preimage is None
            or hashlib.sha256(bytes.fromhex(preimage)).hexdigest() != lock.payment_hash
        ):
            return False
        signed = [
            key
            for key in lock.signers
            if any(conditions.has_signed(key, secret, signature) for signature in shown)
        ]
        return len(signed) >= lock.signatures_required

    def _is_refund(self, secret: str, lock: EcashLock, shown: set[str]) -> bool:
        if self._clock() <= lock.locktime_s:
            return False
        return any(conditions.has_signed(lock.refund, secret, signature) for signature in shown)

    def _read(self, text: str) -> _Token:
        """Parse a token; refuses another bank's, and one that is written in another way than ours.

        A secret has one text, or the same money could be promised twice; and what is no plain text
        no database takes. What a token says of its amount is not believed.
        """
        if not isinstance(text, str) or len(text) > TOKEN_CHARS_MAX:
            raise WalletError("LOCK_DIFFERS", f"a token has at most {TOKEN_CHARS_MAX} characters")
        try:
            match json.loads(text.removeprefix(TOKEN_PREFIX)):
                case [str(bank), int(amount_msat), str(secret)] if text.startswith(TOKEN_PREFIX):
                    token = _Token(bank, amount_msat, secret)
                case _:
                    raise ValueError("not bank, amount and secret")
        except (ValueError, RecursionError) as error:
            raise WalletError("LOCK_DIFFERS", f"no token of this kind: {error}") from error
        if not token.secret.isascii() or _encode(token) != text:
            raise WalletError("LOCK_DIFFERS", "a token that no bank writes so")
        if token.bank != self._bank:
            raise WalletError("LOCK_DIFFERS", "a token of another bank")
        return token

    def _find_move(self, connection: Connection, key: str, request: str) -> str | None:
        if not 0 < len(key) <= KEY_CHARS_MAX:
            raise InputError("key", key, f"give 1 to {KEY_CHARS_MAX} characters")
        query = select(_moves).where(_moves.c.pubkey == self._pubkey, _moves.c.key == key)
        row = connection.execute(query).first()
        if row is None:
            return None
        if row.request != request:
            raise WalletError("OTHER", f"key {key!r} was used for another movement of money")
        return str(row.result)

    def _list_moves(self, connection: Connection) -> list[tuple[str, str]]:
        """The keys and results of what was locked, sent and redeemed, and play money's."""
        query = select(_moves.c.key, _moves.c.result).where(_moves.c.pubkey == self._pubkey)
        return [(row.key, row.result) for row in connection.execute(query) if row.result]

    def _keep_move(self, connection: Connection, key: str, request: str, result: str) -> None:
        row = {"pubkey": self._pubkey, "key": key, "request": request, "result": result}
        connection.execute(_moves.insert(), [row])

    def _add(self, connection: Connection, amount_msat: int) -> None:
        balance_msat = _get_balance(connection, self._pubkey) + amount_msat
        if balance_msat < 0:
            raise WalletError("INSUFFICIENT_BALANCE", f"{-balance_msat} msat are missing")
        connection.execute(_accounts.delete().where(_accounts.c.pubkey == self._pubkey))
        row = {"pubkey": self._pubkey, "balance_msat": balance_msat}
        connection.execute(_accounts.insert(), [row])


def read_result(result: str) -> tuple[str, int, str]:
    """Return of what was moved: sort of movement (`MoveKind`'s words), amount in msat, token."""
    if not result.startswith(TOKEN_PREFIX):
        return "received", int(result), ""
    _, amount_msat, secret = json.loads(result.removeprefix(TOKEN_PREFIX))
    return "locked" if _is_locked(secret) else "sent", amount_msat, result


def _is_locked(secret: str) -> bool:
    try:
        return conditions.find_kind(secret) is not None
    except ValueError:
        return True


def _encode(token: _Token) -> str:
    document = [token.bank, token.amount_msat, token.secret]
    return TOKEN_PREFIX + json.dumps(document, separators=(",", ":"))


def _read_lock(secret: str) -> EcashLock:
    try:
        lock = conditions.decode_secret(secret)
    except ValueError as error:
        raise WalletError("LOCK_DIFFERS", str(error)) from error
    if lock is None:
        raise WalletError("LOCK_DIFFERS", "not locked: the sender may still spend it")
    return lock


def _check_about(secret: str, about: str) -> None:
    if not conditions.is_about(secret, about):
        raise WalletError("LOCK_DIFFERS", "this token was made to pay for something else")


def _find_token(connection: Connection, token: _Token) -> Any:
    row = connection.execute(select(_tokens).where(_tokens.c.secret == token.secret)).first()
    if row is None or row.amount_msat != token.amount_msat:
        raise WalletError("LOCK_DIFFERS", "the bank never made this token")
    return row


def _get_balance(connection: Connection, pubkey: str) -> int:
    query = select(_accounts.c.balance_msat).where(_accounts.c.pubkey == pubkey)
    return int(connection.execute(query).scalar() or 0)
