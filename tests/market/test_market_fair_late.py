"""Policy fair: the key comes with the payment. Too late it is not begun, or it is counted."""

from __future__ import annotations

from dataclasses import replace

from tests.market.hostile import begin, find_letters, get_money, make_attacked, speak
from tests.market.small_world import Member, World

from kumiai.apps.market.summary import summarise
from kumiai.market import effects as fx
from kumiai.market.customer import Phase
from kumiai.market.customer.state import Stage
from kumiai.market.drafts import draft_feedback
from kumiai.market.kinds import Code, Kind, Policy, Ruling, Status

FUNDS_MSAT = 1_000_000
PRICES_MSAT = [1_000, 1_001, 1_002]


def make_slow() -> tuple[World, Member, list[Member], list[fx.Pay]]:
    """One round of one attempt, whose customer's wallet does nothing yet."""
    world, customer, providers = make_attacked(
        Policy.FAIR, rounds=1, providers=3, plan={"attempts_max": 1}
    )
    kept: list[fx.Pay] = []

    def hold(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Pay):
            kept.append(effect)
            return None
        return effect

    customer.twist = hold
    begin(world, customer, providers)
    world.pass_time(15)
    assert len(kept) == 3
    return world, customer, providers, kept


def get_deadline(customer: Member) -> int:
    (deadline_s,) = {work.deadline_s for work in customer.state.works.values()}
    return deadline_s


def get_status(world: World) -> set[tuple[str, ...]]:
    said = [letter.event for letter in find_letters(world, Kind.VERDICT)]
    return {tag[1:3] for event in said for tag in event.tags if tag[0] == "status"}


def test_a_payment_is_not_begun_when_its_key_would_come_after_the_round() -> None:
    world, customer, _, kept = make_slow()
    terms = customer.state.terms
    last_s = get_deadline(customer) + terms.judge_s  # what is left is reveal_s: time for a key
    assert {effect.begin_by_s for effect in kept} == {last_s}
    world.pass_time(last_s + 1 - world.now_s, 1)
    assert {work.stage for work in customer.state.works.values()} == {Stage.FETCHED}
    for effect in kept:
        world.carry_out(customer, effect)
    world.run()
    world.pass_time(60)
    state = customer.state
    assert {(w.ruling, w.code) for w in state.works.values()} == {
        (Ruling.INCONCLUSIVE, Code.NOT_PAID)
    }
    assert get_status(world) == {("inconclusive", "not-paid")}
    assert all(member.faults == 0 for member in state.members.values())
    assert get_money(world, customer) == FUNDS_MSAT
    assert state.phase is Phase.CLOSED
    assert (state.spent_msat, state.reserved_msat) == (0, 0)


def test_a_payment_that_can_still_be_used_is_begun_at_the_last_moment() -> None:
    world, customer, providers, kept = make_slow()
    world.pass_time(kept[0].begin_by_s - world.now_s, 1)
    for effect in kept:
        world.carry_out(customer, effect)
    world.run()
    assert customer.state.history[0].accepted == 3
    assert [get_money(world, p) for p in providers] == PRICES_MSAT


def test_what_was_paid_after_the_round_is_in_every_account() -> None:
    """Begun in time, settled too late: the update is thrown away, the money is gone."""
    world, customer, providers, kept = make_slow()
    end_s = get_deadline(customer) + customer.state.terms.judge_s + customer.state.terms.reveal_s
    world.pass_time(end_s + 30 - world.now_s, 1)
    state = customer.state
    assert {work.code for work in state.works.values()} == {Code.NOT_JUDGED}
    assert state.phase is Phase.PAYING, "money is under way: the account is not closed yet"
    assert state.reserved_msat == sum(PRICES_MSAT)
    for effect in kept:
        world.carry_out(customer, replace(effect, begin_by_s=0))  # it was begun in time
    world.run()
    world.pass_time(30)
    state = customer.state
    assert [get_money(world, p) for p in providers] == PRICES_MSAT
    assert state.spent_msat == sum(PRICES_MSAT) == FUNDS_MSAT - get_money(world, customer)
    assert [state.members[p.key.pubkey].paid_msat for p in providers] == PRICES_MSAT
    assert [p.state.earned_msat for p in providers] == PRICES_MSAT
    assert state.phase is Phase.CLOSED
    (closing,) = find_letters(world, Kind.CLOSING)
    assert ("param", "paid_msat", str(sum(PRICES_MSAT))) in closing.event.tags
    for price_msat, provider in zip(PRICES_MSAT, providers, strict=True):
        line = ("param", f"member:{provider.key.pubkey}", "0", "0", str(price_msat))
        assert line in closing.event.tags
    money = summarise(customer.machine.plan, state, {}).money
    assert (money.earned_msat, money.unearned_msat) == (0, sum(PRICES_MSAT))


