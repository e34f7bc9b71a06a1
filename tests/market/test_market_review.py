"""Rules that a reading of the machines found broken: each failed before its mend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.market.small_world import Member, World, make_market, make_terms

from kumiai.base.events import TAG_COUNT_MAX
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Begin, Cancel, Phase
from kumiai.market.customer.state import Stage
from kumiai.market.drafts import draft_closing, draft_job
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.judge.machine import JOBS_MAX
from kumiai.market.kinds import Code, Kind, Policy, Ruling
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import encode_event, sign_text
from kumiai.market.provider import Start
from kumiai.market.provider.state import CONTRACTS_MAX, JOBS_KEPT_MAX
from kumiai.market.provider.state import Stage as Doing
from kumiai.market.provider.state import Standing as Bond
from kumiai.market.rules import judge_lines
from kumiai.market.terms import Validation

ARBITER = "02" + "ab" * 32


def begin(world: World, customer: Member, providers: list[Member]) -> None:
    for provider in providers:
        provider.take(Start())
    world.run()
    customer.take(Begin())
    world.run()


def hold_back(member: Member, *kinds: type) -> list[fx.Effect]:
    """Let a member's effects of these sorts wait in a list."""
    kept: list[fx.Effect] = []

    def twist(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, kinds):
            kept.append(effect)
            return None
        return effect

    member.twist = twist
    return kept


def list_said(world: World, kind: Kind) -> list[Any]:
    return [letter.event for letter in world.letters if letter.event.kind == kind]


def test_ecash_is_taken_back_though_the_mints_clock_is_behind() -> None:
    """A refusal a moment after the locktime was final: the money was lost."""
    world, customer, providers = make_market((Policy.ESCROW,), arbiter=ARBITER, rounds=1)
    for provider in providers:
        hold_back(provider, fx.Train)
    begin(world, customer, providers)
    world.pass_time(1_000, 50)
    assert customer.state.phase is Phase.CLOSED
    late_s = 600

    def refuse_early(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.RedeemToken):
            return effect
        if world.now_s >= world.bank.invoices[effect.token][4] + late_s:
            return effect
        customer.take(fx.Failed(effect.key, "bad-invoice", "too early"))
        return None

    customer.twist = refuse_early
    world.pass_time(26 * 3_600, 60)
    assert world.bank.balances[customer.key.pubkey] == 1_000_000
    assert all(work.payment == "refunded" for work in customer.state.works.values())


def test_ecash_that_was_spent_is_not_asked_back_for_ever() -> None:
    world, customer, providers = make_market((Policy.ESCROW,), arbiter=ARBITER, rounds=1)
    for provider in providers:
        hold_back(provider, fx.Train)
    begin(world, customer, providers)
    asked = hold_back(customer, fx.RedeemToken)
    for _ in range(40):
        world.pass_time(4 * 3_600, 600)
        for effect in [e for e in asked if e.key in customer.state.pending]:
            customer.take(fx.Failed(effect.key, "bad-invoice", "it was spent"))
    count = len(asked)
    assert 3 < count < 100
    world.pass_time(20 * 3_600, 600)
    assert len(asked) == count


def test_a_slow_mint_is_no_fault_of_the_provider() -> None:
    """Who was never asked was ended for its silence."""
    world, customer, providers = make_market((Policy.ESCROW,), arbiter=ARBITER, rounds=1)
    kept = hold_back(customer, fx.LockToken)
    begin(world, customer, providers)
    world.pass_time(15)
    assert len(kept) == 3
    world.pass_time(60)
    assert all(m.faults == 0 for m in customer.state.members.values())
    assert not any(m.reason == str(Code.NO_REPLY) for m in customer.state.members.values())


def test_ecash_that_is_being_locked_is_promised() -> None:
    """While a mint is slow, further attempts may not lock more than the budget."""
    world, customer, providers = make_market(
        (Policy.ESCROW,), arbiter=ARBITER, rounds=1, budget_msat=3_003
    )
    kept = hold_back(customer, fx.LockToken)
    begin(world, customer, providers)
    world.pass_time(400)
    assert sum(effect.amount_msat for effect in kept) <= 3_003
    assert customer.state.reserved_msat == 3_003


def test_who_is_locked_late_has_its_time_for_the_key() -> None:
    """reveal_s counts from the lock; the round's last moment cut it short."""
    world, customer, providers = make_market(providers=3, rounds=1)
    for provider in providers:
        hold_back(provider, fx.WatchInvoice)
    payments = hold_back(customer, fx.Pay)
    begin(world, customer, providers)
    world.pass_time(15)
    (deadline_s,) = {work.deadline_s for work in customer.state.works.values()}
    world.pass_time(deadline_s + 30 + 28 - world.now_s, 1)
    for effect in payments:
        customer.take(fx.PaymentSeen(effect.key, "accepted"))
    world.pass_time(20, 1)
    assert {work.stage for work in customer.state.works.values()} == {Stage.LOCKED}
    world.pass_time(15, 1)
    first = [work for work in customer.state.works.values() if work.attempt == 0]
    assert {work.code for work in first} == {Code.NO_KEY}


