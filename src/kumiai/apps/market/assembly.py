"""Put one member's node together: machine, journal, relays, blobs, wallet, work."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from kumiai.adapters.blobs import sealed
from kumiai.adapters.blobs.client import HttpBlobs
from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.apps.market.folder import MarketFolder
from kumiai.base.errors import InputError
from kumiai.nodes.market.carry_blobs import BlobCarrier
from kumiai.nodes.market.carry_ecash import EcashCarrier
from kumiai.nodes.market.carry_money import MoneyCarrier
from kumiai.nodes.market.carry_work import CustomerWork, ProviderWork
from kumiai.nodes.market.carrying import Carriers, Insisting
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.node import MarketNode, NodeTimes, Observer, Silent
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.ports import EcashPort, WalletPort
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.work import CustomerWorkPort, ProviderWorkPort

LOOK_FIRST_S = 0.05  # first wait between two looks at a payment
LOOK_LAST_S = 10.0
PURSE_CHARS = 32  # of the folder's key, in the name by which its wallet knows its money
THREADS = 3  # one for work, one for sealing and hashing, one to spare


def get_now_s() -> int:
    """Unix seconds."""
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Services:
    """Where a member's relays and blob servers are, and its purses. The wallet is closed by its
    opener.
    """

    relays: Sequence[str]
    blobs: Sequence[str]
    wallet: WalletPort
    ecash: EcashPort | None = None

    def check(self) -> None:
        """InputError unless there is at least one relay and one blob server."""
        if not self.relays:
            fix = "name at least one: --relay ws://..., or start one with `kumiai relay`"
            raise InputError("--relay", "", fix)
        if not self.blobs:
            fix = "name at least one: --blobs http://..., or start one with `kumiai blobs`"
            raise InputError("--blobs", "", fix)


@dataclass(slots=True)
class Member:
    """A running node and what it holds open; `async with` it."""

    node: MarketNode[Any]
    blobs: LocalBlobs
    relays: Relays
    intents: SqliteIntents
    _close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.node.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.node.stop()
        task, self._task = self._task, None
        try:
            if task is not None:
                await task
        finally:
            for close in reversed(self._close):
                await close()

    @property
    def task(self) -> asyncio.Task[None]:
        """The loop of the node, which ends with an error or by `stop`."""
        if self._task is None:
            raise ValueError("the member is not running")
        return self._task


def assemble(
    folder: MarketFolder,
    machine: Any,
    commands: Sequence[type],
    services: Services,
    *,
    name: str,
    provider_work: ProviderWorkPort | None = None,
    customer_work: CustomerWorkPort | None = None,
    observer: Observer | None = None,
    times: NodeTimes | None = None,
) -> Member:
    """Make a member's node. name, and the folder's key: part of the keys by which its money moves;
    never change them.

    Call it inside the event loop that will run it.
    """
    services.check()
    key = folder.read_key()
    watcher = observer or Silent()
    patience = Patience()
    insisting = Insisting(patience, watcher.on_trouble)
    blobs = LocalBlobs(folder.blobs_path)
    remote = HttpBlobs(key, services.blobs)
    relays = Relays(services.relays, key)
    journal = SqliteMarketJournal(folder.journal_path, name)
    intents = SqliteIntents(folder.money_path)
    cashier = Cashier(services.wallet, intents, bolt11.decode, get_now_s)
    threads = ThreadPoolExecutor(THREADS)
    work_threads = ThreadPoolExecutor(1)
    looking = Patience(first_s=LOOK_FIRST_S, last_s=LOOK_LAST_S)
    purse = f"{name}-{key.pubkey[:PURSE_CHARS]}"  # two jobs of one owner may share a wallet
    carriers: dict[type, Any] = {
        **BlobCarrier(blobs, remote, sealed, get_now_s, insisting, threads).list_carriers(),
        **MoneyCarrier(purse, cashier, intents, insisting, looking).list_carriers(),
    }
    if provider_work is not None:
        carriers.update(ProviderWork(provider_work, insisting, work_threads).list_carriers())
    if customer_work is not None:
        carriers.update(CustomerWork(customer_work, insisting, work_threads).list_carriers())
    if services.ecash is not None:
        carriers.update(EcashCarrier(purse, services.ecash, insisting).list_carriers())
    node: MarketNode[Any] = MarketNode(
        machine,
        InputCodec(*commands),
        journal,
        relays,
        key,
        _as_carriers(carriers),
        get_now_s,
        secrets.token_bytes,
        times=times,
        observer=watcher,
    )

    async def close_files() -> None:
        journal.close()
        intents.close()
        threads.shutdown(wait=False, cancel_futures=True)
        work_threads.shutdown(wait=False, cancel_futures=True)

    return Member(node, blobs, relays, intents, [close_files, remote.close, relays.close])


def _as_carriers(carriers: dict[type, Any]) -> Carriers:
    return carriers
