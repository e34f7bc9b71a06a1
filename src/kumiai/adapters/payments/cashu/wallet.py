"""Ecash of one member at one Cashu mint: `EcashPort` for escrow over a real mint.

The mint holds the Lightning money behind the ecash: it is trusted with that, and not with who may
spend what is locked, nor with who paid whom, which it does not learn (blind signatures). What it
says is checked where it can be: keys against their ids, signatures by their DLEQ proofs.

The race after a locktime: from then on the payer may spend as well, and the mint gives the money to
whoever asks first. Who is to be paid redeems before `locktime_s`, with a margin for the mint's
clock and for asking again; this adapter does not know which side it is on and does not hinder it.

Whoever takes a token as pay calls `check` first: it needs the DLEQ proofs in the token, because a
token with signatures of nobody is "unspent" to the mint as long as it never saw it. What was found
good once is remembered: the same ecash in another token is refused.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from coincurve import PublicKey

from kumiai.adapters.payments.cashu import conditions, points
from kumiai.adapters.payments.cashu.answers import Quote
from kumiai.adapters.payments.cashu.api import MintApi
from kumiai.adapters.payments.cashu.funding import Funding
from kumiai.adapters.payments.cashu.store import WalletStore
from kumiai.adapters.payments.cashu.swaps import Swaps
from kumiai.adapters.payments.cashu.tokens import (
    SECRET_CHARS_MAX,
    Proof,
    Token,
    decode_token,
)
from kumiai.base.canonical import hash_document, is_hash, sha256_hex
from kumiai.base.errors import InputError
from kumiai.base.keys import SIGNATURE_BYTES, SigningKey
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, EcashLock, TokenState

UNITS_MSAT = {"sat": 1_000, "msat": 1}
KEY_CHARS_MAX = 200
LOCKED_COUNT_MAX = 6  # of 800 characters each: a result, with its request in it, has no room for 7


class CashuWallet:
    """`EcashPort` at the mint `url`; `path` is the wallet's file, `key` the one tokens name.

    `clock` gives seconds since 1970: `check` refuses what has expired, invoices have their time.
    """

    def __init__(
        self,
        url: str,
        key: SigningKey,
        path: Path,
        *,
        unit: str = "sat",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if unit not in UNITS_MSAT:
            raise InputError("unit", unit, f"one of {sorted(UNITS_MSAT)}")
        self._key = key
        self._clock = clock
        self._unit = unit
        self._unit_msat = UNITS_MSAT[unit]
        self._pubkey = PublicKey.from_secret(key.secret).format().hex()
        self._api = MintApi(url)
        self._store = WalletStore(path, hash_document([self._api.url, unit, self._pubkey]), clock)
        self._swaps = Swaps(self._api, self._store, unit)
        self._sending = asyncio.Lock()  # the change of one is what the next is paid from
        money = (unit, self._unit_msat)
        self._funding = Funding(self._api, self._store, self._swaps, money, clock)
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def pubkey(self) -> str:
        """The compressed key that tokens are locked to for this member."""
        return self._pubkey

    async def lock(self, key: str, amount_msat: int, lock: EcashLock) -> str:
        """Make a token that only `lock` lets spend, worth the amount after redeeming's fee.

        It has LOCKED_COUNT_MAX pieces at most: where the amount needs more it is worth a little
        more, less than a 63rd.
        """
        conditions.check_lock(lock)
        amount = self._read_amount(amount_msat)
        await self._swaps.require(14 if lock.payment_hash else 11)
        request = hash_document(["lock", amount, _describe(lock)])

        def make_secret() -> str:
            secret = conditions.encode_secret(lock, conditions.make_nonce(lock.about))
            if len(secret) > SECRET_CHARS_MAX:
                raise InputError("lock.signers", len(lock.signers), "too many for one secret")
            return secret

        async with self._hold(key), self._sending:
            return await self._swaps.send(key, request, amount, make_secret, LOCKED_COUNT_MAX)

    async def send(self, key: str, amount_msat: int) -> str:
        """Make a plain token, money for whoever reads it: to move ecash to another wallet."""
        amount = self._read_amount(amount_msat)
        await self._swaps.require()
        request = hash_document(["send", amount])
        async with self._hold(key), self._sending:
            return await self._swaps.send(key, request, amount, lambda: secrets.token_hex(32))

    async def check(self, token: str, amount_msat: int, lock: EcashLock) -> None:
        """Raise WalletError unless the token is good for that amount under exactly this lock."""
        conditions.check_lock(lock)
        amount = self._read_amount(amount_msat)
        await self._swaps.require(14 if lock.payment_hash else 11)
        if lock.locktime_s <= self._clock():
            raise WalletError("EXPIRED", "its locktime has passed: the payer may take it back")
        parsed = await self._read_token(token)
        for proof in parsed.proofs:
            self._check_lock_of(proof, lock)
            await self._check_signature(proof)
        worth = parsed.amount - await self._swaps.compute_fee(parsed.proofs)
        if worth < amount:
            raise WalletError(
                "AMOUNT_DIFFERS", f"worth {worth} {self._unit} after the fee, not {amount}"
            )
        states = await self._api.fetch_states([proof.y for proof in parsed.proofs])
        if any(state.state != "UNSPENT" for state in states):
            raise WalletError("SPENT", "the mint says that it was spent or is being spent")
        # unspent it stays until it is redeemed: who mixes one token's proofs into another, or
        # writes it in another way, would be served twice for the same money
        if not self._store.keep_shown(
            sha256_hex(token.encode()), [proof.secret for proof in parsed.proofs]
        ):
            raise WalletError("LOCK_DIFFERS", "its ecash was shown to us in another token before")

    async def sign(self, token: str, about: str = "") -> tuple[str, ...]:
        """Return our signatures, one a proof: for the one who shall redeem, and nobody else."""
        parsed = _decode(token)
        signatures = []
        for proof in parsed.proofs:
            try:
                lock = conditions.decode_secret(proof.secret)
            except ValueError as error:
                raise WalletError("LOCK_DIFFERS", str(error)) from error
            if lock is None or self._pubkey not in {*lock.signers, lock.refund}:
                raise WalletError("LOCK_DIFFERS", "this token is not locked to our key")
            if about:
                _check_about(proof, about)
            signatures.append(conditions.sign_secret(self._key, proof.secret))
        return tuple(signatures)

    async def redeem(
        self,
        key: str,
        token: str,
        signatures: Sequence[Sequence[str]] = (),
        preimage: str | None = None,
    ) -> int:
        """Swap the token for ecash of our own; return the msat received, after the mint's fee.

        Also takes a refund after the locktime, and plain tokens. A refusal of the mint is final for
        what was shown: the same key may be tried again with more signatures or later.
        """
        if preimage is not None and not is_hash(preimage):
            raise InputError("preimage", preimage, "give 64 lower-case hex digits")
        parsed = await self._read_token(token)
        _check_given(signatures, len(parsed.proofs))
        await self._swaps.require()
        shown = [
            self._make_witness(proof, [given[index] for given in signatures], preimage)
            for index, proof in enumerate(parsed.proofs)
        ]
        request = hash_document(["redeem", *(proof.secret for proof in parsed.proofs)])
        async with self._hold(key):
            received = await self._swaps.receive(key, request, parsed.proofs, shown)
        return received * self._unit_msat

    async def get_state(self, token: str) -> TokenState:
        """Ask the mint; the preimage is told only if it is that of the token's hash."""
        parsed = await self._read_token(token)
        states = await self._api.fetch_states([proof.y for proof in parsed.proofs])
        found = {state.state for state in states}
        if found == {"UNSPENT"}:
            return TokenState("unspent")
        preimage = None
        for proof, state in zip(parsed.proofs, states, strict=True):
            if payment_hash := _find_hash(proof.secret):
                preimage = preimage or conditions.read_preimage(state.witness, payment_hash)
        return TokenState("spent" if "SPENT" in found else "pending", preimage)

    async def get_balance(self) -> Balance:
        """What is ours: free, and set aside for swaps under way. Locked tokens are not counted."""
        free, held = self._store.compute_sums()
        return Balance(free * self._unit_msat, held * self._unit_msat)

    async def request_funds(self, key: str, amount_msat: int) -> Quote:
        """Ask the mint for an invoice; paid, `claim_funds` turns it into ecash.

        The same key gives the same invoice: it is on file before it is told.
        """
        amount = self._read_amount(amount_msat)
        async with self._hold(key):
            return await self._funding.request(key, amount)

    async def claim_funds(self, key: str) -> int:
        """Fetch the ecash of a paid invoice; return its msat. WalletError, retriable: not paid."""
        async with self._hold(key):
            return await self._funding.claim(key) * self._unit_msat

    async def resume(self) -> int:
        """After a crash: fetch what the mint already answered. Return how many were finished."""
        return await self._swaps.resume()

    async def close(self) -> None:
        """End the connections and let go of the file."""
        await self._api.close()
        self._store.close()

    def _hold(self, key: str) -> asyncio.Lock:
        """One at a time for each key: two callers with one key share one movement of money."""
        if not 0 < len(key) <= KEY_CHARS_MAX:
            raise InputError("key", key, f"give 1 to {KEY_CHARS_MAX} characters")
        return self._busy.setdefault(key, asyncio.Lock())

    def _read_amount(self, amount_msat: int) -> int:
        if amount_msat <= 0 or amount_msat % self._unit_msat:
            raise InputError(
                "amount_msat", amount_msat, f"a multiple of {self._unit_msat}, above 0"
            )
        return amount_msat // self._unit_msat

    async def _read_token(self, text: str) -> Token:
        """Parse a token and complete its keyset ids; refuses another mint's or unit's."""
        token = _decode(text)
        if token.mint.rstrip("/") != self._api.url or token.unit != self._unit:
            raise WalletError(
                "LOCK_DIFFERS", f"a token of {token.mint} in {token.unit}, not of our mint"
            )
        proofs = []
        for proof in token.proofs:
            keyset = await self._swaps.get_keyset(proof.keyset)
            if proof.amount not in keyset.keys:
                raise WalletError("LOCK_DIFFERS", f"the mint has no key for {proof.amount}")
            proofs.append(Proof(proof.amount, keyset.id, proof.secret, proof.signature, proof.dleq))
        return Token(self._api.url, token.unit, tuple(proofs))

    def _check_lock_of(self, proof: Proof, wanted: EcashLock) -> None:
        try:
            lock = conditions.decode_secret(proof.secret)
        except ValueError as error:
            raise WalletError("LOCK_DIFFERS", str(error)) from error
        if lock is None:
            raise WalletError("LOCK_DIFFERS", "not locked: the sender may still spend it")
        if not conditions.is_same_lock(lock, wanted):
            raise WalletError("LOCK_DIFFERS", f"locked as {lock}, not as {wanted}")
        if wanted.about:
            _check_about(proof, wanted.about)

    async def _check_signature(self, proof: Proof) -> None:
        key = (await self._swaps.get_keyset(proof.keyset)).keys[proof.amount]
        if proof.dleq is None:
            raise WalletError(
                "LOCK_DIFFERS", "no DLEQ proof: the mint's signature cannot be checked"
            )
        e, s, factor = proof.dleq.e, proof.dleq.s, proof.dleq.r
        if not points.is_dleq_of_token(proof.secret, proof.signature, key, e, s, factor):
            raise WalletError("LOCK_DIFFERS", "a signature that the mint did not make")

    def _make_witness(self, proof: Proof, given: list[str], preimage: str | None) -> str:
        try:
            kind = conditions.find_kind(proof.secret)
        except ValueError as error:
            raise WalletError("LOCK_DIFFERS", str(error)) from error
        if kind is None:
            return ""
        signatures = [conditions.sign_secret(self._key, proof.secret), *given]
        return conditions.encode_witness(signatures, preimage if kind == "HTLC" else None)


