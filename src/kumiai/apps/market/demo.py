"""`kumiai demo --scenario market`: a customer and nine providers that never met, on one machine.

Two relays and a blob server listen on loopback sockets; the wallets are accounts of an embedded
bank with real BOLT11 invoices and hold invoices. Five providers win the contracts. One of them
delivers nothing and lies about its metrics, one delivers noise, one vanishes, one copies; four
others, who asked a little more, take their places.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.adapters.compute.market.customer import MarketCustomer
from kumiai.adapters.compute.market.provider import MarketProvider
from kumiai.adapters.nostr import embedded
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.sim.market_cheats import Vanishing
from kumiai.adapters.sim.market_work import CopyingWork, GarbageWork, IdleWork
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.apps.market.assembly import Member, Services, assemble
from kumiai.apps.market.customer import COMMANDS as CUSTOMER_COMMANDS
from kumiai.apps.market.customer import KIND as CUSTOMER
from kumiai.apps.market.customer import is_closed, is_settled, save_job, write_result
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import JobFile, parse_job
from kumiai.apps.market.page import write_names
from kumiai.apps.market.places import Places
from kumiai.apps.market.planning import make_plan
from kumiai.apps.market.provider import COMMANDS as PROVIDER_COMMANDS
from kumiai.apps.market.provider import KIND as PROVIDER
from kumiai.apps.market.provider import save_provider
from kumiai.apps.market.running import SENT_S
from kumiai.apps.market.summary import Acquaintance
from kumiai.base.errors import RunFailedError
from kumiai.market.customer import (
    Begin,
    Customer,
    CustomerPlan,
    CustomerState,
)
from kumiai.market.kinds import TOPIC, Policy
from kumiai.market.nips.nip01 import Filter, encode_event
from kumiai.market.provider import (
    Provider,
    ProviderPolicy,
    Start,
)
from kumiai.nodes.market.node import NodeTimes
from kumiai.nodes.market.ports import Balance
from kumiai.nodes.market.work import ProviderWorkPort, Trained, TrainOrder

FUNDS_MSAT = 2_000_000
BANK_FILE = "bank.sqlite"
COPY_WAIT_S = 20.0
SETTLE_S = 120.0  # for every provider's wallet to have said what the customer's said

JOB = """
name = "market-demo"
seed = {seed}

[model]
recipe = "mlp"

[data]
source = "digits"
partition = "iid"
trainers = 5
holdout = 0.2
test = 0.2

[training]
rounds = 6
local_epochs = 3
learning_rate = 0.2
weighting = "samples"
slim = false

[model_rewards]
policy = "equal"

[market]
bid_sat = 25
budget_sat = 1000
payment = ["hold"]
offers_s = 5
offers_enough = 9
accept_s = 20
train_s = 12
reveal_s = 10
judge_s = 20
payment_s = 30
min_gain_ppm = -20000
peer_margin_ppm = 100000
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """One provider of the demo: its name, what it does, and its price."""

    name: str
    conduct: str
    price_sat: int


