"""One whole job in a simulated market, drawn from a seed: who takes part, how it pays, who cheats.

`play_job` runs it under faults at every step, lets the world heal, and compares what the members
believe about their money with the bank's books.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from kumiai.adapters.sim.market.checks import check_budget, check_money, check_paid_once
from kumiai.adapters.sim.market.faults import CALM, ROUGH, Chance, Faults
from kumiai.adapters.sim.market.member import PlainCodec, SimMember
from kumiai.adapters.sim.market.programs import carry_out
from kumiai.adapters.sim.market.world import MarketWorld
from kumiai.base.keys import derive_key
from kumiai.market import customer as c
from kumiai.market import effects as fx
from kumiai.market import provider as p
from kumiai.market.fees import compute_fee_max
from kumiai.market.kinds import Policy
from kumiai.market.terms import BlobRef, JobTerms

RUN_S: Final = 6 * 3600  # under faults, at most
HEAL_S: Final = 30 * 3600  # without any: long enough for every lock and refund
PRICE_MSAT: Final = 1_000
CHEATS: Final = ("", "", "", "garbage", "liar", "vanishes", "copies", "overcharges", "no key")


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a seed says of a job."""

    seed: int
    policy: Policy
    rounds: int
    shards: int
    redundancy: int
    cheats: tuple[str, ...]  # of the providers, "" for an honest one
    budget_msat: int
    is_sealed: bool
    is_cancelled: bool


@dataclass(slots=True)
class JobReport:
    """What came of it. flaws: sentences; an empty list is a good job."""

    plan: JobPlan
    phase: str = ""
    outcome: str = ""
    rounds_done: int = 0
    paid_msat: int = 0
    crashes: int = 0
    steps: int = 0
    events: int = 0
    flaws: list[str] = field(default_factory=list)


