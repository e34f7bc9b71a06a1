"""Money: invoices and payments through the cashier, looked at until they cannot change any more.

Only the own wallet's word counts. A wallet that fails, does not answer or lets us in no more is
asked again, for ever: silence is never taken for "not paid". `Failed` is said only where the
cashier wrote nothing down: nothing has moved under this key, and nothing will.

Looks are close together at first, when most payments move, and further apart later; every change
makes them close again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError
from kumiai.market.effects import (
    CancelInvoice,
    InvoiceMade,
    MakeInvoice,
    Pay,
    PaymentSeen,
    Settle,
    WatchInvoice,
    is_final,
)
from kumiai.market.fees import compute_fee_max
from kumiai.market.kinds import Code
from kumiai.nodes.market.carrying import Carriers, Emit, Insisting, fail
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Action, Debt, Record
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.ports import Invoice, PaymentState

# what our own wallet says to us, not about the payment: its owner mends it, the money may be moving
_SHUT_OUT: Final = frozenset({"UNAUTHORIZED", "RESTRICTED"})
# why our own wallet would not pay: nothing that a peer has done, and its owner can help it
OWN_LIMITS: Final = frozenset({"QUOTA_EXCEEDED", "INSUFFICIENT_BALANCE"})


class CashierPort(Protocol):
    """What is needed of `nodes.market.cashier.Cashier`."""

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
    ) -> Record: ...

    async def check(self, key: str) -> Record: ...

    async def ask(
        self,
        key: str,
        debt: Debt,
        amount_msat: int,
        *,
        description: str = "",
        expiry_s: int = 3_600,
        preimage: str = "",
    ) -> Invoice: ...

    async def ask_hold(
        self,
        key: str,
        debt: Debt,
        amount_msat: int,
        payment_hash: str,
        *,
        description: str = "",
        expiry_s: int = 3_600,
    ) -> Invoice: ...

    async def settle(self, key: str, preimage: str) -> Record: ...

    async def cancel(self, key: str) -> Record: ...


class IntentsPort(Protocol):
    """What is needed of the cashier's store: which invoice of ours has which hash."""

    def list_all(self) -> list[Record]: ...


