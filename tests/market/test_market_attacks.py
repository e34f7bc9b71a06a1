"""Hostile providers and strangers: nobody who is not entitled is paid, and honest ones finish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.market.hostile import (
    STRANGER,
    assert_fair,
    begin,
    find_letters,
    get_money,
    get_param,
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
from tests.market.small_world import Member

from kumiai.market import effects as fx
from kumiai.market.customer import Phase
from kumiai.market.customer.state import Stage
from kumiai.market.kinds import SENTENCES, Code, Kind, Policy
from kumiai.market.letters import Draft

EVENTS = [Policy.HOLD, Policy.FAIR, Policy.INVOICE, Policy.ESCROW]
OTHER = "cd" * 32


def expect(customer: Member, provider: Member, codes: set[Code | None]) -> None:
    """The honest finish all rounds; the guilty provider has no accepted work."""
    state = customer.state
    assert (state.outcome, state.phase) == ("all rounds done", Phase.CLOSED)
    assert len({done.round for done in state.history if done.accepted}) == state.terms.rounds
    guilty = [w for w in state.works.values() if w.provider == provider.key.pubkey]
    assert guilty
    assert {work.code for work in guilty} <= codes
    assert not any(work.stage in (Stage.PAID, Stage.ACCEPTED) for work in guilty)


BAD_RESULTS: dict[str, tuple[Callable[[Draft], Draft | None], set[Code | None], str]] = {
    "another round": (lambda d: with_tag(d, "n", "9"), {Code.WRONG_REQUEST}, "wrong-request"),
    "another contract": (
        lambda d: with_tag(d, "e", OTHER, marker="contract"), {Code.WRONG_REQUEST}, "wrong-request",
    ),
    "another job": (
        lambda d: with_tag(d, "e", OTHER, marker="job"), {Code.WRONG_REQUEST}, "wrong-request",
    ),
    "amount above the price": (
        lambda d: with_tag(d, "amount", "1000000", "lnbcrt" + OTHER),
        {Code.BAD_INVOICE}, "bad-invoice",
    ),
    "a commitment of nobody": (
        lambda d: with_param(d, "commitment", OTHER), {Code.BAD_COMMITMENT}, "",
    ),
    "a blob that nobody has": (
        lambda d: with_blob(d, "update", f"blossom:{OTHER}.sealed?sz=60"),
        {Code.NOT_THERE, Code.REPLAYED}, "",
    ),
    "a blob that is longer than said": (
        lambda d: with_blob(d, "update", d.hidden[0][1].split("?")[0] + "?sz=1"),  # type: ignore[index]
        {Code.TOO_BIG}, "",
    ),
    "a blob beyond the job's limit": (
        lambda d: with_blob(d, "update", f"blossom:{OTHER}.sealed?sz=20000"),
        {Code.TOO_BIG}, "too-big",
    ),
    "percent for parts per million": (
        lambda d: with_param(d, "loss_ppm", "91.17"), {Code.LATE}, "malformed",
    ),
    "a count in exponents": (
        lambda d: with_param(d, "samples", "1e3"), {Code.LATE}, "malformed",
    ),
    "a request that was altered": (
        lambda d: with_tag(d, "request", d.tags[2][1].replace('"kind":5602', '"kind":5601')),
        {Code.LATE}, "malformed",
    ),
    "no request": (lambda d: with_tag(d, "request", "{}"), {Code.LATE}, "malformed"),
    "another version": (lambda d: with_tag(d, "v", "2"), {Code.LATE}, "wrong-version"),
    "more than 12,000 bytes": (
        lambda d: replace(d, tags=(*d.tags, ("x", "y" * 12_000))), {Code.LATE}, "too-big",
    ),
    "in the clear": (
        lambda d: replace(d, tags=(*d.tags, ("param", "key", OTHER))), {Code.LATE}, "malformed",
    ),
    "never": (lambda d: None, {Code.LATE}, ""),
}  # fmt: skip


@pytest.mark.parametrize("policy", EVENTS)
@pytest.mark.parametrize("name", BAD_RESULTS)
def test_a_result_that_is_not_what_was_asked_earns_nothing(name: str, policy: Policy) -> None:
    change, codes, reason = BAD_RESULTS[name]
    world, customer, providers = make_attacked(policy)
    providers[0].twist = spoil(Kind.RESULT, change)
    play(world, customer, providers)
    expect(customer, providers[0], codes)
    # FAIR pays for sealed bytes that were seen, not for what they hold: one round, provably
    is_paid_first = policy is Policy.FAIR and name == "a commitment of nobody"
    assert_fair(world, customer, [] if is_paid_first else [providers[0]])
    if is_paid_first:
        assert get_money(world, providers[0]) == 1_000
    if reason:
        assert reason in list_reasons(customer)


@pytest.mark.parametrize("policy", [Policy.INVOICE, Policy.ESCROW])
@pytest.mark.parametrize("key", [OTHER, ""])
def test_sealed_bytes_that_do_not_open_earn_nothing(policy: Policy, key: str) -> None:
    def lock_out(draft: Draft) -> Draft:
        if key:
            return with_param(draft, "key", key)
        return replace(draft, hidden=tuple(t for t in draft.hidden or () if t[1] != "key"))

    world, customer, providers = make_attacked(policy)
    providers[0].twist = spoil(Kind.RESULT, lock_out)
    play(world, customer, providers)
    expect(customer, providers[0], {Code.WRONG_HASH if key else Code.NO_KEY})
    assert_fair(world, customer, [providers[0]])


def test_a_locked_payment_is_kept_back_from_a_wrong_key_and_from_none() -> None:
    for change in (lambda d: with_param(d, "key", OTHER), lambda _d: None):
        world, customer, providers = make_attacked(Policy.HOLD)
        providers[0].twist = spoil(
            Kind.FEEDBACK, change, lambda d: ("status", "partial", "the key") in d.tags
        )
        play(world, customer, providers)
        expect(customer, providers[0], {Code.WRONG_HASH, Code.NO_KEY})
        assert_fair(world, customer, [providers[0]])


def with_invoice(change: Callable[[list[Any]], None]) -> Callable[[Member, fx.Effect], Any]:
    def twist(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.MakeInvoice):
            return effect
        before = set(member.world.bank.invoices)
        member.world.carry_out(member, effect)
        for name in set(member.world.bank.invoices) - before:
            change(member.world.bank.invoices[name])
        return None

    return twist


def set_at(place: int, value: Any) -> Callable[[list[Any]], None]:
    def change(invoice: list[Any]) -> None:
        invoice[place] = value

    return change


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.FAIR, Policy.INVOICE])
@pytest.mark.parametrize(
    "change",
    [set_at(0, STRANGER.pubkey), set_at(1, 50_000), set_at(1, 999), set_at(2, "expired")],
    ids=["another payee", "more", "less", "expired"],
)
def test_an_invoice_that_is_not_the_agreed_one_is_not_paid(
    policy: Policy, change: Callable[[list[Any]], None]
) -> None:
    world, customer, providers = make_attacked(policy)
    world.bank.balances[STRANGER.pubkey] = 0
    providers[0].twist = with_invoice(change)
    play(world, customer, providers)
    works = [w for w in customer.state.works.values() if w.provider == providers[0].key.pubkey]
    assert works
    assert not any(work.stage is Stage.PAID for work in works)
    assert customer.state.phase is Phase.CLOSED
    assert_fair(world, customer, [providers[0]])
    assert world.bank.balances[STRANGER.pubkey] == 0
    if policy is not Policy.INVOICE:
        assert {work.code for work in works} == {Code.BAD_INVOICE}


def test_a_hold_invoice_on_a_hash_of_ones_own_is_not_paid() -> None:
    """With its own preimage the provider could take the money without an accepted update."""
    world, customer, providers = make_attacked(Policy.HOLD)

    def own_hash(_member: Member, effect: fx.Effect) -> fx.Effect:
        is_it = isinstance(effect, fx.MakeInvoice)
        return replace(effect, payment_hash="", preimage="77" * 32) if is_it else effect  # type: ignore[type-var]

    providers[0].twist = own_hash
    play(world, customer, providers)
    expect(customer, providers[0], {Code.BAD_INVOICE})
    assert_fair(world, customer, [providers[0]])


def test_an_invoice_that_was_paid_before_is_not_taken_again() -> None:
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=3)
    first: list[fx.InvoiceMade] = []

    def again(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.MakeInvoice) or not first:
            return effect
        member.take(replace(first[0], key=effect.key))
        return None

    take = providers[0].take

    def remember(item: Any) -> None:
        if isinstance(item, fx.InvoiceMade):
            first.append(item)
        take(item)

    providers[0].take = remember  # type: ignore[method-assign]
    providers[0].twist = again
    play(world, customer, providers)
    works = [w for w in customer.state.works.values() if w.provider == providers[0].key.pubkey]
    assert [w.stage for w in works[:2]] == [Stage.PAID, Stage.REJECTED]
    assert works[1].code is Code.BAD_INVOICE
    assert get_money(world, providers[0]) == 1_000
    assert_fair(world, customer, [])


@pytest.mark.parametrize("policy", EVENTS)
def test_a_replayed_update_of_an_earlier_round_earns_nothing(policy: Policy) -> None:
    """The same sealed bytes and commitment again, in an otherwise correct result."""
    world, customer, providers = make_attacked(policy)
    old: list[Draft] = []

    def replay(draft: Draft) -> Draft:
        old.append(draft)
        blob = next(tag for tag in old[0].hidden or () if tag[0] == "i")
        return with_blob(
            with_param(draft, "commitment", get_param(old[0], "commitment")), "update", blob[1]
        )

    providers[0].twist = spoil(Kind.RESULT, replay)
    play(world, customer, providers)
    works = [w for w in customer.state.works.values() if w.provider == providers[0].key.pubkey]
    assert [w.stage for w in works] == [Stage.PAID, Stage.REJECTED]
    assert works[1].code is Code.REPLAYED
    assert get_money(world, providers[0]) == 1_000
    assert_fair(world, customer, [])
    assert customer.state.outcome == "all rounds done"


@pytest.mark.parametrize("policy", [Policy.HOLD, Policy.INVOICE, Policy.ESCROW])
@pytest.mark.parametrize("is_first", [True, False])
def test_copied_sealed_bytes_earn_nothing_and_do_not_harm_their_author(
    policy: Policy, is_first: bool
) -> None:
    """The thief runs the blob server: it announces what it was sent, before or after its author."""
    world, customer, providers = make_attacked(policy, rounds=1)
    thief, victim = providers[:2]
    seen: list[Draft] = []
    held: list[tuple[Member, fx.Effect]] = []

    def is_result(effect: fx.Effect) -> bool:
        return isinstance(effect, fx.Publish) and effect.draft.kind is Kind.RESULT

    def author(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and is_result(effect):
            seen.append(effect.draft)
            if is_first and held:
                world.carry_out(*steal(*held.pop()))
        return effect

    def steal(member: Member, effect: fx.Effect) -> tuple[Member, fx.Effect]:
        blob = next(tag for tag in seen[0].hidden or () if tag[0] == "i")
        draft = with_blob(effect.draft, "update", blob[1])  # type: ignore[union-attr]
        return member, replace(effect, draft=draft)  # type: ignore[type-var]

    def copy(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not is_result(effect):
            return effect
        if seen:
            return steal(member, effect)[1]
        held.append((member, effect))
        return None

    thief.twist, victim.twist = copy, author
    begin(world, customer, providers)
    world.pass_time(60)
    if held:
        world.carry_out(*steal(*held.pop()))
    world.pass_time(400)
    expect(customer, thief, {Code.WRONG_HASH, Code.BAD_COMMITMENT, Code.NO_KEY})
    assert get_money(world, victim) == 1_001
    assert_fair(world, customer, [thief])


def test_a_result_under_a_forged_name_counts_for_nobody() -> None:
    """Another key answers a request that was sent to provider 0, with the same embedded request."""
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=1)
    providers[0].twist = lambda m, e: (
        None if isinstance(e, fx.Publish) and e.draft.kind is Kind.RESULT else e
    )
    kept: list[Draft] = []
    stop = providers[0].twist

    def leak(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and effect.draft.kind is Kind.RESULT:
            kept.append(effect.draft)
        return stop(member, effect)

    providers[0].twist = leak
    begin(world, customer, providers)
    world.pass_time(20)
    assert len(kept) == 1
    named = replace(kept[0], tags=(*kept[0].tags, ("provider", providers[0].key.pubkey)))
    for key in (STRANGER, providers[3].key, providers[1].key):
        speak(world, key, named)
    assert list_reasons(customer) == ["not-the-provider"] * 3
    assert {r.event.pubkey for r in customer.state.rejected} == {  # type: ignore[union-attr]
        STRANGER.pubkey, providers[3].key.pubkey, providers[1].key.pubkey,
    }  # fmt: skip
    world.pass_time(600)
    expect(customer, providers[0], {Code.LATE})
    assert_fair(world, customer, [providers[0], providers[3]])


@pytest.mark.parametrize("policy", EVENTS)
def test_a_second_result_for_the_same_request_changes_nothing(policy: Policy) -> None:
    world, customer, providers = make_attacked(policy, rounds=1)
    begin(world, customer, providers)
    world.pass_time(10)
    author = providers[0].key
    letter = find_letters(world, Kind.RESULT, author.pubkey)[0]
    before = customer.state
    for _ in range(5):
        customer.take(fx.Heard(letter))
    assert customer.state == before
    speak(world, author, with_param(to_draft(letter), "loss_ppm", "1"), at_s=world.now_s - 1)
    assert set(list_reasons(customer)) == {"second-result"}
    world.pass_time(100)
    paid = [get_money(world, p) for p in providers]
    assert paid == [1_000, 1_001, 1_002, 0]
    assert_fair(world, customer, [])


@pytest.mark.parametrize("late_s", [60, 95, 103, 105, 300])
def test_a_late_result_is_not_paid(late_s: int) -> None:
    """By the customer's clock; the provider's says something else."""
    world, customer, providers = make_attacked(Policy.INVOICE, rounds=1)
    held: list[tuple[Member, fx.Effect]] = []

    def hold(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and effect.draft.kind is Kind.RESULT:
            held.append((member, effect))
            return None
        return effect

    providers[0].twist = hold
    begin(world, customer, providers)
    world.pass_time(10)
    if late_s % 5:
        world.now_s += late_s  # before its clock has ticked
    else:
        world.pass_time(late_s)
    world.carry_out(*held[0])
    world.run()
    world.pass_time(300)
    work = next(w for w in customer.state.works.values() if w.provider == providers[0].key.pubkey)
    is_paid = late_s <= 100
    assert (work.stage is Stage.PAID) == is_paid
    assert get_money(world, providers[0]) == (1_000 if is_paid else 0)
    if not is_paid:
        assert work.code is Code.LATE
        assert "late" in list_reasons(customer)
        verdicts = [letter.event.tags for letter in find_letters(world, Kind.VERDICT)]
        said = [tags for tags in verdicts if ("p", providers[0].key.pubkey) in tags]
        assert ("status", "rejected", "late", SENTENCES[Code.LATE]) in said[-1]
    assert_fair(world, customer, [])


def test_what_a_provider_says_of_its_own_work_decides_nothing() -> None:
    """Its training loss and accuracy are not looked at; the judge's own measurement is."""

    def boast(draft: Draft) -> Draft:
        draft = with_param(draft, "loss_ppm", "-1000000000000")
        return with_param(with_param(draft, "accuracy_ppm", "1000000"), "final_accuracy", "99.9")

    def measure(effect: fx.Judge) -> fx.Judged:
        lines = tuple(
            fx.JudgedLine(name, -5 if name == providers[0].key.pubkey else 1_000, 0, 1)
            for name, _, _ in effect.candidates
        )
        return fx.Judged(effect.key, 2_000_000, 500_000, lines)

    world, customer, providers = make_attacked(Policy.HOLD)
    world.judging = measure
    providers[0].twist = spoil(Kind.RESULT, boast)
    play(world, customer, providers)
    expect(customer, providers[0], {Code.NO_GAIN})
    assert_fair(world, customer, [providers[0]])
