"""What a judge answers, whom, and what it asks of servers: each rule was broken once on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.market.hostile import (
    STRANGER,
    begin,
    find_letters,
    list_reasons,
    play,
    speak,
    to_draft,
    with_blob,
    with_param,
    with_tag,
)
from tests.market.small_world import Member, World, make_market
from tests.market.test_market_judge_rules import (
    JUROR,
    OTHER,
    count_rulings,
    make_dispute,
    make_tried,
    post_job,
)

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer.state import Stage
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import Code, Kind, Policy
from kumiai.market.letters import Draft
from kumiai.market.sealing import compute_sealed_bytes_max


def make_judged(**changes: Any) -> tuple[World, Member, list[Member], Member, list[fx.Effect]]:
    """A job that one judge decides; what the judge asks for is in the list."""
    given = {"committee": (JUROR.pubkey,), "rounds": 1, **changes}
    world, customer, providers = make_market(**given)
    judge = world.add("judge", Judging(JudgePolicy(JUROR.pubkey, "7" * 64)), JUROR)
    asked: list[fx.Effect] = []

    def watch(_member: Member, effect: fx.Effect) -> fx.Effect:
        asked.append(effect)
        return effect

    judge.twist = watch
    return world, customer, providers, judge, asked


def renew(world: World, draft: Draft) -> Draft:
    """The same request, not yet expired."""
    return with_tag(draft, "expiration", str(world.now_s + 100))


def count(asked: list[fx.Effect], kind: type) -> int:
    return sum(isinstance(effect, kind) for effect in asked)


def test_a_request_of_somebody_else_than_the_customer_is_refused() -> None:
    world, customer, providers, judge, asked = make_judged()
    play(world, customer, providers, 60)
    before = len(asked)
    true = renew(world, to_draft(find_letters(world, Kind.JUDGING)[0]))
    speak(world, STRANGER, with_tag(with_param(true, "round", "2"), "n", "2"))
    assert list_reasons(judge) == ["not-our-job"]
    assert len(asked) == before


def test_a_juror_does_not_judge_rounds_and_a_committee_hears_no_disputes() -> None:
    """Each role was taken by itself: the job names who does what."""
    world, customer, providers, judge, asked = make_judged(
        committee=(derive_key(b"asked", "other").pubkey,), jury=(JUROR.pubkey,)
    )
    begin(world, customer, providers)
    world.pass_time(20)
    true = renew(world, to_draft(find_letters(world, Kind.JUDGING)[0]))
    speak(world, customer.key, replace(with_tag(true, "p", JUROR.pubkey), recipient=JUROR.pubkey))
    assert list_reasons(judge) == ["not-our-job"]
    assert not asked
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    (job,) = juror.state.jobs
    terms = replace(juror.state.jobs[job], committee=(JUROR.pubkey,), jury=(OTHER,))
    juror.state = replace(juror.state, jobs={job: terms})
    speak(world, providers[0].key, make_dispute(world, providers[0], 0))
    assert list_reasons(juror) == ["not-our-job"]
    assert count_rulings(world) == 0


def test_a_judge_that_is_a_customer_too_does_not_hear_itself() -> None:
    world, _, _, judge, _ = make_judged()
    job = post_job(world, 1)
    event = replace(job.event, pubkey=JUROR.pubkey)
    judge.take(fx.Heard(replace(job, event=event)))
    assert not judge.state.jobs


def test_a_judge_downloads_no_more_than_the_job_says() -> None:
    world, customer, providers, _judge, asked = make_judged(
        rounds=2, model_bytes=5_000, update_bytes_max=7_000
    )
    play(world, customer, providers, 60)
    assert customer.state.outcome == "all rounds done"
    limits: dict[str, set[int]] = {"model": set(), "previous": set(), "update": set()}
    for effect in asked:
        if isinstance(effect, fx.Fetch):
            what = effect.key.rpartition("/")[2]
            limits[what if what in limits else "update"].add(effect.size_bytes_max)
    assert limits == {
        "model": {5_000},
        "previous": {5_000},
        "update": {compute_sealed_bytes_max(7_000)},
    }
    assert {e.size_bytes_max for e in asked if isinstance(e, fx.Unseal)} == {7_000}


def test_a_judge_measures_what_it_is_shown_with_the_beacon_that_it_is_given() -> None:
    world, customer, providers, _judge, asked = make_judged(rounds=2)
    play(world, customer, providers, 60)
    measured = [effect for effect in asked if isinstance(effect, fx.Judge)]
    requests = find_letters(world, Kind.JUDGING)
    assert len(measured) == len(requests) == 2
    for effect, letter in zip(measured, requests, strict=True):
        beacon = next(tag[2] for tag in letter.hidden or () if tag[1] == "beacon")
        assert effect.seed == beacon
    assert measured[0].previous_model == ""
    assert measured[1].previous_model == measured[0].model
    assert measured[1].model == customer.state.works[f"2/0/{providers[0].key.pubkey}"].model
    shards = {m.provider: m.shard for m in customer.state.members.values()}
    assert {(name, shard) for name, _, shard in measured[0].candidates} == set(shards.items())


def test_nothing_is_measured_before_the_previous_model_is_here() -> None:
    """Without it a repeated update looks like a new one."""
    world, customer, providers, judge, asked = make_judged(rounds=2)
    held: list[fx.Effect] = []

    def hold(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Fetch) and effect.key.endswith("/previous"):
            held.append(effect)
            return None
        asked.append(effect)
        return effect

    judge.twist = hold
    begin(world, customer, providers)
    world.pass_time(20)
    assert len(held) == 1
    assert count(asked, fx.Judge) == 1
    world.carry_out(judge, held[0])
    world.run()
    assert count(asked, fx.Judge) == 2


def test_a_request_in_parts_is_judged_once_and_whole() -> None:
    """Twelve updates are two parts: one judgement names all of them, in their order."""
    world, customer, providers, _judge, asked = make_judged(shards=12, providers=12)
    parts: list[fx.Effect] = []

    def hold(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Publish) and effect.draft.kind is Kind.JUDGING:
            parts.append(effect)
            return None
        return effect

    customer.twist = hold
    begin(world, customer, providers)
    world.pass_time(20)
    assert len(parts) == 2
    customer.twist = lambda _m, effect: effect
    world.carry_out(customer, parts[1])  # the second one comes first
    world.run()
    assert not asked, "nothing is judged before all is there"
    world.carry_out(customer, parts[0])
    world.run()
    (measured,) = [effect for effect in asked if isinstance(effect, fx.Judge)]
    arrived = sorted(customer.state.works.values(), key=lambda work: work.order)
    assert [name for name, _, _ in measured.candidates] == [work.provider for work in arrived]
    (said,) = find_letters(world, Kind.JUDGEMENT)
    assert sum(tag[1].startswith("line:") for tag in said.event.tags if tag[0] == "param") == 12
    assert customer.state.history[0].accepted == 12
    before = len(asked)
    again = renew(world, to_draft(find_letters(world, Kind.JUDGING)[0]))
    speak(world, customer.key, again)  # the same in another event
    assert len(asked) == before, "what was judged is not judged again"


def test_a_part_counts_once_and_only_of_the_same_request() -> None:
    """A second word about one part, or about how many there are, changes nothing."""
    world, customer, providers, judge, asked = make_judged(shards=12, providers=12)
    held: list[fx.Effect] = []

    def hold(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if effect.key.startswith("publish/judging/") and effect.key.endswith("/1"):
            held.append(effect)
            return None
        return effect

    customer.twist = hold
    begin(world, customer, providers)
    world.pass_time(20)
    (session,) = judge.state.sessions.values()
    first = renew(world, to_draft(find_letters(world, Kind.JUDGING)[0]))
    hidden = [tag for tag in first.hidden or () if not tag[1].startswith("candidate:")]
    empty = replace(first, hidden=tuple(hidden))
    speak(world, customer.key, empty)
    speak(world, customer.key, with_param(with_param(empty, "part", "1"), "parts", "3"))
    assert judge.state.sessions == {session.key: session}
    assert not asked
    customer.twist = lambda _m, effect: effect
    world.carry_out(customer, held[0])
    world.run()
    assert customer.state.history[0].accepted == 12


def test_a_provider_that_is_named_twice_is_judged_by_what_came_first() -> None:
    world, customer, providers, _judge, _asked = make_judged(shards=12, providers=12)
    first = ""

    def double(_member: Member, effect: fx.Effect) -> fx.Effect:
        nonlocal first
        if not (isinstance(effect, fx.Publish) and effect.draft.kind is Kind.JUDGING):
            return effect
        hidden = effect.draft.hidden or ()
        names = [tag[1].partition(":")[2] for tag in hidden if tag[1].startswith("candidate:")]
        first = first or names[0]
        if first in names:
            return effect
        draft = with_param(effect.draft, f"candidate:{first}", OTHER, OTHER, "0", OTHER)
        draft = with_blob(draft, f"update:{first}", f"blossom:{OTHER}.sealed?sz=10")
        return replace(effect, draft=draft)

    customer.twist = double
    play(world, customer, providers, 60)
    assert customer.state.history[0].accepted == 12


def test_an_update_that_a_judge_cannot_have_is_judged_as_that() -> None:
    """The others are judged all the same; the word for each says what was wrong."""
    world, customer, providers, judge, _asked = make_judged(shards=3, providers=3)
    names = [p.key.pubkey for p in providers]

    def break_blobs(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Fetch) and effect.key.endswith(names[0]):
            member.take(fx.Failed(effect.key, "not-there", "gone"))
            return None
        if isinstance(effect, fx.Unseal) and effect.key.endswith(names[1]):
            member.take(fx.Failed(effect.key, "wrong-hash", "other key"))
            return None
        return effect

    judge.twist = break_blobs
    play(world, customer, providers, 60)
    codes = [customer.state.works[f"1/0/{name}"].code for name in names]
    assert codes == [Code.NOT_THERE, Code.WRONG_HASH, Code.ACCEPTED]


def test_a_judgement_is_of_its_attempt() -> None:
    world, customer, providers, _, _ = make_judged(plan={"attempts_max": 3})

    def measure(effect: fx.Judge) -> fx.Judged:
        gain = -9 if effect.key.endswith(":1:0") else 9
        lines = tuple(fx.JudgedLine(name, gain, 0, 1) for name, _, _ in effect.candidates)
        return fx.Judged(effect.key, 1, 1, lines)

    world.judging = measure
    play(world, customer, providers, 60)
    attempts = [
        next(tag[2] for tag in x.event.tags if tag[:2] == ("param", "attempt"))
        for x in find_letters(world, Kind.JUDGEMENT)
    ]
    assert attempts == ["0", "1"]
    assert customer.state.outcome == "all rounds done"


def test_a_result_that_nobody_waits_for_changes_nothing() -> None:
    world, customer, providers, judge, asked = make_judged()
    play(world, customer, providers, 60)
    before = judge.state
    measured = next(effect for effect in asked if isinstance(effect, fx.Judge))
    lines = tuple(fx.JudgedLine(name, -9, 0, 1) for name, _, _ in measured.candidates)
    judge.take(fx.Judged(measured.key, 1, 1, lines))
    world.run()
    assert judge.state == before
    assert len(find_letters(world, Kind.JUDGEMENT)) == 1


# -- what a juror signs --


def tell_juror(world: World, juror: Member, gain: int) -> None:
    world.judging = lambda e: fx.Judged(
        e.key, 1, 1, tuple(fx.JudgedLine(name, gain, 0, 1) for name, _, _ in e.candidates)
    )


@pytest.mark.parametrize("is_good", [True, False])
def test_a_juror_signs_ecash_for_good_work_alone_and_shows_it_to_its_worker(is_good: bool) -> None:
    world, customer, providers, juror = make_tried(Policy.ESCROW)
    play(world, customer, providers, 60)
    asked: list[fx.Effect] = []

    def watch(_member: Member, effect: fx.Effect) -> fx.Effect:
        asked.append(effect)
        return effect

    juror.twist = watch
    tell_juror(world, juror, 9 if is_good else -9)
    speak(world, providers[0].key, make_dispute(world, providers[0], 0))
    assert count(asked, fx.SignToken) == int(is_good)
    shown = {
        next(tag[1] for tag in x.event.tags if tag[0] == "p"): bool(x.hidden)
        for x in find_letters(world, Kind.RULING)
    }
    assert shown == {providers[0].key.pubkey: is_good, customer.key.pubkey: False}


def test_a_juror_whose_mint_refuses_rules_without_signing() -> None:
    world, customer, providers, juror = make_tried(Policy.ESCROW)
    play(world, customer, providers, 60)

    def refuse(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.SignToken):
            return effect
        member.take(fx.Failed(effect.key, "bad-invoice", "no ecash of ours"))
        return None

    juror.twist = refuse
    tell_juror(world, juror, 9)
    speak(world, providers[0].key, make_dispute(world, providers[0], 0))
    assert count_rulings(world) == 1
    assert {w.stage for w in customer.state.works.values()} == {Stage.PAID}, "the customer obeys"
