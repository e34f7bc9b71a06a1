"""What enters the next model: helpful work, and useful members' harmless rounds, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.apps.population import Population
from kumiai.nodes import ports
from kumiai.nodes.driver import _Silent
from kumiai.rounds.effects import Certified, Effect
from kumiai.rounds.state import RunState


class _Changing:
    """Recorded answers, qualities by round; remembers what is aggregated."""

    def __init__(
        self, inner: RecordedCompute, population: Population, table: dict[int, dict[str, int]]
    ) -> None:
        self._inner, self._population, self._table = inner, population, table
        self._names = {key.pubkey: name for name, key in population.keys.items()}
        self.included: dict[int, set[str]] = {}
        self.init_model, self.train = inner.init_model, inner.train

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        quality = self._table[jobs[0].round]
        self._inner.quality = {self._population.pubkey(n): v for n, v in quality.items()}
        return self._inner.score(jobs)

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        self.included[job.round] = {self._names[member] for member, _, _ in job.included}
        return self._inner.aggregate(job)


class _Receipts(_Silent):
    """Keeps what is certified."""

    def __init__(self) -> None:
        self.by_round: dict[int, tuple[Mapping[str, object], ...]] = {}

    def on_effect(self, effect: Effect, run: RunState) -> None:
        if isinstance(effect, Certified):
            self.by_round[effect.certificate.round] = effect.receipts


def test_a_useful_members_idle_round_is_kept_and_its_harmful_round_is_not() -> None:
    good = 50_000
    rounds = {
        1: {"t0": good, "t1": good, "t2": -3_000},
        2: {"t0": -500, "t1": -30_000, "t2": 1_000},
    }
    driver, population = make_driver(make_task(rounds=2), make_people(5))
    assert isinstance(driver.compute, RecordedCompute)
    driver.compute.noise = 0
    changing = _Changing(driver.compute, population, rounds)
    driver.compute = changing
    watcher = _Receipts()
    driver.observer = watcher
    driver.run()
    receipts = watcher.by_round
    first, second = changing.included[1], changing.included[2]
    assert {"t0", "t1"} <= first
    assert "t2" not in first  # no credit yet
    assert "t0" in second  # within the noise, and useful before
    assert "t1" not in second  # harm is left out whatever the credit
    assert "t2" not in second  # a lucky round does not make up for harm
    reasons = {str(r["name"]): r["reason"] for r in receipts[2]}
    assert (reasons["t0"], reasons["t1"], reasons["t2"]) == ("carried", "no-gain", "no-gain")
