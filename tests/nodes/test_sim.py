"""Whole runs in a hostile world: churn, partitions, crashes, lateness, forgeries, random faults."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
from tests.nodes.simulation import Finished, Watcher, finish, simulate, who_is
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Person
from kumiai.base import events
from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.nodes import ports
from kumiai.nodes.driver import Driver
from kumiai.proofs import flags as flag
from kumiai.rounds.kinds import Kind
from kumiai.rounds.state import NodeState, RoundPhase, RunPhase

FOREVER_MS = 10**9
SEEDS = range(int(os.environ.get("KUMIAI_SIM_FIRST", "0")), 10**9)
SEED_COUNT = int(os.environ.get("KUMIAI_SIM_SEEDS", "100"))


def test_churn_of_three_in_ten_with_losses_certifies_every_round() -> None:
    away = {f"t{i}": ((3_000 + 4_000 * i, 15_000 + 4_000 * i),) for i in range(3)}
    network = NetworkModel(seed=5, crashes=away, drop_ppm=50_000)
    finished = simulate(make_task(trainers=10, rounds=5), make_people(10), network)
    assert finished.state.phase is RunPhase.FINISHED
    assert [c.round for c in finished.state.certificates] == [1, 2, 3, 4, 5, 6]
    for certified in finished.watcher.certified[:-1]:  # nobody's receipt is lost
        judges = [r for r in certified.receipts if r["role"] == "validator"]
        assert len(judges) == 4
    present = {f"t{i}" for i in range(3, 10)}
    for name in present:
        assert finished.reasons(name).count("counted") == 5
    assert finished.driver.world.messages_lost > 0  # type: ignore[attr-defined]


def test_who_was_away_is_not_paid_for_it_and_not_blamed() -> None:
    network = NetworkModel(crashes={"t1": ((1_000, 25_000),)})
    finished = simulate(make_task(rounds=4), make_people(), network)
    reasons = finished.reasons("t1")
    assert "no-reply" in reasons
    assert finished.state.tallies[finished.key("t1")].slashed == 0
    assert finished.state.tallies[finished.key("t1")].rounds_invalid == 0
    assert finished.earned("t1") < finished.earned("t2")


def test_a_dropped_member_comes_back_and_is_paid_again() -> None:
    network = NetworkModel(crashes={"t1": ((1_000, 45_000),)})
    finished = simulate(make_task(rounds=8), make_people(), network)
    assert any(r.reason == "not-dropped" for r in finished.watcher.rejects) is False
    reasons = finished.reasons("t1")
    assert reasons.count("no-reply") == 2  # then it is no longer waited for
    assert reasons[-2:] == ["counted", "final"]


@pytest.mark.parametrize(
    "cut", [frozenset({"t0", "t1"}), frozenset({"v0"}), frozenset({"v0", "t2"})]
)
def test_a_partition_that_heals_leaves_no_trace_in_the_result(cut: frozenset[str]) -> None:
    network = NetworkModel(partitions=((2_500, 6_000, cut),))
    finished = simulate(make_task(rounds=3), make_people(), network)
    assert finished.state.phase is RunPhase.FINISHED
    assert len(finished.state.certificates) == 4
    assert who_is(finished, NodeState.EJECTED) == set()


def test_a_partition_of_half_the_committee_stalls_and_then_goes_on() -> None:
    network = NetworkModel(partitions=((2_000, 12_000, frozenset({"v0", "v1"})),))
    finished = simulate(make_task(rounds=2), make_people(), network)
    assert finished.state.phase is RunPhase.FINISHED
    assert finished.state.time_ms > 12_000


def test_one_crashed_validator_of_four_stops_nothing() -> None:
    network = NetworkModel(crashes={"v2": ((1_000, FOREVER_MS),)})
    finished = simulate(make_task(rounds=3), make_people(), network)
    assert finished.state.phase is RunPhase.FINISHED
    assert all(len(c.signers) == 3 for c in finished.state.certificates)
    assert finished.reasons("v2")[:3] == ["silent"] * 3
    assert finished.earned("v2") == 0
    assert all(c.body["attempt"] == 1 for c in finished.state.certificates)


def test_two_crashed_validators_of_four_degrade_then_fail_and_the_money_returns() -> None:
    gone = ((6_000, FOREVER_MS),)
    finished = simulate(
        make_task(rounds=6), make_people(), NetworkModel(crashes={"v0": gone, "v1": gone})
    )
    phases = [(p.run_phase, p.round, p.attempt) for p in finished.watcher.phases]
    stuck = len(finished.state.certificates) + 1
    for attempt in (1, 2, 3):
        assert (RunPhase.TRAINING, stuck, attempt) in phases
    assert (RunPhase.DEGRADED, stuck, 0) in phases
    assert finished.state.phase is RunPhase.FAILED
    assert "quorum" in finished.state.reason
    accounts = finished.driver.ledger.accounts()  # type: ignore[attr-defined]
    assert accounts[finished.state.customer] > 0  # what was not spent
    assert len(finished.state.certificates) >= 1  # what was certified stays paid
    assert all(accounts[finished.key(f"t{i}")] > 1_000 for i in range(4))


@pytest.mark.parametrize("start_ms", [6_000, 8_000, 10_000])
def test_a_degraded_run_recovers_when_the_validators_come_back(start_ms: int) -> None:
    """They crash long enough for DEGRADED and return before the deadline for coming back."""
    task = make_task(rounds=4)
    gone = ((start_ms, FOREVER_MS),)
    crashed = simulate(task, make_people(), NetworkModel(crashes={"v0": gone, "v1": gone}))
    degraded_ms = crashed.state.time_ms - task.deadlines.enrol_ms
    back = ((start_ms, degraded_ms + 5_000),)
    finished = simulate(task, make_people(), NetworkModel(crashes={"v0": back, "v1": back}))
    assert RunPhase.DEGRADED in {p.run_phase for p in finished.watcher.phases}
    assert finished.state.phase is RunPhase.FINISHED
    assert [c.round for c in finished.state.certificates] == [1, 2, 3, 4, 5]


def test_a_late_reveal_is_late_and_nothing_else() -> None:
    network = NetworkModel(extra_delay_ms={("t1", int(Kind.REVEAL)): 20_000})
    finished = simulate(make_task(rounds=3), make_people(), network)
    assert finished.reasons("t1")[:3] == ["late"] * 3
    tally = finished.state.tallies[finished.key("t1")]
    assert (tally.rounds_invalid, tally.slashed, tally.earned) == (0, 0, 0)
    assert finished.state.members[finished.key("t1")].state is NodeState.ACTIVE
    assert any(r.reason == "wrong-phase" for r in finished.watcher.rejects)
    accounts = finished.driver.ledger.accounts()  # type: ignore[attr-defined]
    assert accounts[finished.key("t1")] == 1_000  # its stake, whole


@dataclass
class Declining:
    """A compute port in which one member's work fails in every round."""

    inner: ports.ComputePort
    member: str

    def init_model(self) -> str:
        return self.inner.init_model()

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        return [
            replace(result, update="", size_bytes=0) if result.member == self.member else result
            for result in self.inner.train(jobs)
        ]

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        return self.inner.score(jobs)

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        return self.inner.aggregate(job)


