"""The embedded wallet: a member's account at the embedded bank, as a Lightning wallet.

Everything that `WalletPort` promises, hold invoices included, to the single msat and without fees.
Preimages and payment secrets follow from the node key and the invoice's key, so that the same key
always gives the same invoice, even where two processes ask at once. The calls block for the few
milliseconds that BOLT11 and the file take (benchmarks/market_wallet.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.bank import EmbeddedBank
from kumiai.adapters.payments.bank_moves import Fate
from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, Invoice, Payment, WalletInfo

__all__ = ["EmbeddedBank", "EmbeddedWallet", "Fate"]

KEY_CHARS_MAX: Final = 300


class EmbeddedWallet:
    """WalletPort of the member `name`, who gets an account if it has none.

    choose_fate: for tests, says of each payment whether it arrives, fails or sticks. owns_bank: the
    bank is closed with the wallet.
    """

    def __init__(
        self,
        bank: EmbeddedBank,
        name: str,
        *,
        choose_fate: Callable[[Invoice], Fate] | None = None,
        owns_bank: bool = False,
    ) -> None:
        self._bank, self._name, self._choose_fate = bank, name, choose_fate
        self._owns_bank = owns_bank
        self._node = bank.add_member(name)

    async def get_info(self) -> WalletInfo:
        return WalletInfo(
            self._name,
            "embedded",
            has_hold=True,
            unit_msat=1,
            payee=self._node,
            has_preimage=True,
        )

    async def make_invoice(
        self,
        key: str,
        amount_msat: int,
        description: str = "",
        expiry_s: int = 3600,
        preimage: str | None = None,
    ) -> Invoice:
        _check_key(key)
        if preimage is None:
            preimage = self._bank.derive_secret(self._name, f"preimage/{key}")
            own = self._bank.get_invoice(self._name, key=key)
            if own is not None and own.preimage is not None:
                preimage = str(own.preimage)  # the same key, also where it came with a preimage
        elif not is_hash(preimage):
            raise InputError("preimage", preimage, "a preimage has 64 lower-case hex digits")
        payment_hash = hashlib.sha256(bytes.fromhex(preimage)).hexdigest()
        return self._make(key, amount_msat, payment_hash, description, expiry_s, preimage)

    async def make_hold_invoice(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str = "",
        expiry_s: int = 3600,
    ) -> Invoice:
        _check_key(key)
        if not is_hash(payment_hash):
            fix = "a payment hash has 64 lower-case hex digits"
            raise InputError("payment_hash", payment_hash, fix)
        return self._make(key, amount_msat, payment_hash, description, expiry_s, None)

    async def settle(self, preimage: str) -> Payment:
        if not is_hash(preimage):
            raise InputError("preimage", preimage, "a preimage has 64 lower-case hex digits")
        return self._bank.settle(self._name, preimage)

    async def cancel(self, payment_hash: str) -> Payment:
        return self._bank.cancel(self._name, payment_hash)

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        _check_key(key)
        invoice = _read_regtest(bolt11)
        if invoice.amount_msat != amount_msat:
            message = f"the invoice asks {invoice.amount_msat} msat, {amount_msat} were agreed"
            raise WalletError("AMOUNT_DIFFERS", message)
        if payee and payee != invoice.payee:
            raise WalletError("PAYEE_DIFFERS", f"the invoice is {invoice.payee}'s, not {payee}'s")
        fate = Fate.DELIVER if self._choose_fate is None else self._choose_fate(invoice)
        return self._bank.pay(self._name, key, invoice, fate)

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        return self._bank.lookup(self._name, payment_hash, is_incoming=is_incoming)

    async def get_balance(self) -> Balance:
        return self._bank.get_balance(self._name)

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        return self._bank.list_payments(self._name, since_s)

    async def close(self) -> None:
        """Close the bank too, if the wallet owns it."""
        if self._owns_bank:
            self._bank.close()

    def _make(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str,
        expiry_s: int,
        preimage: str | None,
    ) -> Invoice:
        bolt11.check_terms(amount_msat, expiry_s, description)
        known = self._bank.get_invoice(self._name, key=key)
        if known is None:
            taken = self._bank.get_invoice(self._name, payment_hash=payment_hash)
            if taken is not None:
                raise WalletError("OTHER", f"invoice {taken.key} has this payment hash already")
            now_s = self._bank.now_s()
            text = bolt11.sign(
                self._bank.get_secret(self._name),
                payment_hash,
                self._bank.derive_secret(self._name, f"payment secret/{key}"),
                amount_msat,
                now_s,
                expiry_s,
                description,
            )
            invoice = Invoice(
                text, payment_hash, amount_msat, self._node, now_s, now_s + expiry_s, description
            )
            known = self._bank.add_invoice(self._name, key, invoice, preimage)
            bolt11.remember(invoice)
        _check_same(known, amount_msat, payment_hash, is_hold=preimage is None)
        return Invoice(
            known.bolt11, payment_hash, amount_msat, self._node,
            known.created_at_s, known.expires_at_s, known.description,
        )  # fmt: skip


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        raise InputError("key", key, f"a key has 1 to {KEY_CHARS_MAX} characters")


def _check_same(known: Any, amount_msat: int, payment_hash: str, *, is_hold: bool) -> None:
    if known.amount_msat != amount_msat:
        raise WalletError("AMOUNT_DIFFERS", f"key {known.key} asked {known.amount_msat} msat")
    if known.payment_hash != payment_hash or known.is_hold != is_hold:
        raise WalletError("OTHER", f"key {known.key} was used for another sort of invoice")


def _read_regtest(text: str) -> Invoice:
    invoice = bolt11.decode(text)
    network = bolt11.get_network(text)
    if network != bolt11.REGTEST:
        raise WalletError("PAYMENT_FAILED", f"an invoice of network {network}: this is a test bank")
    return invoice
