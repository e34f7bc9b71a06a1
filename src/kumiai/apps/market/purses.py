"""Ecash for escrow by name: `cashu:URL` of a mint, or `embedded:FILE`, an embedded bank's."""

from __future__ import annotations

from pathlib import Path

from kumiai.apps.market.folder import MarketFolder
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey, derive_key
from kumiai.nodes.market.ports import EcashPort

FILE = "ecash.sqlite"
FORMS = "cashu:http://MINT or embedded:FILE"


def make_ecash_key(folder: MarketFolder) -> SigningKey:
    """Return the key that tokens are locked to: not the member's NOSTR key."""
    return derive_key(bytes.fromhex(folder.read_secret()), "ecash")


def open_ecash(text: str, folder: MarketFolder) -> EcashPort | None:
    """Open a member's ecash; None for "". InputError lists the kinds if it is none of them."""
    if not text:
        return None
    kind, _, rest = text.partition(":")
    if kind == "embedded" and rest:
        from kumiai.adapters.payments.cashu.embedded import EmbeddedEcash

        return EmbeddedEcash(Path(rest), make_ecash_key(folder))
    if kind == "cashu" and rest.startswith(("http://", "https://")):
        from kumiai.adapters.payments.cashu.wallet import CashuWallet

        return CashuWallet(rest, make_ecash_key(folder), folder.root / FILE)
    raise InputError("--ecash", text, f"name {FORMS}")
