"""A step leaves the state before it as it was, and costs what it changes: journals are long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from tests.market.hostile import STRANGER, find_letters, make_attacked, play, speak
from tests.market.small_world import Member, make_terms

from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.drafts import draft_feedback, draft_job
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import Kind, Policy, Status
from kumiai.market.provider import Provider, ProviderState
from kumiai.market.provider.requests import count_losses, count_unpaid
from kumiai.market.provider.state import OVER, Stage, list_names, name_result
from kumiai.market.provider.turn import Turn
from kumiai.nodes.market.replay import has_changed

JURY = derive_key(b"steps", "jury")
_UNPAID = (Stage.DELIVERED, Stage.LOCKED, Stage.ACCEPTED)


def copy_mappings(state: Any) -> dict[str, dict[str, Any]]:
    found = {one.name: getattr(state, one.name) for one in fields(state)}
    return {name: dict(value) for name, value in found.items() if isinstance(value, Mapping)}


def make_watched(policy: Policy) -> tuple[Any, Member, list[Member], list[Member]]:
    """Members of all three roles; work is rejected and disputed as well as paid."""
    world, customer, providers = make_attacked(
        policy, rounds=3, jury=(JURY.pubkey,), committee=(JURY.pubkey,), quorum=1
    )
    judge = world.add("judge", Judging(JudgePolicy(JURY.pubkey, JURY.secret.hex())), JURY)
    for provider in providers:
        provider.machine = Provider(replace(provider.machine.policy, disputes=True))
    providers[1].twist = fail_in_round_two
    gains = iter(range(10**6))

    def judge_by_turns(effect: fx.Judge) -> fx.Judged:
        names = [name for name, _, _ in effect.candidates]
        lines = [fx.JudgedLine(name, 5 if next(gains) % 3 else -5, 0, 1) for name in names]
        return fx.Judged(effect.key, 1, 1, tuple(lines))

    world.judging = judge_by_turns
    return world, customer, providers, [customer, judge, *providers]


def fail_in_round_two(member: Member, effect: fx.Effect) -> fx.Effect | None:
    if isinstance(effect, fx.Train) and effect.round == 2:
        member.take(fx.Failed(effect.key, "failed", "out of memory"))
        return None
    return effect


def watch(member: Member, look: Any) -> None:
    take = member.take

    def watched(item: Any) -> None:
        before = member.state
        kept = copy_mappings(before)
        take(item)
        look(before, kept, member.state)

    member.take = watched  # type: ignore[method-assign]


@pytest.mark.parametrize("policy", list(Policy))
def test_a_step_changes_nothing_of_the_state_before_it(policy: Policy) -> None:
    """A node goes back to it where a stranger's letter is not worth its place in the journal."""
    world, customer, providers, everybody = make_watched(policy)
    count = 0

    def look(before: Any, kept: dict[str, Any], after: Any) -> None:
        nonlocal count
        count += 1
        assert copy_mappings(before) == kept

    for member in everybody:
        watch(member, look)
    play(world, customer, providers, 300)
    assert count > 300


def test_what_a_step_does_not_touch_is_the_same_object() -> None:
    world, customer, providers, everybody = make_watched(Policy.HOLD)
    play(world, customer, providers, 60)
    for member in everybody:
        outcome = member.machine.step(member.state, world.now_s, fx.Heard(world.letters[0]))
        assert all(
            getattr(outcome.state, name) is getattr(member.state, name)
            for name in copy_mappings(member.state)
        )


def check_index(policy: Any, state: ProviderState) -> None:
    """What is kept beside the works, as it would be read from them one by one."""
    works = state.works
    open_works = {key: w.request.contract for key, w in works.items() if w.stage not in OVER}
    assert state.open_works == open_works
    names = {name: key for key, work in works.items() for name in list_names(work.request)}
    names |= {name_result(work.result): key for key, work in works.items() if work.result}
    assert state.names == names
    turn = Turn(policy, state, 0)
    for contract in state.contracts.values():
        theirs = [work for work in works.values() if work.request.contract == contract.id]
        assert contract.asked_count == len(theirs)
        assert contract.failed_count == sum(work.stage is Stage.FAILED for work in theirs)
        assert contract.paid_msat == sum(work.paid_msat for work in theirs)
        unpaid = sum(work.stage in _UNPAID and not work.paid_msat for work in theirs)
        assert count_unpaid(turn, contract.id) == unpaid
        losses = 0
        for work in theirs:
            if work.result:
                losses = losses + 1 if work.stage is Stage.REJECTED else 0
        assert count_losses(turn, contract.id) == losses


@pytest.mark.parametrize("policy", list(Policy))
def test_what_is_kept_to_find_works_is_what_the_works_say(policy: Policy) -> None:
    world, customer, providers, _ = make_watched(policy)
    stages: set[Stage] = set()
    for provider in providers:

        def look(_before: Any, _kept: Any, after: ProviderState, one: Member = provider) -> None:
            check_index(one.machine.policy, after)
            stages.update(work.stage for work in after.works.values())

        watch(provider, look)
    play(world, customer, providers, 600)
    assert {Stage.PAID, Stage.FAILED} <= stages
    assert (Stage.DISPUTED in stages) is (policy is not Policy.FAIR)  # paid before it is judged


class Unread(dict[str, Any]):
    """Works that are found by their names, and never gone through nor copied."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("all works were read for a step that is about none or one of them")

    __iter__ = keys = values = items = __reversed__ = __eq__ = _refuse  # type: ignore[assignment]


def test_a_step_that_is_about_no_work_reads_none() -> None:
    """Each step went through all works a dozen times: 10,000 took five minutes to be folded."""
    world, customer, providers, _ = make_watched(Policy.HOLD)
    provider = providers[0]
    play(world, customer, providers, 400)
    assert provider.state.works
    state = replace(provider.state, works=Unread(provider.state.works))
    letters = find_letters(world, Kind.ROUND_REQUEST) + find_letters(world, Kind.CONTRACT)
    letters += find_letters(world, Kind.CLOSING)
    verdicts = find_letters(world, Kind.VERDICT)
    speak(world, STRANGER, draft_job(make_terms(), world.now_s + 100, ()))
    speak(world, STRANGER, draft_feedback("ab" * 32, "ab" * 32, STRANGER.pubkey, Status.ERROR))
    items = [fx.Heard(letter) for letter in (*letters, *verdicts, *world.letters[-2:])]
    for item in (*items, fx.Ticked(), fx.Published("publish/none", world.letters[0].event)):
        outcome = provider.machine.step(state, world.now_s, item)
        assert not outcome.effects and not has_changed(state, outcome)