def test_judging_that_fails_leaves_nobody_without_a_verdict() -> None:
    world, customer, providers = make_market(providers=3, rounds=1)
    kept = hold_back(customer, fx.Judge)
    begin(world, customer, providers)
    world.pass_time(15)
    customer.take(fx.Failed(kept[0].key, "not-judged", "the disk is gone"))
    world.run()
    world.pass_time(10)
    assert customer.state.phase is Phase.CLOSED
    assert len(list_said(world, Kind.VERDICT)) == 3
    assert {work.ruling for work in customer.state.works.values()} == {Ruling.INCONCLUSIVE}
    assert {w.stage for p in providers for w in p.state.works.values()} == {Doing.REJECTED}
    assert world.bank.balances[customer.key.pubkey] == 1_000_000
    assert customer.state.reserved_msat == 0


def test_a_job_that_was_cancelled_before_it_was_posted_stays_closed() -> None:
    """The signed job came back after the cancel and opened the job again."""
    world, customer, providers = make_market()
    kept = hold_back(customer, fx.Publish)
    begin(world, customer, providers)
    assert [effect.key for effect in kept] == ["publish/job"]
    customer.take(Cancel())
    customer.twist = lambda _m, effect: effect
    world.do_publish(customer, kept[0])  # type: ignore[arg-type]
    world.run()
    world.pass_time(60)
    assert customer.state.phase is Phase.CLOSED
    assert not customer.state.works


