"""What enters the next model: helpful work, and useful members' harmless rounds, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.apps.population import Population
from kumiai.learning.aggregation.rule import WEIGHT_SUM_MAX
from kumiai.nodes import ports
from kumiai.nodes.driver import _Silent
from kumiai.rounds import scoring
from kumiai.rounds.effects import Certified, Effect
from kumiai.rounds.state import RunPhase, RunState


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


@pytest.mark.parametrize(
    ("samples", "weights"),
    [
        ([], []),
        ([0], [1]),
        ([300, 500], [300, 500]),
        ([300, 2**53], [300, 1200]),  # one of two cannot raise the median
        ([2**53, 100, 300, 200], [800, 100, 300, 200]),
        ([100, 10**6, 100], [100, 400, 100]),
    ],
)
def test_a_claimed_size_counts_as_four_times_the_median_at_most(
    samples: list[int], weights: list[int]
) -> None:
    assert scoring.limit_claims(samples) == weights


@pytest.mark.parametrize("samples", [[2**53], [2**53, 2**52], [2**31, 1, 2**31], [2**53] * 10_000])
def test_no_claims_leave_the_integers_of_aggregation(samples: list[int]) -> None:
    weights = scoring.limit_claims(samples)
    assert min(weights) >= 1
    assert 0 < sum(weights) < WEIGHT_SUM_MAX
    assert all(a <= b for (_, a), (_, b) in pairwise(sorted(zip(samples, weights, strict=True))))


class _Boasting:
    """Recorded answers of trainers who claim more samples than anybody can have."""

    def __init__(self, inner: RecordedCompute) -> None:
        self.init_model, self.score, self._inner = inner.init_model, inner.score, inner
        self.weights: list[int] = []

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        return [replace(result, sample_count=2**53 - 1) for result in self._inner.train(jobs)]

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        self.weights += [weight for _, _, weight in job.included]
        return self._inner.aggregate(job)


def test_a_run_whose_members_claim_huge_shards_ends_with_weights_that_fit() -> None:
    task = make_task(rounds=1, training={"weighting": "samples"})
    driver, population = make_driver(task, make_people())
    assert isinstance(driver.compute, RecordedCompute)
    driver.compute.quality = {population.pubkey(f"t{i}"): 50_000 for i in range(4)}
    boasting = _Boasting(driver.compute)
    driver.compute = boasting
    assert driver.run().phase is RunPhase.FINISHED
    assert boasting.weights
    assert 0 < sum(boasting.weights[:4]) < WEIGHT_SUM_MAX
