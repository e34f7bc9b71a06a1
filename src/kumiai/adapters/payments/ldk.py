"""A Lightning node of the test network: LDK in WASM, over a made-up chain (tests/services/ldk).

What it is for: hold invoices on a real Lightning implementation, with real invoices, channels and
preimages, where no node program can be installed. What it is not: a wallet for money. The chain is
made up, nothing is kept on disk, and whoever reaches the port may ask anything; who has a node of
his own connects it over NWC. What this adapter remembers (keys, and what they were used for) it
forgets when it ends, as the nodes do.

States are the node's own: a payer's money is ACCEPTED once the channel has committed to it, a
payee's once it may be claimed; it is EXPIRED from the block on at which the node sends it back.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.payments import bolt11
from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError, KumiaiError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, Invoice, Payment, PaymentState, WalletInfo

try:
    import aiohttp
except ModuleNotFoundError as missing:  # the extra's package, not ours
    raise KumiaiError(
        f"{missing.name} is not installed: `pip install 'kumiai[market]'` brings it"
    ) from missing

TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 1 << 20
NODES = ("customer", "provider")


@dataclass(frozen=True, slots=True)
class _Asked:
    """An invoice by the key that it was made with."""

    terms: tuple[object, ...]
    invoice: Invoice


class LdkWallet:
    """`WalletPort` over one of the two nodes at `url`, by its name. One event loop, one process."""

    def __init__(self, url: str, node: str) -> None:
        if node not in NODES:
            raise InputError("node", node, f"one of {', '.join(NODES)}")
        self._url = url
        self._node = node
        self._session: aiohttp.ClientSession | None = None
        self._asked: dict[str, _Asked] = {}
        self._invoices: dict[str, Invoice] = {}  # those asked for, by payment hash
        self._paid: dict[str, tuple[str, Invoice]] = {}  # hash -> key that pays it, and what
        self._busy = asyncio.Lock()  # one call that moves or promises money at a time

    async def get_info(self) -> WalletInfo:
        """Tell what the node can do, and its key."""
        info = await self._ask("info")
        return WalletInfo(
            f"ldk {self._node}", "ldk", has_hold=True, payee=str(info["id"]), has_preimage=True
        )

    async def make_invoice(
        self,
        key: str,
        amount_msat: int,
        description: str = "",
        expiry_s: int = 3600,
        preimage: str | None = None,
    ) -> Invoice:
        """Ask to be paid; the node takes the money as soon as it is there."""
        if preimage is not None and not is_hash(preimage):
            raise InputError("preimage", preimage, "give 64 lower-case hex digits")
        terms = ("invoice", amount_msat, description, expiry_s, preimage)
        preimage = preimage or secrets.token_hex(32)
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        return await self._make(
            key, terms, amount_msat, payment_hash, preimage, description, expiry_s
        )

    async def make_hold_invoice(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str = "",
        expiry_s: int = 3600,
    ) -> Invoice:
        """Ask for money that stays locked until `settle` or `cancel`."""
        if not is_hash(payment_hash):
            raise InputError("payment_hash", payment_hash, "give 64 lower-case hex digits")
        terms = ("hold", amount_msat, payment_hash, description, expiry_s)
        return await self._make(key, terms, amount_msat, payment_hash, None, description, expiry_s)

    async def settle(self, preimage: str) -> Payment:
        """Take locked money with the preimage of its hash."""
        if not is_hash(preimage):
            raise InputError("preimage", preimage, "give 64 lower-case hex digits")
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        async with self._busy:
            payment = await self._get_incoming(payment_hash)
            if payment.state is PaymentState.ACCEPTED:
                await self._ask("claim", preimage=preimage)
                payment = await self._get_incoming(payment_hash)
        if payment.state is PaymentState.SETTLED:
            return payment
        code = "EXPIRED" if payment.state is PaymentState.EXPIRED else "OTHER"
        raise WalletError(code, f"nothing to settle: the payment is {payment.state}")

    async def cancel(self, payment_hash: str) -> Payment:
        """Give locked money back, or withdraw the invoice."""
        async with self._busy:
            payment = await self._get_incoming(payment_hash)
            if payment.state is PaymentState.SETTLED:
                raise WalletError("OTHER", "settled already: nothing can be given back")
            if payment.state is not PaymentState.CANCELED:
                await self._ask("fail", payment_hash=payment_hash)
        return await self._get_incoming(payment_hash)

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        """Pay once; ACCEPTED while the payee holds it, FAILED when it came back."""
        invoice = _read(bolt11)
        async with self._busy:
            known = self._paid.get(invoice.payment_hash)
            if known is None:
                await self._check(key, invoice, amount_msat, payee)
                self._paid[invoice.payment_hash] = (key, invoice)
            elif known[0] != key:
                raise WalletError("ALREADY_PAID", "this invoice was paid under another key")
            elif (amount_msat, payee or invoice.payee) != (invoice.amount_msat, invoice.payee):
                raise WalletError("AMOUNT_DIFFERS", "this key was used for other terms")
            payment = await self.lookup(invoice.payment_hash, is_incoming=False)
            if payment is None:  # the node pays a hash once, however often it is told to
                await self._ask("pay", bolt11=invoice.bolt11, fee_msat_max=fee_msat_max)
                payment = await self.lookup(invoice.payment_hash, is_incoming=False)
        if payment is None:
            raise WalletError("INTERNAL", "the node forgot a payment", is_retriable=True)
        return payment

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        """Ask the node what became of a payment that went through this wallet."""
        paid = self._paid.get(payment_hash)
        invoice = self._invoices.get(payment_hash) if is_incoming else paid and paid[1]
        if invoice is None:
            return None
        found = await self._ask("payment", payment_hash=payment_hash, is_incoming=is_incoming)
        if found is None:
            return None
        state = PaymentState(found["state"])
        if is_incoming and state is PaymentState.PENDING:
            info = await self._ask("info")
            if int(info["now_s"]) >= invoice.expires_at_s:
                state = PaymentState.EXPIRED
        settled = state is PaymentState.SETTLED
        return Payment(
            payment_hash=payment_hash,
            is_incoming=is_incoming,
            amount_msat=int(found["amount_msat"]),
            state=state,
            fee_msat=int(found["fee_msat"]),
            preimage=found["preimage"] if settled else None,
            created_at_s=int(found["created_at_s"]),
            settled_at_s=found["settled_at_s"] if settled else None,
            description=invoice.description,
        )

    async def get_balance(self) -> Balance:
        """What the channel lets go out, and what is under way in it."""
        found = await self._ask("balance")
        return Balance(int(found["spendable_msat"]), int(found["held_msat"]))

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        """All that went through this wallet, oldest first."""
        wanted = [(it, True) for it in self._invoices] + [(it, False) for it in self._paid]
        found = [await self.lookup(it, is_incoming=is_incoming) for it, is_incoming in wanted]
        kept = [it for it in found if it is not None and it.created_at_s >= since_s]
        return sorted(kept, key=lambda it: it.created_at_s)

    async def pass_time(self, seconds: int) -> None:
        """Move the clock of both nodes forward; a block for every ten minutes, one at least."""
        await self._ask("pass_time", seconds=seconds)

    async def close(self) -> None:
        """End the connection; the node goes on."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _make(
        self,
        key: str,
        terms: tuple[object, ...],
        amount_msat: int,
        payment_hash: str,
        preimage: str | None,
        description: str,
        expiry_s: int,
    ) -> Invoice:
        bolt11.check_terms(amount_msat, expiry_s, description)
        async with self._busy:
            if key in self._asked:
                if self._asked[key].terms != terms:
                    raise WalletError("OTHER", f"key {key!r} was used for another invoice")
                return self._asked[key].invoice
            text = await self._ask(
                "invoice",
                amount_msat=amount_msat,
                payment_hash=payment_hash,
                preimage=preimage,
                description=description,
                expiry_s=expiry_s,
            )
            invoice = _read(str(text))
            self._asked[key] = _Asked(terms, invoice)
            self._invoices[payment_hash] = invoice
            return invoice

    async def _check(self, key: str, invoice: Invoice, amount_msat: int, payee: str) -> None:
        """Refuse before anything moves."""
        if invoice.amount_msat != amount_msat:
            raise WalletError(
                "AMOUNT_DIFFERS", f"{invoice.amount_msat} msat are asked for, not {amount_msat}"
            )
        if payee and invoice.payee != payee:
            raise WalletError("PAYEE_DIFFERS", f"it pays {invoice.payee}, not {payee}")
        if any(used == key for used, _ in self._paid.values()):
            raise WalletError("OTHER", f"key {key!r} pays another invoice")
        info = await self._ask("info")
        if invoice.payee == info["id"]:
            raise WalletError("OTHER", "an invoice of this node itself")
        if int(info["now_s"]) >= invoice.expires_at_s:
            raise WalletError("EXPIRED", "the invoice has expired")
        if (await self.get_balance()).spendable_msat < amount_msat:
            raise WalletError("INSUFFICIENT_BALANCE", f"{amount_msat} msat are not there")

    async def _get_incoming(self, payment_hash: str) -> Payment:
        payment = await self.lookup(payment_hash, is_incoming=True)
        if payment is None:
            raise WalletError("NOT_FOUND", "no invoice with this payment hash was made here")
        return payment

    async def _ask(self, method: str, **arguments: object) -> Any:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        body = {"node": self._node, "method": method, **arguments}
        try:
            async with self._session.post(self._url, json=body) as response:
                if (response.content_length or ANSWER_BYTES_MAX) >= ANSWER_BYTES_MAX:
                    raise ValueError("an answer of unknown or absurd length")
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise WalletError(
                "INTERNAL", f"the node does not answer: {error}", is_retriable=True
            ) from error
        if "error" in answer:
            raise WalletError(str(answer["error"]["code"]), str(answer["error"]["message"]))
        return answer["result"]


def _read(text: str) -> Invoice:
    """Read an invoice of the test network; InputError for any other."""
    if bolt11.get_network(text) != bolt11.REGTEST:
        raise InputError("invoice", text, "the test network pays its own invoices only: lnbcrt...")
    return bolt11.decode(text)
