"""Hostile customers: what a provider can lose is one round, and it says so."""

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

from kumiai.base.canonical import sha256_hex
from kumiai.market import effects as fx
from kumiai.market.customer import Cancel, Phase
from kumiai.market.customer.state import Stage
from kumiai.market.kinds import Code, Kind, Policy, Status
from kumiai.market.letters import Draft
from kumiai.market.provider.state import Stage as Work
from kumiai.market.provider.state import Standing

OTHER = "cd" * 32


def drop(*kinds: type) -> Any:
    return lambda _m, effect: None if isinstance(effect, kinds) else effect


def is_verdict(effect: fx.Effect) -> bool:
    return isinstance(effect, fx.Publish) and effect.draft.kind is Kind.VERDICT


def list_statuses(world: World, provider: Member) -> list[str]:
    letters = find_letters(world, Kind.FEEDBACK, provider.key.pubkey)
    return [next(tag[1] for tag in one.event.tags if tag[0] == "status") for one in letters]


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.FAIR, Policy.INVOICE])
def test_who_never_pays_gets_one_round(policy: Policy) -> None:
    world, customer, providers = make_attacked(policy, rounds=6)
    customer.twist = drop(fx.Pay)
    play(world, customer, providers, 100)
    for provider in providers[:3]:
        works = list(provider.state.works.values())
        delivered = [w for w in works if w.result]
        assert len(delivered) == 1, provider.name
        assert not [w for w in works if w.stage in (Work.TRAINING, Work.STORING)]
        if policy is Policy.INVOICE:
            assert str(Status.PAYMENT_REQUIRED) in list_statuses(world, provider)
        else:  # without money there is no key, hence nothing that it could use
            partial = [x for x in list_statuses(world, provider) if x == "partial"]
            assert not partial
    assert_fair(world, customer, providers)


@pytest.mark.parametrize("policy", list(Policy))
def test_who_never_judges_gets_one_round(policy: Policy) -> None:
    """No verdict is ever sent; a program of its own goes on asking for rounds."""
    world, customer, providers = make_attacked(policy, rounds=9)
    customer.twist = lambda _m, e: None if is_verdict(e) or isinstance(e, fx.Pay) else e
    begin(world, customer, providers)
    world.pass_time(15)
    provider = providers[0]
    asked = find_letters(world, Kind.ROUND_REQUEST)
    mine = next(one for one in asked if ("p", provider.key.pubkey) in one.event.tags)
    for number in range(2, 8):
        draft = with_tag(with_param(to_draft(mine), "round", str(number)), "n", str(number))
        draft = with_param(draft, "deadline", str(world.now_s + 100))
        draft = with_param(draft, "payment_hash", sha256_hex(bytes([number])))
        if policy is Policy.ESCROW:
            draft = with_param(draft, "token", f"token-{number}")
            draft = with_param(draft, "locktime", str(world.now_s + 10**6))
        speak(world, customer.key, with_tag(draft, "expiration", str(world.now_s + 100)))
    works = list(provider.state.works.values())
    assert [w.stage for w in works if w.result] == [Work.DELIVERED]
    assert [w.stage for w in works if not w.result] == [Work.OWED]
    assert list_statuses(world, provider)[-1] == str(Status.PAYMENT_REQUIRED)
    assert "bad-request" in list_reasons(provider)
    world.pass_time(200)
    assert works[1].key not in {w.key for w in provider.state.works.values() if w.result}
    assert provider.state.works[works[1].key].stage is Work.FAILED
    assert str(Status.ERROR) in list_statuses(world, provider)
    assert get_money(world, provider) == 0


def test_who_rejects_everything_is_left() -> None:
    """It may be right, or want work for nothing: a provider does not find out for long."""
    world, customer, providers = make_attacked(
        Policy.INVOICE, rounds=1, plan={"faults_max": 99, "attempts_max": 99}
    )
    world.judging = lambda e: fx.Judged(
        e.key, 1, 1, tuple(fx.JudgedLine(name, -9, -9, 1) for name, _, _ in e.candidates)
    )
    play(world, customer, providers, 900)
    for provider in providers:
        assert len([w for w in provider.state.works.values() if w.result]) == 3
        assert [c.standing for c in provider.state.contracts.values()] == [Standing.ENDED]
        assert list_statuses(world, provider)[-1] == str(Status.ERROR)
    assert_fair(world, customer, providers)