def test_a_job_does_not_wait_for_ever_for_a_payment_that_no_wallet_ends() -> None:
    world, customer, _, _ = make_slow()
    end_s = get_deadline(customer) + customer.state.terms.judge_s + customer.state.terms.reveal_s
    world.pass_time(end_s + 30 - world.now_s, 1)
    assert customer.state.phase is Phase.PAYING
    world.pass_time(customer.machine.plan.payment_s + 10)
    assert customer.state.phase is Phase.CLOSED
    assert customer.state.reserved_msat == sum(PRICES_MSAT), "it may still leave"


def test_what_was_paid_for_bad_work_is_in_the_account_too() -> None:
    world, customer, providers, kept = make_slow()
    world.judging = lambda e: fx.Judged(
        e.key, 1, 1, tuple(fx.JudgedLine(name, -9, -9, 1) for name, _, _ in e.candidates)
    )
    for effect in kept:
        world.carry_out(customer, effect)
    world.run()
    world.pass_time(60)
    members = customer.state.members
    assert [members[p.key.pubkey].paid_msat for p in providers] == PRICES_MSAT
    assert {(m.accepted, m.rejected) for m in members.values()} == {(0, 1)}


def test_a_key_that_was_locked_before_it_was_sold_is_used() -> None:
    """A provider may hold a fair payment for a while: paid is paid, and the key is there."""
    world, customer, _, kept = make_slow()
    for effect in kept:
        customer.take(fx.PaymentSeen(effect.key, "accepted"))
    assert {work.stage for work in customer.state.works.values()} == {Stage.LOCKED}
    for effect in kept:
        world.carry_out(customer, effect)
    world.run()
    world.pass_time(60)
    assert {work.stage for work in customer.state.works.values()} == {Stage.PAID}
    assert customer.state.history[0].accepted == 3


def give_keys(world: World, customer: Member, providers: list[Member]) -> None:
    """Providers send the keys that they were to sell."""
    by_key = {p.key.pubkey: p for p in providers}
    keys = dict(world.sealed.keys())
    for work in list(customer.state.works.values()):
        sealed = work.result.terms.update.sha256
        job, key = customer.state.job.id, keys[sealed]
        receiver = customer.key.pubkey
        draft = draft_feedback(work.request, job, receiver, Status.PARTIAL, key=key)
        speak(world, by_key[work.provider].key, draft)


def test_a_key_that_came_early_is_paid_when_it_is_paid() -> None:
    """It was booked as paid while its payment could still fail."""
    world, customer, providers, kept = make_slow()
    give_keys(world, customer, providers)
    world.pass_time(10)
    assert {work.stage for work in customer.state.works.values()} == {Stage.ACCEPTED}
    assert customer.state.spent_msat == 0
    assert customer.state.reserved_msat == sum(PRICES_MSAT)
    customer.take(fx.PaymentSeen(kept[0].key, "failed"))
    for effect in kept[1:]:
        world.carry_out(customer, effect)
    world.run()
    world.pass_time(60)
    state = customer.state
    assert state.phase is Phase.CLOSED
    assert state.spent_msat == FUNDS_MSAT - get_money(world, customer) == sum(PRICES_MSAT[1:])
    assert sum(member.paid_msat for member in state.members.values()) == state.spent_msat


def test_a_wallet_that_was_too_late_for_a_key_that_came_early_is_no_fault() -> None:
    world, customer, providers, kept = make_slow()
    give_keys(world, customer, providers)
    world.pass_time(10)
    for effect in kept:
        customer.take(fx.Failed(effect.key, "not-paid", "too late"))
    members = customer.state.members.values()
    assert {(m.accepted, m.faults) for m in members} == {(1, 0)}