def draw_plan(seed: int, policies: tuple[Policy, ...] = tuple(Policy)) -> JobPlan:
    """Return the job of a seed."""
    chance = Chance(seed, CALM)
    shards, redundancy = chance.between(1, 3), chance.between(1, 2)
    count = shards * redundancy + chance.between(0, 2)
    rounds = chance.between(1, 3)
    full = rounds * shards * redundancy * (PRICE_MSAT + 10)
    fees = shards * redundancy * compute_fee_max(PRICE_MSAT)
    return JobPlan(
        seed=seed,
        policy=policies[chance.between(0, len(policies) - 1)],
        rounds=rounds,
        shards=shards,
        redundancy=redundancy,
        cheats=tuple(CHEATS[chance.between(0, len(CHEATS) - 1)] for _ in range(count)),
        budget_msat=(full * 3 if chance.between(0, 3) else full * 2 // 3) + fees,
        is_sealed=chance.between(0, 2) == 0,
        is_cancelled=chance.between(0, 9) == 0,
    )


def make_world(plan: JobPlan, faults: Faults = ROUGH) -> MarketWorld:
    """Return the plan's world: a `customer` and providers `p0`, `p1`, ..., all told to begin."""
    key = derive_key(b"sim market", f"customer {plan.seed}")
    budget = check_budget(key.pubkey, plan.budget_msat)
    world = MarketWorld(plan.seed, carry_out, faults, (check_money, check_paid_once, budget))
    arbiter = derive_key(b"sim market", f"arbiter {plan.seed}").pubkey
    customer = c.Customer(_plan_customer(plan, world, key.pubkey, arbiter))
    codec = PlainCodec(c.Begin, c.Accept, c.Cancel, c.Rate)
    world.add(SimMember("customer", key, customer, codec), 2 * plan.budget_msat)
    for number, cheat in enumerate(plan.cheats):
        own = derive_key(b"sim market", f"provider {plan.seed} {number}")
        policy = p.ProviderPolicy(
            pubkey=own.pubkey,
            secret=own.secret.hex(),
            name=f"p{number}",
            price_msat=PRICE_MSAT + number,
            payee=f"02{own.pubkey}",
            payment=tuple(dict.fromkeys((plan.policy, *Policy))),
            ecash=f"02{own.pubkey}",
            train_s=10,
        )
        commands = PlainCodec(p.Start, p.Leave, p.Pause, p.Dispute, p.RateCustomer)
        member = SimMember(f"p{number}", own, p.Provider(policy), commands)
        member.twist = _TWISTS[cheat](world, member)
        world.add(member)
        world.say(member.name, p.Start())
    world.say("customer", c.Begin())
    return world


def play_job(
    seed: int, faults: Faults = ROUGH, policies: tuple[Policy, ...] = tuple(Policy)
) -> JobReport:
    """Run the job of a seed to its end. Raises InternalError where a check fails on the way."""
    plan = draw_plan(seed, policies)
    world = make_world(plan, faults)
    if plan.is_cancelled:
        world.run(world.chance.between(1, 300))
        world.say("customer", c.Cancel())
    world.run(RUN_S, _is_closed)
    world.heal()
    world.run(HEAL_S, _is_quiet)
    state = world.members["customer"].state
    report = JobReport(plan, str(state.phase), state.outcome)
    report.rounds_done = len([done for done in state.history if done.accepted])
    report.paid_msat = sum(m.paid_msat for m in state.members.values())
    report.crashes, report.steps, report.events = world.crashes, world.steps, len(world.hidden)
    report.flaws = find_flaws(world)
    return report


def find_flaws(world: MarketWorld) -> list[str]:
    """Compare what members believe with the bank, once the world has come to rest."""
    customer = world.members["customer"]
    state = customer.state
    flaws = []
    if state.phase is not c.Phase.CLOSED:
        flaws.append(f"the job is not closed but {state.phase}")
    if world.bank.held_msat:
        flaws.append(f"{world.bank.held_msat} msat are locked for ever")
    left = world.bank.get_out_msat(customer.key.pubkey)
    spent = [work for work in state.works.values() if work.payment == "settled"]
    spent += [w for w in state.works.values() if w.stage == "paid" and w not in spent]
    believed = sum(work.price_msat for work in spent)
    if left != believed:
        flaws.append(f"the customer believes that it paid {believed} msat, the bank says {left}")
    for member in world.members.values():
        if member is not customer:
            flaws += _find_provider_flaws(world, member, state)
    return flaws


def _find_provider_flaws(world: MarketWorld, member: SimMember, state: Any) -> list[str]:
    flaws = []
    received = world.bank.accounts[member.key.pubkey]
    believed = member.state.earned_msat
    if received != believed:
        flaws.append(f"{member.name} believes that it received {believed} msat, not {received}")
    standing = state.members.get(member.key.pubkey)
    said = standing.paid_msat if standing is not None else 0
    accepted = standing.accepted if standing is not None else 0
    owed = accepted * standing.offer.terms.price_msat if standing is not None else 0
    if member.twist is _do_as_asked and owed > received:
        flaws.append(f"{member.name} is honest, {owed} msat were accepted, it has {received}")
    if not accepted and received and "fair" not in {str(state.terms.payment[0])}:
        flaws.append(f"{member.name} received {received} msat and nothing of it was accepted")
    if said != received:
        flaws.append(f"the customer counts {said} msat for {member.name}, it has {received}")
    return flaws


def _is_closed(world: MarketWorld) -> bool:
    member = world.members["customer"]
    return member.is_up and member.state.phase is c.Phase.CLOSED


def _is_quiet(world: MarketWorld) -> bool:
    if not _is_closed(world) or world.bank.held_msat or world.answers_under_way:
        return False
    busy = [name for m in world.members.values() if m.is_up for name in m.running]
    return not busy and all(member.is_up for member in world.members.values())


def _plan_customer(plan: JobPlan, world: MarketWorld, own: str, arbiter: str) -> c.CustomerPlan:
    terms = JobTerms(
        task=BlobRef("0" * 64, 1),
        recipe="mlp",
        algorithm="fedavg",
        rounds=plan.rounds,
        shards=plan.shards,
        redundancy=plan.redundancy,
        samples=100,
        shard_bytes=10_000,
        model_bytes=10_000,
        update_bytes_max=10_000,
        input_shape=(8,),
        class_count=10,
        train_s=120,
        reveal_s=60,
        judge_s=60,
        bid_msat=5_000,
        payment=(plan.policy,),
        arbiter=f"02{arbiter}" if plan.policy is Policy.ESCROW else "",
    )
    return c.CustomerPlan(
        pubkey=own,
        secret=own,
        terms=terms,
        task=world.blobs.put(b"task"),
        code="",
        model=world.blobs.put(b"model 0"),
        shards=tuple(world.blobs.put(f"shard {i}".encode()) for i in range(plan.shards)),
        sample_counts=tuple(100 for _ in range(plan.shards)),
        budget_msat=plan.budget_msat,
        relays=("ws://127.0.0.1:1",),
        offers_s=30,
        is_sealed=plan.is_sealed,
        has_fees=True,
    )


# -- cheats: what a dishonest provider does instead --

Twist = Callable[[fx.Effect], fx.Effect | None]
Cheat = Callable[[MarketWorld, SimMember], Twist]


def _honest(world: MarketWorld, member: SimMember) -> Twist:
    return _do_as_asked


def _do_as_asked(effect: fx.Effect) -> fx.Effect | None:
    return effect


def _vanishes(world: MarketWorld, member: SimMember) -> Twist:
    return lambda effect: None if isinstance(effect, fx.Train) else effect


def _no_key(world: MarketWorld, member: SimMember) -> Twist:
    def twist(effect: fx.Effect) -> fx.Effect | None:
        return None if effect.key.startswith("publish/key/") else effect

    return twist


def _stores_instead(prefix: str) -> Cheat:
    """Delivers other bytes than it trained, under a commitment to those."""

    def cheat(world: MarketWorld, member: SimMember) -> Twist:
        def twist(effect: fx.Effect) -> fx.Effect | None:
            if isinstance(effect, fx.Store):
                blob = world.blobs.put(f"{prefix} {member.name} {effect.key}".encode())
                return fx.Store(effect.key, blob, effect.seal_key)
            return effect

        return twist

    return cheat


def _copies(world: MarketWorld, member: SimMember) -> Twist:
    """Delivers the sealed bytes of whoever delivered before."""

    def twist(effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Store):
            others = list(world.blobs.opened.values())
            goods = [one for one in others if world.blobs.data[one].startswith(b"good")]
            if goods:
                return fx.Store(effect.key, goods[0], effect.seal_key)
        return effect

    return twist


def _overcharges(world: MarketWorld, member: SimMember) -> Twist:
    def twist(effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.MakeInvoice):
            more = 10 * effect.amount_msat
            return fx.MakeInvoice(
                effect.key, more, effect.expiry_s, "", effect.payment_hash, effect.preimage
            )
        return effect

    return twist


_TWISTS: dict[str, Cheat] = {
    "": _honest,
    "garbage": _stores_instead("garbage"),
    "liar": _stores_instead("useless"),
    "vanishes": _vanishes,
    "copies": _copies,
    "overcharges": _overcharges,
    "no key": _no_key,
}
