"""A judge's rules: which disputes a juror hears, what a judge keeps, what it never downloads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.market.hostile import (
    ARBITER,
    find_letters,
    list_reasons,
    play,
    speak,
    to_draft,
    with_blob,
    with_param,
    with_tag,
)
from tests.market.small_world import Member, World, make_market, make_terms

from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.drafts import compute_commitment, draft_dispute, draft_job
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.judge.machine import BYTES_MAX, JOBS_MAX, SESSIONS_MAX
from kumiai.market.judging_terms import DisputeTerms
from kumiai.market.kinds import DISPUTABLE, Code, Kind, Policy
from kumiai.market.letters import Draft, Letter
from kumiai.market.nips.nip01 import encode_event, sign_text
from kumiai.market.provider.state import Stage as Doing

JUROR = derive_key(b"rules", "juror")
OTHER = "cd" * 32


def make_tried(
    policy: Policy = Policy.INVOICE, rounds: int = 1, **changes: Any
) -> tuple[World, Member, list[Member], Member]:
    """Provider 0 does good work in the first round and garbage in the others; nobody disputes."""
    world, customer, providers = make_market(
        (policy,),
        rounds=rounds,
        providers=3,
        arbiter=ARBITER,
        jury=(JUROR.pubkey,),
        plan={"attempts_max": 1, "faults_max": 9},
        **changes,
    )
    world.before = world.bank.total  # type: ignore[attr-defined]
    juror = world.add("juror", Judging(JudgePolicy(JUROR.pubkey, JUROR.secret.hex())), JUROR)

    def measure(effect: fx.Judge) -> fx.Judged:
        lines = tuple(
            fx.JudgedLine(name, 9 if world.blobs[update].startswith(b"good") else -9, 0, 1)
            for name, update, _ in effect.candidates
        )
        return fx.Judged(effect.key, 10**6, 500_000, lines)

    def train(member: Member, effect: fx.Effect) -> fx.Effect | None:
        if not isinstance(effect, fx.Train) or effect.round < rounds:
            return effect
        update = world.put(f"garbage {effect.seed}".encode())
        member.take(fx.Trained(effect.key, update, len(world.blobs[update]), 100, 10, 1_000, 5))
        return None

    world.judging = measure
    providers[0].twist = train
    return world, customer, providers, juror


def make_dispute(world: World, provider: Member, at: int, verdict: Event | None = None) -> Draft:
    """The dispute of a provider's work number `at`, as its own program would raise it."""
    work = list(provider.state.works.values())[at]
    verdict = verdict or work.verdict
    key = next(key for sealed, key in world.sealed if sealed == work.sealed.sha256)
    request, name = work.request, provider.key.pubkey
    place = (request.job, request.contract, request.terms.round, request.terms.attempt, name)
    terms = DisputeTerms(
        update=work.sealed,
        key=key,
        model=request.terms.model,
        attempt=request.terms.attempt,
        commitment=compute_commitment(*place, world.sealed[work.sealed.sha256, key]),
        token=request.terms.token,
        verdict=encode_event(verdict).decode(),
    )
    return draft_dispute(*place[:2], verdict.id, place[2], JUROR.pubkey, terms)


def count_rulings(world: World) -> int:
    return len(find_letters(world, Kind.RULING)) // 2  # one to each party


def test_an_accepted_work_cannot_be_shown_with_the_ecash_of_a_bad_one() -> None:
    """The jury would have signed: the bad work's ecash was the provider's."""
    world, customer, providers, juror = make_tried(Policy.ESCROW, rounds=2)
    play(world, customer, providers, 60)
    good, bad = providers[0].state.works.values()
    assert (good.stage, bad.stage) == (Doing.PAID, Doing.REJECTED)
    draft = make_dispute(world, providers[0], 0)
    speak(world, providers[0].key, with_param(draft, "token", bad.request.terms.token))
    assert list_reasons(juror) == ["bad-dispute"]
    assert count_rulings(world) == 0
    assert not juror.state.sessions


def say_verdict(world: World, customer: Member, provider: Member, *status: str) -> Event:
    """The customer's verdict on a provider's last work, with another status."""
    true = list(provider.state.works.values())[-1].verdict
    tags = [("status", *status) if tag[0] == "status" else tag for tag in true.tags]
    tags = [tag for tag in tags if len(tag) > 1 or tag[0] != "status"]
    return sign_text(customer.key, true.kind, world.now_s, "x", tags)