def test_a_trainer_that_declines_is_not_waited_for_and_not_blamed() -> None:
    driver, population = make_driver(make_task(rounds=3), make_people())
    driver.compute = Declining(driver.compute, population.pubkey("t3"))
    finished = finish(driver, population)
    assert finished.reasons("t3")[:3] == ["declined"] * 3
    assert finished.earned("t3") == 0
    assert who_is(finished, NodeState.DROPPED) == set()
    assert finished.state.time_ms < 20_000  # one train deadline alone would be 20 s


def test_same_seed_same_log_under_faults() -> None:
    network = NetworkModel(seed=9, drop_ppm=200_000, crashes={"t1": ((2_000, 9_000),)})
    logs = [
        [
            record.event.id
            for record in simulate(make_task(), make_people(), network).driver.log.read()
        ]
        for _ in range(2)
    ]
    assert logs[0] == logs[1]


class Meddler:
    """A world in which somebody submits more events before each thing that happens."""

    def __init__(self, inner: ports.WorldPort, meddle: Callable[[], None]) -> None:
        self._inner, self._meddle = inner, meddle

    @property
    def now_ms(self) -> int:
        return self._inner.now_ms

    def next(self) -> ports.Happening | None:
        self._meddle()
        return self._inner.next()

    def send(self, sender: str, event: Event) -> None:
        self._inner.send(sender, event)

    def wake(self, nodes: Sequence[str]) -> None:
        self._inner.wake(nodes)

    def start(
        self,
        node: str,
        ticket: int,
        job: ports.TrainJob | ports.ScoreJob | ports.AggregateJob | None,
    ) -> None:
        self._inner.start(node, ticket, job)

    def arm(self, deadline_ms: int) -> None:
        self._inner.arm(deadline_ms)

    def reseat(self, epoch: int, seats: Sequence[str]) -> None:
        self._inner.reseat(epoch, seats)


