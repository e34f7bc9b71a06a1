"""What every wallet checks: that an invoice is the agreed one, and that a payment is proven."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from kumiai.base.canonical import is_hash
from kumiai.base.errors import InputError
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


def check_address(field: str, url: str) -> None:
    """Raise InputError for an address that no connection can be made to, whatever is there.

    Nor may it hold a user, a query or a fragment: it is shown, and a mint's stands in every token
    that others are given. What was given is not repeated: it may hold a secret.
    """
    fix = "write http:// or https:// and a host, and perhaps a port"
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # what a name must pass to be looked up
    except ValueError as error:
        raise InputError(field, "***", f"{fix}: {error}") from None
    if not is_whole:
        raise InputError(field, "***", fix)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(field, parts.hostname, "write no user, query or fragment in it")


def check_hash(payment_hash: str) -> None:
    """Raise InputError for what is no payment hash."""
    if not is_hash(payment_hash):
        raise InputError("payment_hash", payment_hash, "give 64 lower-case hex digits")


def compute_payment_hash(preimage: str) -> str:
    """Return the payment hash of a preimage; InputError for what is none (it is not shown)."""
    if not is_hash(preimage):
        raise InputError("preimage", "***", "give 64 lower-case hex digits")
    return hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


def is_preimage(preimage: object, payment_hash: str) -> bool:
    """Tell whether `preimage` (64 hex digits) hashes to `payment_hash`: the proof of a payment."""
    return (
        isinstance(preimage, str)
        and is_hash(preimage)
        and (compute_payment_hash(preimage) == payment_hash)
    )
