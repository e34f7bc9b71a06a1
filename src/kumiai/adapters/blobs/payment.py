"""Paid storage (BUD-07): a price for each upload, a Lightning invoice, and the own wallet's word.

A key pays for a blob once; uploading the same again costs nothing. What was paid is read from the
wallet alone: a preimage that a client shows is not even looked at. Deleting a blob ends what was
paid for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from kumiai.adapters.blobs.catalogue import Bill, Catalogue
from kumiai.adapters.blobs.limits import RefusedError
from kumiai.nodes.market.ports import PaymentState, WalletPort

INVOICE_LIFE_S = 3600


class PricePolicy(Protocol):
    """What storing a blob costs a key."""

    def compute_price_msat(self, pubkey: str, size_bytes: int) -> int:
        """Return the price in msat, 0 for nothing; never less for more bytes."""
        ...


class Till:
    """Asks for money before bytes are taken in."""

    def __init__(self, catalogue: Catalogue, wallet: WalletPort, policy: PricePolicy) -> None:
        self._catalogue = catalogue
        self._wallet = wallet
        self._policy = policy

    async def charge(self, pubkey: str, sha256: str | None, size_bytes: int | None) -> None:
        """Return once the price is paid; RefusedError 402 with an invoice in X-Lightning before.

        Raises WalletError if the wallet does not answer.
        """
        if self._policy.compute_price_msat(pubkey, size_bytes or 0) == 0 and size_bytes is not None:
            return
        if sha256 is None or size_bytes is None:
            raise RefusedError(411, "uploads cost money here: say X-SHA-256 and Content-Length")
        price_msat = self._policy.compute_price_msat(pubkey, size_bytes)
        if self._catalogue.is_owner(pubkey, sha256):
            return
        bill = await self._update(pubkey, sha256, self._catalogue.get_bill(pubkey, sha256))
        missing_msat = price_msat - bill.paid_msat
        if missing_msat <= 0:
            return
        if bill.open_msat != missing_msat:
            bill = await self._ask(pubkey, sha256, bill, missing_msat)
        raise RefusedError(
            402, f"storing this costs {price_msat} msat", {"X-Lightning": bill.bolt11}
        )

    async def _update(self, pubkey: str, sha256: str, bill: Bill) -> Bill:
        """Ask the wallet what became of the open invoice."""
        if not bill.payment_hash:
            return bill
        payment = await self._wallet.lookup(bill.payment_hash, is_incoming=True)
        if payment is not None and payment.state is PaymentState.SETTLED:
            paid_msat = bill.paid_msat + payment.amount_msat
        elif payment is not None and payment.state in {
            PaymentState.EXPIRED,
            PaymentState.FAILED,
            PaymentState.CANCELED,
        }:
            paid_msat = bill.paid_msat
        else:
            return bill
        bill = replace(bill, paid_msat=paid_msat, open_msat=0, payment_hash="", bolt11="")
        self._catalogue.put_bill(pubkey, sha256, bill)
        return bill

    async def _ask(self, pubkey: str, sha256: str, bill: Bill, amount_msat: int) -> Bill:
        number = bill.number + 1
        invoice = await self._wallet.make_invoice(
            f"blob:{pubkey}:{sha256}:{number}:{amount_msat}",
            amount_msat,
            f"blob {sha256[:16]}",
            INVOICE_LIFE_S,
        )
        bill = replace(
            bill,
            number=number,
            open_msat=amount_msat,
            payment_hash=invoice.payment_hash,
            bolt11=invoice.bolt11,
        )
        self._catalogue.put_bill(pubkey, sha256, bill)
        return bill