@pytest.fixture(scope="module")
def undisturbed() -> Finished:
    return simulate(make_task(), make_people())


def _run_with(meddle: Callable[[Driver], None]) -> Finished:
    driver, population = make_driver(make_task(), make_people())
    driver.world = Meddler(driver.world, lambda: meddle(driver))
    return finish(driver, population)


def _same_result(one: Finished, other: Finished) -> None:
    assert [c.body_hash for c in one.state.certificates] == [
        c.body_hash for c in other.state.certificates
    ]
    assert one.state == other.state


def test_duplicated_events_are_refused_and_change_nothing(undisturbed: Finished) -> None:
    submitted = 0

    def meddle(driver: Driver) -> None:
        nonlocal submitted
        for record in [*driver.log.read()][-3:]:
            before = driver.run_state
            driver.submit(record.event)
            assert driver.run_state is before
            submitted += 1

    finished = _run_with(meddle)
    _same_result(finished, undisturbed)
    assert finished.driver.reject_count == submitted + undisturbed.driver.reject_count
    assert {r.reason for r in finished.watcher.rejects} >= {"replayed"}


def test_forged_events_are_refused_and_change_nothing(undisturbed: Finished) -> None:
    """One field of the event that comes next is changed: no longer what was signed."""
    rng, submitted = random.Random(4), 0
    coming = [record.event for record in undisturbed.driver.log.read()]

    def meddle(driver: Driver) -> None:
        nonlocal submitted
        for event in coming[driver.run_state.height :][:1]:
            for forged in _forge(event, rng):
                before = driver.run_state
                driver.submit(forged)
                assert driver.run_state is before
                submitted += 1

    finished = _run_with(meddle)
    _same_result(finished, undisturbed)
    forged = [r for r in finished.watcher.rejects if r.reason == "forged"]
    assert len(forged) == submitted > 100


def _forge(event: Event, rng: random.Random) -> list[Event]:
    other = derive_key(b"stranger", "key")
    digit = rng.randrange(len(event.id))
    flipped = event.id[:digit] + format(int(event.id[digit], 16) ^ 1, "x") + event.id[digit + 1 :]
    return [
        replace(event, id=flipped),
        replace(event, pubkey=other.pubkey),
        replace(event, created_at=event.created_at + 1),
        replace(event, content=event.content.replace("1", "2", 1) + " "),
        replace(event, sig=event.sig[:-1] + format(int(event.sig[-1], 16) ^ 1, "x")),
        replace(event, tags=(*event.tags, ("t", "x"))),
    ]


def test_events_ahead_of_their_phase_are_refused_and_change_nothing(undisturbed: Finished) -> None:
    """Reordering: while members train, their later messages of this round arrive already."""
    later = [
        record.event
        for record in undisturbed.driver.log.read()
        if record.event.kind in (Kind.REVEAL, Kind.SCORE_REVEAL, Kind.CERTIFY, Kind.FINAL_REVEAL)
    ]

    submitted = 0

    def meddle(driver: Driver) -> None:
        nonlocal submitted
        current = driver.run_state.round
        if current is None or current.phase is not RoundPhase.TRAIN:
            return
        for event in later:
            before = driver.run_state
            driver.submit(event)
            assert driver.run_state is before
            submitted += 1

    finished = _run_with(meddle)
    _same_result(finished, undisturbed)
    assert finished.driver.reject_count - undisturbed.driver.reject_count == submitted > 0


def test_another_task_s_events_are_refused(undisturbed: Finished) -> None:
    """A whole other run of the same people, played into this one."""
    driver, _ = make_driver(make_task(rounds=1), make_people())
    driver.run()
    foreign = [record.event for record in driver.log.read()]

    def meddle(target: Driver) -> None:
        if target.run_state.task is not None and foreign:
            before = target.run_state
            target.submit(foreign.pop())
            assert target.run_state is before

    finished = _run_with(meddle)
    _same_result(finished, undisturbed)
    assert not foreign


def test_a_stranger_s_signed_events_are_refused(undisturbed: Finished) -> None:
    stranger = derive_key(b"stranger", "key")

    def meddle(driver: Driver) -> None:
        known = [*driver.log.read()][-1:]
        for record in known:
            event = events.sign_event(
                stranger,
                record.event.kind,
                record.event.created_at,
                events.read_content(record.event),
                record.event.tags,
            )
            before = driver.run_state
            driver.submit(event)
            assert driver.run_state is before, record.event.kind

    _same_result(_run_with(meddle), undisturbed)


