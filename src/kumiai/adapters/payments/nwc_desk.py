"""What one NWC connection may ask of a wallet, and doing it: requests in, results or faults out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.base.errors import InputError, KumiaiError
from kumiai.market.nips import nip47
from kumiai.market.nips.nip47 import Direction, ErrorCode, Fault, State
from kumiai.market.nips.nip47.methods import METHOD_NAMES
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice, Payment, PaymentState, WalletPort

PAGE_ROWS: Final = 20  # as the document advises
EXPIRY_S: Final = 3_600  # of an invoice whose life time was not asked for
LOOK_S: Final = (0.1, 2.0)  # between looks at a payment under way: first and longest
NOTIFICATIONS: Final = ("payment_received", "payment_sent", "hold_invoice_accepted")
HOLD_METHODS: Final = ("make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice")
METHODS: Final = (
    "pay_invoice", "make_invoice", "lookup_invoice", "list_transactions", "get_balance",
    "get_info", *HOLD_METHODS,
)  # fmt: skip

_OPEN: Final = (PaymentState.PENDING, PaymentState.ACCEPTED)
_DEAD: Final = (PaymentState.FAILED, PaymentState.CANCELED, PaymentState.EXPIRED)
_CODES: Final = {each.value for each in ErrorCode}


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of a connection may do. budget_msat: may leave in all, fees included; None
    for all there is. fee_msat_max: of one payment. It sees the whole wallet's history.
    """

    name: str
    budget_msat: int | None = None
    methods: tuple[str, ...] = METHODS
    fee_msat_max: int = 0


