"""Any wallet that speaks NIP-47 (Nostr Wallet Connect), as the market's wallet.

Source: nostr-protocol/nips, 47.md, with the hold-invoice methods. How the port's promises are met:

- A payment hash is looked up before it is paid: what the wallet knows of is not paid again, also
  after a crash. NIP-47 has no keys; that one key pays one invoice and asks for one is kept in
  memory, and across restarts by the cashier's intents (`nodes.market.cashier`).
- Where an answer does not come in time, or is not a plain no, the wallet is asked what became of
  the payment; PENDING while that does not tell. A hold invoice is not answered before it ends, so a
  payment is looked up while its answer is waited for.
- SETTLED is said only with a preimage that hashes to the payment hash; notifications are hints.

Not there: chosen preimages, and a limit on fees (`fee_msat_max` is not in NIP-47: limit fees at the
wallet). `failed` of an own invoice means CANCELED. held_msat counts payments of the last days.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from kumiai.adapters.payments import bolt11 as invoices
from kumiai.adapters.payments.checks import (
    check_hash,
    check_terms,
    check_unexpired,
    compute_payment_hash,
    is_preimage,
)
from kumiai.adapters.payments.nwc_link import (
    ANSWER_S,
    NoAnswerError,
    NwcLink,
    RefusedError,
    read_answer,
)
from kumiai.adapters.payments.nwc_words import expect, read_made, read_transaction
from kumiai.market.nips import nip47
from kumiai.market.nips.nip47 import Direction, State
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import (
    Balance,
    Invoice,
    Payment,
    PaymentState,
    RelayPort,
    WalletInfo,
)

PAY_S: Final = 30.0  # how long a payment is waited for before it is called PENDING
LOOK_S: Final = (0.25, 4.0)  # between looks at a payment under way: first and longest
KEYS_MAX: Final = 10_000
PAGE_ROWS: Final = 20  # as the document advises
PAGES_MAX: Final = 2_000
LOCK_S: Final = 3 * 86_400  # no payment is under way for longer

_HOLD: Final = {"make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice"}
_PLAIN_NO: Final = {  # said before anything is done
    "RATE_LIMITED", "NOT_IMPLEMENTED", "INSUFFICIENT_BALANCE", "QUOTA_EXCEEDED", "RESTRICTED",
    "UNAUTHORIZED", "UNSUPPORTED_ENCRYPTION",
}  # fmt: skip
_OPEN: Final = (PaymentState.PENDING, PaymentState.ACCEPTED)
_UNPAID: Final = (State.PENDING, State.EXPIRED, State.FAILED)
_MOVED: Final = (PaymentState.ACCEPTED, PaymentState.SETTLED)

T = TypeVar("T")


class NwcWallet:
    """`WalletPort` over a NIP-47 connection. `close` it; owns_relays: closes the relays too."""

    def __init__(
        self,
        connection: nip47.Connection,
        relays: RelayPort,
        *,
        answer_s: float = ANSWER_S,
        pay_s: float = PAY_S,
        clock: Callable[[], float] = time.time,
        owns_relays: bool = False,
    ) -> None:
        self._link = NwcLink(
            connection.wallet, connection.key, relays, answer_s=answer_s, clock=clock
        )
        self._wallet, self._relays, self._owns_relays = connection.wallet, relays, owns_relays
        self._pay_s, self._clock = pay_s, clock
        self._paid: OrderedDict[str, str] = OrderedDict()  # key -> payment hash
        self._payers: OrderedDict[str, str] = OrderedDict()  # payment hash -> its latest key
        self._made: OrderedDict[str, Invoice] = OrderedDict()
        self._live: set[str] = set()  # payments under way, by hash
        self._has_scanned = False  # those from before this process are known
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"NwcWallet({self._wallet[:12]}...)"  # the connection is a secret

    async def get_info(self) -> WalletInfo:
        told = await self._link.fetch_info()
        node = expect(nip47.NodeInfo, await self._link.ask(nip47.GetInfo()))
        methods = set(node.methods or (told.methods if told is not None else ()))
        return WalletInfo(
            name=(node.alias or f"NWC {self._wallet[:12]}")[:64],
            kind="nwc",
            has_hold=methods >= _HOLD,
            payee=node.pubkey if len(node.pubkey) == 66 else "",
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
            raise WalletError("NOT_IMPLEMENTED", "NIP-47 wallets choose their preimages")
        request = nip47.MakeInvoice(amount_msat, description, expiry_s=expiry_s)
        return await self._make(key, request, description, expiry_s, "")

    async def make_hold_invoice(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str = "",
        expiry_s: int = 3600,
    ) -> Invoice:
        check_hash(payment_hash)
        request = nip47.MakeHoldInvoice(amount_msat, payment_hash, description, expiry_s=expiry_s)
        return await self._make(key, request, description, expiry_s, payment_hash)

    async def settle(self, preimage: str) -> Payment:
        payment_hash = compute_payment_hash(preimage)
        request = nip47.SettleHoldInvoice(preimage)
        return await self._end(request, payment_hash, PaymentState.SETTLED)

    async def cancel(self, payment_hash: str) -> Payment:
        check_hash(payment_hash)
        request = nip47.CancelHoldInvoice(payment_hash)
        return await self._end(request, payment_hash, PaymentState.CANCELED)

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        invoice = invoices.decode(bolt11)
        check_terms(invoice, amount_msat, payee)
        payment_hash = invoice.payment_hash
        async with self._alone(f"pay {key}"), self._alone(payment_hash):
            if self._paid.get(key, payment_hash) != payment_hash:
                raise WalletError("ALREADY_PAID", f"key {key} was used for another invoice")
            known = await self._look(payment_hash)
            if known is not None and known.is_incoming:
                raise WalletError("PAYMENT_FAILED", "this is the wallet's own invoice")
            is_ours = self._payers.get(payment_hash, key) == key
            if known is not None and is_ours:
                self._remember(key, payment_hash)
                return known
            if known is not None:
                if known.state in (*_OPEN, PaymentState.SETTLED):
                    raise WalletError("ALREADY_PAID", "this invoice was paid under another key")
                # tried again, a lost answer could not be told from the failure before it
                raise WalletError("PAYMENT_FAILED", "it failed before: ask for a new invoice")
            check_unexpired(invoice, self._clock())
            paid = await self._send(invoice)
            self._remember(key, payment_hash)
            return paid

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        check_hash(payment_hash)
        found = await self._look(payment_hash)
        return found if found is not None and found.is_incoming == is_incoming else None

    async def get_balance(self) -> Balance:
        told = expect(nip47.WalletBalance, await self._link.ask(nip47.GetBalance()))
        if not self._has_scanned:
            since_s = int(self._clock()) - LOCK_S
            async for it in self._list(since_s, Direction.OUTGOING):
                self._set_live(it)
            self._has_scanned = True
        held_msat = 0
        for payment_hash in sorted(self._live):
            found = await self.lookup(payment_hash, is_incoming=False)
            if found is not None and self._set_live(found):
                held_msat += found.amount_msat + found.fee_msat
        return Balance(told.balance_msat, held_msat)

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        # the wallet goes by when an invoice was made; it may have been paid later
        found: dict[tuple[str, bool], Payment] = {}
        async for it in self._list(max(0, since_s - LOCK_S), None):
            if max(it.created_at_s, it.settled_at_s or 0) >= since_s:
                found.setdefault((it.payment_hash, it.is_incoming), it)
        return sorted(found.values(), key=lambda it: (it.created_at_s, it.payment_hash))

    async def wait_change(self) -> str:
        """Wait until the wallet says that something happened; return the hash to look up."""
        hint = await self._link.wait_hint()
        return hint.transaction.payment_hash

    async def close(self) -> None:
        await self._link.close()
        if self._owns_relays:
            await self._relays.close()

    async def _make(
        self,
        key: str,
        request: nip47.MakeInvoice | nip47.MakeHoldInvoice,
        description: str,
        expiry_s: int,
        payment_hash: str,
    ) -> Invoice:
        invoices.check_terms(request.amount_msat, expiry_s, description)
        async with self._alone(f"make {key}"):
            made = self._made.get(key)
            if made is None:
                made = read_made(await self._ask_invoice(request, payment_hash))
                if made.amount_msat != request.amount_msat:
                    raise WalletError("AMOUNT_DIFFERS", "the wallet made one of another amount")
                _keep(self._made, key, made)
        if made.amount_msat != request.amount_msat:
            raise WalletError("AMOUNT_DIFFERS", f"key {key} asked {made.amount_msat} msat")
        if payment_hash and made.payment_hash != payment_hash:
            raise WalletError("OTHER", f"key {key} was used for another sort of invoice")
        return made

    async def _ask_invoice(
        self, request: nip47.MakeInvoice | nip47.MakeHoldInvoice, payment_hash: str
    ) -> nip47.Transaction:
        try:
            return expect(nip47.Transaction, await self._link.ask(request))
        except RefusedError:
            if not payment_hash:
                raise
            with contextlib.suppress(WalletError):  # perhaps it was made before a crash
                known = await self._link.ask(nip47.LookupInvoice(payment_hash))
                if isinstance(known, nip47.Transaction) and known.invoice:
                    return known
            raise

    async def _end(
        self, request: nip47.Request, payment_hash: str, wanted: PaymentState
    ) -> Payment:
        """Settle or cancel; what is then is looked up, whatever the answer was."""
        refusal: WalletError | None = None
        try:
            await self._link.ask(request)
        except (RefusedError, NoAnswerError) as error:
            refusal = error
        found = await self.lookup(payment_hash, is_incoming=True)
        if found is None:
            raise refusal or WalletError("NOT_FOUND", "the wallet knows no such invoice")
        if refusal is None or found.state is wanted:
            return found
        if found.state is PaymentState.EXPIRED:
            raise WalletError("EXPIRED", "nothing is locked: the invoice is expired")
        raise refusal

    async def _send(self, invoice: Invoice) -> Payment:
        """Pay. From here on doubt is PENDING: only the wallet's own word ends it."""
        try:
            async with self._link.start(nip47.PayInvoice(invoice.bolt11)) as answer:
                paid = await self._follow(invoice, answer)
        except RefusedError as refusal:
            if refusal.code in _PLAIN_NO:
                raise
            paid = await self._look_or_pending(invoice, refusal)
        except NoAnswerError:
            paid = await self._look_or_pending(invoice, None)
        self._set_live(paid)
        return paid

    async def _follow(
        self, invoice: Invoice, answer: asyncio.Future[nip47.Result | nip47.Fault]
    ) -> Payment:
        """Wait for the answer, and meanwhile look whether the money is locked already."""
        deadline, pause_s = time.monotonic() + self._pay_s, LOOK_S[0]
        while time.monotonic() < deadline:
            await asyncio.wait([answer], timeout=pause_s)
            if answer.done():
                return await self._read_paid(invoice, read_answer(answer.result()))
            pause_s = min(2 * pause_s, LOOK_S[1])
            with contextlib.suppress(WalletError):
                found = await self._look(invoice.payment_hash)
                if found is not None and not found.is_incoming and found.state in _MOVED:
                    return found
        return await self._look_or_pending(invoice, None)

    async def _read_paid(self, invoice: Invoice, result: nip47.Result) -> Payment:
        if not isinstance(result, nip47.Paid) or not is_preimage(
            result.preimage, invoice.payment_hash
        ):
            return await self._look_or_pending(invoice, None)  # it says so, and shows no proof
        now_s = int(self._clock())
        return Payment(
            payment_hash=invoice.payment_hash,
            is_incoming=False,
            amount_msat=invoice.amount_msat,
            state=PaymentState.SETTLED,
            fee_msat=result.fees_paid_msat,
            preimage=result.preimage,
            created_at_s=now_s,
            settled_at_s=now_s,
            description=invoice.description,
        )

    async def _look_or_pending(self, invoice: Invoice, refusal: RefusedError | None) -> Payment:
        try:
            found = await self._look(invoice.payment_hash)
        except WalletError:
            found = None
        else:
            if found is None and refusal is not None:
                raise refusal  # it said no, and knows of no payment
        if found is not None and (found.is_incoming, found.amount_msat) == (
            False,
            invoice.amount_msat,
        ):
            return found
        return Payment(
            payment_hash=invoice.payment_hash,
            is_incoming=False,
            amount_msat=invoice.amount_msat,
            state=PaymentState.PENDING,
            created_at_s=int(self._clock()),
            description=invoice.description,
        )

    async def _look(self, payment_hash: str) -> Payment | None:
        try:
            answer = await self._link.ask(nip47.LookupInvoice(payment_hash))
        except RefusedError as error:
            if error.code == "NOT_FOUND":
                return None
            raise
        told = expect(nip47.Transaction, answer)
        if told.payment_hash != payment_hash:
            message = "the wallet speaks of another payment"
            raise WalletError("INTERNAL", message, is_retriable=True)
        return read_transaction(told)

    async def _list(self, since_s: int, direction: Direction | None) -> AsyncIterator[Payment]:
        """Yield the wallet's movements, newest first, down to an empty page."""
        offset = 0
        for _ in range(PAGES_MAX):
            request = nip47.ListTransactions(
                from_s=since_s,
                limit=PAGE_ROWS,
                offset=offset,
                unpaid=True,
                direction=direction,
            )
            page = expect(nip47.Transactions, await self._link.ask(request)).transactions
            for told in page:
                it = read_transaction(told)
                if not it.is_incoming or told.state not in _UNPAID:
                    yield it
            if not page:
                return
            offset += len(page)
        raise WalletError("INTERNAL", f"more than {PAGES_MAX} pages of transactions")

    def _remember(self, key: str, payment_hash: str) -> None:
        _keep(self._paid, key, payment_hash)
        _keep(self._payers, payment_hash, key)

    def _set_live(self, payment: Payment) -> bool:
        """Note whether a payment is under way; return it."""
        is_live = payment.state in _OPEN
        if is_live:
            self._live.add(payment.payment_hash)
        else:
            self._live.discard(payment.payment_hash)
        return is_live

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """Let one call at a time look and then act on `name`."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            yield


def _keep(kept: OrderedDict[str, T], name: str, value: T) -> None:
    """Remember the latest KEYS_MAX."""
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > KEYS_MAX:
        kept.popitem(last=False)
