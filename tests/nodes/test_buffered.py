"""Simulated runs with slow members: rounds go on without them, and their work counts later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.nodes.simulation import Finished, finish, simulate, who_is
from tests.nodes.test_codec_state import ENTERED, Remembering, name_state
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.memory.log import MemoryLog
from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person
from kumiai.base import events
from kumiai.nodes import ports
from kumiai.nodes.role import JobDone, Memory, Publish, Woken, Work
from kumiai.proofs import flags as flag
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RoundPhase, RunPhase, RunState
from kumiai.tasks.document import TaskDocument

SLOW = {"t0": 5_000_000, "t1": 5_000_000}
NAMES = tuple(f"t{i}" for i in range(8))
BUFFERED = {"buffer": 6, "staleness_max": 8}


def make_slow_task(training: Mapping[str, object], rounds: int = 12) -> TaskDocument:
    return make_task(trainers=8, rounds=rounds, training=training)


def play(
    training: Mapping[str, object],
    slow: Mapping[str, int] = SLOW,
    rounds: int = 12,
    **network: object,
) -> Finished:
    world = NetworkModel(slowness_ppm=slow, **network)  # type: ignore[arg-type]
    return simulate(make_slow_task(training, rounds), make_people(8), world)


def list_ages(finished: Finished, name: str) -> list[int]:
    """The staleness in this member's receipts of the rounds in which it was counted."""
    return [
        int(str(receipt.get("staleness", 0)))
        for certified in finished.watcher.certified
        for receipt in certified.receipts
        if receipt["member"] == finished.key(name) and receipt["reason"] == "counted"
    ]


def list_round_times(finished: Finished) -> list[int]:
    """Virtual milliseconds from one certificate to the next, the final one left out."""
    signed: dict[int, int] = {}
    for record in finished.driver.log.read():
        if record.event.kind == Kind.CERTIFY:
            signed[events.read_content(record.event)["round"]] = record.time_ms
    return [later - earlier for earlier, later in pairwise(list(signed.values())[:-1])]


@pytest.mark.parametrize("buffer", [4, 6])
def test_rounds_take_the_fast_ones_time_and_the_slow_ones_work_counts(buffer: int) -> None:
    waiting, finished = play({}), play({**BUFFERED, "buffer": buffer})
    assert finished.state.phase is RunPhase.FINISHED
    assert max(list_round_times(finished)) * 3 < min(list_round_times(waiting))
    for name in SLOW:
        ages = list_ages(finished, name)
        assert len(ages) >= 2 and all(1 <= age <= 8 for age in ages)
        assert finished.earned(name) > 0
        reasons = finished.reasons(name)
        assert set(reasons) == {"busy", "counted", "final"}
    for name in NAMES:  # nobody honest is blamed or dropped
        member = finished.state.members[finished.key(name)]
        assert (member.state, member.invalid_count) == (NodeState.ACTIVE, 0)
        assert finished.state.tallies[finished.key(name)].slashed == 0
    assert not {r.reason for r in finished.watcher.rejects} & {"bad-base", "equivocation"}


def test_who_stays_out_of_a_full_buffer_by_a_moment_counts_in_the_next_round() -> None:
    """Without slow members too: six of eight close a round, the others' work is not lost."""
    finished = play(BUFFERED, slow={})
    for certified in finished.watcher.certified[:-1]:
        assert sum(r["reason"] == "counted" for r in certified.receipts) >= 6
    ages = [age for name in NAMES for age in list_ages(finished, name)]
    assert set(ages) == {0, 1}
    assert "no-reply" not in {reason for name in NAMES for reason in finished.reasons(name)}


def test_default_receipts_and_commitments_say_nothing_of_age() -> None:
    finished = play({}, rounds=2)
    assert all("staleness" not in r for c in finished.watcher.certified for r in c.receipts)
    commits = [r.event for r in finished.driver.log.read() if r.event.kind == Kind.COMMIT]
    assert all("base" not in events.read_content(event) for event in commits)


def test_a_round_is_not_closed_before_the_least_time_however_fast_a_few_answer() -> None:
    """Four who answer at once would else shut out everybody who works."""
    rushed = dict.fromkeys(("t4", "t5", "t6", "t7"), 1_000)
    task = make_task(
        trainers=8,
        rounds=4,
        training={"buffer": 4, "staleness_max": 8},
        deadlines={"train_ms_min": 3_000},
    )
    finished = simulate(task, make_people(8), NetworkModel(slowness_ppm=rushed))
    for name in ("t0", "t1", "t2", "t3"):
        assert finished.reasons(name)[:4] == ["counted"] * 4
        assert list_ages(finished, name) == [0] * 4
    loose = simulate(
        make_task(
            trainers=8,
            rounds=4,
            training={"buffer": 4, "staleness_max": 8},
            deadlines={"train_ms_min": 1},
        ),
        make_people(8),
        NetworkModel(slowness_ppm=rushed),
    )
    assert "busy" in loose.reasons("t0")


