"""Floods, disorder and chance: bounds hold, the budget is kept, no letter makes a machine fail."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.market.hostile import (
    STRANGER,
    assert_fair,
    begin,
    find_letters,
    get_money,
    list_reasons,
    make_attacked,
    play,
    speak,
    to_draft,
    with_param,
    with_tag,
)
from tests.market.letters_by_chance import make_letters, spoil_letter
from tests.market.small_world import Member, World

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Cancel, Phase
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import Kind, Policy
from kumiai.market.letters import Letter
from kumiai.market.machine import REJECTED_KEPT_MAX
from kumiai.market.nips.nip01 import sign_text
from kumiai.market.provider.state import JOBS_KEPT_MAX

JUNK = 5_000
CROWD = [derive_key(b"crowd", str(number)) for number in range(20)]


def test_five_thousand_valid_events_of_strangers_change_nothing() -> None:
    """Everything that is said between the three is said again by keys that cost nothing."""
    world, customer, providers = make_attacked(Policy.HOLD, rounds=2)
    providers[0].twist = lambda _m, e: (
        replace(e, draft=with_param(e.draft, "commitment", "ab" * 32))
        if isinstance(e, fx.Publish) and e.draft.kind is Kind.RESULT
        else e
    )
    begin(world, customer, providers)
    world.pass_time(15)
    heard = [letter for letter in world.letters if letter.event.kind != Kind.JOB]
    rng = random.Random(1)
    before = replace(customer.state, rejected=())
    works = [p.state.works for p in providers]
    guilt = [one for one in customer.state.rejected if one.event.pubkey == providers[0].key.pubkey]  # type: ignore[union-attr]
    everybody = [customer, *providers]
    for number in range(JUNK):
        letter, key = rng.choice(heard), rng.choice(CROWD)
        text = f"{number}"
        event = sign_text(key, letter.event.kind, world.now_s, text, letter.event.tags)
        hidden = letter.hidden if rng.random() < 0.7 else None
        rng.choice(everybody).take(fx.Heard(Letter(event, hidden)))
    world.run()
    offers = {k: v for k, v in customer.state.offers.items() if k in before.offers}
    assert replace(customer.state, rejected=(), offers=offers) == before
    assert [p.state.works for p in providers] == works
    for member in everybody:
        assert 0 < len(member.state.rejected) <= REJECTED_KEPT_MAX
        assert all(one.event is not None for one in member.state.rejected)
    assert all(one in customer.state.rejected for one in guilt)
    world.pass_time(400)
    assert customer.state.outcome == "all rounds done"
    assert_fair(world, customer, [providers[0]])


def test_evidence_against_a_partner_outlives_a_flood() -> None:
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=1)
    begin(world, customer, providers)
    world.pass_time(15)
    letter = find_letters(world, Kind.RESULT, providers[0].key.pubkey)[0]
    guilty = speak(world, providers[0].key, with_param(to_draft(letter), "samples", "1e3"))
    for number in range(2 * REJECTED_KEPT_MAX):
        event = sign_text(STRANGER, Kind.RESULT, world.now_s, str(number), letter.event.tags)
        customer.take(fx.Heard(Letter(event)))
    kept = [one.event.id for one in customer.state.rejected]  # type: ignore[union-attr]
    assert len(kept) == REJECTED_KEPT_MAX
    assert guilty.id in kept


def test_a_flood_of_jobs_keeps_no_honest_customer_out() -> None:
    """Jobs that fit, with lives of years: the oldest without a contract gives way."""
    world, customer, providers = make_attacked(Policy.HOLD, rounds=1)
    begin(world, customer, providers)
    world.pass_time(15)
    job = find_letters(world, Kind.JOB)[0]
    for number in range(JOBS_KEPT_MAX + 50):
        tags = with_tag(to_draft(job), "expiration", str(2**39 + number)).tags
        event = sign_text(CROWD[number % 20], Kind.JOB, world.now_s, "", tags)
        providers[3].take(fx.Heard(Letter(event)))
    world.run()
    state = providers[3].state
    assert len(state.jobs) <= JOBS_KEPT_MAX
    assert len(state.job_events) <= JOBS_KEPT_MAX
    assert len(state.offers) <= JOBS_KEPT_MAX
    fresh = sign_text(STRANGER, Kind.JOB, world.now_s, "", job.event.tags)
    providers[3].take(fx.Heard(Letter(fresh)))
    assert fresh.id in providers[3].state.jobs


class Disorder(World):
    """A relay without order: letters come late, again, and in any order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.waiting: list[tuple[Letter, str]] = []

    def deliver(self, letter: Letter, recipient: str) -> None:
        self.waiting.append((letter, recipient))
        if letter not in self.letters:
            self.letters.append(letter)

    def pass_time(self, seconds: int, tick_s: int = 5) -> None:
        for _ in range(0, seconds, tick_s):
            some = [pair for pair in self.waiting if self.rng.random() < 0.6]
            self.rng.shuffle(some)
            for letter, recipient in some:
                World.deliver(self, letter, recipient)
                self.letters.pop()
            super().pass_time(tick_s, tick_s)
            self.waiting = [
                pair for pair in self.waiting if pair not in some or self.rng.random() < 0.5
            ]


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("seed", range(4))
def test_disorder_changes_the_time_but_not_the_money(policy: Policy, seed: int) -> None:
    """As relays may: what came too early is heard again, by the node's waiting letters."""
    world, customer, providers = make_attacked(
        policy, rounds=2, train_s=400, reveal_s=100, judge_s=100,
        plan={"offers_s": 60, "accept_s": 300},
    )  # fmt: skip
    wild = Disorder(seed)
    wild.__dict__.update({k: v for k, v in world.__dict__.items() if k not in ("waiting", "rng")})
    for member in world.members.values():
        member.world = wild
    play(wild, customer, providers, 1_500)
    assert customer.state.outcome == "all rounds done"
    assert [done.accepted for done in customer.state.history] == [3, 3]
    assert sum(get_money(wild, p) for p in providers) == sum(
        work.price_msat for work in customer.state.works.values()
    )
    assert all(p.state.earned_msat == get_money(wild, p) for p in providers)
    assert_fair(wild, customer, [])