def test_a_wallet_that_stands_still_is_not_the_providers_fault() -> None:
    world, customer, providers = make_attacked(Policy.HOLD, rounds=1, plan={"attempts_max": 1})
    customer.twist = drop(fx.Pay)
    play(world, customer, providers, 400)
    works = list(customer.state.works.values())
    assert {(w.stage, w.code) for w in works} == {(Stage.REJECTED, Code.NOT_JUDGED)}
    assert all(member.faults == 0 for member in customer.state.members.values())


def test_a_late_payment_lets_the_next_round_begin() -> None:
    """A slow wallet is no fraud: the request waits, and is worked on when the money is there."""
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=3)
    slow: list[tuple[Member, fx.Effect]] = []

    def twist(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Pay):
            slow.append((member, effect))
            return None
        return effect

    customer.twist = twist
    begin(world, customer, providers)
    for _ in range(20):
        world.pass_time(10)
        while slow:
            world.carry_out(*slow.pop())
        world.run()
    assert customer.state.outcome == "all rounds done"
    assert [done.accepted for done in customer.state.history] == [3, 3, 3]
    assert [get_money(world, p) for p in providers] == [3_000, 3_003, 3_006, 0]
    assert "payment-required" in list_statuses(world, providers[0])
    assert_fair(world, customer, [])


BAD_CONTRACTS = {
    "another price": (lambda d: with_param(d, "price_msat", "999"), "other-terms"),
    "another payee": (lambda d: with_param(d, "payee", "02" + OTHER), "other-terms"),
    "another policy": (lambda d: with_param(d, "payment", "invoice"), "other-terms"),
    "an offer of nobody": (lambda d: with_tag(d, "e", OTHER, marker="offer"), "no-such-offer"),
    "another job": (lambda d: with_tag(d, "e", OTHER, marker="job"), "no-such-offer"),
    "expired": (lambda d: with_tag(d, "expiration", "1000"), "expired"),
}


@pytest.mark.parametrize("name", BAD_CONTRACTS)
def test_a_contract_that_is_not_the_offer_is_refused(name: str) -> None:
    change, reason = BAD_CONTRACTS[name]
    world, customer, providers = make_attacked(Policy.HOLD)
    first = providers[0].key.pubkey
    customer.twist = spoil(Kind.CONTRACT, change, lambda d: d.recipient == first)
    play(world, customer, providers)
    assert list_reasons(providers[0]) == [reason]
    assert not providers[0].state.contracts
    assert customer.state.outcome == "all rounds done"
    assert_fair(world, customer, [providers[0]])


def test_contracts_of_strangers_again_and_too_many_are_refused() -> None:
    world, customer, providers = make_attacked(Policy.HOLD, rounds=1)
    begin(world, customer, providers)
    world.pass_time(10)
    provider = providers[0]
    letter = find_letters(world, Kind.CONTRACT)[0]
    draft = to_draft(letter)
    held = dict(provider.state.contracts)
    speak(world, STRANGER, draft)
    for number in range(200):
        speak(world, customer.key, with_param(draft, "shard", str(number)))
    assert provider.state.contracts == held
    assert set(list_reasons(provider)) == {"not-the-customer", "second-contract"}
    world.pass_time(60)
    assert customer.state.outcome == "all rounds done"


