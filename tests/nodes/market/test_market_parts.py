"""Nodes over the real parts: a relay's socket, a blob server, sealed files, wallets, journals.

Only the work is made up: an update is a line of text, and every line helps.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nostr_sdk", reason="needs the extra `market`")
pytest.importorskip("granian", reason="needs the extra `market`")

from tests.services.ports import reserve_port

from kumiai.adapters.blobs import sealed
from kumiai.adapters.blobs.client import HttpBlobs
from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.bank import EmbeddedBank
from kumiai.adapters.payments.embedded import EmbeddedWallet
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market import customer as c
from kumiai.market import provider as p
from kumiai.market.kinds import Policy
from kumiai.market.nips.nip01 import Filter
from kumiai.market.terms import BlobRef, JobTerms
from kumiai.nodes.market import work as w
from kumiai.nodes.market.carry_blobs import BlobCarrier
from kumiai.nodes.market.carry_money import MoneyCarrier
from kumiai.nodes.market.carry_work import CustomerWork, ProviderWork
from kumiai.nodes.market.carrying import Insisting
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.node import MarketNode, NodeTimes, Silent
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import replay

FUNDS_MSAT = 1_000_000
PATIENCE_S = 300.0  # for what must happen, however busy the machine is
COMMANDS = (c.Begin, c.Accept, c.Cancel, c.Rate, p.Start, p.Leave, p.Dispute, p.RateCustomer)
RELAY = """
import asyncio, sys
from kumiai.adapters.nostr.embedded import serve
asyncio.run(serve(port=int(sys.argv[1]), on_start=lambda url: print(url, flush=True)))
"""
PATIENCE = Patience(first_s=0.02, last_s=0.2)


class MadeUpWork:
    """Both sorts of work over a member's own blobs."""

    def __init__(self, blobs: LocalBlobs, name: str) -> None:
        self.blobs, self.name = blobs, name

    def train(self, order: w.TrainOrder) -> w.Trained:
        assert self.blobs.get(order.shard, 100).startswith(b"shard")
        assert self.blobs.get(order.model, 1_000)
        data = f"update of {self.name} {order.seed}".encode()
        return w.Trained(self.blobs.put(data), len(data), 10, 5, 100, 1)

    def judge(self, order: w.JudgeOrder) -> w.Judgement:
        for candidate in order.candidates:
            assert self.blobs.get(candidate.update, 200).startswith(b"update")
        lines = tuple(w.JudgedUpdate(one.provider, 1_000, 500, 1) for one in order.candidates)
        return w.Judgement(2_000_000, 100_000, lines)

    def combine(self, order: w.CombineOrder) -> w.Combined:
        return w.Combined(self.blobs.put(f"model {order.round} {order.included}".encode()), None)