FAULTS: dict[str, Any] = {
    "none": lambda _m, e: e,
    "mute": lambda _m, e: None if isinstance(e, fx.Publish) else e,
    "no result": lambda _m, e: _unless(e, Kind.RESULT),
    "no key": lambda _m, e: _unless(e, Kind.FEEDBACK),
    "junk": lambda _m, e: _change(e, "commitment", "ab" * 32),
    "wrong key": lambda _m, e: _change(e, "key", "ab" * 32),
    "dear": lambda _m, e: replace(e, amount_msat=10**6) if isinstance(e, fx.MakeInvoice) else e,
    "greedy": lambda _m, e: _raise_amount(e),
}


def _unless(effect: fx.Effect, kind: Kind) -> fx.Effect | None:
    is_it = isinstance(effect, fx.Publish) and effect.draft.kind is kind
    return None if is_it else effect


def _change(effect: fx.Effect, name: str, value: str) -> fx.Effect:
    if isinstance(effect, fx.Publish) and effect.draft.kind is Kind.RESULT:
        return replace(effect, draft=with_param(effect.draft, name, value))
    return effect


def _raise_amount(effect: fx.Effect) -> fx.Effect:
    if isinstance(effect, fx.Publish) and effect.draft.kind is Kind.RESULT:
        bolt11 = next(tag for tag in effect.draft.tags if tag[0] == "amount")[2:]
        return replace(effect, draft=with_tag(effect.draft, "amount", "4999", *bolt11))
    return effect


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(list(Policy)),
    budget=st.integers(0, 20_000),
    faults=st.lists(st.sampled_from(sorted(FAULTS)), min_size=5, max_size=5),
    gains=st.lists(st.integers(-500, 500), min_size=1, max_size=8),
    is_slow=st.booleans(),
    has_jury=st.booleans(),
    cancel_at=st.none() | st.integers(0, 30),
)
def test_the_budget_is_never_exceeded_whatever_they_do(
    policy: Policy,
    budget: int,
    faults: list[str],
    gains: list[int],
    is_slow: bool,
    has_jury: bool,
    cancel_at: int | None,
) -> None:
    jurors = [derive_key(b"jury", str(number)) for number in range(3 if has_jury else 0)]
    world, customer, providers = make_attacked(
        policy, budget_msat=budget, providers=5, jury=tuple(key.pubkey for key in jurors)
    )
    for key in jurors:
        world.add(key.pubkey, Judging(JudgePolicy(key.pubkey, key.secret.hex())), key)
    for provider, fault in zip(providers, faults, strict=True):
        provider.twist = FAULTS[fault]
        machine = provider.machine
        provider.machine = type(machine)(replace(machine.policy, disputes=has_jury))
    count = iter(range(10**9))

    def judge(effect: fx.Judge) -> fx.Judged:
        lines = [
            fx.JudgedLine(name, gains[next(count) % len(gains)], 0, 1)
            for name, _, _ in effect.candidates
        ]
        return fx.Judged(effect.key, 10**6, 500_000, tuple(lines))

    world.judging = judge
    slow: list[tuple[Member, fx.Effect]] = []

    def wallet(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if is_slow and isinstance(effect, fx.Pay):
            slow.append((member, effect))
            return None
        return effect

    customer.twist = wallet
    take = customer.take

    def checked(item: Any) -> None:
        take(item)
        state = customer.state
        assert state.spent_msat + state.reserved_msat <= budget

    customer.take = checked  # type: ignore[method-assign]
    begin(world, customer, providers)
    for number in range(60):
        if number == cancel_at:
            customer.take(Cancel())
        world.pass_time(20, 10)
        for pair in [slow.pop(0) for _ in range(len(slow) // 2 + len(slow) % 2)]:
            world.carry_out(*pair)
        world.run()
    assert world.bank.total == world.before  # type: ignore[attr-defined]
    assert 1_000_000 - get_money(world, customer) <= max(budget, 0)
    assert customer.state.phase is Phase.CLOSED
    earned = sum(p.state.earned_msat for p in providers)
    assert earned == sum(get_money(world, p) for p in providers)


@pytest.mark.parametrize("policy", list(Policy))
def test_no_letter_in_any_state_makes_a_machine_fail(policy: Policy) -> None:
    """Letters of the right shape from keys of all sorts, into states from the whole of a job."""
    rng = random.Random(f"states/{policy}")
    jury = derive_key(b"jury", "0")
    world, customer, providers = make_attacked(policy, committee=(jury.pubkey,), quorum=1)
    judge = world.add("judge", Judging(JudgePolicy(jury.pubkey, jury.secret.hex())), jury)
    states: list[tuple[Any, Any, int]] = []
    watched = [customer, providers[0], judge]

    def watch(member: Member) -> None:
        take = member.take

        def seen(item: Any) -> None:
            take(item)
            states.append((member.machine, member.state, world.now_s))

        member.take = seen  # type: ignore[method-assign]

    for member in watched:
        watch(member)
    play(world, customer, providers, 100)
    keys = [customer.key, providers[0].key, providers[1].key, jury, STRANGER]
    letters = [*world.letters, *make_letters(customer, providers, jury, world.now_s)]
    for _ in range(4_000):
        machine, state, now_s = rng.choice(states)
        letter = spoil_letter(rng, rng.choice(letters), keys, letters)
        outcome = machine.step(state, now_s, fx.Heard(letter))
        again = machine.step(outcome.state, now_s, fx.Ticked())
        for one in outcome.rejected:
            assert one.event is letter.event
        assert machine.get_pending(again.state) is not None
    assert "all rounds done" in customer.state.outcome
    assert list_reasons(customer) == []