def _draw_faults(seed: int) -> tuple[list[Person], NetworkModel, dict[str, int], dict[str, int]]:
    rng = random.Random(f"faults/{seed}")
    trainers, validators = rng.randint(2, 5), rng.choice((1, 4, 4, 5))
    people = make_people(trainers, validators)
    if rng.random() < 0.3:
        people.append(Person("probe", "canary", "canary"))
    if rng.random() < 0.3:
        people.append(Person("d", "delegator", backs=(("t0", 41), ("v0", 13))))
    names = [p.name for p in people]
    crashes = {}
    for name in rng.sample(names, rng.randint(0, len(names) // 2)):
        start_ms = rng.randrange(0, 30_000)
        crashes[name] = ((start_ms, start_ms + rng.choice((500, 4_000, 30_000, FOREVER_MS))),)
    cut_ms = rng.randrange(0, 20_000)
    cut = frozenset(rng.sample(names, rng.randint(0, 3)))
    network = NetworkModel(
        seed=seed,
        delay_ms=(1, rng.choice((10, 100, 900))),
        drop_ppm=rng.choice((0, 50_000, 300_000)),
        crashes=crashes,
        partitions=((cut_ms, cut_ms + rng.choice((1_000, 8_000)), cut),),
        slowness_ppm={rng.choice(names): rng.choice((1_500_000, 20_000_000))},
        extra_delay_ms={
            (rng.choice(names), int(rng.choice((Kind.COMMIT, Kind.REVEAL, Kind.CERTIFY)))): 7_000
        },
    )
    quality = {name: rng.choice((-50_000, -1_000, 0, 9_000, 30_000)) for name in names[:trainers]}
    raised = {
        name: rng.choice((flag.NO_WORK, flag.DUPLICATE, flag.ZERO, flag.MALFORMED))
        for name in names[:trainers]
        if rng.random() < 0.15
    }
    return people, network, quality, raised


def test_random_faults_never_break_an_invariant(capsys: pytest.CaptureFixture[str]) -> None:
    """KUMIAI_SIM_FIRST=seed KUMIAI_SIM_SEEDS=1 replays one that failed."""
    ends: dict[RunPhase, int] = {}
    for seed in SEEDS[:SEED_COUNT]:
        people, network, quality, raised = _draw_faults(seed)
        trainers = sum(p.role == "trainer" for p in people)
        validators = sum(p.role == "validator" for p in people)
        probes = sum(p.role == "canary" for p in people)
        task = make_task(trainers, validators, 2, validation={"canaries": probes}, seed=seed)
        try:
            finished = simulate(task, people, network, quality, raised)
        except BaseException:
            with capsys.disabled():
                print(f"\nfailed: KUMIAI_SIM_FIRST={seed} KUMIAI_SIM_SEEDS=1")
            raise
        ends[finished.state.phase] = ends.get(finished.state.phase, 0) + 1
    if SEED_COUNT >= 100:  # the faults are neither harmless nor hopeless
        assert ends[RunPhase.FINISHED] >= 20
        assert ends[RunPhase.FAILED] >= 5


def test_the_watcher_sees_what_the_driver_refuses(undisturbed: Finished) -> None:
    assert isinstance(undisturbed.driver.observer, Watcher)
    assert len(undisturbed.watcher.rejects) == undisturbed.driver.reject_count


def test_a_replayed_round_blames_nobody() -> None:
    """Judged, but never certified: what was found in that attempt counts neither once nor twice."""
    plain = simulate(make_task(rounds=2), make_people(), raised={"t0": flag.NO_WORK})
    certify_ms = next(r.time_ms for r in plain.driver.log.read() if r.event.kind == Kind.CERTIFY)
    cut = (certify_ms - 30, certify_ms + 7_000, frozenset({"v0", "v1"}))
    replayed = simulate(
        make_task(rounds=2),
        make_people(),
        NetworkModel(partitions=(cut,)),
        raised={"t0": flag.NO_WORK},
    )
    assert replayed.state.certificates[0].body["attempt"] == 2
    culprit = replayed.key("t0")
    assert len(replayed.state.evidence[culprit]) == len(plain.state.evidence[culprit]) == 2
    assert replayed.state.members[culprit].invalid_count == 2
    assert replayed.state.tallies[culprit].slashed == plain.state.tallies[culprit].slashed
