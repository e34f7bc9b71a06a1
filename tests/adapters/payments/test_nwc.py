"""Wallets over NIP-47: our client at our service, in front of the embedded bank."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.adapters.payments.nwc_world import LOCK_S, open_nwc_world
from tests.adapters.payments.wallet_contract import FUNDED_MSAT, WalletContract, Wallets


class TestNwcWallet(WalletContract):
    kind = "nwc"
    has_chosen_preimage = False

    @asynccontextmanager
    async def open_wallets(self, folder: Path) -> AsyncIterator[Wallets]:
        async with open_nwc_world(folder, FUNDED_MSAT) as world:
            yield Wallets(world.payer, world.payee, world.clock.pass_time, LOCK_S)