def test_too_old_work_is_given_up_and_silence_counts_again() -> None:
    """t0 needs some twelve rounds' time for one piece of work; two is all the task takes."""
    finished = play({"buffer": 6, "staleness_max": 2}, slow={"t0": 20_000_000}, rounds=9)
    reasons = finished.reasons("t0")
    assert reasons[:2] == ["busy", "busy"] and reasons[2:4] == ["no-reply", "no-reply"]
    assert list_ages(finished, "t0") == []
    assert finished.earned("t0") == 0
    tally = finished.state.tallies[finished.key("t0")]
    assert (tally.rounds_invalid, tally.slashed) == (0, 0)
    commits = [
        r.event
        for r in finished.driver.log.read()
        if r.event.kind == Kind.COMMIT and r.event.pubkey == finished.key("t0")
    ]
    assert commits == []
    assert not {r.reason for r in finished.watcher.rejects} & {"bad-base", "equivocation"}


def test_who_gave_up_begins_anew_on_the_model_of_that_round() -> None:
    driver, population = make_driver(
        make_slow_task({"buffer": 6, "staleness_max": 2}, 9),
        make_people(8),
        NetworkModel(slowness_ppm={"t0": 20_000_000}),
    )
    compute = Remembering(driver.compute)
    driver.compute = compute
    finished = finish(driver, population)
    begun = [job.round for job in compute.jobs if job.member == finished.key("t0")]
    assert begun[:2] == [1, 4]  # rounds 1 to 3 are all that its first work could count in


def test_what_is_too_old_after_an_absence_is_not_committed() -> None:
    """t1 is ready, away for some rounds, and back with work that nobody takes any more."""
    away = {"t1": ((3_000, 17_000),)}
    finished = play({"buffer": 6, "staleness_max": 1}, slow={}, rounds=10, crashes=away)
    assert "bad-base" not in {r.reason for r in finished.watcher.rejects}
    assert finished.reasons("t1")[-2:] == ["counted", "final"]


def test_without_a_buffer_late_work_still_counts_after_the_deadline() -> None:
    """The round waits until its deadline, which follows the rounds before; then it goes on."""
    task = make_task(
        trainers=8,
        rounds=8,
        training={"staleness_max": 4},
        deadlines={"train_ms_max": 3_000, "train_ms_min": 500},
    )
    finished = simulate(task, make_people(8), NetworkModel(slowness_ppm={"t0": 4_000_000}))
    assert 1 in list_ages(finished, "t0") or 2 in list_ages(finished, "t0")
    assert "busy" in finished.reasons("t0")


def test_who_is_late_with_its_reveal_has_spent_its_work() -> None:
    """Its commitment was in time; the next one is of new work, and names no base."""
    network = NetworkModel(extra_delay_ms={("t1", int(Kind.REVEAL)): 20_000})
    finished = simulate(make_slow_task(BUFFERED, 8), make_people(8), network)
    assert set(finished.reasons("t1")) <= {"late", "busy", "final-none"}
    blobs = [
        events.read_content(event)["blob"]
        for event in finished.watcher.refused
        if event.pubkey == finished.key("t1") and event.kind == Kind.REVEAL
    ]
    assert len(blobs) == len(set(blobs)) >= 2


def test_a_trainer_works_on_one_thing_at_a_time() -> None:
    driver, population = make_driver(
        make_slow_task(BUFFERED), make_people(8), NetworkModel(slowness_ppm=SLOW)
    )
    compute = Remembering(driver.compute)
    driver.compute = compute
    finished = finish(driver, population)
    for name in SLOW:
        started = [job.round for job in compute.jobs if job.member == finished.key(name)]
        counted = [
            c.certificate.round
            for c in finished.watcher.certified
            for r in c.receipts
            if r["member"] == finished.key(name) and r["reason"] == "counted"
        ]
        assert started[0] == 1
        assert all(new > done for new, done in zip(started[1:], counted, strict=False))


@pytest.mark.parametrize("slow", [SLOW, {}])
@pytest.mark.parametrize("seed", range(3))
def test_codecs_go_on_from_the_update_that_entered_last(slow: Mapping[str, int], seed: int) -> None:
    """Keyed by the round that took it in, not by the one it began in; losses and crashes too."""
    network = NetworkModel(
        seed=seed, slowness_ppm=slow, drop_ppm=100_000, crashes={"t3": ((4_000, 9_000),)}
    )
    driver, population = make_driver(make_slow_task(BUFFERED), make_people(8), network)
    compute = Remembering(driver.compute)
    driver.compute = compute
    finished = finish(driver, population)
    by_blob = {}
    for record in finished.driver.log.read():
        if record.event.kind == Kind.REVEAL:
            content = events.read_content(record.event)
            by_blob[record.event.pubkey, content["round"], content["attempt"]] = content["blob"]
    for name in NAMES:
        key = finished.key(name)
        made = {
            compute.inner.train([job])[0].update: job for job in compute.jobs if job.member == key
        }
        entered = [
            (c.certificate.round, made[str(r["blob"])])
            for c in finished.watcher.certified
            for r in c.receipts
            if r["member"] == key and r["reason"] in ENTERED
        ]
        for job in made.values():
            before = [one for number, one in entered if number < job.round]
            assert job.codec_state == (name_state(before[-1]) if before else "")