@pytest.mark.parametrize("code", [*Code, "a-word-of-tomorrow"])
def test_a_juror_hears_what_can_be_measured_and_nothing_else(code: str) -> None:
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    verdict = say_verdict(world, customer, providers[0], "rejected", str(code), "because")
    speak(world, providers[0].key, make_dispute(world, providers[0], 0, verdict))
    is_heard = code in DISPUTABLE or code == "a-word-of-tomorrow"
    assert count_rulings(world) == int(is_heard)
    assert list_reasons(juror) == ([] if is_heard else ["bad-dispute"])


@pytest.mark.parametrize(
    "status", [("accepted", "no-gain"), ("inconclusive", "no-gain"), ("rejected",), ()]
)
def test_a_juror_hears_of_rejections_alone(status: tuple[str, ...]) -> None:
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    verdict = say_verdict(world, customer, providers[0], *status)
    speak(world, providers[0].key, make_dispute(world, providers[0], 0, verdict))
    assert count_rulings(world) == 0
    assert list_reasons(juror) == ["bad-dispute"]


def _swap(event: Event, name: str, *tag: str, marker: str = "") -> list[tuple[str, ...]]:
    is_it = lambda one: one[0] == name and (not marker or one[-1] == marker)  # noqa: E731
    return [tag if is_it(one) else one for one in event.tags]


BAD_VERDICTS: dict[str, Any] = {
    "of another kind": lambda key, v: sign_text(key, int(Kind.RULING), v.created_at, "", v.tags),
    "that nobody signed": lambda key, v: replace(v, sig="ab" * 64),
    "with another id": lambda key, v: replace(v, id=OTHER),
    "on another job": lambda key, v: _sign(
        key, v, _swap(v, "e", "e", OTHER, "", "job", marker="job")
    ),
    "on no job": lambda key, v: _sign(key, v, [t for t in v.tags if t[-1] != "job"]),
    "on another contract": lambda key, v: _sign(
        key, v, _swap(v, "e", "e", OTHER, "", "contract", marker="contract")
    ),
    "on another round": lambda key, v: _sign(key, v, _swap(v, "n", "n", "2")),
    "on another provider": lambda key, v: _sign(key, v, _swap(v, "p", "p", OTHER)),
    "on what was never opened": lambda key, v: _sign(key, v, [t for t in v.tags if t[0] != "x"]),
    "on another model": lambda key, v: _sign(key, v, _swap(v, "model", "model", OTHER)),
}


def _sign(key: Any, verdict: Event, tags: list[tuple[str, ...]]) -> Event:
    return sign_text(key, verdict.kind, verdict.created_at, "x", tags)


@pytest.mark.parametrize("name", BAD_VERDICTS)
def test_a_juror_hears_of_the_customers_own_verdict_on_this_work_alone(name: str) -> None:
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    true = next(iter(providers[0].state.works.values())).verdict
    made = BAD_VERDICTS[name](customer.key, true)
    speak(world, providers[0].key, make_dispute(world, providers[0], 0, made))
    assert list_reasons(juror) == ["bad-dispute"]
    assert count_rulings(world) == 0


def test_a_juror_is_told_which_verdict_a_dispute_is_about() -> None:
    """The event names one verdict and shows another, that is true as well."""
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    draft = make_dispute(world, providers[0], 0)
    speak(world, providers[0].key, with_tag(draft, "e", OTHER, marker="verdict"))
    assert list_reasons(juror) == ["bad-dispute"]


def test_a_dispute_about_a_second_attempt_is_of_that_attempt() -> None:
    """Its commitment names the attempt: another one is another work."""
    world, customer, providers, _ = make_tried()
    customer.machine = replace(
        customer.machine, plan=replace(customer.machine.plan, attempts_max=2)
    )
    providers[1].twist = providers[2].twist = providers[0].twist  # nobody does good work
    play(world, customer, providers, 60)
    second = list(providers[0].state.works.values())[1]
    assert second.request.terms.attempt == 1
    tell = world.judging
    world.judging = lambda e: replace(
        tell(e), lines=tuple(replace(line, gain=9) for line in tell(e).lines)
    )
    speak(world, providers[0].key, make_dispute(world, providers[0], 1))
    said = find_letters(world, Kind.RULING)[0].event
    assert next(tag[1] for tag in said.tags if tag[0] == "status") == "accepted"


