"""The simulated market: money is conserved at every step, jobs end, and the checks can fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.sim.market import jobs
from kumiai.adapters.sim.market.bank import SimBank, Token
from kumiai.adapters.sim.market.checks import check_budget, check_money, find_amnesia
from kumiai.adapters.sim.market.faults import CALM, ROUGH
from kumiai.adapters.sim.market.member import SimMember
from kumiai.base import canonical
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InternalError
from kumiai.market import customer as c
from kumiai.market import provider as p
from kumiai.market.kinds import Policy
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.record import InputCodec

REPLAY = "python -c 'from kumiai.adapters.sim.market.jobs import *; print(play_job({seed}))'"


def check(report: jobs.JobReport) -> None:
    assert not report.flaws, f"{report.flaws}\n{REPLAY.format(seed=report.plan.seed)}"


@pytest.mark.parametrize("seed", range(8))
def test_a_calm_job_ends_and_the_books_agree(seed: int) -> None:
    check(jobs.play_job(seed, CALM))


@pytest.mark.parametrize("seed", range(8))
def test_a_job_with_faults_at_every_step_ends_and_the_books_agree(seed: int) -> None:
    check(jobs.play_job(seed, ROUGH))


@pytest.mark.parametrize("policy", tuple(Policy))
def test_every_policy_pays_the_honest_and_not_the_others(policy: Policy) -> None:
    plan = jobs.JobPlan(7, policy, 2, 2, 1, ("", "", "garbage", "vanishes"), 50_000, False, False)
    world = jobs.make_world(plan, CALM)
    assert world.run(jobs.RUN_S, jobs._is_closed)
    world.heal()
    world.run(jobs.HEAL_S, jobs._is_quiet)
    assert jobs.find_flaws(world) == []
    paid = {name: world.bank.accounts[m.key.pubkey] for name, m in world.members.items()}
    assert paid["p0"] == 2_000
    assert paid["p1"] == 2_002
    assert paid["p2"] == paid["p3"] == 0


def test_the_same_seed_gives_the_same_history() -> None:
    first, second = (jobs.make_world(jobs.draw_plan(5), ROUGH) for _ in range(2))
    for world in (first, second):
        world.run(600)
    assert first.steps == second.steps > 50
    assert first.crashes == second.crashes > 0
    for name, member in first.members.items():
        assert member.journal == second.members[name].journal


def test_a_journal_gives_the_state_after_crashes_also_through_the_real_codec() -> None:
    commands = (c.Begin, c.Accept, c.Cancel, c.Rate, p.Start, p.Leave, p.Dispute, p.RateCustomer)
    world = jobs.make_world(jobs.draw_plan(3), replace(ROUGH, crash_ppm=30_000))
    for member in world.members.values():
        member.codec = InputCodec(*commands)
        member.fold._codec = member.codec
        member.journal.clear()
        member.fold.state, member.fold.at_s = member.machine.begin(), 0
    for name in world.members:
        world.say(name, c.Begin() if name == "customer" else p.Start())
    world.run(900)
    assert world.crashes > 3
    assert find_amnesia(world) is None
    for member in world.members.values():
        for entry in member.journal:
            canonical.encode_checked(entry)


def test_a_forgotten_entry_is_found() -> None:
    world = jobs.make_world(jobs.draw_plan(3), CALM)
    world.run(120)
    world.members["customer"].journal.pop()
    assert "customer" in str(find_amnesia(world))


@pytest.mark.parametrize("broken", ["made", "lost", "overdrawn"])
def test_money_out_of_nothing_ends_the_world(broken: str) -> None:
    world = jobs.make_world(jobs.draw_plan(3), CALM)
    owner = world.members["customer"].key.pubkey
    other = world.members["p0"].key.pubkey
    if broken == "overdrawn":
        world.bank.accounts[other] += world.bank.accounts[owner] + 1
        world.bank.accounts[owner] = -1
    else:
        world.bank.accounts[owner] += 1 if broken == "made" else -1
    with pytest.raises(InternalError, match=r"seed 3, .*(msat in the world|less than nothing)"):
        world.run(60)


def test_a_customer_above_its_budget_is_found() -> None:
    world = jobs.make_world(jobs.draw_plan(3), CALM)
    world.run(jobs.RUN_S, jobs._is_closed)
    owner = world.members["customer"].key.pubkey
    out = world.bank.get_out_msat(owner) + world.bank.get_fees_msat(owner)
    assert out > 0
    assert check_budget(owner, out)(world) is None
    assert check_budget(owner, out - 1)(world) is not None


class Careless(c.Customer):
    """Pays each work under a second key as well."""

    def step(self, state: Any, now_s: int, item: Any) -> Any:
        outcome = super().step(state, now_s, item)
        more = [
            replace(effect, key=effect.key + "/again")
            for effect in outcome.effects
            if type(effect).__name__ == "Pay"
        ]
        pending = {**outcome.state.pending, **{effect.key: effect for effect in more}}
        state = replace(outcome.state, pending=pending)
        return replace(outcome, state=state, effects=(*outcome.effects, *more))


def test_a_second_payment_of_one_bill_moves_nothing() -> None:
    plan = jobs.JobPlan(7, Policy.INVOICE, 1, 1, 1, ("",), 50_000, False, False)
    world = jobs.make_world(plan, CALM)
    boss = world.members["customer"]
    boss.machine = Careless(boss.machine.plan)
    boss.fold._machine = boss.machine
    world.run(jobs.RUN_S, jobs._is_closed)
    assert len(world.bank.attempts) == 1
    assert world.bank.accounts[world.members["p0"].key.pubkey] == 1_000
    assert isinstance(boss, SimMember)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["make", "hold", "pay", "settle", "cancel", "time", "lock", "redeem"]),
        st.integers(0, 2),
        st.integers(0, 5),
        st.integers(1, 400),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, database=None)
@given(MOVES)
def test_the_bank_loses_and_makes_nothing_whatever_is_asked(moves: Any) -> None:
    bank = SimBank()
    people = ["a", "b", "c"]
    for name in people:
        bank.fund(name, 1_000)
    now_s = 0
    secrets = [sha256_hex(f"secret {n}".encode()) for n in range(6)]
    hashes = [sha256_hex(bytes.fromhex(secret)) for secret in secrets]
    for what, who, number, msat, flag in moves:
        me, other = people[who], people[(who + 1) % 3]
        try:
            if what == "make":
                bank.make(me, f"{number}", msat, now_s + 500, "", secrets[number] if flag else "")
            elif what == "hold":
                bank.make(me, f"h{number}", msat, now_s + 500, hashes[number], "")
            elif what == "pay" and bank.bills:
                bill = list(bank.bills.values())[number % len(bank.bills)]
                bank.pay(me, f"{msat % 7}", bill, "job", 1, now_s, flag and msat % 5 == 0)
            elif what == "settle":
                bank.settle(me, secrets[number])
            elif what == "cancel":
                bank.cancel(me, hashes[number])
            elif what == "time":
                now_s += msat * 20
                bank.pass_time(now_s)
            elif what == "lock":
                bank.lock(me, f"{number}", Token(me, other, "", msat, now_s + 50))
            elif what == "redeem" and bank.tokens:
                token = list(bank.tokens)[number % len(bank.tokens)]
                bank.redeem(me, token, [other] if flag else [], now_s)
        except WalletError:
            pass
        assert bank.count_msat() == 3_000
        assert min(bank.accounts.values()) >= 0
    assert check_money(type("World", (), {"bank": bank})()) is None  # type: ignore[arg-type]


def test_an_honest_provider_that_is_not_paid_is_found() -> None:
    plan = jobs.JobPlan(7, Policy.INVOICE, 1, 1, 1, ("",), 50_000, False, False)
    world = jobs.make_world(plan, CALM)
    world.members["customer"].twist = lambda effect: None if "pay" in effect.key else effect
    world.run(jobs.RUN_S, jobs._is_closed)
    assert "p0 is honest" in str(jobs.find_flaws(world))
