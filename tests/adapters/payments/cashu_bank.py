"""Members with wallets at a real mint, for the tests."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.adapters.payments.ecash_contract import FUNDED_MSAT, Bank

from kumiai.adapters.payments.cashu.purse import CashuPurse
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError

SWAP_FEE_MSAT = 1_000  # nutshell's tenth of a satoshi for each of a few pieces, rounded up
POLL_S = 0.1


def open_wallet(url: str, folder: Path, name: str) -> CashuPurse:
    """Keys are fresh for every test: the mint remembers what was spent."""
    return CashuPurse(url, derive_key(str(folder / name).encode(), "ecash"), folder / name)


async def fund(wallet: CashuPurse, amount_msat: int = FUNDED_MSAT) -> None:
    quote = await wallet.request_funds("funds", amount_msat)
    assert quote.bolt11.startswith("ln")
    await claim(wallet, "funds", amount_msat)


async def claim(wallet: CashuPurse, key: str, amount_msat: int, ended_by: str = "\0") -> None:
    """Ask until the mint has seen its invoice paid; an error with the words `ended_by` ends it."""
    while True:
        try:
            assert await wallet.claim_funds(key) == amount_msat
            return
        except WalletError as error:
            if not error.is_retriable or ended_by in str(error):
                raise
        await asyncio.sleep(POLL_S)


async def wait_until(second: int) -> None:
    while time.time() <= second + 0.2:
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def open_bank(url: str, folder: Path) -> AsyncIterator[Bank]:
    names = ("customer", "provider", "committee", "thief")
    members = [open_wallet(url, folder, name) for name in names]
    await fund(members[0])
    try:
        yield Bank(*members, time.time, wait_until, SWAP_FEE_MSAT)
    finally:
        for member in members:
            await member.close()
