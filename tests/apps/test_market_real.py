"""Committees, juries and escrow over real relays, blobs and money: what the demo does not show."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("nostr_sdk", reason="the extra `market` is not installed")
pytest.importorskip("granian", reason="the extra `market` is not installed")

from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.adapters.compute.market.customer import MarketCustomer, MarketJudge
from kumiai.adapters.compute.market.provider import MarketProvider
from kumiai.adapters.nostr import embedded
from kumiai.adapters.payments.cashu.embedded import EmbeddedEcash
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.payments.nothing import NoWallet
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.apps.market import customer as buying
from kumiai.apps.market import judge as judging
from kumiai.apps.market import provider as selling
from kumiai.apps.market.assembly import Member, Services, assemble
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import JobFile, parse_job
from kumiai.apps.market.planning import make_plan
from kumiai.apps.market.purses import make_ecash_key
from kumiai.base.errors import InputError
from kumiai.market.customer import Begin, Customer, CustomerPlan, CustomerState, Phase
from kumiai.market.customer.state import Stage
from kumiai.market.judge import JudgePolicy, Judging, Sit
from kumiai.market.kinds import Policy
from kumiai.market.provider import Provider, ProviderPolicy, Start
from kumiai.nodes.market.node import NodeTimes
from kumiai.nodes.market.work import Judgement, JudgeOrder

JOB = """
name = "real"
seed = 3

[model]
recipe = "mlp"

[data]
source = "digits"
partition = "iid"
trainers = 2
holdout = 0.3

[training]
rounds = 1
local_epochs = 1
learning_rate = 0.2
slim = false

[model_rewards]
policy = "equal"

[market]
bid_sat = 10
budget_sat = 100
offers_s = 120
offers_enough = 2
train_s = 40
reveal_s = 20
judge_s = 20
payment_s = 30
payment = [{payment}]
{more}
"""
QUICK = NodeTimes(tick_s=0.2)
PATIENCE_S = 300  # for what must happen, however busy the machine is


class Town:
    """A relay, a blob server, a bank, and members whose folders lie in one place."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self.root, self.stack = root, stack
        self.bank = EmbeddedBank(root / "bank.sqlite")
        self.mint = root / "mint.sqlite"

    async def open(self) -> None:
        self.relay = await self.stack.enter_async_context(await embedded.start())
        self.server = await BlobServer.start(BlobStore(self.root / "blobs"))
        self.stack.push_async_callback(self.server.stop)
        self.stack.callback(self.bank.close)

    def place(self, name: str) -> MarketFolder:
        folder = MarketFolder(self.root / name)
        if not folder.key_path.exists():
            folder.create()
        return folder

    def serve(self, name: str, *, has_ecash: bool = False) -> Services:
        ecash = EmbeddedEcash(self.mint, make_ecash_key(self.place(name))) if has_ecash else None
        wallet = NoWallet() if name.startswith("judge") else EmbeddedWallet(self.bank, name)
        return Services((self.relay.url,), (self.server.url,), wallet, ecash)

    async def add_provider(self, name: str, payment: Policy, *, disputes: bool = False) -> Member:
        folder, services = self.place(name), self.serve(name, has_ecash=payment is Policy.ESCROW)
        info = await services.wallet.get_info()
        policy = ProviderPolicy(
            pubkey=folder.read_key().pubkey,
            secret=folder.read_secret(),
            name=name,
            price_msat=5_000,
            payee=info.payee,
            payment=(payment,),
            train_s=5,
            ecash=services.ecash.pubkey if services.ecash else "",
            disputes=disputes,
        )
        work = MarketProvider(LocalBlobs(folder.blobs_path))
        member = assemble(
            folder, Provider(policy), selling.COMMANDS, services,
            name=selling.KIND, provider_work=work, times=QUICK,
        )  # fmt: skip
        await self.stack.enter_async_context(member)
        await member.node.say(Start())
        return member

    async def add_judge(self, name: str, own: MarketCustomer, *, has_ecash: bool = False) -> Member:
        folder = self.place(name)
        policy = JudgePolicy(folder.read_key().pubkey, folder.read_secret())
        work = MarketJudge(own.job, LocalBlobs(folder.blobs_path), own.test)
        member = assemble(
            folder, Judging(policy), judging.COMMANDS, self.serve(name, has_ecash=has_ecash),
            name=judging.KIND, customer_work=work, times=QUICK,
        )  # fmt: skip
        await self.stack.enter_async_context(member)
        await member.node.say(Sit())
        return member

    def prepare(self, text: str) -> tuple[JobFile, MarketCustomer, CustomerPlan]:
        job = JobFile(*parse_job(text), self.root)
        folder = self.place("customer")
        blobs = LocalBlobs(folder.blobs_path)
        work = MarketCustomer(job.task, self.root, blobs)
        self.stack.callback(work.close)
        key, secret = folder.read_key().pubkey, folder.read_secret()
        urls = (self.relay.url,)
        plan = make_plan(job, work.prepare(), blobs, key, secret, urls, job.market.arbiter)
        return job, work, plan

    async def run(self, plan: CustomerPlan, work: object, *, has_ecash: bool) -> CustomerState:
        customer = assemble(
            self.place("customer"), Customer(plan), buying.COMMANDS,
            self.serve("customer", has_ecash=has_ecash),
            name=buying.KIND, customer_work=work, times=QUICK,  # type: ignore[arg-type]
        )  # fmt: skip
        await self.stack.enter_async_context(customer)
        await customer.node.say(Begin())
        closed = customer.node.wait_until(lambda state: state.phase is Phase.CLOSED)
        return await asyncio.wait_for(closed, PATIENCE_S)


