"""The cashier stands between a member's machine and its wallet: nothing is paid twice or unseen.

Before the wallet is asked for anything an intent is written (`intents`); after a crash every open
intent is looked up in the wallet before anything is paid again. Only the own wallet is believed:
no message of a peer, no receipt of a relay changes an intent. An amount counts as paid or received
only when the wallet says SETTLED and shows a preimage that hashes to the payment hash.

Guarantee: one debt is paid at most once, whatever crashes or which answers are lost, if the wallet
keeps its promise that a payment hash, or a key, moves money once. Where an answer is lost, the
intent stays PENDING until the wallet says more: `pay` with the same key asks again, another invoice
for the debt is refused meanwhile. Errors: WalletError where the agreement is not met (nothing was
written), StoreError where the intent could not be kept (nothing was asked).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from kumiai.base.errors import InputError, KumiaiError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.evidence import hash_preimage, is_paid_elsewhere, judge
from kumiai.nodes.market.intents import (
    DEAD,
    Action,
    Debt,
    Intent,
    IntentStorePort,
    Outcome,
    Record,
)
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState, WalletPort

ANSWER_S: Final = 60.0  # a wallet that says nothing for so long is asked again later

T = TypeVar("T")


class Cashier:
    """One member's money. One process and one cashier for each store.

    read_invoice: decodes BOLT11 and recovers the payee. clock: seconds.
    """

    def __init__(
        self,
        wallet: WalletPort,
        store: IntentStorePort,
        read_invoice: Callable[[str], Invoice],
        clock: Callable[[], int],
        *,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._wallet, self._store = wallet, store
        self._read_invoice, self._clock, self._answer_s = read_invoice, clock, answer_s
        self._is_resolved = False
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # -- paying --

    async def pay(
        self,
        key: str,
        debt: Debt,
        bolt11: str,
        amount_msat: int,
        *,
        payee: str = "",
        payment_hash: str = "",
        fee_msat_max: int = 0,
        begin_by_s: int = 0,
    ) -> Record:
        """Pay a debt once. amount, payee and hash are the agreed ones ("": nothing was agreed).

        After begin_by_s (0: never) the wallet is not asked to pay any more: what it has heard of
        goes on, what it never heard of stays PENDING until it cannot be paid.

        The record says SETTLED, ACCEPTED (locked), PENDING (not known yet: call again with the same
        key, or `check`), or that nothing moved and why. Raises WalletError before anything is
        written: AMOUNT_DIFFERS, PAYEE_DIFFERS, LOCK_DIFFERS (the hash), EXPIRED, ALREADY_PAID (by
        another key; retriable while that one is not known to be settled), TOO_LATE (begin_by_s),
        OTHER (no invoice).
        """
        await self._resolve_once()
        async with self._turn(f"pay/{debt}"):
            is_first = True
            known = self._store.get(key)
            if known is None:
                intent = self._make_payment(
                    key, debt, bolt11, amount_msat, payee, payment_hash, fee_msat_max
                )
                await self._check_unpaid(intent)
                if self._is_over(begin_by_s):
                    raise WalletError("TOO_LATE", "what it pays for could not be used any more")
                self._store.add(intent)
                known = Record(intent, Outcome(PaymentState.PENDING))
            else:
                _check_same(known.intent, Action.PAY, debt, amount_msat)
                if bolt11.lower() != known.intent.bolt11:
                    raise WalletError("ALREADY_PAID", f"{key} is about another invoice")
                if not known.is_open:
                    return known
                known, found = await self._look(known)
                if found is not None or not known.is_open or self._is_over(begin_by_s):
                    return known
                is_first = False
            return await self._ask_to_pay(known, is_first=is_first)

    async def check(self, key: str) -> Record:
        """Ask the wallet what became of an intent.

        Raises the wallet's errors, and InputError where nothing was intended under this key.
        """
        record = self._store.get(key)
        if record is None:
            raise InputError("key", key, "nothing was intended under this key")
        if not record.is_open:
            return record
        return (await self._look(record))[0]

    async def resolve_open(self) -> list[Record]:
        """Look up every open intent, carry decided ones out, and return those still open.

        The first thing after a start. A wallet that does not answer raises its error: nothing is
        paid before all open intents were looked up once.
        """
        left = []
        # what was decided first: it ends the invoices that are looked up after it
        for record in sorted(self._store.list_open(), key=lambda it: not _is_decided(it)):
            seen, _ = await self._look(record)
            if seen.is_open and _is_decided(seen):
                seen = await self._ask_to_end(seen)
            if seen.is_open:
                left.append(seen)
        self._is_resolved = True
        return left

    # -- being paid --

    async def ask(
        self,
        key: str,
        debt: Debt,
        amount_msat: int,
        *,
        description: str = "",
        expiry_s: int = 3_600,
        preimage: str = "",
    ) -> Invoice:
        """Make an invoice; the same key gives the same one. Raises the wallet's errors."""

        def make() -> Awaitable[Invoice]:
            chosen = preimage or None
            return self._wallet.make_invoice(key, amount_msat, description, expiry_s, chosen)

        payment_hash = hash_preimage(preimage) if preimage else ""
        intent = Intent(
            key, Action.ASK, debt, amount_msat, payment_hash, preimage=preimage,
            created_at_s=self._clock(), expires_at_s=self._clock() + expiry_s,
        )  # fmt: skip
        return await self._ask_for(intent, make)

    async def ask_hold(
        self,
        key: str,
        debt: Debt,
        amount_msat: int,
        payment_hash: str,
        *,
        description: str = "",
        expiry_s: int = 3_600,
    ) -> Invoice:
        """Make a hold invoice; `settle` or `cancel` under the same key ends it."""

        def make() -> Awaitable[Invoice]:
            hold = self._wallet.make_hold_invoice
            return hold(key, amount_msat, payment_hash, description, expiry_s)

        intent = Intent(
            key, Action.ASK_HOLD, debt, amount_msat, payment_hash,
            created_at_s=self._clock(), expires_at_s=self._clock() + expiry_s,
        )  # fmt: skip
        return await self._ask_for(intent, make)

    async def settle(self, key: str, preimage: str) -> Record:
        """Take what the hold invoice of `key` locked; it is decided even if this is interrupted.

        Raises WalletError: NOT_FOUND without such an invoice, LOCK_DIFFERS for another preimage or
        less money than asked, ALREADY_PAID where `cancel` was decided, OTHER (retriable) while
        nothing is locked.
        """
        asked = self._get_hold(key)
        if hash_preimage(preimage) != asked.intent.payment_hash:
            raise WalletError("LOCK_DIFFERS", f"this preimage is not the one of {key}")
        return await self._decide(asked, Action.SETTLE, preimage)

    async def cancel(self, key: str) -> Record:
        """Give back what the hold invoice of `key` locked, or withdraw it; as `settle`."""
        return await self._decide(self._get_hold(key), Action.CANCEL, "")

    # -- inside --

    def _turn(self, name: str) -> asyncio.Lock:
        """One lock a debt or key; it is forgotten when nobody holds it."""
        lock = self._turns.get(name)
        if lock is None:
            lock = self._turns[name] = asyncio.Lock()
        return lock

    def _is_over(self, begin_by_s: int) -> bool:
        return 0 < begin_by_s < self._clock()

    async def _resolve_once(self) -> None:
        if not self._is_resolved:
            async with self._turn("resolve"):
                if not self._is_resolved:
                    await self.resolve_open()

    def _make_payment(
        self,
        key: str,
        debt: Debt,
        bolt11: str,
        amount_msat: int,
        payee: str,
        payment_hash: str,
        fee_msat_max: int,
    ) -> Intent:
        try:
            invoice = self._read_invoice(bolt11)
        except InputError as error:
            raise WalletError("OTHER", f"no invoice that can be paid: {error}") from error
        if invoice.amount_msat != amount_msat:
            message = f"{invoice.amount_msat} msat are asked, {amount_msat} were agreed"
            raise WalletError("AMOUNT_DIFFERS", message)
        if payee and invoice.payee != payee:
            raise WalletError("PAYEE_DIFFERS", f"it is {invoice.payee}'s, agreed was {payee}")
        if payment_hash and invoice.payment_hash != payment_hash:
            raise WalletError("LOCK_DIFFERS", "its payment hash is not the one that was agreed")
        now_s = self._clock()
        if now_s >= invoice.expires_at_s:
            raise WalletError(
                "EXPIRED", f"the invoice expired {now_s - invoice.expires_at_s} s ago"
            )
        return Intent(
            key, Action.PAY, debt, amount_msat, invoice.payment_hash, bolt11.lower(),
            invoice.payee, fee_msat_max, created_at_s=now_s, expires_at_s=invoice.expires_at_s,
        )  # fmt: skip

    async def _check_unpaid(self, intent: Intent) -> None:
        """Look at what else was intended for this debt: it must be known to be dead."""
        for other in self._store.find_live(intent.debt, intent.payment_hash):
            seen = await self.check(other.intent.key)
            if seen.outcome.state not in DEAD:
                raise WalletError(
                    "ALREADY_PAID",
                    f"{other.intent.key} is {seen.outcome.state.value}, for the same",
                    is_retriable=seen.is_open,
                )

    async def _ask_to_pay(self, record: Record, *, is_first: bool) -> Record:
        it = record.intent
        try:
            paid = await self._wait(
                self._wallet.pay(it.key, it.bolt11, it.amount_msat, it.payee, it.fee_msat_max)
            )
        except KumiaiError as error:
            return await self._find_out(record, error, is_first=is_first)
        return self._write(record, judge(it, paid, self._clock()))

    async def _find_out(self, record: Record, error: KumiaiError, *, is_first: bool) -> Record:
        """After an error the wallet is asked; an error alone proves nothing either way.

        A refusal ends the intent only if the wallet was asked this once: an earlier request whose
        answer was lost may still be on its way.
        """
        try:
            seen, found = await self._look(record)
        except KumiaiError:
            return record  # still PENDING: the next `check` asks again
        is_refused = not (error.is_retriable or is_paid_elsewhere(error))
        if seen.is_open and found is None:
            state = PaymentState.FAILED if is_refused and is_first else PaymentState.PENDING
            return self._write(seen, Outcome(state, note=str(error)))
        return seen

    async def _ask_for(self, intent: Intent, make: Callable[[], Awaitable[Invoice]]) -> Invoice:
        async with self._turn(f"ask/{intent.key}"):
            known = self._store.get(intent.key)
            if known is None:
                self._store.add(intent)
            else:
                _check_same(known.intent, intent.action, intent.debt, intent.amount_msat)
                if intent.payment_hash not in ("", known.intent.payment_hash):
                    raise WalletError("LOCK_DIFFERS", f"{intent.key} is about another hash")
                if known.intent.bolt11:
                    return self._read_invoice(known.intent.bolt11)
            made = await self._wait(make())
            read = self._read_invoice(made.bolt11)
            if read.amount_msat != intent.amount_msat:
                raise WalletError("AMOUNT_DIFFERS", "our wallet made an invoice of another amount")
            if intent.payment_hash not in ("", read.payment_hash):
                raise WalletError("LOCK_DIFFERS", "our wallet made an invoice with another hash")
            self._store.put_invoice(intent.key, read)
            return read

    def _get_hold(self, key: str) -> Record:
        asked = self._store.get(key)
        if asked is None or asked.intent.action is not Action.ASK_HOLD:
            raise WalletError("NOT_FOUND", f"no hold invoice was asked under {key}")
        return asked

    async def _decide(self, asked: Record, action: Action, preimage: str) -> Record:
        key = f"{asked.intent.key}/{action.value}"
        async with self._turn(f"decide/{asked.intent.key}"):
            known = self._store.get(key)
            if known is None:
                seen = await self.check(asked.intent.key)
                if action is Action.SETTLE and seen.outcome.state is PaymentState.PENDING:
                    message = f"nothing is locked for {asked.intent.key} yet"
                    raise WalletError("OTHER", message, is_retriable=True)
                intent = replace(
                    asked.intent, key=key, action=action, preimage=preimage,
                    created_at_s=self._clock(),
                )  # fmt: skip
                self._store.add(intent)
                known = Record(intent, Outcome(PaymentState.PENDING))
            ended = await self._ask_to_end(known) if known.is_open else known
            asked = self._store.get(asked.intent.key) or asked
            if asked.is_open and not ended.is_open:
                self._write(asked, replace(ended.outcome, note=""))
            return ended

    async def _ask_to_end(self, record: Record) -> Record:
        it = record.intent
        try:
            if it.action is Action.SETTLE:
                told = await self._wait(self._wallet.settle(it.preimage))
            else:
                told = await self._wait(self._wallet.cancel(it.payment_hash))
        except KumiaiError as error:
            return await self._find_out(record, error, is_first=True)
        return self._write(record, judge(it, told, self._clock()))

    async def _look(self, record: Record) -> tuple[Record, Payment | None]:
        it = record.intent
        found = None
        if it.payment_hash:
            looked = self._wallet.lookup(it.payment_hash, is_incoming=it.is_incoming)
            found = await self._wait(looked)
        return self._write(record, judge(it, found, self._clock())), found

    async def _wait(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._answer_s):
                return await call
        except TimeoutError as error:
            message = f"no answer within {self._answer_s:g} s"
            raise WalletError("INTERNAL", message, is_retriable=True) from error

    def _write(self, record: Record, outcome: Outcome) -> Record:
        """Keep what was learnt; an answer that came late changes nothing that is final."""
        current = self._store.get(record.intent.key) or record
        if not current.is_open:
            return current
        if outcome != current.outcome:
            self._store.put_outcome(record.intent.key, outcome)
        return replace(current, outcome=outcome)


def _is_decided(record: Record) -> bool:
    return record.intent.action in (Action.SETTLE, Action.CANCEL)


def _check_same(known: Intent, action: Action, debt: Debt, amount_msat: int) -> None:
    if (known.action, known.debt, known.amount_msat) != (action, debt, amount_msat):
        raise WalletError("ALREADY_PAID", f"{known.key} was used for something else")