CAST = (
    Cast("Aoi", "honest", 18),
    Cast("Uso", "lies", 18),
    Cast("Zatsu", "garbage", 18),
    Cast("Kieta", "vanishes", 18),
    Cast("Mane", "copies", 18),
    Cast("Hana", "honest", 20),
    Cast("Riku", "honest", 20),
    Cast("Sora", "honest", 20),
    Cast("Umi", "honest", 20),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo gave: the customer's state, accuracy of its model, and everybody's money."""

    cast: tuple[Cast, ...]
    keys: dict[str, str]  # name -> public key
    state: CustomerState
    plan: CustomerPlan
    test_loss_ppm: int
    test_accuracy_ppm: int
    balances: dict[str, Balance]
    funded_msat: int
    event_count: int
    event_bytes: int  # on each relay
    accuracy_start_ppm: int
    seconds: float
    folder: Path


Tell = Callable[[CustomerPlan, CustomerState, dict[str, str]], None]


@dataclass(frozen=True, slots=True)
class Script:
    """What is played: a job file and who offers. copied: whom a copier copies."""

    job: str
    cast: tuple[Cast, ...]
    copied: str = ""
    funds_msat: int = FUNDS_MSAT


def make_script(seed: int) -> Script:
    """Return the demo's own script."""
    return Script(JOB.format(seed=seed), CAST, copied=CAST[0].name)


async def play(folder: Path, script: Script, tell: Tell) -> Outcome:
    """Play a script in `folder`; RunFailedError if the customer does not get its model."""
    async with AsyncExitStack() as stack:
        return await _play(folder, script, tell, stack)


async def _play(folder: Path, script: Script, tell: Tell, stack: AsyncExitStack) -> Outcome:
    began = time.monotonic()
    job = JobFile(*parse_job(script.job), folder)
    relays = [await stack.enter_async_context(await embedded.start()) for _ in range(2)]
    server = await BlobServer.start(BlobStore(folder / "blob-server"))
    stack.push_async_callback(server.stop)
    bank = EmbeddedBank(folder / BANK_FILE)
    stack.callback(bank.close)
    urls = tuple(relay.url for relay in relays)
    places = _open_places(folder, ["customer", *(one.name for one in script.cast)])
    keys = {name: place.read_key().pubkey for name, place in places.items()}

    def serve(name: str) -> Services:
        return Services(urls, (server.url,), EmbeddedWallet(bank, name))

    members: dict[str, Member] = {}
    for one in script.cast:
        victim = members.get(script.copied)
        member = await _make_provider(one, places[one.name], serve(one.name), victim)
        members[one.name] = await stack.enter_async_context(member)
        await member.node.say(Start())
    services = serve("customer")
    bank.fund("customer", script.funds_msat)
    blobs = LocalBlobs(places["customer"].blobs_path)
    work = MarketCustomer(job.task, folder, blobs)
    stack.callback(work.close)
    secret = places["customer"].read_secret()
    plan = make_plan(job, work.prepare(), blobs, keys["customer"], secret, urls)
    meeting = Places(urls, (server.url,), _name_wallet(folder, "customer"))
    save_job(places["customer"], script.job, folder, meeting, plan)
    customer = assemble(
        places["customer"],
        Customer(plan),
        CUSTOMER_COMMANDS,
        services,
        name=CUSTOMER,
        customer_work=work,
        times=NodeTimes(tick_s=0.25),
        observer=_Watcher(tell, plan, keys),
    )
    await stack.enter_async_context(customer)
    await customer.node.say(Begin())
    state = await _wait_for_end(customer)
    if state.outcome != "all rounds done":
        raise RunFailedError(f"the market's demo ended early: {state.outcome}")
    state = await _let_settle(members, customer, keys)
    loss, accuracy = work.measure(state.model, work.test)
    _, accuracy_start = work.measure(plan.model, work.test)
    known = {keys[one.name]: Acquaintance(one.name, one.conduct) for one in script.cast}
    write_names(places["customer"], known)
    write_result(places["customer"], state, work)
    events = await customer.relays.fetch([Filter(tags={"t": (TOPIC,)})])
    balances = {name: bank.get_balance(name) for name in keys}
    bank.check_books()
    return Outcome(
        script.cast,
        keys,
        state,
        plan,
        loss,
        accuracy,
        balances,
        script.funds_msat,
        len(events),
        sum(len(encode_event(event)) for event in events),
        accuracy_start,
        time.monotonic() - began,
        folder,
    )


def _open_places(folder: Path, names: Sequence[str]) -> dict[str, MarketFolder]:
    places = {name: MarketFolder(folder / name) for name in names}
    for place in places.values():
        place.create()
    return places


async def _wait_for_end(customer: Member) -> CustomerState:
    """The closed job; what ended the customer's node, if it ended before."""
    closing = asyncio.create_task(customer.node.wait_until(is_closed))
    await asyncio.wait([closing, customer.task], return_when=asyncio.FIRST_COMPLETED)
    if not closing.done():
        closing.cancel()
        await customer.task
    await customer.node.wait_sent(SENT_S)
    state: CustomerState = closing.result()
    return state


async def _make_provider(
    one: Cast, place: MarketFolder, services: Services, victim: Member | None
) -> Member:
    info = await services.wallet.get_info()
    key = place.read_key()
    policy = ProviderPolicy(
        pubkey=key.pubkey,
        secret=place.read_secret(),
        name=one.name,
        price_msat=one.price_sat * 1_000,
        payee=info.payee,
        payment=(Policy.HOLD,),
        train_s=5,
    )
    wallet = _name_wallet(place.root.parent, one.name)
    save_provider(place, policy, Places(tuple(services.relays), tuple(services.blobs), wallet))
    machine: Any = Provider(policy)
    if one.conduct == "vanishes":
        machine = Vanishing(machine)
    blobs = LocalBlobs(place.blobs_path)
    honest = MarketProvider(blobs)
    work: ProviderWorkPort = honest
    if one.conduct == "lies":
        work = IdleWork(honest, blobs)
    elif one.conduct == "garbage":
        work = GarbageWork(honest, blobs)
    elif one.conduct == "copies" and victim is not None:
        work = CopyingWork(honest, lambda order: _steal(order, victim, blobs))
    return assemble(
        place,
        machine,
        PROVIDER_COMMANDS,
        services,
        name=PROVIDER,
        provider_work=work,
        times=NodeTimes(tick_s=0.25),
    )


def _name_wallet(folder: Path, name: str) -> str:
    return f"embedded:{folder / BANK_FILE}#{name}"


def _steal(order: TrainOrder, victim: Member, blobs: LocalBlobs) -> Trained | None:
    """Take the open update of the victim's own disk: more than any relay or server would show."""
    until = time.monotonic() + COPY_WAIT_S
    while time.monotonic() < until:
        for work in victim.node.state.works.values():
            if work.request.terms.round == order.round and work.result:
                data = victim.blobs.get(work.update, 2**24)
                blob = blobs.put(data)
                return Trained(
                    blob, len(data), work.samples, work.iterations, work.flop, work.loss_ppm
                )
        time.sleep(0.05)
    return None


async def _let_settle(
    members: dict[str, Member], customer: Member, keys: dict[str, str]
) -> CustomerState:
    """Until every provider's own wallet has said what the customer's said; return its state.

    Money that was locked for work that was rejected comes back after the end.
    """
    settled = customer.node.wait_until(is_settled)
    state: CustomerState = await asyncio.wait_for(settled, SETTLE_S)
    paid = {member.provider: member.paid_msat for member in state.members.values()}
    for name, member in members.items():
        wanted = paid.get(keys[name], 0)
        done = member.node.wait_until(lambda s, wanted=wanted: s.earned_msat >= wanted)
        await asyncio.wait_for(done, SETTLE_S)
    return state


class _Watcher:
    """Passes the customer's state on."""

    def __init__(self, tell: Tell, plan: CustomerPlan, keys: dict[str, str]) -> None:
        self._tell, self._plan, self._keys = tell, plan, keys

    def on_step(self, state: Any, effects: Any) -> None:
        self._tell(self._plan, state, self._keys)

    def on_rejected(self, rejected: Any) -> None: ...

    def on_trouble(self, what: str, error: Exception) -> None: ...
