"""The rechecks' doors against hostile events, and the draw: nobody can choose or know it early."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.apps.population import Population
from kumiai.base import events
from kumiai.base.amounts import PPM
from kumiai.base.keys import derive_key
from kumiai.base.log import Record, append_record
from kumiai.rounds.commitments import commit_holdout
from kumiai.rounds.effects import Outcome
from kumiai.rounds.kinds import Kind
from kumiai.rounds.opened import Ballot, Rechecks
from kumiai.rounds.rechecks import (
    compute_losses,
    conclude,
    find_convicted,
    list_accused,
    list_drawn,
    open_rechecks,
)
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RoundPhase, RunPhase, RunState

ROUNDS = 3
TASK = make_task(rounds=ROUNDS, data={"open_holdout": True}, validation={"recheck_ppm": PPM})


@dataclass(frozen=True)
class World:
    """A folded log that can be told one more event."""

    state: RunState
    last: Record
    people: Population

    def key(self, name: str) -> str:
        return self.people.pubkey(name)

    def tell(self, name: str, kind: Kind, **content: Any) -> Outcome:
        current = self.state.round
        assert current is not None
        named = {"task": self.state.task_id, "round": current.index, "attempt": current.attempt}
        key = derive_key(bytes(32), "stranger") if name == "stranger" else self.people.keys[name]
        event = events.sign_event(key, kind, 10**9, {**named, **content})
        return step(self.state, append_record(self.last, self.last.time_ms, event))

    def after(self, name: str, kind: Kind, **content: Any) -> World:
        outcome = self.tell(name, kind, **content)
        assert outcome.reject is None, outcome.reject
        return replace(self, state=outcome.state, last=self._record(name, kind, **content))

    def _record(self, name: str, kind: Kind, **content: Any) -> Record:
        current = self.state.round
        assert current is not None
        named = {"task": self.state.task_id, "round": current.index, "attempt": current.attempt}
        event = events.sign_event(self.people.keys[name], kind, 10**9, {**named, **content})
        return append_record(self.last, self.last.time_ms, event)


def refused(outcome: Outcome, reason: str) -> None:
    assert outcome.reject is not None and outcome.reject.reason == reason


def fold(behaviours: dict[str, str], until: RoundPhase | RunPhase) -> World:
    driver, people = make_driver(TASK, make_people(), behaviours=behaviours)
    driver.run()
    state = RunState()
    for record in driver.log.read():
        state = step(state, record).state
        current = state.round
        if state.phase is until or (current is not None and current.phase is until):
            return World(state, record, people)
    raise AssertionError(f"{until} was never reached")


@pytest.fixture(scope="module")
def recheck() -> World:
    return fold({}, RoundPhase.RECHECK)


@pytest.fixture(scope="module")
def jury() -> World:
    """v0's sheets of all rounds are accused, rightly."""
    return fold({"v0": "zeros"}, RoundPhase.RECHECK_JURY)


def drawn_of(world: World, name: str) -> list[list[object]]:
    assert world.state.round is not None
    return [list(sheet) for sheet in list_drawn(world.state.round, world.key(name))]


def find_rechecker(world: World) -> Iterator[str]:
    return (name for name in ("v0", "v1", "v2", "v3") if drawn_of(world, name))


def test_nothing_is_rechecked_before_or_after_its_phase(recheck: World, jury: World) -> None:
    training = fold({}, RoundPhase.TRAIN)
    refused(training.tell("v0", Kind.RECHECKED, false=[]), "wrong-phase")
    refused(training.tell("v0", Kind.RECHECK_VOTE, false=[], honest=[]), "wrong-phase")
    refused(recheck.tell("v0", Kind.RECHECK_VOTE, false=[], honest=[]), "wrong-phase")
    refused(jury.tell("v0", Kind.RECHECKED, false=[]), "wrong-phase")
    certify = fold({}, RunPhase.FINISHED)
    assert certify.state.round is None


def test_another_round_or_attempt_is_refused(recheck: World) -> None:
    name = next(find_rechecker(recheck))
    refused(recheck.tell(name, Kind.RECHECKED, false=[], round=ROUNDS), "wrong-round")
    refused(recheck.tell(name, Kind.RECHECKED, false=[], attempt=2), "wrong-round")


