"""Whole simulated runs in which validators recheck validators: who lied pays, nobody else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from tests.nodes.simulation import Finished, finish, simulate, who_is
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person
from kumiai.base import canonical, events
from kumiai.base.amounts import PPM
from kumiai.base.events import EVENT_SIZE_BYTES_MAX
from kumiai.nodes import ports
from kumiai.nodes.customer import Customer
from kumiai.nodes.rechecking import write_word
from kumiai.nodes.validator import Validator
from kumiai.proofs.sheets import SCORE_TOLERANCE_PPM
from kumiai.rounds.kinds import Kind
from kumiai.rounds.rechecks import conclude
from kumiai.rounds.state import NodeState, RoundPhase, RoundState, RunPhase
from kumiai.tasks.document import TaskDocument

ROUNDS = 4


def rechecked(validators: int = 4, recheck_ppm: int = PPM, **sections: object) -> TaskDocument:
    """A small task with opened hold-outs, of which every sheet is rechecked unless told."""
    terms = {"recheck_ppm": recheck_ppm}
    return make_task(
        validators=validators,
        rounds=ROUNDS,
        **{"data": {"open_holdout": True}, "validation": terms, **sections},
    )


def people(validators: int = 4) -> list[Person]:
    backer = Person("d0", "delegator", backs=(("v0", 500), ("v1", 500)))
    return make_people(validators=validators, extra=[backer])


def last_round(finished: Finished) -> RoundState:
    """The final 'round' as it stood when it was certified."""
    judged = finished.state.judged
    assert judged is not None and judged.round.index == ROUNDS + 1
    return judged.round


def released(finished: Finished, name: str) -> int:
    """What of the held pay a validator got at the end."""
    (final,) = [
        receipt
        for receipt in finished.watcher.certified[-1].receipts
        if receipt["member"] == finished.key(name)
    ]
    return int(str(final["amount"]))


def play(behaviours: Mapping[str, str], validators: int = 4, **more: int) -> Finished:
    finished = simulate(rechecked(validators, **more), people(validators), behaviours=behaviours)
    assert finished.state.phase is RunPhase.FINISHED
    return finished


@pytest.fixture(scope="module")
def honest() -> Finished:
    return play({})


def test_an_honest_run_rechecks_and_nobody_loses_anything(honest: Finished) -> None:
    current = last_round(honest)
    assert len(current.rechecks.drawn) == 4 * ROUNDS
    assert set(current.rechecks.found) == set(current.committee)
    assert current.rechecks.accused == ()
    for name in ("v0", "v1", "v2", "v3"):
        assert honest.reasons(name)[-1] == "final-validator"
        assert released(honest, name) > 0
    words = (Kind.RECHECKED, Kind.HOLDOUT_OPEN, Kind.FINAL_REVEAL)
    assert [event for event in honest.watcher.refused if event.kind in words] == []


def test_nobody_rechecks_itself(honest: Finished) -> None:
    assert all(author != key for (_, author), key in last_round(honest).rechecks.drawn.items())


def test_lazy_and_copying_validators_lose_what_was_held_and_nobody_else_does() -> None:
    lied = play({"v0": "zeros", "v1": "echo"}, validators=7)
    for name in ("v0", "v1"):
        assert lied.reasons(name)[-1] == "false-scores"
        assert released(lied, name) == 0
        assert lied.earned(name) > 0  # a tenth was paid at once
    for name in ("v2", "v3", "v4", "v5", "v6"):
        assert lied.reasons(name)[-1] == "final-validator"
        held = [r for c in lied.watcher.certified[:-1] for r in c.receipts]
        locked = sum(int(str(r["locked"])) for r in held if r["member"] == lied.key(name))
        assert released(lied, name) == locked > 0
    unchecked = play({"v0": "zeros", "v1": "echo"}, validators=7, recheck_ppm=0)
    assert unchecked.reasons("v0")[-1] == unchecked.reasons("v1")[-1] == "final-validator"
    assert unchecked.earned("v0") > 5 * lied.earned("v0")
    assert lied.earned("d0") < unchecked.earned("d0")  # who backed them loses with them
    assert lied.driver.ledger.balance(lied.state.customer) > unchecked.driver.ledger.balance(
        unchecked.state.customer
    )


def test_a_share_of_zero_plays_as_before() -> None:
    finished = play({}, recheck_ppm=0)
    assert RoundPhase.RECHECK not in [p.round_phase for p in finished.watcher.phases]
    said = {r.event.kind: events.read_content(r.event) for r in finished.driver.log.read()}
    assert not said.keys() & {Kind.RECHECKED, Kind.RECHECK_VOTE}
    assert set(said[Kind.START]) == {"task"}
    assert set(said[Kind.HOLDOUT_OPEN]) == {"task", "blobs"}


def test_a_run_that_opens_no_hold_out_has_no_rechecks() -> None:
    task = rechecked(data={"open_holdout": False})
    finished = simulate(task, people())
    assert RoundPhase.RECHECK not in [p.round_phase for p in finished.watcher.phases]


@dataclass
class RoundsOtherwise:
    """A machine that rounds its own way: whoever scores here differs by `gap`."""

    inner: ports.ComputePort
    author: str
    gap: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def recheck(self, jobs: list[ports.RecheckJob]) -> list[ports.RecheckResult]:
        return self.inner.recheck(jobs)  # type: ignore[attr-defined,no-any-return]

    def score(self, jobs: list[ports.ScoreJob]) -> list[ports.ScoreResult]:
        return [self._shift(result) for result in self.inner.score(jobs)]

    def _shift(self, result: ports.ScoreResult) -> ports.ScoreResult:
        if result.validator != self.author:
            return result
        lines = tuple(
            replace(line, value=line.value + self.gap, final=line.final - self.gap)
            for line in result.lines
        )
        return replace(result, lines=lines)


@pytest.mark.parametrize(
    ("gap", "reason"),
    [(SCORE_TOLERANCE_PPM, "final-validator"), (SCORE_TOLERANCE_PPM + 1, "false-scores")],
)
def test_round_off_within_the_tolerance_convicts_nobody(gap: int, reason: str) -> None:
    driver, population = make_driver(rechecked(), people())
    driver.compute = RoundsOtherwise(driver.compute, population.pubkey("v2"), gap)  # type: ignore[assignment]
    finished = finish(driver, population)
    assert finished.reasons("v2")[-1] == reason
    assert finished.reasons("v3")[-1] == "final-validator"


def test_a_false_accuser_convicts_nobody_and_pays_for_the_recheck() -> None:
    finished = play({"v3": "false-accuser"})
    current = last_round(finished)
    assert current.rechecks.accused
    assert {conclude(current, sheet) for sheet in current.rechecks.accused} == {False}
    accused_count = len(current.rechecks.accused)
    for name in ("v0", "v1", "v2"):
        assert finished.reasons(name)[-1] == "final-validator"
    assert finished.reasons("v3")[-1] == "final-lessened"
    truthful = play({})
    for name in ("v0", "v1", "v2"):
        assert released(finished, name) == released(truthful, name)
    kept_ppm = PPM - min(PPM, PPM * accused_count // ROUNDS)
    assert released(finished, "v3") == released(truthful, "v3") * kept_ppm // PPM


def test_a_colluding_minority_neither_convicts_nor_saves() -> None:
    """Two of seven, f: they accuse everybody else, and call each other's lies honest."""
    accusing = play({"v0": "colluder", "v1": "colluder"}, validators=7)
    for name in ("v2", "v3", "v4", "v5", "v6"):
        assert accusing.reasons(name)[-1] == "final-validator"
    for name in ("v0", "v1"):  # their sheets are forged: they turn signs
        assert accusing.reasons(name)[-1] == "false-scores"


