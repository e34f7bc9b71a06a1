"""Judging by several: a quorum decides, a liar changes nothing, a jury mends a wrong verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.market.small_world import Member, World, judge_by_name, make_market

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Begin, Phase
from kumiai.market.customer.state import Stage
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import Code, Kind, Policy, Ruling
from kumiai.market.provider import Provider, Start
from kumiai.market.provider.state import Stage as Work
from kumiai.nodes.market.letterbox import sign_draft

JUDGES = [derive_key(b"judge", str(i)) for i in range(4)]
KEYS = tuple(key.pubkey for key in JUDGES)


def start(world: World, customer: Member, providers: list[Member]) -> None:
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    world.run()


def add_judges(world: World) -> list[Member]:
    policies = [JudgePolicy(key.pubkey, key.secret.hex()) for key in JUDGES]
    pairs = zip(policies, JUDGES, strict=True)
    return [world.add(f"judge {p.pubkey}", Judging(p), key) for p, key in pairs]


def say_no(effect: fx.Judge) -> fx.Judged:
    lines = tuple(fx.JudgedLine(name, -9_000, -9_000, 1) for name, _, _ in effect.candidates)
    return fx.Judged(effect.key, 9_000_000, 1, lines)


def lie(member: Member, effect: fx.Effect) -> fx.Effect | None:
    """This judge finds every update bad, whatever it is."""
    if not isinstance(effect, fx.Judge):
        return effect
    member.take(say_no(effect))
    return None


def test_one_liar_of_four_judges_changes_nothing() -> None:
    world, customer, providers = make_market(committee=KEYS, quorum=3)
    add_judges(world)[2].twist = lie
    start(world, customer, providers)
    world.pass_time(100)
    state = customer.state
    assert [done.accepted for done in state.history] == [3, 3, 3]
    assert [done.loss_ppm for done in state.history] == [1_999_000, 1_998_000, 1_997_000]
    assert all(work.stage is Stage.PAID for work in state.works.values())


def test_without_a_quorum_nobody_is_paid_and_nobody_is_stained() -> None:
    world, customer, providers = make_market(
        committee=KEYS, quorum=3, plan={"attempts_max": 1}, rounds=1
    )
    judges = add_judges(world)
    judges[0].twist = judges[1].twist = lie
    start(world, customer, providers)
    world.pass_time(100)
    works = list(customer.state.works.values())
    assert {work.code for work in works} == {Code.NOT_JUDGED}
    assert {work.ruling for work in works} == {Ruling.INCONCLUSIVE}
    assert all(member.faults == 0 for member in customer.state.members.values())
    assert world.bank.balances[customer.key.pubkey] == 1_000_000


def test_a_stranger_cannot_vote() -> None:
    world, customer, providers = make_market(committee=KEYS[:1], quorum=1, rounds=1)
    judges = add_judges(world)
    judges[0].twist = lambda _m, effect: None if isinstance(effect, fx.Judge) else effect
    start(world, customer, providers)
    world.pass_time(15)
    key = next(key for key in judges[0].state.pending if key.startswith("judge/"))
    session = judges[0].state.sessions[key.split("/")[1]]
    draft = next(
        effect
        for effect in _judge(judges[0], judge_by_name(judges[0].state.pending[key]))
        if isinstance(effect, fx.Publish)
    )
    world.carry_out(judges[1], draft)
    assert session.round == 1
    assert not customer.state.votes
    assert [r.reject.reason for r in customer.rejected] == ["not-a-judge"]
    world.carry_out(judges[0], draft)
    world.pass_time(10)
    assert customer.state.history[0].accepted == 3


def _judge(judge: Member, judged: fx.Judged) -> tuple[fx.Effect, ...]:
    outcome = judge.machine.step(judge.state, judge.world.now_s, judged)
    return outcome.effects


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.INVOICE, Policy.ESCROW])
def test_a_jury_pays_what_the_customer_rejected(policy: Policy) -> None:
    jury = KEYS[:3]
    world, customer, providers = make_market(
        (policy,), jury=jury, arbiter="02" + "ab" * 32, rounds=1, plan={"attempts_max": 1}
    )
    before = world.bank.total
    add_judges(world)
    for provider in providers:
        own = provider.machine.policy
        provider.machine = Provider(replace(own, disputes=True))
    customer.twist = lie
    start(world, customer, providers)
    world.pass_time(60)
    works = list(customer.state.works.values())
    assert [work.stage for work in works] == [Stage.PAID] * 3
    assert sum(p.state.earned_msat for p in providers) == 3_003
    assert world.bank.total == before
    assert {w.stage for p in providers for w in p.state.works.values()} == {Work.PAID}


def test_a_jury_that_agrees_with_the_customer_gives_the_money_back() -> None:
    world, customer, providers = make_market(jury=KEYS[:3], rounds=1, plan={"attempts_max": 1})
    add_judges(world)
    world.judging = say_no
    for provider in providers:
        own = provider.machine.policy
        provider.machine = Provider(replace(own, disputes=True))
    start(world, customer, providers)
    world.pass_time(100)
    assert customer.state.phase is Phase.CLOSED
    stages: set[Any] = {w.stage for p in providers for w in p.state.works.values()}
    assert stages == {Work.REJECTED}
    assert world.bank.balances[customer.key.pubkey] == 1_000_000


@pytest.mark.parametrize("servers", [("http://x/" + "a" * 3_900,), ("http://x/" + "é" * 1_800,), 8])
def test_no_provider_makes_a_judging_request_too_big_to_be_said(servers: Any) -> None:
    """Ten honest ones with eight servers each did it, or one alone: no judge was ever asked."""
    world, customer, providers = make_market(
        committee=KEYS[:1], quorum=1, rounds=1, shards=10, providers=10
    )
    add_judges(world)
    if servers == 8:
        named, authors = tuple(f"https://blobs-{n}.{'a' * 44}.example" for n in range(8)), providers
    else:
        named, authors = servers, providers[:1]
    for provider in authors:
        provider.twist = name_servers(named)
    said: list[fx.Publish] = []

    def watch(_member: Member, effect: fx.Effect) -> fx.Effect:
        if isinstance(effect, fx.Publish):
            said.append(effect)
        return effect

    customer.twist = watch
    start(world, customer, providers)
    world.pass_time(100)
    requests = [effect.draft for effect in said if effect.draft.kind is Kind.JUDGING]
    assert requests
    for draft in requests:
        sign_draft(customer.key, draft, world.now_s, bytes)
    assert customer.state.history[0].accepted == 10
    kept = [
        len(tag[1].split("xs=")) - 1
        for draft in requests
        for tag in draft.hidden or ()
        if tag[0] == "i" and tag[4].startswith("update:")
    ]
    assert sorted(kept) == ([8] * 10 if servers == 8 else [0] + [1] * 9)


def name_servers(servers: tuple[str, ...]) -> Any:
    """This provider says that its updates lie there."""

    def twist(_member: Member, effect: fx.Effect) -> fx.Effect:
        if not isinstance(effect, fx.Publish) or effect.draft.kind is not Kind.RESULT:
            return effect
        hidden = tuple(
            (tag[0], _name(tag[1], servers), *tag[2:]) if tag[0] == "i" else tag
            for tag in effect.draft.hidden or ()
        )
        return replace(effect, draft=replace(effect.draft, hidden=hidden))

    return twist


def _name(uri: str, servers: tuple[str, ...]) -> str:
    name, size = uri.partition("?")[0], uri.rpartition("sz=")[2]
    return f"{name}?{'&'.join(f'xs={server}' for server in servers)}&sz={size}"