def test_an_offer_binds_nobody_after_its_time_nor_beyond_the_room() -> None:
    world, customer, providers = make_attacked(Policy.HOLD, plan={"is_automatic": False})
    machine = providers[0].machine
    providers[0].machine = type(machine)(replace(machine.policy, offer_life_s=20))
    machine = providers[1].machine
    providers[1].machine = type(machine)(replace(machine.policy, contracts_max=0))
    begin(world, customer, providers)
    assert len(customer.state.offers) == 3  # who has no room makes no offer
    letters = find_letters(world, Kind.OFFER, providers[0].key.pubkey)
    offer = letters[0].event
    world.pass_time(30)
    hidden = (
        ("i", f"blossom:{OTHER}.sealed?sz=10", "url", "", "shard"),
        ("param", "shard_key", OTHER), ("param", "shard", "0"), ("param", "price_msat", "1000"),
        ("param", "payment", "hold"), ("param", "payee", "02" + providers[0].key.pubkey),
    )  # fmt: skip
    tags = (
        ("v", "1"), ("t", "training"), ("p", providers[0].key.pubkey), ("encrypted",),
        ("e", customer.state.job.id, "", "job"), ("e", offer.id, "", "offer"),
        ("expiration", str(world.now_s + 100)),
    )  # fmt: skip
    speak(world, customer.key, Draft(Kind.CONTRACT, tags, providers[0].key.pubkey, hidden))
    assert list_reasons(providers[0]) == ["offer-expired"]