def test_a_silent_rechecker_loses_a_round_of_held_pay_and_holds_nobody_up() -> None:
    """It has opened everything and then hears no more."""
    probe = play({})
    driver, population = make_driver(
        rechecked(), people(), NetworkModel(extra_delay_ms={("v3", Kind.RECHECKED): 10**7})
    )
    finished = finish(driver, population)
    assert finished.state.phase is RunPhase.FINISHED
    current = last_round(finished)
    assert finished.key("v3") not in current.rechecks.found
    assert released(finished, "v3") == released(probe, "v3") * (PPM - PPM // ROUNDS) // PPM
    assert finished.reasons("v3")[-1] == "final-lessened"
    assert finished.reasons("v0")[-1] == "final-validator"


def test_who_does_not_open_what_it_is_bound_to_has_all_its_sheets_rechecked() -> None:
    finished = play({}, recheck_ppm=1)  # nothing is drawn by chance
    assert last_round(finished).rechecks.drawn == {}
    driver, population = make_driver(
        rechecked(recheck_ppm=1),
        people(),
        NetworkModel(extra_delay_ms={("v3", Kind.FINAL_REVEAL): 10**7}),
    )
    held_back = finish(driver, population)
    drawn = last_round(held_back).rechecks.drawn
    assert sorted(drawn) == [(index, held_back.key("v3")) for index in range(1, ROUNDS + 1)]
    assert held_back.reasons("v3")[-1] == "final-validator"  # it had scored honestly


def test_a_validator_that_was_handed_another_hold_out_takes_no_part() -> None:
    """Else the customer could open, at the end, what convicts it."""
    driver, population = make_driver(rechecked(), people())
    role = driver.roles["v3"]
    assert isinstance(role, Validator) and role.holdout[0]
    driver.roles = {**driver.roles, "v3": replace(role, holdout=("ff" * 32, role.holdout[1]))}
    finished = finish(driver, population)
    assert finished.state.phase is RunPhase.FINISHED
    assert who_is(finished, NodeState.WITHDRAWN) == {"v3"}
    assert "false-scores" not in finished.reasons("v0")


def test_an_accusation_fits_into_an_event_however_many_sheets_are_false() -> None:
    """Of each author one: 31 validators in 10,000 rounds would not fit otherwise."""
    authors = [f"{n:064x}" for n in range(31)]
    lines = tuple((index, key, True) for index in range(1, 10_001) for key in authors[1:])
    current = replace(last_round(play({})), phase=RoundPhase.RECHECK)
    ((kind, said),) = write_word(current, ports.RecheckResult(authors[0], lines))
    assert kind is Kind.RECHECKED
    assert said["false"] == [[1, key] for key in authors[1:]]
    assert len(canonical.encode(said)) < EVENT_SIZE_BYTES_MAX


@dataclass
class Forgets:
    """A machine that came up again: what the vault holds it must not do twice."""

    inner: ports.ComputePort

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def recheck(self, jobs: list[ports.RecheckJob]) -> list[ports.RecheckResult]:
        raise AssertionError(f"{len(jobs)} rechecks were done before")


def test_a_run_that_is_resumed_says_the_same_and_rechecks_nothing_twice() -> None:
    behaviours = {"v0": "zeros"}
    first, population = make_driver(rechecked(), people(), behaviours=behaviours)
    finished = finish(first, population)
    assert finished.reasons("v0")[-1] == "false-scores"
    again, _ = make_driver(rechecked(), people(), behaviours=behaviours)
    again.vault = first.vault
    again.compute = Forgets(again.compute)  # type: ignore[assignment]
    again.run()
    assert list(again.log.read()) == list(first.log.read())


def test_a_validator_that_never_came_keeps_nobody_from_starting() -> None:
    """The customer binds what it handed to those who enrolled."""
    away = NetworkModel(crashes={"v3": ((0, 10**9),)})
    driver, population = make_driver(rechecked(), people(), away)
    customer = driver.roles["customer"]
    assert isinstance(customer, Customer)
    fewer = replace(customer, members_expected=customer.members_expected - 1)
    driver.roles = {**driver.roles, "customer": fewer}
    finished = finish(driver, population)
    assert finished.state.phase is RunPhase.FINISHED
    assert finished.key("v3") not in finished.state.members
    judged = {author for _, author in last_round(finished).rechecks.drawn}
    assert judged == {finished.key(name) for name in ("v0", "v1", "v2")}