def _check_about(proof: Proof, about: str) -> None:
    if not conditions.is_about(proof.secret, about):
        raise WalletError("LOCK_DIFFERS", "this token was made to pay for something else")


def _decode(text: str) -> Token:
    try:
        return decode_token(text)
    except ValueError as error:
        raise WalletError("LOCK_DIFFERS", str(error)) from error


def _check_given(signatures: Sequence[Sequence[str]], proof_count: int) -> None:
    if len(signatures) > conditions.SIGNER_COUNT_MAX:
        raise WalletError("UNAUTHORIZED", "more signatures than a lock has signers")
    for given in signatures:
        if len(given) != proof_count or not all(
            isinstance(text, str) and len(text) == 2 * SIGNATURE_BYTES for text in given
        ):
            raise WalletError("UNAUTHORIZED", f"not {proof_count} signatures of 128 hex digits")


def _find_hash(secret: str) -> str:
    try:
        lock = conditions.decode_secret(secret)
    except ValueError:
        return ""
    return "" if lock is None else lock.payment_hash


def _describe(lock: EcashLock) -> list[object]:
    return [
        list(lock.signers),
        lock.signatures_required,
        lock.locktime_s,
        lock.refund,
        lock.payment_hash,
        *([lock.about] if lock.about else []),
    ]