@pytest.mark.parametrize(
    "items",
    [
        ["text"],
        [[1]],
        [[1, 2]],
        [["1", "key"]],
        [[True, "key"]],
        [[99, "key"]],
        [[{}, []]],
        [[1, "key", 0]],
    ],
)
def test_malformed_sheets_are_refused(recheck: World, items: list[Any]) -> None:
    name = next(find_rechecker(recheck))
    outcome = recheck.tell(name, Kind.RECHECKED, false=items)
    assert outcome.reject is not None and outcome.state == recheck.state
    assert outcome.reject.reason in ("bad-sheets", "malformed")


def test_what_was_not_asked_for_is_refused(recheck: World) -> None:
    first, second = list(find_rechecker(recheck))[:2]
    own, others = drawn_of(recheck, first), drawn_of(recheck, second)
    refused(recheck.tell(first, Kind.RECHECKED, false=[others[0]]), "bad-sheets")
    refused(recheck.tell(first, Kind.RECHECKED, false=[own[0], own[0]]), "bad-sheets")
    refused(recheck.tell(first, Kind.RECHECKED, false=own * 99), "bad-sheets")
    many = [sheet for sheet in own if sheet[1] == own[0][1]]
    assert len(many) > 1
    refused(recheck.tell(first, Kind.RECHECKED, false=many), "bad-sheets")
    refused(recheck.tell("stranger", Kind.RECHECKED, false=[]), "not-drawn")
    refused(recheck.tell("t0", Kind.RECHECKED, false=[]), "not-drawn")


def test_a_rechecker_speaks_once(recheck: World) -> None:
    name = next(find_rechecker(recheck))
    spoken = recheck.after(name, Kind.RECHECKED, false=[])
    refused(spoken.tell(name, Kind.RECHECKED, false=drawn_of(recheck, name)[:1]), "duplicate")


def test_the_accused_and_the_accuser_have_no_vote_in_their_own_case(jury: World) -> None:
    current = jury.state.round
    assert current is not None and current.rechecks.accused
    assert {author for _, author in current.rechecks.accused} == {jury.key("v0")}
    assert list_accused(current, jury.key("v0")) == ()
    refused(jury.tell("v0", Kind.RECHECK_VOTE, false=[], honest=[]), "not-juror")
    refused(jury.tell("t0", Kind.RECHECK_VOTE, false=[], honest=[]), "not-juror")
    for sheet in current.rechecks.accused:
        accuser = current.rechecks.drawn[sheet]
        assert sheet not in list_accused(current, accuser)


def test_hostile_votes_are_refused(jury: World) -> None:
    current = jury.state.round
    assert current is not None
    name = next(n for n in ("v1", "v2", "v3") if list_accused(current, jury.key(n)))
    asked = [list(sheet) for sheet in list_accused(current, jury.key(name))]
    vote = Kind.RECHECK_VOTE
    refused(jury.tell(name, vote, false=asked[:1], honest=asked[:1]), "bad-sheets")
    refused(jury.tell(name, vote, false=[[9, "x"]], honest=[]), "bad-sheets")
    refused(jury.tell(name, vote, false=[], honest=asked * 99), "bad-sheets")
    refused(jury.tell(name, vote, false="all", honest=[]), "malformed")
    said = jury.after(name, vote, false=asked, honest=[])
    if said.state.round is not None and said.state.round.phase is RoundPhase.RECHECK_JURY:
        refused(said.tell(name, vote, false=asked, honest=[]), "duplicate")