class Town:
    """One relay, one blob server, one bank; members come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, reserve_port()
        self.troubles: list[str] = []
        self.streams_left = 0  # open at relays though their node has ended
        self.bank = EmbeddedBank(folder / "bank.db")
        self.closers: list[Any] = []
        self.nodes: dict[str, MarketNode[Any]] = {}
        self.running: dict[str, asyncio.Task[None]] = {}
        self.journals: dict[str, SqliteMarketJournal] = {}

    async def __aenter__(self) -> Town:
        self.store = BlobStore(self.folder / "server")
        self.server = await BlobServer.start(self.store)
        await self.open_relay()
        return self

    async def open_relay(self) -> None:
        """A process of its own, so that it can be killed."""
        self.relay = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RELAY, str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self.relay.stdout is not None
        assert await self.relay.stdout.readline()

    async def kill_relay(self) -> None:
        self.relay.kill()
        await self.relay.wait()

    async def __aexit__(self, *_: object) -> None:
        for name in list(self.nodes):
            await self.leave(name)
        await self.kill_relay()
        await self.server.stop()
        await self.store.close()

    def wallet(self, name: str) -> EmbeddedWallet:
        return EmbeddedWallet(self.bank, name)

    def add(self, name: str, key: SigningKey, machine: Any) -> MarketNode[Any]:
        watcher = Silent()
        watcher.on_trouble = lambda what, error: self.troubles.append(f"{name} {what}: {error}")  # type: ignore[method-assign]
        home = self.folder / name
        home.mkdir(exist_ok=True)
        blobs = LocalBlobs(home / "blobs")
        work = MadeUpWork(blobs, name)
        threads = ThreadPoolExecutor(2)
        intents = SqliteIntents(home / "money.db", is_synced=False)
        remote = HttpBlobs(key, [self.server.url])
        relays = Relays([f"ws://127.0.0.1:{self.port}"], key)
        insisting = Insisting(PATIENCE, watcher.on_trouble)
        clock: Callable[[], int] = lambda: int(time.time())  # noqa: E731
        cashier = Cashier(self.wallet(name), intents, bolt11.decode, clock)
        journal = SqliteMarketJournal(home / "market.db", name, is_synced=False)
        node: MarketNode[Any] = MarketNode(
            machine,
            InputCodec(*COMMANDS),
            journal,
            relays,
            key,
            {
                **BlobCarrier(blobs, remote, sealed, clock, insisting, threads).list_carriers(),
                **MoneyCarrier(name, cashier, intents, insisting, PATIENCE).list_carriers(),
                **ProviderWork(work, insisting, threads).list_carriers(),
                **CustomerWork(work, insisting, threads).list_carriers(),
            },
            clock,
            os.urandom,
            times=NodeTimes(0.2, 0.3, PATIENCE),
            observer=watcher,
        )
        self.closers = [intents.close, journal.close, lambda: threads.shutdown(wait=False)]
        self.nodes[name], self.journals[name] = node, journal
        self.running[name] = asyncio.create_task(self._run(name, node, remote, relays))
        return node

    async def _run(self, name: str, node: Any, remote: HttpBlobs, relays: Relays) -> None:
        closers = self.closers
        try:
            await node.run()
        finally:
            self.streams_left += len(relays._subscriptions)
            await remote.close()
            await relays.close()
            for close in closers:
                close()

    async def leave(self, name: str) -> None:
        self.nodes.pop(name).stop()
        await self.running.pop(name)


def make_customer(town: Town, rounds: int, policy: Policy) -> tuple[SigningKey, c.Customer]:
    key = derive_key(b"parts", "customer")
    blobs = LocalBlobs(town.folder / "customer" / "blobs")
    terms = JobTerms(
        task=BlobRef("0" * 64, 1),
        recipe="mlp",
        algorithm="fedavg",
        rounds=rounds,
        shards=2,
        samples=100,
        shard_bytes=1_000,
        model_bytes=1_000,
        update_bytes_max=1_000,
        input_shape=(8,),
        class_count=10,
        train_s=240,
        reveal_s=120,
        judge_s=120,
        bid_msat=5_000,
        payment=(policy,),
    )
    plan = c.CustomerPlan(
        pubkey=key.pubkey,
        secret=key.secret.hex(),
        terms=terms,
        task=blobs.put(b"task"),
        code="",
        model=blobs.put(b"model 0"),
        shards=(blobs.put(b"shard 0"), blobs.put(b"shard 1")),
        sample_counts=(100, 100),
        budget_msat=100_000,
        relays=(f"ws://127.0.0.1:{town.port}",),
        offers_s=120,  # as soon as both have offered it goes on
        offers_enough=2,
        is_sealed=True,
    )
    return key, c.Customer(plan)


def make_provider(town: Town, name: str, policy: Policy) -> tuple[SigningKey, p.Provider]:
    key = derive_key(b"parts", name)
    return key, p.Provider(
        p.ProviderPolicy(
            pubkey=key.pubkey,
            secret=key.secret.hex(),
            name=name,
            price_msat=1_000,
            payee=town.bank.add_member(name),
            payment=(policy,),
            train_s=5,
        )
    )


async def open_job(town: Town, rounds: int, policy: Policy) -> MarketNode[c.CustomerState]:
    town.bank.add_member("customer")
    town.bank.fund("customer", FUNDS_MSAT)
    for name in ("p0", "p1"):
        node = town.add(name, *make_provider(town, name, policy))
        await node.say(p.Start())
    boss = town.add("customer", *make_customer(town, rounds, policy))
    await boss.say(c.Begin())
    return boss


def check_money(town: Town, rounds: int) -> None:
    """Read before the members leave."""
    balances = {name: town.bank.get_balance(name) for name in town.nodes}
    assert balances["p0"].spendable_msat == balances["p1"].spendable_msat == 1_000 * rounds
    assert balances["customer"].spendable_msat == FUNDS_MSAT - 2_000 * rounds
    assert all(not balance.held_msat for balance in balances.values())


async def is_paid(town: Town, rounds: int) -> None:
    for name in ("p0", "p1"):
        node = town.nodes[name]
        await node.wait_until(lambda state: state.earned_msat == 1_000 * rounds)


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.FAIR, Policy.INVOICE])
def test_a_sealed_job_over_real_parts(tmp_path: Path, policy: Policy) -> None:
    async def main() -> None:
        async with Town(tmp_path) as town:
            boss = await open_job(town, 2, policy)
            await boss.wait_until(lambda state: state.phase is c.Phase.CLOSED)
            await is_paid(town, 2)
            check_money(town, 2)
            state = boss.state
            assert state.outcome == "all rounds done"
            entries = town.journals["customer"].read()
            machine = make_customer(town, 2, policy)[1]
            assert replay(machine, InputCodec(*COMMANDS), entries) == state
        assert not town.streams_left

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_members_recover_what_a_relay_forgot(tmp_path: Path) -> None:
    """The relay dies in the middle of a round and comes back empty: the job is finished."""

    async def main() -> None:
        async with Town(tmp_path) as town:
            boss = await open_job(town, 3, Policy.HOLD)
            await boss.wait_until(lambda state: state.round == 2)
            await town.kill_relay()
            await asyncio.sleep(0.3)
            await town.open_relay()
            await boss.wait_until(lambda state: state.phase is c.Phase.CLOSED)
            await is_paid(town, 3)
            check_money(town, 3)
            assert boss.state.outcome == "all rounds done"
            job = boss.state.job
            assert job is not None
            relays = Relays([f"ws://127.0.0.1:{town.port}"])
            while not await relays.fetch([Filter(ids=(job.id,))]):
                await asyncio.sleep(0.1)
            await relays.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_members_that_restart_finish_the_job(tmp_path: Path) -> None:
    async def main() -> None:
        async with Town(tmp_path) as town:
            boss = await open_job(town, 3, Policy.HOLD)
            for round_number, name in ((1, "p0"), (2, "customer"), (3, "p1")):
                await town.nodes["customer"].wait_until(lambda s, n=round_number: s.round >= n)
                await town.leave(name)
                if name == "customer":
                    boss = town.add(name, *make_customer(town, 3, Policy.HOLD))
                else:
                    town.add(name, *make_provider(town, name, Policy.HOLD))
            await boss.wait_until(lambda state: state.phase is c.Phase.CLOSED)
            await is_paid(town, 3)
            check_money(town, 3)

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
