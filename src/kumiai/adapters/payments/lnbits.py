"""A wallet on an LNbits server: the account of one member, kept by whoever runs that server.

Source: LNbits 1.6.2, HTTP API `/api/v1`. What the port asks and how it is met:

- The same key moves money once. A key becomes the server's `external_id` of the payment, so it is
  found again after a crash: own payments are looked through before anything is sent, and the server
  itself refuses to pay a payment hash twice.
- A payment is believed on the own wallet's rows alone, with a preimage that hashes to its hash.
- What became of a payment whose answer was lost, late or garbled is not guessed: it is looked up,
  and is PENDING as long as that does not tell.
- The server alone limits routing fees. An invoice of another node is refused where the server's
  reserve is more than `fee_msat_max`; between wallets of one server no fee is taken.

Not there: chosen preimages; a state for locked money (a hold invoice can be made, settled and
cancelled where the server's node can, but nobody is told when it is paid), hence `has_hold` False.
The server keeps the money and can lie about it: use one that you run or trust.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from weakref import WeakValueDictionary

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.adapters.payments.checks import (
    check_hash,
    check_terms,
    check_unexpired,
    compute_payment_hash,
)
from kumiai.adapters.payments.lnbits_http import TIMEOUT_S, LnbitsError, LnbitsHttp
from kumiai.adapters.payments.lnbits_rows import Row, read_row, read_rows
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, Invoice, Payment, PaymentState, WalletInfo

UNIT_MSAT: Final = 1_000  # LNbits knows whole satoshi
PAGE_ROWS: Final = 100
PAGES_MAX: Final = 1_000

_PAYMENTS: Final = "/api/v1/payments"


class LnbitsWallet:
    """One wallet of an LNbits server, as `WalletPort`. `close` it."""

    def __init__(
        self,
        url: str,
        invoice_key: str = "",
        admin_key: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = LnbitsHttp(url, invoice_key, admin_key, timeout_s)
        self._clock = clock
        self._payee = ""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"LnbitsWallet({self._http.host})"

    async def get_info(self) -> WalletInfo:
        """Ask the server for the wallet's name; WalletError UNAUTHORIZED for keys it refuses."""
        name, _ = await self._fetch_wallet()
        return WalletInfo(
            name=f"{name} at {self._http.host}",
            kind="lnbits",
            has_hold=False,
            unit_msat=UNIT_MSAT,
            payee=self._payee,
        )

    async def make_invoice(
        self,
        key: str,
        amount_msat: int,
        description: str = "",
        expiry_s: int = 3600,
        preimage: str | None = None,
    ) -> Invoice:
        if preimage is not None:
            raise WalletError("NOT_IMPLEMENTED", "LNbits chooses the preimages of its invoices")
        return await self._make(key, amount_msat, description, {"expiry": expiry_s}, expiry_s)

    async def make_hold_invoice(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str = "",
        expiry_s: int = 3600,
    ) -> Invoice:
        check_hash(payment_hash)
        terms = {"payment_hash": payment_hash}
        invoice = await self._make(key, amount_msat, description, terms, expiry_s)
        if invoice.payment_hash != payment_hash:
            raise WalletError("OTHER", f"key {key} was used for another sort of invoice")
        return invoice

    async def settle(self, preimage: str) -> Payment:
        payment_hash = compute_payment_hash(preimage)
        return await self._close_hold(payment_hash, "settle", {"preimage": preimage})

    async def cancel(self, payment_hash: str) -> Payment:
        return await self._close_hold(payment_hash, "cancel", {"payment_hash": payment_hash})

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        invoice = invoices.decode(bolt11)
        check_terms(invoice, amount_msat, payee)
        name = _name_key("pay", key)
        async with self._alone(name), self._alone(invoice.payment_hash):
            known = await self._find_payment(name, key, invoice)
            if known is not None:
                return known
            await self._check_payable(invoice, fee_msat_max)
            return await self._send(name, invoice)

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        row = await self._find(payment_hash, is_incoming=is_incoming)
        if row is None:
            return None
        _read_invoice(row)
        return row.payment

    async def get_balance(self) -> Balance:
        _, spendable_msat = await self._fetch_wallet()
        held_msat = 0
        async for row in self._list({"status": "pending", "amount[lt]": "0"}):
            payment = row.payment
            if not payment.is_incoming and payment.state is PaymentState.PENDING:
                held_msat += payment.amount_msat + payment.fee_msat
        return Balance(spendable_msat, held_msat)

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        # Newest change first, as one that happens meanwhile then shows a row twice and hides none.
        found: dict[tuple[str, bool], Payment] = {}
        async for row in self._list({"sortby": "updated_at", "direction": "desc"}):
            if row.changed_at_s < since_s:
                break
            payment = row.payment
            if not row.is_movement:
                continue
            found.setdefault((payment.payment_hash, payment.is_incoming), payment)
        return sorted(found.values(), key=lambda it: (it.created_at_s, it.payment_hash))

    async def close(self) -> None:
        await self._http.close()

    async def _make(
        self,
        key: str,
        amount_msat: int,
        description: str,
        terms: dict[str, Any],
        expiry_s: int,
    ) -> Invoice:
        """Return the invoice of this key: the one that was made already, or a new one."""
        invoices.check_terms(amount_msat, expiry_s, description)
        if amount_msat % UNIT_MSAT:
            raise InputError("amount_msat", amount_msat, "LNbits takes whole satoshi (1,000 msat)")
        name = _name_key("invoice", key)
        async with self._alone(name):
            made = await self._find_invoice(name)
            if made is None:
                await self._ask_invoice(name, amount_msat // UNIT_MSAT, description, terms)
                # An earlier request may have been slow rather than lost: the first one counts.
                made = await self._find_invoice(name)
        if made is None:
            raise WalletError("INTERNAL", "LNbits made an invoice and does not know it")
        if made.amount_msat != amount_msat:
            raise WalletError("AMOUNT_DIFFERS", f"key {key} asked {made.amount_msat} msat")
        self._payee = made.payee
        return made

    async def _ask_invoice(
        self, name: str, amount_sat: int, description: str, terms: dict[str, Any]
    ) -> None:
        document = {"out": False, "unit": "sat", "amount": amount_sat, "memo": description}
        document |= {"external_id": name, **terms}
        try:
            answer = await self._http.post(_PAYMENTS, document, as_admin=False)
        except LnbitsError as error:
            raise _say_unsupported(error) from None
        row = read_row(answer)
        if row.external_id != name:  # older servers ignore what they do not know
            raise WalletError("NOT_IMPLEMENTED", "this LNbits keeps no external_id: 1.6 or newer")

    async def _find_invoice(self, name: str) -> Invoice | None:
        """Return the oldest invoice that was made under this name."""
        async for row in self._list({"external_id": name}):
            if row.external_id != name or not row.payment.is_incoming:
                continue
            return _read_invoice(row)
        return None

    async def _find_payment(self, name: str, key: str, invoice: Invoice) -> Payment | None:
        """Return what this key has paid already; refuse a hash or a key that was used otherwise."""
        row = await self._find(invoice.payment_hash, is_incoming=False)
        if row is not None:
            _check_row(row, invoice)
            if row.external_id == name:
                return row.payment
            if row.payment.state is PaymentState.FAILED:  # and this server tries a hash only once
                raise WalletError("PAYMENT_FAILED", "it failed before: ask for a new invoice")
            raise WalletError("ALREADY_PAID", "this invoice was paid under another key")
        async for other in self._list({"external_id": name}):
            if other.external_id == name and not other.payment.is_incoming:
                raise WalletError("ALREADY_PAID", f"key {key} was used for another invoice")
        return None

    async def _check_payable(self, invoice: Invoice, fee_msat_max: int) -> None:
        """Refuse what must not be sent: expired, an own invoice, or a fee that may be too high."""
        check_unexpired(invoice, self._clock())
        if invoice.amount_msat % UNIT_MSAT:
            raise InputError("amount_msat", invoice.amount_msat, "LNbits pays whole satoshi")
        if await self._find(invoice.payment_hash, is_incoming=True) is not None:
            raise WalletError("PAYMENT_FAILED", "this is the wallet's own invoice")
        if await self._is_of_this_server(invoice.payment_hash):
            return
        answer = await self._http.get(f"{_PAYMENTS}/fee-reserve", {"invoice": invoice.bolt11})
        reserve_msat = answer.get("fee_reserve") if isinstance(answer, dict) else None
        if not isinstance(reserve_msat, int) or reserve_msat > fee_msat_max:
            message = f"the fee may be {reserve_msat} msat, more than {fee_msat_max}"
            raise WalletError("OTHER", message)

    async def _is_of_this_server(self, payment_hash: str) -> bool:
        try:
            await self._http.get_unnamed(f"{_PAYMENTS}/{payment_hash}")
        except LnbitsError as error:
            if error.code == "NOT_FOUND":
                return False
            raise
        return True

    async def _send(self, name: str, invoice: Invoice) -> Payment:
        """Pay. From here on doubt is PENDING: only the server's own rows say what became of it."""
        document = {"out": True, "bolt11": invoice.bolt11, "external_id": name}
        refusal = None
        try:
            await self._http.post(_PAYMENTS, document, as_admin=True)
        except LnbitsError as error:
            if error.has_moved_nothing:
                raise
            refusal = error
        try:
            row = await self._find(invoice.payment_hash, is_incoming=False)
            if row is not None:
                _check_row(row, invoice)
                return row.payment
        except WalletError:
            return self._say_pending(invoice)
        if refusal is not None and refusal.status == "failed":  # said so, and keeps nothing of it
            raise _sort_refusal(refusal)
        return self._say_pending(invoice)

    def _say_pending(self, invoice: Invoice) -> Payment:
        return Payment(
            payment_hash=invoice.payment_hash,
            is_incoming=False,
            amount_msat=invoice.amount_msat,
            state=PaymentState.PENDING,
            created_at_s=int(self._clock()),
            description=invoice.description,
        )

    async def _close_hold(self, payment_hash: str, verb: str, document: dict[str, Any]) -> Payment:
        """Settle or cancel a hold invoice of this wallet and return what it is then."""
        row = await self._find(payment_hash, is_incoming=True)
        if row is None:
            raise WalletError("NOT_FOUND", "this wallet made no invoice of that hash")
        done = PaymentState.SETTLED if verb == "settle" else PaymentState.CANCELED
        if row.payment.state is done:
            return row.payment
        try:
            await self._http.post(f"{_PAYMENTS}/{verb}", document, as_admin=True)
        except LnbitsError as error:
            raise _say_unsupported(error) from None
        row = await self._find(payment_hash, is_incoming=True)
        if row is None:
            raise WalletError("INTERNAL", "LNbits forgot an invoice", is_retriable=True)
        return row.payment

    async def _find(self, payment_hash: str, *, is_incoming: bool) -> Row | None:
        check_hash(payment_hash)
        async for row in self._list({"payment_hash": payment_hash}):
            payment = row.payment
            if payment.payment_hash == payment_hash and payment.is_incoming == is_incoming:
                return row
        return None

    async def _list(self, query: dict[str, str]) -> AsyncIterator[Row]:
        """Yield own rows, oldest first. What the server knows but the query does not want may be
        among them: older servers ignore conditions.
        """
        order = {"recheck_pending": "true", "sortby": "time", "direction": "asc"} | query
        for page in range(PAGES_MAX):
            part = {"limit": str(PAGE_ROWS), "offset": str(page * PAGE_ROWS)}
            rows = read_rows(await self._http.get(f"{_PAYMENTS}/paginated", order | part))
            for row in rows:
                yield row
            if len(rows) < PAGE_ROWS:
                return
        raise WalletError("INTERNAL", f"more than {PAGE_ROWS * PAGES_MAX} payments")

    async def _fetch_wallet(self) -> tuple[str, int]:
        answer = await self._http.get("/api/v1/wallet")
        name = answer.get("name") if isinstance(answer, dict) else None
        balance_msat = answer.get("balance") if isinstance(answer, dict) else None
        if not isinstance(name, str) or not isinstance(balance_msat, int):
            raise WalletError("INTERNAL", "LNbits told no balance", is_retriable=True)
        return name[:64], balance_msat

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """Let one call at a time look and then act on `name`."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            yield


def _name_key(what: str, key: str) -> str:
    """Return the server's name of a key: no longer and no stranger than it takes."""
    return f"kumiai-{what}-{hashlib.sha256(key.encode()).hexdigest()[:40]}"


def _read_invoice(row: Row) -> Invoice:
    """Return the invoice of a row; WalletError where the server's words about it contradict."""
    try:
        invoice = invoices.decode(row.bolt11)
    except InputError as error:
        message = f"LNbits keeps an invoice that cannot be read: {error.fix}"
        raise WalletError("INTERNAL", message) from error
    _check_row(row, invoice)
    return invoice


def _check_row(row: Row, invoice: Invoice) -> None:
    """Raise WalletError where the server's row is not about this invoice."""
    payment = row.payment
    if row.bolt11 != invoice.bolt11 or payment.payment_hash != invoice.payment_hash:
        raise WalletError("INTERNAL", "LNbits confuses two invoices", is_retriable=True)
    if payment.amount_msat != invoice.amount_msat:
        message = f"LNbits tells {payment.amount_msat} msat of one of {invoice.amount_msat}"
        raise WalletError("INTERNAL", message, is_retriable=True)


def _say_unsupported(error: LnbitsError) -> WalletError:
    """Give the server's word for hold invoices that its node cannot make the code for it."""
    if "not supported" in error.detail:
        return WalletError("NOT_IMPLEMENTED", error.detail)
    return error


def _sort_refusal(error: LnbitsError) -> WalletError:
    """Give a payment that was refused its code, from the words of LNbits' payment service."""
    text = error.detail
    if text.startswith(("Insufficient balance", "You must reserve")):
        return WalletError("INSUFFICIENT_BALANCE", text)
    if "already paid" in text:
        return WalletError("ALREADY_PAID", text)
    return WalletError("PAYMENT_FAILED", text or str(error))