def test_a_verdict_is_judged_anew_once() -> None:
    """Each further dispute cost a judging, and could show the ecash of another work."""
    world, customer, providers, juror = make_tried(Policy.ESCROW)
    play(world, customer, providers, 60)
    draft = make_dispute(world, providers[0], 0)
    event = speak(world, providers[0].key, draft)
    assert count_rulings(world) == 1
    juror.take(fx.Heard(Letter(event, draft.hidden)))  # the same again is no second one
    assert not juror.rejected
    for number in range(5):
        speak(world, providers[0].key, with_param(draft, "token", f"token-{number}"))
    assert count_rulings(world) == 1
    assert list_reasons(juror) == ["second-dispute"] * 5
    assert len(juror.state.sessions) == 1


def test_a_dispute_under_way_is_not_begun_again() -> None:
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    juror.twist = lambda _m, effect: None
    draft = make_dispute(world, providers[0], 0)
    speak(world, providers[0].key, draft)
    speak(world, providers[0].key, with_param(draft, "attempt", "1"))
    assert list_reasons(juror) == ["second-dispute"]


def test_a_dispute_whose_model_could_not_be_had_may_be_raised_again() -> None:
    world, customer, providers, juror = make_tried()
    play(world, customer, providers, 60)
    draft = make_dispute(world, providers[0], 0)
    model = world.blobs.pop(customer.state.works[f"1/0/{providers[0].key.pubkey}"].model)
    speak(world, providers[0].key, draft)
    assert count_rulings(world) == 0
    world.put(model)
    speak(world, providers[0].key, with_param(draft, "hint", "the server is back"))
    assert count_rulings(world) == 1
    assert not juror.rejected


def test_a_dispute_that_shows_other_bytes_is_lost() -> None:
    """Wrong key, no bytes, other bytes than its commitment: each has its own word."""
    for change, code in (
        (lambda d: with_param(d, "key", OTHER), "wrong-hash"),
        (lambda d: with_blob(d, "update", f"blossom:{OTHER}.sealed?sz=10"), "not-there"),
        (lambda d: with_param(d, "commitment", OTHER), "bad-commitment"),
    ):
        world, customer, providers, _ = make_tried()
        play(world, customer, providers, 60)
        speak(world, providers[0].key, change(make_dispute(world, providers[0], 0)))
        said = {tag[1:3] for x in find_letters(world, Kind.RULING) for tag in x.event.tags
                if tag[0] == "status"}  # fmt: skip
        assert said == {("rejected", code)}


# -- what a judge keeps --


def make_judge() -> tuple[World, Member]:
    world = World()
    judge = world.add("judge", Judging(JudgePolicy(JUROR.pubkey, "7" * 64)), JUROR)
    return world, judge


def post_job(world: World, number: int, **changes: Any) -> Letter:
    key = derive_key(b"rules", f"customer {number}")
    terms = make_terms(**{"committee": (JUROR.pubkey,), **changes})
    draft = draft_job(terms, world.now_s + 1_000, ("ws://127.0.0.1:1",))
    return Letter(sign_text(key, int(draft.kind), world.now_s, "", draft.tags))


def make_served(count: int) -> tuple[World, Member]:
    """A judge that judged one round of each of so many jobs."""
    world, customer, providers = make_market(
        committee=(JUROR.pubkey,), rounds=1, shards=1, providers=1
    )
    judge = world.add("judge", Judging(JudgePolicy(JUROR.pubkey, "7" * 64)), JUROR)
    play(world, customer, providers, 60)
    assert customer.state.outcome == "all rounds done"
    state = judge.state
    ((job, terms),) = state.jobs.items()
    (session,) = state.sessions.values()
    assert session.lines and not state.pending
    names = [f"{number:064x}" for number in range(count)]
    judge.state = replace(
        state,
        jobs=dict.fromkeys(names, terms),
        customers=dict.fromkeys(names, state.customers[job]),
        sessions={f"{n}:1:0": replace(session, job=n, key=f"{n}:1:0") for n in reversed(names)},
    )
    return world, judge


