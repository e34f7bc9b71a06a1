"""What a member pays and is paid with: its wallet, and ecash for escrow by name.

Ecash is `cashu:URL` of a mint, or `embedded:FILE`, an embedded bank's. Its owner may work with it
while the member's node runs; two such commands at once wait for each other.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from kumiai.adapters.payments.open import open_wallet
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.places import Places, read_places
from kumiai.base.errors import InputError, StoreError
from kumiai.base.keys import SigningKey, derive_key
from kumiai.nodes.market.ports import EcashPort, WalletPort
from kumiai.nodes.market.purse import PursePort

FILE = "ecash.sqlite"
LOCK = "ecash.lock"
POLL_S = 0.2
FORMS = "cashu:http://MINT or embedded:FILE"


def make_ecash_key(folder: MarketFolder) -> SigningKey:
    """Return the key that tokens are locked to: not the member's NOSTR key."""
    return derive_key(bytes.fromhex(folder.read_secret()), "ecash")


def open_ecash(text: str, folder: MarketFolder) -> PursePort | None:
    """Open a member's ecash; None for "". InputError lists the kinds if it is none of them."""
    if not text:
        return None
    kind, _, rest = text.partition(":")
    if kind == "embedded" and rest:
        from kumiai.adapters.payments.cashu.embedded_purse import EmbeddedPurse

        return EmbeddedPurse(Path(rest), make_ecash_key(folder))
    if kind == "cashu" and rest.startswith(("http://", "https://")):
        from kumiai.adapters.payments.cashu.purse import CashuPurse

        return CashuPurse(rest, make_ecash_key(folder), folder.root / FILE)
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


def name_ecash(folder: MarketFolder) -> str:
    """Return the name of a member's ecash, "" if it has none; InputError if nobody lives there."""
    return read_places(folder).ecash


@asynccontextmanager
async def open_purse(folder: MarketFolder) -> AsyncIterator[PursePort]:
    """Open a member's ecash for its owner, and close it; InputError if it has none."""
    ecash = open_ecash(name_ecash(folder), folder)
    if ecash is None:
        fix = f"this member has no ecash: it was made without --ecash {FORMS}"
        raise InputError("--folder", str(folder.root), fix)
    try:
        yield ecash
    finally:
        await ecash.close()


@asynccontextmanager
async def hold_purse(folder: MarketFolder, *, waits: bool = True) -> AsyncIterator[bool]:
    """Wait until no other command moves this member's ecash, and keep others waiting.

    waits=False: where another does, go on without (False is yielded), to look and move nothing.
    """
    try:
        lock = (folder.root / LOCK).open("wb")
    except OSError as error:
        raise StoreError(f"{folder.root / LOCK}: {error.strerror}") from error
    with lock:
        while not (is_held := _try_lock(lock.fileno())) and waits:
            await asyncio.sleep(POLL_S)
        yield is_held


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