def test_a_contract_that_was_not_out_at_the_cancel_never_goes_out() -> None:
    """A node sends what is still pending when it is signed: a provider was bound for nothing."""
    world, customer, providers = make_market()
    begin(world, customer, providers)

    def say_no_contract(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        return None if effect.key.startswith("publish/contract") else effect

    customer.twist = say_no_contract
    world.pass_time(15)
    assert customer.state.phase is Phase.CONTRACTS
    customer.take(Cancel())
    world.run()
    assert not [key for key in customer.state.pending if key.startswith("publish/contract")]


def test_a_juror_cannot_be_a_provider_of_the_job_that_it_rules_on() -> None:
    world, customer, providers = make_market()
    jury = (providers[0].key.pubkey,)
    plan = customer.machine.plan
    customer.machine = replace(
        customer.machine, plan=replace(plan, terms=replace(plan.terms, jury=jury))
    )
    begin(world, customer, providers)
    world.pass_time(15)
    assert jury[0] not in customer.state.members


def test_a_stranger_cannot_keep_a_place_for_months_without_asking_for_anything() -> None:
    """Its own terms said how long it may be silent: four times thirty days and more."""
    month_s = 30 * 24 * 3_600
    world, customer, providers = make_market(train_s=month_s, reveal_s=month_s, judge_s=month_s)

    def say_no_round(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        return None if effect.key.startswith("publish/round") else effect

    customer.twist = say_no_round
    for provider in providers:  # their owners allow a job any times
        policy = replace(provider.machine.policy, wait_s_max=0)
        provider.machine = replace(provider.machine, policy=policy)
    begin(world, customer, providers)
    world.pass_time(15)
    held = [c for p in providers for c in p.state.contracts.values()]
    assert [contract.standing for contract in held] == 3 * [Bond.ACTIVE]
    world.pass_time(2 * 3_600, 60)
    held = [c for p in providers for c in p.state.contracts.values()]
    assert [contract.standing for contract in held] == 3 * [Bond.ENDED]


def test_a_dispute_that_no_juror_answers_ends_and_gives_the_money_back() -> None:
    jury = ("cd" * 32,)
    world, customer, providers = make_market(providers=3, rounds=1, jury=jury)
    for provider in providers:
        provider.machine = replace(
            provider.machine, policy=replace(provider.machine.policy, disputes=True)
        )
    world.judging = lambda effect: fx.Judged(
        effect.key,
        2_000_000,
        500_000,
        tuple(fx.JudgedLine(name, -1, 0, 1) for name, _, _ in effect.candidates),
    )
    begin(world, customer, providers)
    world.pass_time(20)
    assert {w.stage for p in providers for w in p.state.works.values()} == {Doing.DISPUTED}
    world.pass_time(3_000, 50)
    assert {w.stage for p in providers for w in p.state.works.values()} == {Doing.REJECTED}
    assert world.bank.balances[customer.key.pubkey] == 1_000_000


def test_a_cancel_of_many_contracts_can_be_said() -> None:
    """One event of more than 12,000 bytes is never signed: nobody heard of the cancel."""
    world, customer, providers = make_market(providers=4)
    for provider in providers:
        hold_back(provider, fx.Train)
    begin(world, customer, providers)
    world.pass_time(15)
    event = next(iter(customer.state.contracts.values()))
    many = {f"{number:064x}": event for number in range(400)}
    customer.state = replace(customer.state, contracts={**customer.state.contracts, **many})
    customer.take(Cancel())
    world.run()
    said = list_said(world, Kind.CANCEL)
    assert all(len(encode_event(one)) < 6_000 for one in said)
    named = [tag[1] for one in said for tag in one.tags if tag[0] == "e"]
    assert {customer.state.job.id, *customer.state.contracts} == set(named)
    assert all(sum(tag[0] == "e" for tag in one.tags) <= 64 for one in said)


def test_the_closing_of_a_job_with_many_providers_can_be_said() -> None:
    """With more than 64 tags an event is never made: the job had no account."""
    members = [(f"{number:064x}", 1, 0, 1_000) for number in range(200)]
    draft = draft_closing("ab" * 32, 3, "cd" * 32, members)
    assert len(draft.tags) <= TAG_COUNT_MAX
    assert ("param", "paid_msat", "200000") in draft.tags


def test_one_provider_cannot_fill_a_journal_with_offers() -> None:
    """Each other offer replaced the one before: every one of them was written down."""
    world, customer, providers = make_market(providers=1)
    begin(world, customer, providers)
    (offer,) = list_said(world, Kind.OFFER)
    key = providers[0].key
    before = customer.state
    for number in range(5):
        tags = [*offer.tags, ("nothing", str(number))]
        customer.take(fx.Heard(Letter(sign_text(key, offer.kind, world.now_s, "", tags))))
    assert customer.state.offers == before.offers
    cheap = [("amount", "900") if tag[0] == "amount" else tag for tag in offer.tags]
    customer.take(fx.Heard(Letter(sign_text(key, offer.kind, world.now_s, "", cheap))))
    assert customer.state.offers[key.pubkey].terms.price_msat == 900


def post_job(world: World, number: int, judge: str) -> Letter:
    key = derive_key(b"review", f"customer {number}")
    terms = make_terms(committee=(judge,), jury=(judge,))
    draft = draft_job(terms, world.now_s + 1_000, ("ws://127.0.0.1:1",))
    return Letter(sign_text(key, int(draft.kind), world.now_s, "", draft.tags))


def test_a_judge_hears_of_new_jobs_after_a_hundred_of_strangers() -> None:
    world = World()
    key = derive_key(b"review", "judge")
    judge = world.add("judge", Judging(JudgePolicy(key.pubkey, "7" * 64)), key)
    for number in range(JOBS_MAX + 5):
        job = post_job(world, number, key.pubkey)
        judge.take(fx.Heard(job))
    assert job.event.id in judge.state.jobs
    assert len(judge.state.jobs) == len(judge.state.customers) == JOBS_MAX


def test_a_provider_that_served_a_thousand_jobs_takes_another() -> None:
    world, customer, providers = make_market(providers=1, shards=1)
    begin(world, customer, providers)
    world.pass_time(2_000, 50)
    state = providers[0].state
    (contract,) = state.contracts.values()
    (job,) = state.jobs.values()
    assert contract.standing is Bond.ENDED
    many = {f"{number:064x}": number for number in range(JOBS_KEPT_MAX)}
    providers[0].state = replace(
        state,
        jobs={**state.jobs, **{name: replace(job, id=name) for name in many}},
        contracts={
            **state.contracts,
            **{name: replace(contract, id=name, job=name) for name in many},
        },
    )
    another = post_job(world, 1, "cd" * 32)
    providers[0].take(fx.Heard(another))
    assert another.event.id in providers[0].state.jobs


def test_contracts_under_which_nothing_was_delivered_are_not_kept_for_ever() -> None:
    """A stranger asks once, badly, and goes: each time a contract and a work stayed."""
    world, customer, providers = make_market(providers=1, shards=1)
    hold_back(providers[0], fx.Train)
    begin(world, customer, providers)
    world.pass_time(2_000, 50)
    state = providers[0].state
    (contract,) = state.contracts.values()
    assert {work.stage for work in state.works.values()} == {Doing.FAILED}
    many = {f"{number:064x}": number for number in range(CONTRACTS_MAX)}
    held = {name: replace(contract, id=name, job=name) for name in many}
    providers[0].state = replace(state, contracts={**state.contracts, **held})
    other = customer.machine.plan
    key = derive_key(b"market", "second customer")
    plan = replace(other, pubkey=key.pubkey, secret="6" * 64)
    second = world.add("second", type(customer.machine)(plan), key, 100_000)
    second.take(Begin())
    world.run()
    world.pass_time(20)
    assert len(providers[0].state.contracts) == 1
    assert len(providers[0].state.works) == 1


def test_an_update_that_differs_from_its_twins_is_no_fraud() -> None:
    """Other arithmetic is bad work at worst; the code for garbage ended its contract."""
    line = fx.JudgedLine("p", 10, 0, 1, fault="differs")
    ((_, ruling, code),) = judge_lines([line], Validation())
    assert (ruling, code) == (Ruling.REJECTED, Code.WORSE_THAN_PEERS)
