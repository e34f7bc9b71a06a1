"""A run's audits over recorded answers: who is drawn, who must speak, what follows for whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from tests.nodes.simulation import Finished, finish
from tests.rounds.worlds import make_people, make_task

from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.memory.log import MemoryLog
from kumiai.adapters.memory.vault import MemoryVault
from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.adapters.sim.world import NetworkModel, SimWorld
from kumiai.apps.population import cast_roles, gather
from kumiai.base import events
from kumiai.base.errors import Reject
from kumiai.base.log import append_record
from kumiai.nodes import ports
from kumiai.nodes.driver import Driver
from kumiai.proofs.trace import count_segments
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RoundPhase, RunState

CLASS, OTHER_CLASS = "c" * 64, "d" * 64
EVERY = 2
SHARD = "5" * 64
Line = tuple[str, int, str]
VALID: Line = ("VALID", 0, "")
INVALID: Line = ("INVALID", 0, "9" * 64)


@dataclass(slots=True)
class RecordedAudits(RecordedCompute):
    """Recorded answers with recorded replays. says: (validator, member) -> its line; default VALID.

    silent: members who open nothing. machines: member or validator -> its class. when: the rounds
    in which says and silent hold, None for all.
    """

    says: Mapping[tuple[str, str], Line] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    machines: Mapping[str, str] = field(default_factory=dict)
    replays: list[tuple[str, str]] = field(default_factory=list)
    when: frozenset[int] | None = None

    def holds(self, number: int) -> bool:
        return self.when is None or number in self.when

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        results = []
        for job, result in zip(jobs, RecordedCompute.train(self, jobs), strict=True):
            count = count_segments(result.iteration_count, job.checkpoint_every) + 1
            named = (f"{job.seed}/{i}".encode() for i in range(count))
            digests = tuple(hashlib.sha256(text).hexdigest() for text in named)
            machine = self.machines.get(job.member, CLASS)
            results.append(replace(result, trace=digests, machine=machine))
        return results

    def open_traces(self, jobs: Sequence[ports.OpenJob]) -> list[ports.OpenResult]:
        shown = [
            () if job.work.member in self.silent and self.holds(job.round) else (SHARD,)
            for job in jobs
        ]
        pairs = zip(jobs, shown, strict=True)
        return [ports.OpenResult(job.work.member, digests) for job, digests in pairs]

    def audit(self, jobs: Sequence[ports.AuditJob]) -> list[ports.AuditResult]:
        results = []
        for job in jobs:
            self.replays += [(job.validator, target.member) for target in job.targets]
            says = self.says if self.holds(job.round) else {}
            lines = [says.get((job.validator, t.member), VALID) for t in job.targets]
            machine = self.machines.get(job.validator, CLASS)
            results.append(ports.AuditResult(job.validator, machine, tuple(lines), 2))
        return results


Say = Callable[[str, str], Line]


@dataclass
class World:
    """Four trainers, four validators; `says(validator's name, trainer's name)`."""

    says: Say = lambda validator, trainer: VALID
    silent: tuple[str, ...] = ()
    machines: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 3
    network: NetworkModel | None = None
    audit: Mapping[str, object] = field(default_factory=dict)
    slash_ppm: int = 100_000
    when: frozenset[int] | None = None

    def run(self) -> Finished:
        self.driver, people = self.make()
        return finish(self.driver, people)

    def make(self):  # type: ignore[no-untyped-def]
        task = make_task(
            rounds=self.rounds,
            data={"mode": "assigned"},
            audit={"mode": "replay", "checkpoint_every": EVERY, "reaudit_ppm": 0, **self.audit},
            rewards={"slash_ppm": self.slash_ppm},
        )
        people = make_people()
        population = gather(task, people)
        key = {person.name: population.pubkey(person.name) for person in people}
        self.key = key
        trainers = [p.name for p in people if p.role == "trainer"]
        judges = [p.name for p in people if p.role == "validator"]
        self.compute = RecordedAudits(
            MemoryBlobs(),
            says={(key[v], key[t]): self.says(v, t) for v in judges for t in trainers},
            silent=frozenset(key[name] for name in self.silent),
            machines={key[name]: found for name, found in self.machines.items()},
            when=self.when,
        )
        driver = Driver(
            roles=cast_roles(task, population, [], None, {key[t]: SHARD for t in trainers}),
            trainers=frozenset(trainers),
            setup_roles=("escrow", "customer"),
            orderer=population.orderer,
            world=SimWorld(self.network or NetworkModel()),
            compute=self.compute,
            log=MemoryLog(),
            ledger=MemoryLedger(),
            vault=MemoryVault(),
        )
        return driver, population


def accusing(*accusers: str, of: str = "t0") -> Say:
    return lambda validator, trainer: INVALID if trainer == of and validator in accusers else VALID


ALL = ("v0", "v1", "v2", "v3")


def test_honest_traces_are_valid_and_cost_one_replay_each() -> None:
    world = World()
    ended = world.run()
    assert [len(ended.reasons(f"t{i}")) for i in range(4)] == [4] * 4
    assert all(set(ended.reasons(f"t{i}")[:3]) == {"counted"} for i in range(4))
    assert len(world.compute.replays) == 4 * 3
    assert all(ended.state.members[world.key[f"t{i}"]].audited_valid == 3 for i in range(4))
    assert all(phase.round_phase is not RoundPhase.JURY for phase in ended.watcher.phases)


def test_an_accusation_brings_the_whole_committee_and_its_quorum_burns_stake() -> None:
    world = World(accusing(*ALL))
    ended = world.run()
    assert ended.reasons("t0")[0] == "fabricated"
    assert ended.earned("t0") == 0
    member = ended.state.members[world.key["t0"]]
    assert (member.is_convicted, member.audited_valid) == (True, 0)
    assert member.state is NodeState.EJECTED  # after the third
    assert ended.state.tallies[world.key["t0"]].slashed == 300
    assert ended.state.widths_ppm[world.key["t0"]] == 0
    assert {v for v, t in world.compute.replays if t == world.key["t0"]} == {
        world.key[v] for v in ALL
    }
    assert all(set(ended.reasons(f"t{i}")[:3]) == {"counted"} for i in range(1, 4))


def test_one_conviction_costs_all_of_the_pay_held_back() -> None:
    """Also that of the rounds in which its work was good: this is what deters."""
    world = World(accusing(*ALL), rounds=5, when=frozenset({2}))
    ended = world.run()
    assert ended.reasons("t0") == [
        "counted", "fabricated", "counted", "counted", "counted", "final-convicted",
    ]  # fmt: skip
    assert 0 < 5 * ended.earned("t0") < ended.earned("t1")
    assert ended.state.tallies[world.key["t0"]].slashed == 100


def test_less_than_a_quorum_convicts_nobody_and_pays_nobody() -> None:
    ended = World(accusing("v0", "v1"), audit={"auditors": 4}).run()
    assert ended.reasons("t0")[:3] == ["unproven"] * 3
    assert ended.state.evidence == {}
    assert not any(member.is_convicted for member in ended.state.members.values())


def test_a_false_accuser_is_overruled_and_unpaid_for_the_round() -> None:
    world = World(accusing("v3"), audit={"auditors": 4})
    ended = world.run()
    assert ended.reasons("t0")[:3] == ["counted"] * 3
    assert ended.state.evidence == {}
    assert ended.earned("v3") == 0 < ended.earned("v0")


def test_who_approves_what_a_quorum_refutes_loses_stake() -> None:
    world = World(accusing("v0", "v1", "v2"), audit={"auditors": 4})
    ended = world.run()
    assert ended.reasons("t0")[0] == "fabricated"
    assert set(ended.state.evidence) == {world.key["t0"], world.key["v3"]}
    assert ended.state.tallies[world.key["v3"]].slashed == 300
    assert ended.earned("v3") == 0


def test_lazy_auditors_are_found_by_re_audits() -> None:
    """All trainers fake, v3 approves everything: alone drawn, it lets fakes pass unnoticed."""

    def says(validator: str, trainer: str) -> Line:
        return VALID if validator == "v3" else INVALID

    names = [f"t{i}" for i in range(4)]
    alone = World(says, rounds=8)
    passed = alone.run()
    assert sum("counted" in passed.reasons(name) for name in names) > 0
    watched = World(says, rounds=3, audit={"reaudit_ppm": 1_000_000})
    found = watched.run()
    assert sum("counted" in found.reasons(name) for name in names) == 0
    assert found.state.tallies[watched.key["v3"]].slashed > 0


def test_withholding_costs_the_round_and_never_stake() -> None:
    world = World(silent=("t1",))
    ended = world.run()
    assert ended.reasons("t1")[:3] == ["withheld"] * 3
    assert ended.state.tallies[world.key["t1"]].slashed == 0
    assert ended.state.evidence == {}
    assert ended.state.members[world.key["t1"]].audited_valid == 0
    assert ended.earned("t1") == 0


def test_states_that_nobody_can_fetch_are_withheld_too() -> None:
    missing: Line = ("MISSING", 0, "")
    ended = World(lambda v, t: missing if t == "t2" else VALID).run()
    assert ended.reasons("t2")[:3] == ["withheld"] * 3
    assert ended.state.evidence == {}


def test_across_classes_there_is_never_a_slash() -> None:
    """The trainer's class is nobody's: nothing is proven, so nothing is paid or burnt."""
    other: Line = ("INCONCLUSIVE", 0, "9" * 64)
    world = World(lambda v, t: other if t == "t0" else VALID, machines={"t0": OTHER_CLASS})
    ended = world.run()
    assert ended.reasons("t0")[:3] == ["unproven"] * 3
    assert ended.state.evidence == {}
    assert ended.earned("t0") == 0
    assert ended.state.members[world.key["t0"]].state is NodeState.ACTIVE


def test_unproven_work_is_not_carried_by_earlier_credit() -> None:
    other: Line = ("INCONCLUSIVE", 0, "9" * 64)
    world = World(
        lambda v, t: other if t == "t0" else VALID,
        machines={"t0": OTHER_CLASS},
        rounds=2,
        when=frozenset({2}),
    )
    ended = world.run()
    assert ended.reasons("t0")[:2] == ["counted", "unproven"]
    assert ended.state.tallies[world.key["t0"]].round_included == 1
    assert ended.state.tallies[world.key["t1"]].round_included == 2


def test_invalid_from_another_class_is_refused_as_malformed() -> None:
    world = World(accusing("v0"), machines={"v0": OTHER_CLASS}, audit={"auditors": 4})
    ended = world.run()
    details = {r.detail for r in ended.watcher.rejects if r.reason == "bad-audits"}
    assert details == {"INVALID needs a machine of the trainer's class: say INCONCLUSIVE"}
    assert ended.reasons("t0")[:3] == ["counted"] * 3


def test_a_silent_auditor_hands_its_task_to_the_jury() -> None:
    """Who was drawn and says nothing cannot keep a fake from being looked at."""
    crashed = NetworkModel(crashes={"v0": ((3_000, 10**9),)})
    ended = World(accusing(*ALL[1:]), network=crashed, rounds=4).run()
    assert "fabricated" in ended.reasons("t0")
    assert all(set(ended.reasons(f"t{i}")[:4]) == {"counted"} for i in range(1, 4))


def test_trusted_trainers_are_audited_less_often() -> None:
    audit = {"new_rounds": 2, "p_min_ppm": 100_000}
    world = World(rounds=12, audit=audit)
    world.run()
    assert 4 * 2 <= len(world.compute.replays) < 4 * 12 * 2 // 3


def test_an_audit_resets_trust_when_nothing_is_opened() -> None:
    world = World(silent=("t1",), rounds=4, audit={"new_rounds": 1, "p_min_ppm": 0})
    ended = world.run()
    assert ended.reasons("t1")[:4] == ["withheld"] * 4  # always drawn: it never earns trust


def test_withholding_takes_away_the_trust_earned_before() -> None:
    world = World(silent=("t1",), rounds=3, when=frozenset({2}))
    ended = world.run()
    assert ended.reasons("t1")[:3] == ["counted", "withheld", "counted"]
    assert ended.state.members[world.key["t1"]].audited_valid == 1
    assert ended.state.members[world.key["t2"]].audited_valid == 3


# --- single events against the fold ---------------------------------------------------------


def stop_at(world: World, phase: RoundPhase) -> tuple[Driver, RunState]:
    """Run until a round enters this phase; return the state there."""
    driver, _ = world.make()
    driver.world.wake(driver.setup_roles)
    reached: list[RunState] = []

    class Watch:
        def on_record(self, record, run):  # type: ignore[no-untyped-def]
            if not reached and run.round is not None and run.round.phase is phase:
                reached.append(run)

        def on_effect(self, effect, run): ...  # type: ignore[no-untyped-def]

        def on_reject(self, event, reject): ...  # type: ignore[no-untyped-def]

        def on_seconds(self, what, seconds): ...  # type: ignore[no-untyped-def]

    driver.observer = Watch()
    driver.run()
    return driver, reached[0]


def submit(driver: Driver, state: RunState, name: str, kind: Kind, content: Mapping[str, object]):  # type: ignore[no-untyped-def]
    """Fold one event of this member's into `state`."""
    event = events.sign_event(driver.roles[name].key, kind, 1, content)
    last = next(r for r in driver.log.read() if r.height == state.height)
    return step(state, append_record(last, state.time_ms, event))