def test_a_judge_that_served_a_hundred_jobs_hears_of_the_next() -> None:
    """It never took another: none of the hundred gave way. The longest unasked one does."""
    world, judge = make_served(JOBS_MAX)
    job = post_job(world, 1)
    judge.take(fx.Heard(job))
    assert job.event.id in judge.state.jobs
    assert len(judge.state.jobs) == len(judge.state.customers) == JOBS_MAX
    last = f"{JOBS_MAX - 1:064x}"  # the sessions came in the other order
    assert last not in judge.state.jobs
    assert not [s for s in judge.state.sessions.values() if s.job == last]


def test_a_job_about_which_nothing_was_asked_gives_way_first() -> None:
    world, judge = make_served(JOBS_MAX - 1)
    idle, new = post_job(world, 1), post_job(world, 2)
    before = set(judge.state.jobs)
    judge.take(fx.Heard(idle))
    judge.take(fx.Heard(new))
    assert set(judge.state.jobs) == {*before, new.event.id}


def test_a_job_that_is_heard_again_takes_no_room() -> None:
    world, judge = make_served(JOBS_MAX - 2)
    jobs = [post_job(world, number) for number in (1, 2)]
    for job in jobs:
        judge.take(fx.Heard(job))
    before = judge.state
    judge.take(fx.Heard(jobs[1]))
    assert judge.state == before


def test_a_job_that_is_being_judged_does_not_give_way() -> None:
    world, judge = make_served(JOBS_MAX)
    judge.state = replace(
        judge.state,
        pending={f"judge/{key}": fx.Fetched(key) for key in judge.state.sessions},  # type: ignore[arg-type,dict-item]
    )
    before = set(judge.state.jobs)
    judge.take(fx.Heard(post_job(world, 1)))
    assert set(judge.state.jobs) == before


def test_a_judge_hears_of_a_job_once_and_of_no_job_that_does_not_name_it() -> None:
    world, judge = make_judge()
    for changes, is_heard in (
        ({"committee": (OTHER,)}, False),
        ({"committee": (), "jury": (JUROR.pubkey,)}, True),
        ({"committee": (OTHER, JUROR.pubkey)}, True),
    ):
        job = post_job(world, 1, **changes)
        judge.take(fx.Heard(job))
        assert (job.event.id in judge.state.jobs) is is_heard
    before = judge.state
    judge.take(fx.Heard(job))
    assert judge.state == before


def test_a_judge_that_serves_certain_jobs_hears_of_no_other() -> None:
    world, judge = make_judge()
    wanted, other = post_job(world, 1), post_job(world, 2)
    judge.machine = Judging(JudgePolicy(JUROR.pubkey, "7" * 64, (wanted.event.id,)))
    judge.take(fx.Heard(other))
    judge.take(fx.Heard(wanted))
    assert set(judge.state.jobs) == {wanted.event.id}


@pytest.mark.parametrize("name", ["model_bytes", "update_bytes_max"])
def test_a_job_says_not_alone_how_much_a_judge_downloads(name: str) -> None:
    world, judge = make_judge()
    judge.take(fx.Heard(post_job(world, 1, **{name: BYTES_MAX + 1})))
    assert not judge.state.jobs
    judge.take(fx.Heard(post_job(world, 2, **{name: BYTES_MAX})))
    assert len(judge.state.jobs) == 1


def test_one_customer_cannot_push_out_what_others_asked() -> None:
    """It asks for a thousand judgings that never become whole."""
    world, judge = make_served(2)
    first, second = judge.state.jobs
    session = judge.state.sessions[f"{first}:1:0"]
    many = {f"{second}:{n}:0": replace(session, job=second, key=f"{second}:{n}:0")
            for n in range(2, SESSIONS_MAX + 1)}  # fmt: skip
    judge.state = replace(judge.state, sessions={f"{first}:1:0": session, **many})
    asked = find_letters(world, Kind.JUDGING)[0]
    customer = world.members["customer"]
    draft = with_tag(to_draft(asked), "e", second, marker="job")
    draft = with_tag(with_param(draft, "round", "5000"), "n", "5000")
    speak(world, customer.key, with_tag(draft, "expiration", str(world.now_s + 100)))
    assert f"{second}:5000:0" in judge.state.sessions
    assert f"{first}:1:0" in judge.state.sessions
    assert f"{second}:2:0" not in judge.state.sessions
    assert len(judge.state.sessions) == SESSIONS_MAX
