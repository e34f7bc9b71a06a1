"""Two members whose wallets are reached over NIP-47 alone: a relay and a service for each."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.nostr import embedded as relay_room
from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.payments.nwc import NwcWallet
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.payments.nwc_desk import Grant
from kumiai.adapters.payments.nwc_service import NwcService
from kumiai.market.nips.nip47 import Connection

SEED = b"\x31" * 32
LOCK_S = 600
POLL_S = 0.05


class Clock:
    """The machine's time, and further where a test says so."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def __call__(self) -> int:
        return int(time.time()) + self.ahead_s

    async def pass_time(self, seconds: int) -> None:
        self.ahead_s += seconds


@dataclass
class NwcWorld:
    """payer and payee over NWC, and what is behind them."""

    clock: Clock
    relay_url: str
    bank: EmbeddedBank
    budgets: NwcBudgets
    stack: AsyncExitStack
    payer: NwcWallet
    payee: NwcWallet
    lines: dict[str, Connection]
    services: dict[str, NwcService]

    async def open_relays(self) -> Relays:
        relays = Relays([self.relay_url])
        self.stack.push_async_callback(relays.close)
        return relays

    async def open_wallet(self, line: Connection, **options: Any) -> NwcWallet:
        """Another process's wallet on the same connection: it remembers nothing."""
        wallet = NwcWallet(line, await self.open_relays(), clock=self.clock, **options)
        self.stack.push_async_callback(wallet.close)
        return wallet

    async def serve(self, name: str, *grants: Grant) -> list[Connection]:
        """Start a service before the account `name`; return its connections."""
        wallet = EmbeddedWallet(self.bank, name)
        relays = await self.open_relays()
        service = NwcService(
            wallet,
            relays,
            [self.relay_url],
            SEED + name.encode(),
            self.budgets,
            clock=self.clock,
            poll_s=POLL_S,
        )
        lines = [service.add_connection(grant) for grant in grants]
        await service.start()
        self.stack.push_async_callback(service.close)
        self.services[name] = service
        return lines


@asynccontextmanager
async def open_nwc_world(folder: Path, funded_msat: int = 10_000_000) -> AsyncIterator[NwcWorld]:
    clock = Clock()
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(await relay_room.start())
        bank = stack.enter_context(EmbeddedBank(folder / "bank.db", clock=clock, lock_s=LOCK_S))
        budgets = stack.enter_context(NwcBudgets(folder / "nwc.db"))
        bank.fund("payer", funded_msat)
        world = NwcWorld(
            clock,
            relay.url,
            bank,
            budgets,
            stack,
            None,
            None,
            {},
            {},  # type: ignore[arg-type]
        )
        for name in ("payer", "payee"):
            (world.lines[name],) = await world.serve(name, Grant(f"main {name}"))
        world.payer = await world.open_wallet(world.lines["payer"])
        world.payee = await world.open_wallet(world.lines["payee"])
        yield world
        bank.check_books()