def test_opened_leaves_must_be_those_asked_for_and_lead_to_the_root() -> None:
    world = World()
    driver, state = stop_at(world, RoundPhase.CHALLENGE)
    current = state.round
    assert current is not None
    named = {"task": state.task_id, "round": 1, "attempt": 1}
    record = next(
        r
        for r in driver.log.read()
        if r.event.kind == Kind.OPEN_TRACE and r.event.pubkey == world.key["t0"]
    )
    leaves = events.read_content(record.event)["leaves"]
    changed = [[leaves[0][0], "0" * 64, leaves[0][2]], *leaves[1:]]
    cases: list[tuple[object, str, str]] = [
        (leaves[1:], "wrong-leaves", "are asked for, in this order"),
        (changed, "bad-leaf", "leaf 0 does not lead to the root that was committed to"),
        ([[0, "x", []]], "bad-leaves", "not [integer, sha256, up to 17 hashes]"),
        ([[0, "0" * 64, ["0" * 64] * 18]], "bad-leaves", "up to 17 hashes"),
        ([7], "bad-leaves", "leaf number 0 is not [index, digest, path]"),
    ]
    for wrong, reason, words in cases:
        outcome = submit(driver, state, "t0", Kind.OPEN_TRACE, {**named, "leaves": wrong})
        assert outcome.reject is not None
        assert outcome.reject.reason == reason
        assert words in outcome.reject.detail
        assert outcome.state == state
    other = submit(driver, state, "t1", Kind.OPEN_TRACE, {**named, "leaves": leaves})
    assert other.reject is not None  # another member's leaves, under its own root
    stranger = submit(driver, state, "v0", Kind.OPEN_TRACE, {**named, "leaves": leaves})
    assert stranger.reject == Reject("not-drawn", "this member's trace was not asked for", {})
    assert submit(driver, state, "t0", Kind.OPEN_TRACE, {**named, "leaves": leaves}).reject is None


