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
    to_draft,
    with_blob,
    with_param,
    with_tag,
)
from tests.market.small_world import Member, World

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Phase
from kumiai.market.drafts import compute_commitment, draft_feedback, draft_ruling, draft_verdict
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import Code, Kind, Policy, Ruling, Status
from kumiai.market.letters import Draft
from kumiai.market.nips.nip01 import encode_event, sign_text
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


def make_disputed(policy: Policy = Policy.INVOICE) -> tuple[World, Member, list[Member], Member]:
    """Provider 0 delivers garbage, which the customer and an honest juror both see."""
    key = derive_key(b"jury", "honest")
    world, customer, providers = make_attacked(
        policy, rounds=1, jury=(key.pubkey,), plan={"attempts_max": 1, "faults_max": 9}
    )
    juror = world.add("juror", Judging(JudgePolicy(key.pubkey, key.secret.hex())), key)
    for provider in providers:
        machine = provider.machine
        provider.machine = type(machine)(replace(machine.policy, disputes=True))

    def measure(effect: fx.Judge) -> fx.Judged:
        lines = tuple(
            fx.JudgedLine(name, 9 if world.blobs[update].startswith(b"good") else -9, 0, 1)
            for name, update, _ in effect.candidates
        )
        return fx.Judged(effect.key, 10**6, 500_000, lines)

    def train_badly(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.Train):
            return effect
        member.take(fx.Trained(effect.key, world.put(b"garbage"), 7, 100, 10, 1_000, 5))
        return None

    world.judging = measure
    providers[0].twist = train_badly
    return world, customer, providers, juror


def show_better(world: World, draft: Draft, provider: Member) -> Draft:
    """The same dispute with an update that was made afterwards, and all hashes that fit it."""
    update = world.put(b"good, but too late")
    sealed = world.put(b"good, sealed")
    world.sealed[sealed, "cd" * 32] = update
    refs = {tag[3]: tag[1] for tag in draft.tags if tag[0] == "e"}
    place = (refs["job"], refs["contract"], 1, 0, provider.key.pubkey)
    draft = with_param(draft, "commitment", compute_commitment(*place, update))
    uri = f"blossom:{sealed}.sealed?sz={len(world.blobs[sealed])}"
    return with_blob(with_param(draft, "key", "cd" * 32), "update", uri)


def test_a_jury_is_shown_what_was_delivered_and_nothing_better() -> None:
    world, customer, providers, juror = make_disputed()
    train = providers[0].twist
    better = spoil(Kind.DISPUTE, lambda d: show_better(world, d, providers[0]))
    providers[0].twist = lambda m, e: train(m, e) and better(m, e)
    play(world, customer, providers, 100)
    assert find_letters(world, Kind.DISPUTE)
    ruling = find_letters(world, Kind.RULING)[0].event
    assert next(tag[:3] for tag in ruling.tags if tag[0] == "status") == (
        "status",
        "rejected",
        "bad-commitment",
    )
    assert [get_money(world, p) for p in providers] == [0, 1_001, 1_002, 0]
    assert_fair(world, customer, [providers[0], juror])


@pytest.mark.parametrize("name", ["of another", "a stranger's", "forged", "another model", "none"])
def test_a_dispute_without_its_own_verdict_is_refused(name: str) -> None:
    world, customer, providers, juror = make_disputed()
    play(world, customer, providers, 100)
    true = to_draft(find_letters(world, Kind.DISPUTE)[0])
    count, before = len(find_letters(world, Kind.RULING)), len(juror.rejected)
    verdicts = {
        next(tag[1] for tag in one.event.tags if tag[0] == "p"): one.event
        for one in find_letters(world, Kind.VERDICT)
    }
    key = providers[0].key
    if name == "of another":
        other = verdicts[providers[1].key.pubkey]
        draft = with_tag(true, "e", other.id, marker="verdict")
        draft = with_param(draft, "verdict", encode_event(other).decode())
    elif name == "a stranger's":
        draft, key = true, STRANGER
    elif name == "forged":
        mine = verdicts[key.pubkey]
        tags = tuple(("x", OTHER) if tag[0] == "x" else tag for tag in mine.tags)
        forged = sign_text(key, mine.kind, world.now_s, "", tags)
        draft = with_tag(true, "e", forged.id, marker="verdict")
        draft = with_param(draft, "verdict", encode_event(forged).decode())
    elif name == "another model":
        model = world.put(b"a model on which garbage helps")
        draft = with_blob(true, "model", f"blossom:{model}.kumiai?sz=30")
    else:
        draft = replace(true, hidden=tuple(t for t in true.hidden or () if t[1] != "verdict"))
    speak(world, key, draft)
    assert [one.reject.reason for one in juror.rejected[before:]] == ["bad-dispute"]
    assert len(find_letters(world, Kind.RULING)) == count


def test_what_a_jury_may_still_order_is_kept_in_the_budget() -> None:
    """The customer rejects everything, the jury accepts it: not one msat more than the budget."""
    world, customer, _, _ = make_disputed()
    for member in world.members.values():
        member.twist = lambda _m, effect: effect
    machine = customer.machine
    plan = replace(machine.plan, budget_msat=5_000, attempts_max=3)
    customer.machine = type(machine)(plan)
    customer.twist = lambda m, e: _reject(m, e) if isinstance(e, fx.Judge) else e
    play(world, customer, [m for m in world.members.values() if m.name.startswith("prov")], 200)
    assert customer.state.outcome == "the budget does not cover another round"
    assert customer.state.spent_msat == 3_003
    assert_fair(world, customer, [])


def _reject(member: Member, effect: fx.Judge) -> None:
    lines = tuple(fx.JudgedLine(name, -9, -9, 1) for name, _, _ in effect.candidates)
    member.take(fx.Judged(effect.key, 10**6, 1, lines))