BAD_REQUESTS = {
    "another price": lambda d: with_param(d, "price_msat", "1"),
    "another job": lambda d: with_tag(d, "e", OTHER, marker="job"),
    "another contract": lambda d: with_tag(d, "e", OTHER, marker="contract"),
    "a deadline that has passed": lambda d: with_param(d, "deadline", "1000"),
    "a deadline that nobody lives to see": lambda d: with_param(d, "deadline", str(2**39)),
    "a round that the job has not": lambda d: with_tag(with_param(d, "round", "77"), "n", "77"),
    "a round that is not its tag's": lambda d: with_param(d, "round", "2"),
    "no hash to lock money on": lambda d: with_param(d, "payment_hash", ""),
    "a model that is too big": lambda d: with_blob(d, "model", f"blossom:{OTHER}.x?sz=10001"),
    "expired": lambda d: with_tag(d, "expiration", "1000"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_request_that_is_not_the_contract_starts_no_work(name: str) -> None:
    world, customer, providers = make_attacked(Policy.HOLD, rounds=1)
    first = providers[0].key.pubkey
    change = BAD_REQUESTS[name]
    customer.twist = spoil(Kind.ROUND_REQUEST, change, lambda d: d.recipient == first)
    begin(world, customer, providers)
    world.pass_time(15)
    assert not providers[0].state.works
    assert len(providers[0].rejected) == 1
    world.pass_time(300)
    assert customer.state.outcome == "all rounds done"
    assert_fair(world, customer, [providers[0]])


def test_a_payment_hash_is_good_for_one_request() -> None:
    """Its preimage is known after the first verdict: an old settled invoice is no pay."""
    world, customer, providers = make_attacked(Policy.HOLD, rounds=3)
    hashes: dict[str, str] = {}

    def again(draft: Draft) -> Draft:
        old = next(tag[2] for tag in draft.hidden or () if tag[1] == "payment_hash")
        return with_param(draft, "payment_hash", hashes.setdefault(draft.recipient, old))

    customer.twist = spoil(Kind.ROUND_REQUEST, again)
    play(world, customer, providers, 400)
    for provider in providers[:3]:
        works = list(provider.state.works.values())
        assert [w.stage for w in works] == [Work.PAID]
        assert "bad-request" in list_reasons(provider)
        assert provider.state.earned_msat == get_money(world, provider)
    assert_fair(world, customer, [])


@pytest.mark.parametrize(
    ("refused", "change"),
    [
        ("taken back", lambda d, _n: with_param(d, "locktime", str(int(_get(d, "deadline")) + 1))),
        (
            "of another request",
            lambda d, n: with_param(d, "token", n.setdefault(d.recipient, _get(d, "token"))),
        ),
        ("worth nothing", lambda d, _n: with_param(d, "token", "token-" + OTHER)),
    ],
)
def test_ecash_that_pays_nobody_is_not_worked_for(refused: str, change: Any) -> None:
    world, customer, providers = make_attacked(Policy.ESCROW, rounds=2)
    notes: dict[str, str] = {}
    customer.twist = spoil(Kind.ROUND_REQUEST, lambda d: change(d, notes))
    play(world, customer, providers, 400)
    for provider in providers:
        works = [w for w in provider.state.works.values() if w.result]
        assert sum(w.paid_msat for w in works) == get_money(world, provider)
        assert all(w.stage is Work.PAID for w in works)
    if "worth" not in refused:
        details = [one.reject.detail for one in providers[0].rejected]
        assert any(refused in detail for detail in details)
    assert_fair(world, customer, [])


def _get(draft: Draft, name: str) -> str:
    return next(tag[2] for tag in draft.hidden or () if tag[1] == name)


def test_a_preimage_that_does_not_fit_is_no_verdict() -> None:
    world, customer, providers = make_attacked(Policy.HOLD, rounds=1)
    first = providers[0].key.pubkey
    true: list[Draft] = []

    def forge(draft: Draft) -> Draft:
        true.append(draft)
        return with_param(draft, "preimage", OTHER)

    customer.twist = spoil(Kind.VERDICT, forge, lambda d: d.recipient == first)
    play(world, customer, providers, 30)
    assert list_reasons(providers[0]) == ["wrong-preimage"]
    assert [w.stage for w in providers[0].state.works.values()] == [Work.LOCKED]
    assert get_money(world, providers[0]) == 0
    speak(world, customer.key, true[0])
    assert get_money(world, providers[0]) == 1_000
    assert_fair(world, customer, [])


@pytest.mark.parametrize("policy", list(Policy))
def test_what_was_delivered_before_a_cancel_is_judged_and_paid(policy: Policy) -> None:
    """Two have delivered, one still trains: the two are paid, the third hears why not."""
    world, customer, providers = make_attacked(policy, rounds=3)
    slow = providers[2]
    held: list[tuple[Member, fx.Effect]] = []

    def hold(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Train):
            held.append((member, effect))
            return None
        return effect

    slow.twist = hold
    begin(world, customer, providers)
    world.pass_time(15)
    customer.take(Cancel())
    world.run()
    assert [c.standing for c in slow.state.contracts.values()] == [Standing.ENDED]
    world.carry_out(*held[0])  # it trains in vain: the result of a dropped work is nothing
    world.run()
    world.pass_time(100)
    assert customer.state.phase is Phase.CLOSED
    assert customer.state.outcome == "cancelled by the customer"
    assert [get_money(world, p) for p in providers] == [1_000, 1_001, 0, 0]
    assert_fair(world, customer, [slow])


def test_a_result_that_crosses_a_cancel_gets_a_word() -> None:
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=1)
    late: list[tuple[Member, fx.Effect]] = []

    def hold(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and effect.draft.kind is Kind.RESULT:
            late.append((member, effect))
            return None
        return effect

    providers[0].twist = hold
    begin(world, customer, providers)
    world.pass_time(15)
    customer.take(Cancel())
    world.carry_out(*late[0])
    world.run()
    work = next(w for w in customer.state.works.values() if w.provider == providers[0].key.pubkey)
    assert (work.stage, work.code) == (Stage.CLOSED, Code.CANCELLED)
    said = find_letters(world, Kind.VERDICT)
    assert any(
        tag[:3] == ("status", "inconclusive", "cancelled") for x in said for tag in x.event.tags
    )
    world.pass_time(60)
    assert_fair(world, customer, [providers[0]])


def test_a_cancelled_contract_does_not_come_back_to_life() -> None:
    """What was being fetched when the cancel came says yes no more."""
    world, customer, providers = make_attacked(Policy.HOLD)
    held: list[tuple[Member, fx.Effect]] = []

    def hold(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Unseal):
            held.append((member, effect))
            return None
        return effect

    providers[0].twist = hold
    begin(world, customer, providers)
    world.pass_time(15)
    customer.take(Cancel())
    world.run()
    world.carry_out(*held[0])
    world.run()
    assert not find_letters(world, Kind.ACCEPTANCE, providers[0].key.pubkey)
    assert [c.standing for c in providers[0].state.contracts.values()] == [Standing.ENDED]