def test_what_a_trainer_reveals_last_does_not_move_the_draw() -> None:
    """Nor does it move the beacon, which takes the log's head of before anybody revealed."""
    world = World(audit={"new_rounds": 1, "p_min_ppm": 500_000, "segments": 1})
    driver, _ = world.make()
    driver.run()
    records = list(driver.log.read())
    state, last_reveal = RunState(), None
    for record in records:
        if record.event.kind == Kind.BEACON:
            break
        state = step(state, record).state
    reveals = [r for r in records if r.event.kind == Kind.REVEAL][:4]
    beacons = [r for r in records if r.event.kind == Kind.BEACON][:4]
    last_reveal = reveals[-1]
    while records[state.height - 1].event.kind == Kind.REVEAL:
        state = fold_until(records, state.height - 1)
    drawn, heads = set(), set()
    for loss in range(6):
        folded = state
        for source in (*reveals[:-1], *beacons, last_reveal):
            content = dict(events.read_content(source.event))
            if source is last_reveal:
                content["loss_ppm"] = loss
            name = next(n for n, r in driver.roles.items() if r.key.pubkey == source.event.pubkey)
            event = events.sign_event(driver.roles[name].key, Kind(source.event.kind), 1, content)
            previous = fake_record(folded, records[0].event)
            outcome = step(folded, append_record(previous, folded.time_ms, event))
            assert outcome.reject is None, outcome.reject
            folded = outcome.state
        assert folded.round is not None
        drawn.add(folded.round.audits.challenges)
        heads.add(folded.round.beacon)
    assert len(heads) == 1
    assert len(drawn) == 1


