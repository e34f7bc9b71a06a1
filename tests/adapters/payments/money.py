"""What the tests of cashiers share: a clock, a bank with two members, a debt."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.payments.intents import MemoryIntents
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.intents import Debt, IntentStorePort
from kumiai.nodes.market.ports import WalletPort

FUNDED_MSAT = 1_000_000
LOCK_S = 600
DEBT = Debt("round", "job", 1, "ab" * 32)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000

    def __call__(self) -> int:
        return self.now_s

    async def pass_time(self, seconds: int) -> None:
        self.now_s += seconds


@dataclass
class Town:
    """A bank, its clock, a funded customer and a provider with nothing."""

    bank: EmbeddedBank
    clock: Clock
    customer: EmbeddedWallet
    provider: EmbeddedWallet

    def make_cashier(
        self, wallet: WalletPort | None = None, store: IntentStorePort | None = None
    ) -> Cashier:
        return Cashier(wallet or self.customer, store or MemoryIntents(), bolt11.decode, self.clock)

    def get_spent(self) -> int:
        return FUNDED_MSAT - self.bank.get_balance("customer").spendable_msat


@contextmanager
def open_town(folder: Path) -> Iterator[Town]:
    clock = Clock()
    with EmbeddedBank(folder / "bank.db", clock=clock, lock_s=LOCK_S) as bank:
        bank.fund("customer", FUNDED_MSAT)
        yield Town(bank, clock, EmbeddedWallet(bank, "customer"), EmbeddedWallet(bank, "provider"))
        bank.check_books()


def run(folder: Path, check: Callable[[Town], Awaitable[None]]) -> None:
    with open_town(folder) as town:
        asyncio.run(check(town))  # type: ignore[arg-type]
