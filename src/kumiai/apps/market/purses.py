"""What a member pays and is paid with: its wallet, and ecash for escrow by name.

Ecash is `cashu:URL` of a mint, or `embedded:FILE`, an embedded bank's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from kumiai.adapters.payments.open import open_wallet
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey, derive_key
from kumiai.nodes.market.ports import EcashPort, WalletPort

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


@asynccontextmanager
async def open_purses(
    places: Places, folder: MarketFolder, settings: Mapping[str, str]
) -> AsyncIterator[tuple[WalletPort, EcashPort | None]]:
    """Open a member's wallet, which must be there, and its ecash if it has any; close both."""
    secret_file = Path(places.secret_file) if places.secret_file else None
    async with AsyncExitStack() as opened:
        wallet = await open_wallet(
            places.wallet, settings=settings, secret_file=secret_file, may_create=False
        )
        opened.push_async_callback(wallet.close)
        ecash = open_ecash(places.ecash, folder)
        if ecash is not None:
            opened.push_async_callback(ecash.close)
        yield wallet, ecash