def fold_until(records: Sequence[object], height: int) -> RunState:
    state = RunState()
    for record in records[:height]:
        state = step(state, record).state  # type: ignore[arg-type]
    return state


def fake_record(state: RunState, event: events.Event):  # type: ignore[no-untyped-def]
    """A record that the next one can be chained to."""
    from kumiai.base.log import Record

    return Record(state.height, state.time_ms, event, state.head)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trace_root": ""}, "trace_root and machine are each a sha256"),
        ({"machine": "here"}, "trace_root and machine are each a sha256"),
        ({"iterations": 0}, "must be positive"),
        ({"iterations": 10**9}, "raise checkpoint_every to"),
        ({"trace_root": None}, "with audit.mode = replay, and only so"),
    ],
)
def test_a_reveal_without_its_trace_is_refused(change: Mapping[str, object], words: str) -> None:
    world = World()
    driver, state = stop_at(world, RoundPhase.REVEAL)
    record = next(
        r
        for r in driver.log.read()
        if r.event.kind == Kind.REVEAL and r.event.pubkey == world.key["t0"]
    )
    content = {**events.read_content(record.event), **change}
    content = {name: value for name, value in content.items() if value is not None}
    outcome = submit(driver, state, "t0", Kind.REVEAL, content)
    assert outcome.reject is not None
    assert words in outcome.reject.detail


