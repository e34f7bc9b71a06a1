"""The embedded wallet passes the contract of all wallets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.adapters.payments.wallet_contract import FUNDED_MSAT, WalletContract, Wallets

from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet

LOCK_S = 600


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000

    def __call__(self) -> int:
        return self.now_s

    async def pass_time(self, seconds: int) -> None:
        self.now_s += seconds


class TestEmbeddedWallet(WalletContract):
    kind = "embedded"

    @asynccontextmanager
    async def open_wallets(self, folder: Path) -> AsyncIterator[Wallets]:
        clock = Clock()
        with EmbeddedBank(folder / "bank.db", clock=clock, lock_s=LOCK_S) as bank:
            bank.fund("payer", FUNDED_MSAT)
            payer, payee = EmbeddedWallet(bank, "payer"), EmbeddedWallet(bank, "payee")
            yield Wallets(payer, payee, clock.pass_time, LOCK_S)
            bank.check_books()