@pytest.mark.parametrize("seed", range(6))
def test_under_faults_everything_that_holds_for_every_run_holds(seed: int) -> None:
    """Money, receipts, certificates, and nobody honest contradicts itself: see `simulation`."""
    network = NetworkModel(
        seed=seed,
        slowness_ppm={"t0": 4_000_000, "t5": 2_500_000},
        drop_ppm=150_000,
        crashes={"t1": ((2_000, 12_000),), "v0": ((6_000, 9_000),)},
        partitions=((5_000, 8_000, frozenset({"t2", "v1"})),),
    )
    training = {"buffer": 3 + seed % 4, "staleness_max": 1 + 2 * (seed % 3)}
    finished = simulate(make_slow_task(training, 8), make_people(8), network)
    assert finished.state.phase is RunPhase.FINISHED
    assert who_is(finished, NodeState.EJECTED) == set()
    reasons = {r.reason for r in finished.watcher.rejects}
    assert not reasons & {"bad-base", "equivocation", "commitment-mismatch"}


def test_after_a_crash_the_same_log_comes_from_the_vault() -> None:
    network = NetworkModel(slowness_ppm=SLOW)
    first = simulate(make_slow_task(BUFFERED), make_people(8), network)
    again, population = make_driver(make_slow_task(BUFFERED), make_people(8), network)
    again.vault, again.log, again.ledger = first.driver.vault, MemoryLog(), MemoryLedger()
    again.compute = Remembering(again.compute)
    second = finish(again, population)
    assert again.compute.jobs == []
    assert list(again.log.read()) == list(first.driver.log.read())
    assert second.state == first.state


def test_a_replayed_round_takes_work_that_began_in_its_first_attempt() -> None:
    """Two validators are away while scores are due; the slow ones work on through all attempts."""
    gone = ((5_000, 30_000),)
    finished = play(BUFFERED, crashes={"v0": gone, "v1": gone}, rounds=6)
    attempts = {
        c.certificate.round: c.certificate.body["attempt"] for c in finished.watcher.certified
    }
    assert max(int(str(a)) for a in attempts.values()) > 1
    assert finished.state.phase is RunPhase.FINISHED
    assert all(list_ages(finished, name) for name in SLOW)


@pytest.mark.parametrize("what", ["paused", "past TRAIN"])
def test_what_is_ready_where_nothing_can_be_committed_waits(what: str) -> None:
    driver, _ = make_driver(make_slow_task(BUFFERED, 2), make_people(8))
    trainer = driver.roles["t0"]
    driver.run()
    state = RunState()
    for record in driver.log.read():
        state = step(state, record).state
        if state.round is not None and state.round.phase is RoundPhase.TRAIN:
            break
    memory, (asked,) = trainer.step(Memory(), state, Woken())
    assert isinstance(asked, Work) and isinstance(asked.job, ports.TrainJob)
    done = JobDone(1, 1, driver.compute.train([asked.job])[0])
    assert state.round is not None
    closed = replace(state, round=replace(state.round, phase=RoundPhase.REVEAL))
    meanwhile = replace(state, phase=RunPhase.PAUSED) if what == "paused" else closed
    memory, actions = trainer.step(memory, meanwhile, done)
    assert actions == ()
    _, (said,) = trainer.step(memory, state, Woken())
    assert isinstance(said, Publish) and said.kind is Kind.COMMIT and "base" not in said.content


def test_what_earlier_rounds_showed_is_kept_as_long_as_an_update_may_be_old() -> None:
    finished = play({"buffer": 6, "staleness_max": 2}, slow={}, rounds=6)
    shown = finished.state.shown
    assert {number for number, *_ in shown} == {5, 6}
    assert all(key in finished.state.members for _, key, *_ in shown)
    assert all(number - 2 <= base <= number for number, _, _, base in shown)
    assert play({}, rounds=2).state.shown == ()


def test_probes_are_found_among_old_work_too() -> None:
    people = make_people(8, extra=[Person("probe", "canary", "canary")])
    task = make_task(trainers=8, rounds=6, training=BUFFERED, validation={"canaries": 1})
    network = NetworkModel(slowness_ppm={**SLOW, "probe": 3_000_000})
    finished = simulate(task, people, network, raised={"probe": flag.NO_WORK})
    assert "no-work" in finished.reasons("probe")
    assert finished.earned("probe") == 0
    assert finished.state.canaries == (finished.key("probe"),)


def test_train_closes_with_as_many_commitments_as_the_buffer_holds() -> None:
    finished = play(BUFFERED)
    committed: dict[int, int] = {}
    for record in finished.driver.log.read():
        if record.event.kind == Kind.COMMIT:
            number = events.read_content(record.event)["round"]
            committed[number] = committed.get(number, 0) + 1
    assert set(committed.values()) == {6}
    train = [p for p in finished.watcher.phases if p.round_phase is RoundPhase.TRAIN]
    assert len(train) == 12
