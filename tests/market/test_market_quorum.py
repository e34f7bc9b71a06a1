"""How a customer counts its committee and obeys its jury: each rule was broken once on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.market.hostile import begin, find_letters, list_reasons, play, speak
from tests.market.small_world import Member, World, judge_by_name, make_market

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.customer import Phase, committee
from kumiai.market.customer.state import Stage, Work
from kumiai.market.customer.turn import Turn
from kumiai.market.drafts import draft_judgement, draft_ruling
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.judging_terms import JudgementLine
from kumiai.market.kinds import Code, Kind, Policy, Ruling
from kumiai.market.letters import JudgementGiven

JUDGES = [derive_key(b"quorum", str(number)) for number in range(5)]
KEYS = tuple(key.pubkey for key in JUDGES)
OTHER = "cd" * 32
YES, NO = Ruling.ACCEPTED, Ruling.REJECTED


def make_turn(quorum: int, *said: tuple[Ruling, str, int], names: tuple[str, ...] = KEYS) -> Turn:
    """A customer that has heard one word of each judge about the provider OTHER."""
    world, customer, _ = make_market(committee=names, quorum=quorum)
    turn = Turn(customer.machine.plan, customer.state, world.now_s)
    for number, (ruling, code, gain) in enumerate(said):
        lines = (JudgementLine("ab" * 32, NO, "empty", 7), JudgementLine(OTHER, ruling, code, gain))
        given = JudgementGiven("", "", KEYS[number], 1, 0, number, 10 * number, lines)
        turn.keep("votes", KEYS[number], given)
    return turn


@pytest.mark.parametrize(
    ("quorum", "said", "wanted"),
    [
        (2, [(YES, "accepted", 5)], None),
        (2, [(YES, "accepted", 5), (NO, "no-gain", 1)], None),
        (2, [(YES, "accepted", 5), (YES, "accepted", 9)], (YES, "accepted", 5)),
        (2, [(NO, "empty", 3), (YES, "accepted", 9), (NO, "no-gain", 1)], (NO, "empty", 1)),
        (3, [(YES, "accepted", g) for g in (30, 10, 20)], (YES, "accepted", 20)),
        (3, [(YES, "accepted", g) for g in (40, 10, 30, 20)], (YES, "accepted", 20)),
        (3, [(NO, "no-gain", 1), *[(YES, "accepted", g) for g in (9, 8)]], None),
        (1, [(Ruling.INCONCLUSIVE, "not-judged", 0)], None),
    ],
)
def test_a_quorum_decides_by_its_own_side(quorum: int, said: Any, wanted: Any) -> None:
    line = committee.count(make_turn(quorum, *said), OTHER)
    assert (line and (line.ruling, line.code, line.gain_ppm)) == wanted


def test_without_a_committee_one_word_is_enough_whatever_a_quorum_says() -> None:
    turn = make_turn(3, (YES, "accepted", 5), names=())
    assert committee.count(turn, OTHER) is not None


def test_a_provider_that_no_judge_names_is_undecided() -> None:
    turn = make_turn(1, (YES, "accepted", 5))
    assert committee.count(turn, "ef" * 32) is None


def test_the_middle_is_the_lower_one_of_each() -> None:
    def give(loss_ppm: int, accuracy_ppm: int) -> JudgementGiven:
        return JudgementGiven("", "", "", 1, 0, loss_ppm, accuracy_ppm, ())

    assert committee.find_middle([give(5, 1)]) == (5, 1)
    assert committee.find_middle([give(9, 1), give(5, 3), give(7, 2)]) == (7, 2)
    assert committee.find_middle([give(9, 1), give(5, 3), give(7, 2), give(8, 9)]) == (7, 2)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("empty", Code.EMPTY), ("accepted", Code.ACCEPTED), ("a-word-of-tomorrow", Code.NO_GAIN)],
)
def test_a_judges_word_that_we_do_not_know_is_no_gain(code: str, wanted: Code) -> None:
    assert committee.find_code(JudgementLine(OTHER, NO, code, 0)) is wanted


# -- who is asked, and whose word counts when --


def make_judged(count: int, **changes: Any) -> tuple[World, Member, list[Member], list[Member]]:
    world, customer, providers = make_market(
        **{"committee": KEYS[:count], "quorum": count, "rounds": 1, **changes}
    )
    judges = [
        world.add(f"judge {key.pubkey}", Judging(JudgePolicy(key.pubkey, key.secret.hex())), key)
        for key in JUDGES[:count]
    ]
    return world, customer, providers, judges


def silence(*judges: Member) -> None:
    for judge in judges:
        judge.twist = lambda _m, effect: None if isinstance(effect, fx.Publish) else effect


def test_a_customer_in_its_own_committee_asks_the_others_and_has_one_word() -> None:
    world, customer, providers, _ = make_judged(1)
    terms = customer.machine.plan.terms
    terms = replace(terms, committee=(customer.key.pubkey, KEYS[0]), quorum=2)
    customer.machine = replace(customer.machine, plan=replace(customer.machine.plan, terms=terms))
    play(world, customer, providers, 60)
    asked = {t[1] for x in find_letters(world, Kind.JUDGING) for t in x.event.tags if t[0] == "p"}
    assert asked == {KEYS[0]}
    assert set(customer.state.votes) == {customer.key.pubkey, KEYS[0]}
    assert customer.state.history[0].accepted == 3


def test_a_customer_that_is_not_of_the_committee_has_no_word() -> None:
    world, customer, providers, _ = make_judged(2)
    measured: list[fx.Effect] = []

    def watch(_member: Member, effect: fx.Effect) -> fx.Effect:
        if isinstance(effect, fx.Judge) and "final" not in effect.key:
            measured.append(effect)
        return effect

    customer.twist = watch
    play(world, customer, providers, 60)
    assert not measured
    assert set(customer.state.votes) == set(KEYS[:2])


def test_a_request_to_judge_is_good_as_long_as_the_verdict_is_waited_for() -> None:
    world, customer, providers, judges = make_judged(1)
    silence(*judges)
    begin(world, customer, providers)
    world.pass_time(20)
    (request,) = find_letters(world, Kind.JUDGING)
    (expires,) = [int(tag[1]) for tag in request.event.tags if tag[0] == "expiration"]
    assert expires == customer.state.phase_since_s + customer.state.terms.judge_s


def test_judges_have_their_time_and_no_longer() -> None:
    world, customer, providers, judges = make_judged(2, plan={"attempts_max": 1})
    silence(judges[1])
    begin(world, customer, providers)
    world.pass_time(20)
    assert customer.state.phase is Phase.JUDGING
    since_s, judge_s = customer.state.phase_since_s, customer.state.terms.judge_s
    world.pass_time(since_s + judge_s - world.now_s, 1)
    assert customer.state.phase is Phase.JUDGING
    world.pass_time(1, 1)
    assert customer.state.phase is not Phase.JUDGING
    assert {work.code for work in customer.state.works.values()} == {Code.NOT_JUDGED}


def test_a_round_that_nobody_judged_ends_too() -> None:
    world, customer, providers, judges = make_judged(2, plan={"attempts_max": 1})
    silence(*judges)
    play(world, customer, providers, 100)
    assert {work.code for work in customer.state.works.values()} == {Code.NOT_JUDGED}
    assert customer.state.phase is Phase.CLOSED


def test_the_customer_alone_waits_for_itself() -> None:
    """Its own machine may be slow: nobody is left undecided by that."""
    world, customer, providers = make_market(rounds=1)
    kept: list[fx.Judge] = []

    def hold(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if isinstance(effect, fx.Judge) and not kept:
            kept.append(effect)
            return None
        return effect

    customer.twist = hold
    begin(world, customer, providers)
    world.pass_time(1_000)
    assert customer.state.phase is Phase.JUDGING
    customer.take(judge_by_name(kept[0]))
    world.run()
    assert customer.state.history[0].accepted == 3


def test_a_judges_first_word_about_this_round_counts_and_no_other() -> None:
    """Other rounds, attempts and jobs are other matters, and nobody takes its word back."""
    world, customer, providers, judges = make_judged(2, rounds=2)
    silence(judges[0], judges[1])
    begin(world, customer, providers)
    world.pass_time(20)
    assert customer.state.phase is Phase.JUDGING
    request = find_letters(world, Kind.JUDGING)[0].event
    names = [p.key.pubkey for p in providers[:3]]
    job = customer.state.job.id

    def say(ruling: Ruling, *place: Any) -> None:
        lines = [JudgementLine(name, ruling, str(Code.NO_GAIN), 0) for name in names]
        speak(world, JUDGES[0], draft_judgement(request, *place, 1, 1, lines))

    for place in ((OTHER, 1, 0), (job, 2, 0), (job, 1, 1)):
        say(NO, *place)
        assert not customer.state.votes
    say(YES, job, 1, 0)
    first = customer.state.votes[KEYS[0]]
    say(NO, job, 1, 0)
    assert customer.state.votes == {KEYS[0]: first}
    assert customer.state.phase is Phase.JUDGING, "one of two is no quorum"


# -- the jury --


def make_ruled(count: int, policy: Policy = Policy.HOLD) -> tuple[World, Member, Work]:
    """A job whose only round was rejected, with a jury of so many."""
    world, customer, providers = make_market(
        (policy,), rounds=1, jury=KEYS[:count], shards=1, providers=1, plan={"attempts_max": 1}
    )
    machine = providers[0].machine
    providers[0].machine = replace(machine, policy=replace(machine.policy, disputes=True))
    world.judging = lambda e: fx.Judged(
        e.key, 1, 1, tuple(fx.JudgedLine(name, -9, 0, 1) for name, _, _ in e.candidates)
    )
    begin(world, customer, providers)
    world.pass_time(20)
    (work,) = customer.state.works.values()
    assert (work.stage, work.code) == (Stage.REJECTED, Code.NO_GAIN)
    return world, customer, work


def rule(world: World, customer: Member, number: int, ruling: Ruling = YES, **to: str) -> None:
    (work,) = customer.state.works.values()
    contract = customer.state.members[work.provider].contract
    verdict = to.get("verdict", work.verdict)
    place = (customer.state.job.id, contract, OTHER, verdict, customer.key.pubkey)
    speak(world, JUDGES[number], draft_ruling(*place, ruling, Code.ACCEPTED))


def get_stage(customer: Member) -> Stage:
    (work,) = customer.state.works.values()
    return work.stage


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_more_than_half_of_the_jury_decides(count: int, needed: int) -> None:
    world, customer, _ = make_ruled(count)
    for number in range(needed):
        assert get_stage(customer) is Stage.REJECTED, f"after {number} of {count}"
        rule(world, customer, number)
    assert get_stage(customer) is Stage.PAID


def test_one_juror_has_one_word() -> None:
    world, customer, _ = make_ruled(3)
    for _ in range(5):
        rule(world, customer, 0)
        world.now_s += 1
    assert get_stage(customer) is Stage.REJECTED


def test_a_stranger_is_no_juror() -> None:
    world, customer, _ = make_ruled(1)
    rule(world, customer, 1)
    assert get_stage(customer) is Stage.REJECTED
    assert list_reasons(customer) == ["not-a-juror"]


@pytest.mark.parametrize("ruling", [NO, Ruling.INCONCLUSIVE])
def test_a_juror_that_does_not_accept_pays_nothing(ruling: Ruling) -> None:
    world, customer, _ = make_ruled(1)
    rule(world, customer, 0, ruling)
    assert get_stage(customer) is Stage.REJECTED
    assert not customer.state.rulings


def test_a_ruling_on_no_verdict_of_ours_is_nothing() -> None:
    world, customer, _ = make_ruled(1)
    rule(world, customer, 0, verdict=OTHER)
    assert get_stage(customer) is Stage.REJECTED
    assert not customer.state.rulings


def test_a_jury_pays_once() -> None:
    world, customer, _ = make_ruled(1)
    rule(world, customer, 0)
    (work,) = customer.state.works.values()
    member = customer.state.members[work.provider]
    world.now_s += 1
    rule(world, customer, 0)
    assert customer.state.members[work.provider] == member
    assert (member.accepted, member.paid_msat) == (1, 1_000)
    assert not customer.rejected, "a juror that comes second did nothing wrong"


def test_a_jury_cannot_give_back_what_the_provider_let_go() -> None:
    """The held payment has ended: the verdict would promise what nothing pays any more."""
    world, customer, work = make_ruled(1)
    customer.take(fx.PaymentSeen(f"pay/{work.key}", "canceled"))
    rule(world, customer, 0)
    assert get_stage(customer) is Stage.REJECTED
    assert not [x for x in find_letters(world, Kind.VERDICT) if "accepted" in str(x.event.tags)]


def test_a_jury_may_not_order_what_nobody_can_measure() -> None:
    world, customer, work = make_ruled(1)
    customer.state = replace(
        customer.state, works={work.key: replace(work, code=Code.BAD_COMMITMENT)}
    )
    rule(world, customer, 0)
    assert get_stage(customer) is Stage.REJECTED
    assert list_reasons(customer) == ["not-disputable"]