class NwcDesk:
    """One connection's requests, done at the wallet. on_invoice is told of each one made."""

    def __init__(
        self,
        grant: Grant,
        wallet: WalletPort,
        budgets: NwcBudgets,
        on_invoice: Callable[[Invoice], None],
    ) -> None:
        self.grant, self._wallet, self._budgets = grant, wallet, budgets
        self._on_invoice = on_invoice
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: Counter[str] = Counter()  # payment hashes, by requests that see to them
        self.followed_count = 0  # payments that were handed over and have not ended

    async def list_methods(self) -> tuple[str, ...]:
        """Return what can be asked here: granted, and possible with this wallet."""
        has_hold = (await self._wallet.get_info()).has_hold
        return tuple(it for it in self.grant.methods if has_hold or it not in HOLD_METHODS)

    async def do(
        self, request: nip47.Request, request_id: str, wait_s: float
    ) -> nip47.Result | Fault | None:
        """Return the result or why not; None for a payment that has not ended within `wait_s`."""
        method = METHOD_NAMES[type(request)]
        if method not in METHODS:
            return Fault(ErrorCode.NOT_IMPLEMENTED, f"{method} is not done here")
        if method not in self.grant.methods:
            return Fault(ErrorCode.RESTRICTED, f"this connection may not {method}")
        try:
            if isinstance(request, nip47.PayInvoice):
                return await self._pay(request, wait_s)
            return await self._answer(request, request_id)
        except WalletError as error:
            return _say_fault(error)
        except InputError as error:
            return Fault(ErrorCode.OTHER, str(error))
        except KumiaiError as error:
            return Fault(ErrorCode.INTERNAL, str(error))

    async def _answer(self, request: nip47.Request, request_id: str) -> nip47.Result:
        wallet = self._wallet
        if isinstance(request, nip47.MakeInvoice | nip47.MakeHoldInvoice):
            return await self._make(request, request_id)
        if isinstance(request, nip47.SettleHoldInvoice):
            await wallet.settle(request.preimage)
            return nip47.Done()
        if isinstance(request, nip47.CancelHoldInvoice):
            await wallet.cancel(request.payment_hash)
            return nip47.Done()
        if isinstance(request, nip47.LookupInvoice):
            return await self._look(request)
        if isinstance(request, nip47.ListTransactions):
            return await self._list(request)
        if isinstance(request, nip47.GetBalance):
            return nip47.WalletBalance((await wallet.get_balance()).spendable_msat)
        info = await wallet.get_info()
        return nip47.NodeInfo(
            methods=await self.list_methods(),
            notifications=NOTIFICATIONS,
            alias=info.name,
            pubkey=info.payee,
        )

    async def _make(
        self, request: nip47.MakeInvoice | nip47.MakeHoldInvoice, request_id: str
    ) -> nip47.Transaction:
        if request.description_hash:
            raise WalletError("NOT_IMPLEMENTED", "no hash of a description: give the text")
        name, expiry_s = f"nwc/{self.grant.name}", request.expiry_s or EXPIRY_S
        terms = (request.description, expiry_s)
        if isinstance(request, nip47.MakeHoldInvoice):
            key = f"{name}/hold/{request.payment_hash}"  # asked again, also later: the same one
            made = await self._wallet.make_hold_invoice(
                key, request.amount_msat, request.payment_hash, *terms
            )
        else:
            made = await self._wallet.make_invoice(
                f"{name}/{request_id}", request.amount_msat, *terms
            )
        self._on_invoice(made)
        return nip47.Transaction(
            payment_hash=made.payment_hash,
            amount_msat=made.amount_msat,
            direction=Direction.INCOMING,
            state=State.PENDING,
            invoice=made.bolt11,
            description=made.description,
            created_at_s=made.created_at_s,
            expires_at_s=made.expires_at_s,
        )

    async def _look(self, request: nip47.LookupInvoice) -> nip47.Transaction:
        payment_hash = request.payment_hash or invoices.decode(request.invoice).payment_hash
        for is_incoming in (False, True):
            found = await self._wallet.lookup(payment_hash, is_incoming=is_incoming)
            if found is not None:
                return write_transaction(found)
        raise WalletError("NOT_FOUND", "this wallet knows no such payment")

    async def _list(self, request: nip47.ListTransactions) -> nip47.Transactions:
        """Newest first. What was not paid is only told where that was asked for."""
        told = await self._wallet.list_payments(request.from_s or 0)
        wanted = [
            it
            for it in reversed(told)
            if (request.until_s is None or it.created_at_s <= request.until_s)
            and (request.unpaid or it.state is PaymentState.SETTLED)
            and request.direction in (None, _say_direction(it))
        ]
        at = request.offset or 0
        limit = min(request.limit or PAGE_ROWS, PAGE_ROWS)
        return nip47.Transactions(tuple(write_transaction(it) for it in wanted[at : at + limit]))

    async def _pay(self, request: nip47.PayInvoice, wait_s: float) -> nip47.Paid | Fault | None:
        invoice = invoices.decode(request.invoice)
        if request.amount_msat not in (None, invoice.amount_msat):
            return Fault(ErrorCode.OTHER, f"the invoice asks for {invoice.amount_msat} msat")
        self._under_way[invoice.payment_hash] += 1
        try:
            return await self._pay_and_follow(invoice, wait_s)
        finally:
            self._under_way[invoice.payment_hash] -= 1
            self._under_way += Counter()  # forgets what is at zero

    async def _pay_and_follow(self, invoice: Invoice, wait_s: float) -> nip47.Paid | Fault | None:
        lock = self._locks.setdefault(invoice.payment_hash, asyncio.Lock())
        async with lock:  # who pays the same again must find what became of the first
            sent = await self._send(invoice)
        if isinstance(sent, Fault):
            return sent
        self.followed_count += 1
        try:
            paid = await self._follow(sent, wait_s)
        finally:
            self.followed_count -= 1
        if paid is None:
            return None
        self._write_spend(paid)
        if paid.state is PaymentState.SETTLED and paid.preimage is not None:
            return nip47.Paid(paid.preimage, paid.fee_msat)
        return Fault(ErrorCode.PAYMENT_FAILED, f"the payment is {paid.state.value}")

    async def _follow(self, sent: Payment, wait_s: float) -> Payment | None:
        """Wait until the payment ends; None where that takes longer."""
        paid: Payment | None = sent
        deadline, pause_s = time.monotonic() + wait_s, LOOK_S[0]
        while paid is None or paid.state in _OPEN:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_S[1])
            paid = await self._wallet.lookup(sent.payment_hash, is_incoming=False)
        return paid

    async def _send(self, invoice: Invoice) -> Payment | Fault:
        """Set the amount aside and pay; where that fails, see that it counts no more."""
        grant, payment_hash = self.grant, invoice.payment_hash
        is_new = not self._budgets.has(grant.name, payment_hash)
        if is_new and not await self._reserve(invoice):
            return Fault(ErrorCode.QUOTA_EXCEEDED, "the budget of this connection is used up")
        try:
            return await self._wallet.pay(
                f"nwc/{grant.name}/{payment_hash}",
                invoice.bolt11,
                invoice.amount_msat,
                fee_msat_max=grant.fee_msat_max,
            )
        except KumiaiError as error:
            if is_new and isinstance(error, WalletError) and error.code == "ALREADY_PAID":
                self._budgets.end(grant.name, payment_hash, 0)  # by another connection
            else:
                await self._end_spend(payment_hash)
            raise

    async def _reserve(self, invoice: Invoice) -> bool:
        """Set the amount aside; where that is too much, see first what is not needed any more."""
        grant = self.grant
        amount_msat = invoice.amount_msat + grant.fee_msat_max
        for _ in range(2):
            if self._budgets.reserve(
                grant.name, invoice.payment_hash, amount_msat, grant.budget_msat
            ):
                return True
            for payment_hash in self._budgets.list_open(grant.name):
                if not self._under_way[payment_hash]:  # the wallet may not know of it yet
                    await self._end_spend(payment_hash)
        return False

    async def _end_spend(self, payment_hash: str) -> None:
        """Ask what became of a payment, and free its budget if nothing moved."""
        found = await self._wallet.lookup(payment_hash, is_incoming=False)
        if found is None:
            self._budgets.end(self.grant.name, payment_hash, 0)
        else:
            self._write_spend(found)

    def _write_spend(self, paid: Payment) -> None:
        if paid.state is PaymentState.SETTLED:
            spent_msat = paid.amount_msat + paid.fee_msat
            self._budgets.end(self.grant.name, paid.payment_hash, spent_msat)
        elif paid.state in _DEAD:
            self._budgets.end(self.grant.name, paid.payment_hash, 0)


def write_transaction(payment: Payment) -> nip47.Transaction:
    """Return a payment in NIP-47's words: canceled is `failed` there."""
    state = payment.state
    is_canceled = state is PaymentState.CANCELED
    return nip47.Transaction(
        payment_hash=payment.payment_hash,
        amount_msat=payment.amount_msat,
        direction=_say_direction(payment),
        state=State.FAILED if is_canceled else State(state.value),
        description=payment.description,
        preimage=payment.preimage or "",
        fees_paid_msat=payment.fee_msat,
        created_at_s=payment.created_at_s,
        settled_at_s=payment.settled_at_s,
    )


def _say_direction(payment: Payment) -> Direction:
    return Direction.INCOMING if payment.is_incoming else Direction.OUTGOING


def _say_fault(error: WalletError) -> Fault:
    """Return the wallet's error in NIP-47's words; one that may pass is INTERNAL."""
    if error.code in _CODES:
        code = ErrorCode(error.code)
    else:
        code = ErrorCode.INTERNAL if error.is_retriable else ErrorCode.OTHER
    return Fault(code, str(error))