def test_iterations_are_bound_by_the_commitment() -> None:
    """A Merkle root does not say how long its list is: the commitment does."""
    world = World()
    driver, state = stop_at(world, RoundPhase.REVEAL)
    record = next(r for r in driver.log.read() if r.event.kind == Kind.REVEAL)
    name = next(n for n, k in world.key.items() if k == record.event.pubkey)
    content = {**events.read_content(record.event), "iterations": 9}
    outcome = submit(driver, state, name, Kind.REVEAL, content)
    assert outcome.reject is not None
    assert outcome.reject.reason == "commitment-mismatch"


@pytest.mark.parametrize("verdict", [["VALID"], {}, 0, None, "valid"])
def test_a_verdict_that_is_none_is_refused_by_everybody(verdict) -> None:  # type: ignore[no-untyped-def]
    """Found by fuzzing: a list as a verdict had been an error in every node's fold."""
    odd = World(lambda v, t: (verdict, 0, "") if v == "v0" else VALID, audit={"auditors": 4})
    ended = odd.run()
    assert "verdict" in {
        r.detail.split()[0] for r in ended.watcher.rejects if r.reason == "bad-audits"
    }
    assert ended.reasons("t0")[:3] == ["counted"] * 3


@pytest.mark.parametrize("left_out", ["machine", "audits"])
def test_half_of_an_audit_is_refused(left_out: str) -> None:
    """Found by fuzzing: audits without their machine had been an error in every node's fold."""
    driver, state = stop_at(World(), RoundPhase.SCORE_REVEAL)
    record = next(r for r in driver.log.read() if r.event.kind == Kind.SCORE_REVEAL)
    content = {k: v for k, v in events.read_content(record.event).items() if k != left_out}
    name = next(n for n, role in driver.roles.items() if role.key.pubkey == record.event.pubkey)
    outcome = submit(driver, state, name, Kind.SCORE_REVEAL, content)
    assert outcome.reject is not None
    assert outcome.reject.reason == "commitment-mismatch"