def play(tmp_path: Path, scene) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            town = Town(tmp_path, stack)
            await town.open()
            await scene(town)

    asyncio.run(run())


def test_a_committee_of_four_judges_over_relays(tmp_path: Path) -> None:
    async def scene(town: Town) -> None:
        town.bank.fund("customer", 100_000)
        names = [f"judge {i}" for i in range(4)]
        keys = tuple(town.place(name).read_key().pubkey for name in names)
        named = ", ".join(f'"{key}"' for key in keys)
        _, work, plan = town.prepare(JOB.format(payment='"hold"', more=f"committee = [{named}]"))
        assert plan.terms.committee == keys and plan.terms.quorum == 3
        for name in names[:3]:  # one of four is not there at all
            await town.add_judge(name, work)
        providers = [await town.add_provider(f"p{i}", Policy.HOLD) for i in range(2)]
        state = await town.run(plan, work, has_ecash=False)
        assert state.outcome == "all rounds done"
        assert {w.stage for w in state.works.values()} == {Stage.PAID}
        assert set(state.votes) <= set(keys) and len(state.votes) >= 3
        for provider in providers:
            await provider.node.wait_until(lambda s: s.earned_msat == 5_000)
        assert town.bank.get_balance("customer").spendable_msat == 90_000
        town.bank.check_books()

    play(tmp_path, scene)


def test_escrow_by_ecash_and_a_jury_that_pays_what_an_unfair_customer_rejected(
    tmp_path: Path,
) -> None:
    class Unfair:
        """Judges everything as worthless, whatever it is."""

        def __init__(self, work: MarketCustomer) -> None:
            self.work = work

        def judge(self, order: JudgeOrder) -> Judgement:
            found = self.work.judge(order)
            bad = tuple(replace(one, gain=-1, value=-1) for one in found.updates)
            return replace(found, updates=bad)

        def combine(self, order):
            return self.work.combine(order)

    async def scene(town: Town) -> None:
        mint = EmbeddedEcash(town.mint, make_ecash_key(town.place("customer")))
        await mint.deposit("start", 100_000)
        await mint.close()
        juror = town.place("judge")
        arbiter = judging.get_arbiter_key(juror)
        more = f'jury = ["{juror.read_key().pubkey}"]\narbiter = "{arbiter}"\nattempts_max = 1'
        _, work, plan = town.prepare(JOB.format(payment='"escrow"', more=more))
        await town.add_judge("judge", work, has_ecash=True)
        providers = [
            await town.add_provider(f"p{i}", Policy.ESCROW, disputes=True) for i in range(2)
        ]
        running = asyncio.create_task(town.run(plan, Unfair(work), has_ecash=True))
        for provider in providers:
            paid = provider.node.wait_until(lambda s: s.earned_msat == 5_000)
            await asyncio.wait_for(paid, PATIENCE_S)
        state = await running
        assert {w.stage for w in state.works.values()} == {Stage.PAID}
        assert len(state.rulings) == 2

    play(tmp_path, scene)


def test_a_committee_that_cannot_say_its_judgement_is_refused() -> None:
    key, other = "ab" * 32, "cd" * 32
    many = JOB.replace("trainers = 2", "trainers = 51").replace("= 100\n", "= 9999\n")
    cases = [
        (many, f'committee = ["{key}"]', r"market\.committee"),
        (JOB, f'committee = ["{key}", "{other}"]\njury = ["{key}"]', r"market\.jury"),
        (JOB, 'committee = ["nobody"]', r"market\.committee = 'nobody'"),
    ]
    for text, more, named in cases:
        with pytest.raises(InputError, match=named):
            parse_job(text.format(payment='"hold"', more=more))
