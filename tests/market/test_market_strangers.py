"""Strangers, providers that vanish, relays that say everything five times, lying jurors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
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
    spoil,
    with_param,
)
from tests.market.small_world import Member, World

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Phase
from kumiai.market.drafts import draft_feedback, draft_ruling, draft_verdict
from kumiai.market.kinds import Code, Kind, Policy, Ruling, Status
from kumiai.market.provider.state import Stage as Work

EVENTS = list(Policy)
OTHER = "cd" * 32


def test_words_of_strangers_move_nothing() -> None:
    world, customer, providers = make_attacked(Policy.HOLD, rounds=1, jury=(OTHER,))
    providers[1].twist = lambda _m, e: None if isinstance(e, fx.Train) else e
    begin(world, customer, providers)
    world.pass_time(15)
    job = customer.state.job.id
    request = find_letters(world, Kind.ROUND_REQUEST)[1].event.id
    contract = next(iter(customer.state.contracts))
    result = find_letters(world, Kind.RESULT)[0].event
    boss, worker = customer.key.pubkey, result.pubkey
    before = replace(customer.state, rejected=())
    works = {p.name: p.state.works for p in providers}
    for status in Status:
        for about in (request, contract):
            for key in ("", OTHER):
                speak(world, STRANGER, draft_feedback(about, job, boss, status, "no", key))
    for ruling, code in ((Ruling.ACCEPTED, Code.ACCEPTED), (Ruling.REJECTED, Code.EMPTY)):
        verdict = draft_verdict(
            job, contract, result.id, 1, worker, ruling, code, preimage=OTHER, signatures=("aa",)
        )
        speak(world, STRANGER, verdict)
        speak(world, STRANGER, draft_ruling(job, contract, OTHER, OTHER, boss, ruling, code))
    assert replace(customer.state, rejected=()) == before
    assert {p.name: p.state.works for p in providers} == works
    assert set(list_reasons(customer)) == {"not-the-provider", "not-a-juror"}
    assert "not-the-judge" in list_reasons(world.members[_name(world, worker)])
    world.pass_time(500)
    assert_fair(world, customer, [providers[1]])


def _name(world: World, pubkey: str) -> str:
    return next(m.name for m in world.members.values() if m.key.pubkey == pubkey)


@pytest.mark.parametrize("policy", EVENTS)
@pytest.mark.parametrize(
    "kind", [Kind.ACCEPTANCE, Kind.FEEDBACK, Kind.RESULT, Kind.OFFER], ids=lambda k: k.name
)
def test_a_provider_that_vanishes_is_replaced_and_not_paid(policy: Policy, kind: Kind) -> None:
    """After the offer, the contract, the start or the result: nothing is heard of it any more."""
    world, customer, providers = make_attacked(policy, rounds=4)

    def vanish(member: Member, effect: fx.Effect) -> fx.Effect | None:
        is_it = isinstance(effect, fx.Publish) and effect.draft.kind is kind
        if is_it or member.name in gone:
            gone.add(member.name)
            return None
        return effect

    gone: set[str] = set()
    providers[0].twist = vanish
    play(world, customer, providers, 1_500)
    state = customer.state
    assert (state.outcome, state.phase) == ("all rounds done", Phase.CLOSED)
    assert [done.accepted for done in state.history][-1] == 3
    assert_fair(world, customer, [providers[0]])
    assert get_money(world, providers[3]) > 0


def test_a_provider_that_vanishes_after_the_lock_is_not_paid() -> None:
    world, customer, providers = make_attacked(Policy.HOLD)
    gone: set[str] = set()

    def vanish(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and ("status", "partial", "the key") in effect.draft.tags:
            gone.add(member.name)
        return None if gone else effect

    providers[0].twist = vanish
    play(world, customer, providers, 1_500)
    works = [w for w in customer.state.works.values() if w.provider == providers[0].key.pubkey]
    assert {work.code for work in works} == {Code.NO_KEY, Code.NO_REPLY}
    assert customer.state.outcome == "all rounds done"
    assert_fair(world, customer, [providers[0]])
    held = [i for i in world.bank.invoices.values() if i[2] == "accepted"]
    assert len(held) == 1  # until its lock ends by itself, nobody has it


@pytest.mark.parametrize("policy", EVENTS)
def test_five_deliveries_of_everything_are_one(policy: Policy) -> None:
    """Several relays, each several times: the same works, the same money, no evidence."""
    ends = []
    for times in (1, 5):
        world, customer, providers = make_attacked(policy, rounds=3)
        once = world.deliver

        def often(letter: Any, recipient: str, n: int = times, once: Any = once) -> None:
            for _ in range(n):
                once(letter, recipient)

        world.deliver = often  # type: ignore[method-assign]
        play(world, customer, providers, 100)
        assert not any(member.rejected for member in world.members.values())
        ends.append((customer.state.works, [get_money(world, p) for p in providers]))
    assert ends[0] == ends[1]
    assert ends[0][1] == [3_000, 3_003, 3_006, 0]


def test_a_jurors_bad_signature_ends_no_dispute() -> None:
    """One of three jurors lies with a signature that does not fit; the others' still pay."""
    jury = [derive_key(b"jury", str(i)) for i in range(3)]
    world, customer, providers = make_attacked(
        Policy.ESCROW, rounds=1, jury=tuple(j.pubkey for j in jury), plan={"attempts_max": 1}
    )
    for provider in providers:
        machine = provider.machine
        provider.machine = type(machine)(replace(machine.policy, disputes=True))
    bad = fx.JudgedLine
    world.judging = lambda e: fx.Judged(
        e.key, 1, 1, tuple(bad(name, -9, -9, 1) for name, _, _ in e.candidates)
    )
    honest = world.do_redeemtoken

    def redeem(member: Member, effect: fx.RedeemToken) -> None:
        if effect.signatures == ("forged",):
            member.take(fx.Failed(effect.key, "bad-invoice", "does not fit"))
        else:
            honest(member, effect)

    world.do_redeemtoken = redeem  # type: ignore[method-assign]
    begin(world, customer, providers)
    world.pass_time(20)
    dispute = find_letters(world, Kind.DISPUTE, providers[0].key.pubkey)[0].event
    refs = {tag[3]: tag[1] for tag in dispute.tags if tag[0] == "e"}
    for juror, signature in zip(jury, ("forged", "signature", "signature"), strict=True):
        disputes = find_letters(world, Kind.DISPUTE, providers[0].key.pubkey)
        own = next(d.event for d in disputes if ("p", juror.pubkey) in d.event.tags)
        place = (refs["job"], refs["contract"], own.id, refs["verdict"], own.pubkey)
        draft = draft_ruling(*place, Ruling.ACCEPTED, Code.ACCEPTED, (signature,))
        speak(world, juror, draft)
    assert get_money(world, providers[0]) == 1_000
    assert [w.stage for w in providers[0].state.works.values()] == [Work.PAID]
    assert_fair(world, customer, providers[1:])


def test_a_jury_may_not_pay_what_nobody_can_measure() -> None:
    jury = derive_key(b"jury", "only")
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=1, jury=(jury.pubkey,))
    providers[0].twist = spoil(Kind.RESULT, lambda d: with_param(d, "commitment", OTHER))
    begin(world, customer, providers)
    world.pass_time(20)
    work = next(w for w in customer.state.works.values() if w.code is Code.BAD_COMMITMENT)
    contract = customer.state.members[work.provider].contract
    place = (customer.state.job.id, contract, OTHER, work.verdict, customer.key.pubkey)
    speak(world, jury, draft_ruling(*place, Ruling.ACCEPTED, Code.ACCEPTED))
    assert "not-disputable" in list_reasons(customer)
    world.pass_time(300)
    assert_fair(world, customer, [providers[0]])
