"""What a trainer's codec remembers goes on only from updates that entered the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from tests.nodes.simulation import Finished, finish
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.memory.log import MemoryLog
from kumiai.adapters.sim.world import NetworkModel
from kumiai.nodes import ports

ENTERED = ("counted", "carried")


@dataclass
class Remembering:
    """Names a state after its job, and keeps what every job was given."""

    inner: ports.ComputePort
    jobs: list[ports.TrainJob] = field(default_factory=list)

    def init_model(self) -> str:
        return self.inner.init_model()

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        self.jobs += jobs
        return [
            replace(result, codec_state=name_state(job))
            for job, result in zip(jobs, self.inner.train(jobs), strict=True)
        ]

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        return self.inner.score(jobs)

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        return self.inner.aggregate(job)


def name_state(job: ports.TrainJob) -> str:
    return f"{job.round}/{job.seed}"


def play(
    network: NetworkModel | None = None, quality: dict[str, int] | None = None
) -> tuple[Finished, Remembering]:
    driver, population = make_driver(make_task(rounds=5), make_people(5), network, quality)
    compute = Remembering(driver.compute)
    driver.compute = compute
    return finish(driver, population), compute


def check_states(finished: Finished, compute: Remembering, name: str) -> int:
    """Each job of this member goes on from its last job that entered; return how many entered."""
    entered = {
        certified.certificate.round: certified.certificate.body["attempt"]
        for certified in finished.watcher.certified
        for receipt in certified.receipts
        if receipt["member"] == finished.key(name) and receipt["reason"] in ENTERED
    }
    mine = [job for job in compute.jobs if job.member == finished.key(name)]
    for job in mine:
        earlier = [number for number in entered if number < job.round]
        # of a round's attempts only the last can have been certified
        last = [one for one in mine if earlier and one.round == max(earlier)]
        assert job.codec_state == (name_state(last[-1]) if last else "")
    return len(entered)


def test_who_is_counted_goes_on_from_the_round_before() -> None:
    finished, compute = play()
    for name in ("t0", "t1", "t2", "t3", "t4"):
        assert check_states(finished, compute, name) == 5


def test_who_never_enters_starts_anew_each_round() -> None:
    finished, compute = play(quality={"t1": -50_000})
    assert check_states(finished, compute, "t1") == 0
    assert {job.codec_state for job in compute.jobs if job.member == finished.key("t1")} == {""}
    assert check_states(finished, compute, "t2") == 5


@pytest.mark.parametrize("seed", range(4))
def test_under_faults_too(seed: int) -> None:
    network = NetworkModel(seed=seed, drop_ppm=150_000, crashes={"t1": ((2_000, 9_000),)})
    finished, compute = play(network)
    for name in ("t0", "t1", "t2", "t3", "t4"):
        check_states(finished, compute, name)


def test_after_a_crash_the_same_states_come_from_the_vault() -> None:
    """The driver runs again from its start with nothing but the vault: no job is asked anew."""
    finished, _ = play()
    again, population = make_driver(make_task(rounds=5), make_people(5))
    again.vault, again.log, again.ledger = finished.driver.vault, MemoryLog(), MemoryLedger()
    again.compute = Remembering(again.compute)
    second = finish(again, population)
    assert again.compute.jobs == []
    assert list(again.log.read()) == list(finished.driver.log.read())
    memory, known = again._memories["t0"], finished.driver._memories["t0"]
    assert memory.codec_states == known.codec_states
    assert set(memory.codec_states) == {4, 5}
    assert second.state == finished.state