def test_a_quorum_convicts_and_fewer_do_not(jury: World) -> None:
    """Of four: three. The accused sheet speaks for itself, the accuser against it."""
    state = jury.state
    current = state.round
    assert current is not None
    sheet = current.rechecks.accused[0]
    author, accuser = sheet[1], current.rechecks.drawn[sheet]
    a, b = (k for k in current.committee if k not in (author, accuser))
    one = replace(current.rechecks, accused=(sheet,))

    def judge(**ballots: bool | None) -> bool | None:
        words = {
            key: Ballot(frozenset({sheet} if said else ()), frozenset(() if said else {sheet}))
            for key, said in zip((a, b), ballots.values(), strict=True)
            if said is not None
        }
        found = replace(current, rechecks=replace(one, ballots=words))
        verdict = conclude(found, sheet)
        losses = compute_losses(state, found)
        assert (find_convicted(found) == {author}) == (verdict is True)
        assert losses.get(author) == (PPM if verdict else None)
        assert losses.get(accuser, 0) == (PPM // ROUNDS if verdict is False else 0)
        return verdict

    assert judge(a=True, b=True) is True
    assert judge(a=True, b=None) is None
    assert judge(a=True, b=False) is None
    assert judge(a=False, b=False) is False
    assert judge(a=None, b=None) is None


def test_one_s_own_salts_have_no_part_in_one_s_own_draw(recheck: World) -> None:
    """Whoever speaks last may choose what it shows, and changes nothing about itself by it."""
    task = TASK.model_copy(
        update={"validation": TASK.validation.model_copy(update={"recheck_ppm": PPM // 2})}
    )
    state = replace(recheck.state, task=task)
    current = replace(state.round, rechecks=Rechecks())  # type: ignore[type-var]
    author, other = recheck.key("v0"), recheck.key("v1")

    def draw(changed: str, salt: str) -> list[tuple[int, bool]]:
        finals = {
            index: replace(part, salts={**part.salts, changed: salt})
            for index, part in state.finals.items()
        }
        drawn = open_rechecks(replace(state, finals=finals), current).rechecks.drawn
        return [(index, (index, author) in drawn) for index in range(1, ROUNDS + 1)]

    own = {tuple(draw(author, f"{n:064x}")) for n in range(30)}
    others = {tuple(draw(other, f"{n:064x}")) for n in range(30)}
    assert len(own) == 1
    assert len(others) > 2


def test_the_draw_takes_about_the_share_that_the_task_names(recheck: World) -> None:
    current = replace(recheck.state.round, rechecks=Rechecks())  # type: ignore[type-var]
    terms = TASK.validation.model_copy(update={"recheck_ppm": 600_000})
    state = replace(recheck.state, task=TASK.model_copy(update={"validation": terms}))
    many = dict.fromkeys(range(1, 501), state.finals[1])
    drawn = open_rechecks(replace(state, finals=many), current).rechecks.drawn
    assert 0.55 < len(drawn) / (4 * 500) < 0.65
    assert all(author != key for (_, author), key in drawn.items())
    assert set(drawn.values()) == set(current.committee)


def test_who_has_dropped_out_rechecks_nothing(recheck: World) -> None:
    gone = recheck.key("v2")
    state = recheck.state
    away = replace(state.members[gone], state=NodeState.DROPPED)
    current = replace(state.round, rechecks=Rechecks())  # type: ignore[type-var]
    drawn = open_rechecks(
        replace(state, members={**state.members, gone: away}), current
    ).rechecks.drawn
    assert drawn and gone not in drawn.values()


def test_a_customer_can_only_open_the_hold_outs_that_it_had_handed_out() -> None:
    """Other data would convict honest validators, and give the customer their held pay back."""
    world = fold({}, RunPhase.FINALIZING)
    state = world.state
    owners = sorted(state.holdouts.commitments)
    blob, salt = "ab" * 32, "cd" * 32
    event = events.sign_event(
        world.people.customer,
        Kind.HOLDOUT_OPEN,
        10**9,
        {"task": state.task_id, "blobs": [blob] * 4, "owners": owners, "salt": salt},
    )
    refused(
        step(state, append_record(world.last, world.last.time_ms, event)), "commitment-mismatch"
    )
    bound = {key: commit_holdout(state.task_id, key, blob, salt) for key in owners}
    honest = replace(state, holdouts=replace(state.holdouts, commitments=bound))
    opened = step(honest, append_record(world.last, world.last.time_ms, event))
    assert opened.reject is None and opened.state.holdouts.owners == tuple(owners)
    for wrong in (owners[:3], [*owners[:3], owners[0]], [*owners[:3], "x"], [1, 2, 3, 4]):
        bad = events.sign_event(
            world.people.customer,
            Kind.HOLDOUT_OPEN,
            10**9,
            {"task": state.task_id, "blobs": [blob] * 4, "owners": wrong, "salt": salt},
        )
        refused(
            step(honest, append_record(world.last, world.last.time_ms, bad)), "commitment-mismatch"
        )


@pytest.mark.parametrize("bound", [None, {}, {"x": "ab" * 32}, "short"])
def test_a_start_that_binds_no_hold_outs_is_refused(bound: Any) -> None:
    driver, people = make_driver(TASK, make_people())
    driver.run()
    state, last = RunState(), None
    for record in driver.log.read():
        if record.event.kind == Kind.START:
            break
        state, last = step(state, record).state, record
    assert last is not None and state.holdouts.commitments == {}
    content: dict[str, Any] = {"task": state.task_id}
    if bound == "short":
        judges = [key for key, m in state.members.items() if m.role == "validator"]
        content["holdouts"] = dict.fromkeys(judges, "ab")
    elif bound is not None:
        content["holdouts"] = bound
    event = events.sign_event(people.customer, Kind.START, 10**9, content)
    refused(step(state, append_record(last, last.time_ms, event)), "bad-holdouts")
