"""What every wallet refuses before it pays: an invoice that is not the one that was agreed."""

from __future__ import annotations

from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Invoice


def check_terms(invoice: Invoice, amount_msat: int, payee: str) -> None:
    """Raise WalletError unless the invoice asks for that amount, for that payee where one is given.

    The payee is recovered from the signature: an invoice that was changed on its way has another.
    """
    if invoice.amount_msat != amount_msat:
        message = f"the invoice asks for {invoice.amount_msat} msat, agreed were {amount_msat}"
        raise WalletError("AMOUNT_DIFFERS", message)
    if payee and invoice.payee != payee:
        message = f"the invoice pays {invoice.payee[:16]}..., agreed was {payee[:16]}..."
        raise WalletError("PAYEE_DIFFERS", message)


def check_unexpired(invoice: Invoice, now_s: float) -> None:
    """Raise WalletError for an invoice whose time is over."""
    if now_s >= invoice.expires_at_s:
        raise WalletError("EXPIRED", f"the invoice expired at {invoice.expires_at_s}")