@dataclass(slots=True)
class MoneyCarrier:
    """MakeInvoice, WatchInvoice, Pay, Settle and CancelInvoice of one machine.

    name: tells this machine's keys from those of others that share the wallet, e.g. the job's. It
    must stay the same for ever: it is part of what moves money once.
    """

    name: str
    cashier: CashierPort
    intents: IntentsPort
    insisting: Insisting
    looking: Patience  # waits between looks at one payment
    _asked: dict[str, str] = field(default_factory=dict)  # payment hash -> the invoice's key

    def list_carriers(self) -> Carriers:
        """Return what carries out which effect."""
        return {
            MakeInvoice: self.make_invoice,
            WatchInvoice: self.watch,
            Pay: self.pay,
            Settle: self.settle,
            CancelInvoice: self.cancel,
        }

    async def make_invoice(self, effect: MakeInvoice, emit: Emit) -> None:
        """Ask to be paid; `Failed` where the wallet cannot make such an invoice."""
        key = self._key(effect.key)
        debt = Debt(key, "", 0, "")

        async def attempt() -> Invoice:
            if effect.payment_hash:
                return await self.cashier.ask_hold(
                    key,
                    debt,
                    effect.amount_msat,
                    effect.payment_hash,
                    description=effect.description,
                    expiry_s=effect.expiry_s,
                )
            return await self.cashier.ask(
                key,
                debt,
                effect.amount_msat,
                description=effect.description,
                expiry_s=effect.expiry_s,
                preimage=effect.preimage,
            )

        try:
            made = await self.insisting.call(f"making invoice {effect.key}", attempt)
        except (WalletError, InputError) as error:
            emit(fail(effect.key, Code.DECLINED, error))
            return
        self._asked[made.payment_hash] = key
        emit(InvoiceMade(effect.key, made.bolt11, made.payment_hash))

    async def watch(self, effect: WatchInvoice, emit: Emit) -> None:
        """Tell every change of an invoice of ours."""
        key = self._find_asked(effect.payment_hash)
        await self._follow(effect.key, lambda: self.cashier.check(key), emit)

    async def pay(self, effect: Pay, emit: Emit) -> None:
        """Pay once and tell every change; the cashier refuses what was not agreed."""
        key = self._key(effect.key)
        debt = Debt(key, effect.job, effect.round, effect.payee)

        def attempt() -> Awaitable[Record]:
            return self.cashier.pay(
                key,
                debt,
                effect.bolt11,
                effect.amount_msat,
                payee=effect.payee,
                payment_hash=effect.payment_hash,
                fee_msat_max=compute_fee_max(effect.amount_msat),
                begin_by_s=effect.begin_by_s,
            )

        await self._follow(effect.key, attempt, emit)

    async def settle(self, effect: Settle, emit: Emit) -> None:
        """Take held money; tells what became of it."""
        if not is_hash(effect.preimage):
            emit(fail(effect.key, Code.BAD_INVOICE, "a preimage is 64 hex digits"))
            return
        key = self._find_asked(hashlib.sha256(bytes.fromhex(effect.preimage)).hexdigest())
        await self._follow(effect.key, lambda: self.cashier.settle(key, effect.preimage), emit)

    async def cancel(self, effect: CancelInvoice, emit: Emit) -> None:
        """Give held money back, or withdraw the invoice; tells what became of it.

        An invoice that holds nothing cannot be cancelled at the wallet: it is watched to its end.
        """
        key = self._find_asked(effect.payment_hash)
        holds = any(r.intent.action is Action.ASK_HOLD for r in self._list_of(key))
        look = self.cashier.cancel if holds else self.cashier.check
        await self._follow(effect.key, lambda: look(key), emit)

    async def _follow(self, key: str, look: Callable[[], Awaitable[Record]], emit: Emit) -> None:
        """Look until the state is final; the same call is made again and again."""
        last: PaymentSeen | None = None
        waits = self.looking.waits()
        while True:
            try:
                record = await self.insisting.call(f"looking at {key}", look)
            except (WalletError, InputError) as error:
                said = getattr(error, "code", "")
                if said not in _SHUT_OUT:
                    code = Code.NOT_PAID if said == "TOO_LATE" else Code.BAD_INVOICE
                    emit(fail(key, code, error))
                    return
                self.insisting.report(f"looking at {key}", error)
                await self.looking.sleep(next(waits))
                continue
            told = record.outcome
            if limit := find_limit(record):
                self.insisting.report(f"paying {key}", limit)
            seen = PaymentSeen(key, told.state.value, told.preimage, told.fee_msat)
            if seen != last:
                emit(seen)
                waits = self.looking.waits()
            if is_final(seen):
                return
            last = seen
            await self.looking.sleep(next(waits))

    def _key(self, effect_key: str) -> str:
        return f"{self.name}/{effect_key}"

    def _find_asked(self, payment_hash: str) -> str:
        """The key of our invoice on this hash, "" (which no intent has) if there is none."""
        if payment_hash not in self._asked:
            for record in self.intents.list_all():
                if record.intent.action in (Action.ASK, Action.ASK_HOLD):
                    self._asked[record.intent.payment_hash] = record.intent.key
        return self._asked.get(payment_hash, "")

    def _list_of(self, key: str) -> list[Record]:
        return [record for record in self.intents.list_all() if record.intent.key == key]


def find_limit(record: Record) -> WalletError | None:
    """Say which limit of our own wallet a payment failed at, if it was one of OWN_LIMITS."""
    code, _, words = record.outcome.note.partition(": ")
    if record.outcome.state is not PaymentState.FAILED or code not in OWN_LIMITS:
        return None
    return WalletError(code, words)
