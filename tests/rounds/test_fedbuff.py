"""FedBuff in certified rounds (Nguyen et al., 2022; the text is not here, so a reconstruction).

The discount's closed form; a dumb twin of the buffered server in plain floats, which knows nothing
but who committed when and from which model; and every commitment that the machine must refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.nodes.simulation import Finished, finish
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.recorded import RecordedCompute
from kumiai.adapters.sim.world import NetworkModel
from kumiai.base import canonical, events
from kumiai.base.keys import SigningKey, derive_key
from kumiai.base.log import Record, append_record
from kumiai.learning.aggregation import WEIGHT_SUM_MAX, aggregate
from kumiai.learning.fixed_point import decode_vector, dequantise, encode_vector, quantise
from kumiai.learning.staleness import DISCOUNT_BITS, compute_discount, discount_weights
from kumiai.nodes import ports
from kumiai.rounds.effects import Outcome
from kumiai.rounds.kinds import Kind
from kumiai.rounds.run import step
from kumiai.rounds.state import NodeState, RoundPhase, RunState
from kumiai.tasks.fields import STALENESS_MAX

ONE = 1 << DISCOUNT_BITS
SIZE = 50
BLOB_BYTES_MAX = 10_000
SLOW = {"t0": 5_000_000, "t1": 3_500_000}
BUFFERED = {"buffer": 4, "staleness_max": 8}


# --- the discount


@pytest.mark.parametrize("staleness", range(STALENESS_MAX + 1))
def test_the_discount_is_one_over_the_root_within_one_unit(staleness: int) -> None:
    exact = ONE / sqrt(1 + staleness)
    assert exact - 1 < compute_discount(staleness) <= exact


def test_the_discount_falls_with_age_and_new_work_counts_whole() -> None:
    discounts = [compute_discount(age) for age in range(STALENESS_MAX + 1)]
    assert discounts[0] == ONE
    assert all(young > old > 0 for young, old in pairwise(discounts))
    with pytest.raises(ValueError, match="-1 is negative"):
        compute_discount(-1)


def test_without_old_work_the_weights_are_what_they_were() -> None:
    assert discount_weights([3, 1, 2], [0, 0, 0]) == [3, 1, 2]
    assert discount_weights([], []) == []


@pytest.mark.parametrize("weights", [[1] * 10_000, [2**40, 1, 7], [1, 2**30, 2**30]])
def test_discounted_weights_fit_the_integers_of_aggregation(weights: list[int]) -> None:
    ages = [place % (STALENESS_MAX + 1) for place in range(len(weights))]
    found = discount_weights(weights, ages)
    assert min(found) >= 1
    assert sum(found) < WEIGHT_SUM_MAX
    for weight, age, got in zip(weights, ages, found, strict=True):
        share = (
            weight
            / sqrt(1 + age)
            / sum(w / sqrt(1 + a) for w, a in zip(weights, ages, strict=True))
        )
        assert got / sum(found) == pytest.approx(share, rel=1e-3, abs=1e-6)


# --- the twin


@dataclass
class Quadratic:
    """Members that go half of the way to a target of their own; integers are averaged."""

    inner: RecordedCompute
    names: Mapping[str, str]

    def __post_init__(self) -> None:
        self.score, self.measure_curve = self.inner.score, self.inner.measure_curve

    def init_model(self) -> str:
        return self._put("model", np.zeros(SIZE))

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        results = []
        for job, plain in zip(jobs, self.inner.train(jobs), strict=True):
            start_P = dequantise(self._get("model", job.model)).astype(np.float64)
            blob = self._put("update", work(start_P, self.names[job.member]))
            results.append(ports.TrainResult(job.member, blob, plain.size_bytes, 100, 10, 10, 5))
        return results

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        updates = [self._get("update", blob) for _, blob, _ in job.included]
        delta_P = aggregate("mean", updates, [weight for *_, weight in job.included])
        blob = self.inner.blobs.put(encode_vector("model", self._get("model", job.model) + delta_P))
        return ports.AggregateResult(blob, None)

    def _put(self, name: str, values_P: NDArray[np.float64]) -> str:
        return self.inner.blobs.put(encode_vector(name, quantise(values_P.astype(np.float32))))

    def _get(self, name: str, blob: str) -> NDArray[np.int32]:
        return decode_vector(name, self.inner.blobs.get(blob, BLOB_BYTES_MAX), SIZE)


def work(start_P: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """What the member called `name` learns from this model: half of the way to its target."""
    target_P = np.random.default_rng(int(name[1:])).uniform(-1, 1, SIZE)
    return (target_P - start_P) / 2


@dataclass
class BufferedServer:
    """The dumb twin: floats, a list of all models, and whoever arrives names the one it had."""

    models: list[NDArray[np.float64]] = field(default_factory=lambda: [np.zeros(SIZE)])

    def take(self, arrivals: Sequence[tuple[str, int]]) -> None:
        """Move by the mean of what these members learnt from the model of `base`, 1 the first."""
        total, weight_sum = np.zeros(SIZE), 0.0
        for name, base in arrivals:
            weight = 1 / sqrt(1 + len(self.models) - base)
            total += weight * work(self.models[base - 1], name)
            weight_sum += weight
        self.models.append(self.models[-1] + total / weight_sum)


def play(training: Mapping[str, int], rounds: int = 10) -> tuple[Finished, Quadratic]:
    task = make_task(trainers=8, rounds=rounds, training=training)
    driver, population = make_driver(task, make_people(8), NetworkModel(slowness_ppm=SLOW))
    assert isinstance(driver.compute, RecordedCompute)
    names = {key.pubkey: name for name, key in population.keys.items()}
    compute = Quadratic(driver.compute, names)
    driver.compute = compute
    return finish(driver, population), compute


def read_commits(finished: Finished) -> list[tuple[int, str, int]]:
    """(round, member, base) of every commitment in the log."""
    found = []
    for record in finished.driver.log.read():
        if record.event.kind == Kind.COMMIT:
            content = events.read_content(record.event)
            number = content["round"]
            found.append((number, record.event.pubkey, content.get("base", number)))
    return found


@pytest.mark.parametrize("training", [BUFFERED, {"buffer": 6, "staleness_max": 8}, {}])
def test_the_certified_models_are_the_twins(training: dict[str, int]) -> None:
    finished, compute = play(training)
    commits = read_commits(finished)
    twin = BufferedServer()
    for certified in finished.watcher.certified[:-1]:
        body = certified.certificate.body
        number = certified.certificate.round
        counted = {r["member"] for r in certified.receipts if r["reason"] == "counted"}
        arrivals = [(compute.names[m], b) for r, m, b in commits if r == number and m in counted]
        assert len(arrivals) == len(counted) >= training.get("buffer", 8)
        twin.take(arrivals)
        found_P = dequantise(compute._get("model", str(body["model"])))
        np.testing.assert_allclose(found_P, twin.models[-1], atol=2e-5)
    ages = {number - base for number, _, base in commits}
    assert ages == {0} if not training else {1, 3} <= ages
    # a server that forgot the discount would be seen
    if training:
        assert not np.allclose(twin.models[-1], _forget_discount(finished, compute), atol=1e-3)


def _forget_discount(finished: Finished, compute: Quadratic) -> NDArray[np.float64]:
    models = [np.zeros(SIZE)]
    for number in range(1, 11):
        arrivals = [(m, b) for r, m, b in read_commits(finished) if r == number]
        steps = [work(models[base - 1], compute.names[member]) for member, base in arrivals]
        models.append(models[-1] + np.mean(steps, axis=0))
    return models[-1]


# --- what the machine refuses


@dataclass
class Opened:
    """A run's log, folded up to where `member` may commit in round `number`."""

    state: RunState
    last: Record
    key: SigningKey

    def commit(self, **changed: object) -> Outcome:
        current = self.state.round
        assert current is not None
        content = {
            "task": self.state.task_id,
            "round": current.index,
            "attempt": current.attempt,
            "commitment": "ab" * 32,
            **changed,
        }
        event = events.sign_event(self.key, Kind.COMMIT, self.last.event.created_at, content)
        self.event = event
        return step(self.state, append_record(self.last, self.last.time_ms, event))


def open_round(number: int, training: Mapping[str, int]) -> Opened:
    """Fold until TRAIN of this round has begun."""
    task = make_task(trainers=8, rounds=number, training=training)
    driver, population = make_driver(task, make_people(8))
    driver.run()
    state = RunState()
    for record in driver.log.read():
        state = step(state, record).state
        current = state.round
        if current is not None and (current.index, current.phase) == (number, RoundPhase.TRAIN):
            return Opened(state, record, population.keys["t0"])
    raise AssertionError("the round never began")


@pytest.mark.parametrize(
    ("base", "detail"),
    [
        (5, "no round before this one, 4"),  # the future
        (4, "its own is left out"),
        (0, "no round before this one"),  # before anybody was a member
        (1, "3 rounds old, the task takes 2"),
    ],
)
def test_a_base_that_cannot_be_is_refused(base: int, detail: str) -> None:
    outcome = open_round(4, {"buffer": 4, "staleness_max": 2}).commit(base=base)
    assert outcome.reject is not None
    assert outcome.reject.reason == "bad-base" and detail in outcome.reject.detail


@pytest.mark.parametrize("base", [-1, True, "3", 3.0])
def test_a_base_that_is_no_number_is_malformed(base: object) -> None:
    opened = open_round(4, {"staleness_max": 2})
    if isinstance(base, float):  # no event can hold one
        with pytest.raises((TypeError, ValueError)):
            opened.commit(base=base)
        return
    outcome = opened.commit(base=base)
    assert outcome.reject is not None and outcome.reject.reason == "malformed"


def test_a_task_without_staleness_takes_no_base() -> None:
    outcome = open_round(4, {}).commit(base=3)
    assert outcome.reject is not None and outcome.reject.reason == "bad-base"
    assert "takes no update that is older" in outcome.reject.detail
    assert open_round(4, {}).commit().reject is None


@pytest.mark.parametrize(("base", "staleness"), [(None, 0), (3, 1), (2, 2)])
def test_a_base_within_bounds_is_remembered(base: int | None, staleness: int) -> None:
    opened = open_round(4, {"staleness_max": 2})
    outcome = opened.commit(**({} if base is None else {"base": base}))
    assert outcome.reject is None and outcome.state.round is not None
    assert outcome.state.round.assignments[opened.key.pubkey].staleness == staleness


@pytest.mark.parametrize("second", [{"base": 2}, {}, {"commitment": "cd" * 32, "base": 3}])
def test_two_commitments_are_refused_and_are_evidence(second: dict[str, object]) -> None:
    """The same hash under another base is another commitment: the age is part of what is bound."""
    opened = open_round(4, {"staleness_max": 2})
    first = opened.commit(base=3)
    again = Opened(
        first.state, append_record(opened.last, opened.last.time_ms, opened.event), opened.key
    )
    outcome = again.commit(**second)
    assert outcome.reject is not None and outcome.reject.reason == "equivocation"
    proof = {
        "task": again.state.task_id,
        "first": canonical.decode(events.encode_event(opened.event), 10**5),
        "second": canonical.decode(events.encode_event(again.event), 10**5),
    }
    created_at = again.last.event.created_at
    accusation = events.sign_event(derive_key(b"x", "anyone"), Kind.EVIDENCE, created_at, proof)
    accused = step(again.state, append_record(again.last, again.last.time_ms, accusation))
    assert accused.reject is None
    assert accused.state.members[opened.key.pubkey].state is NodeState.EJECTED


def test_the_same_commitment_twice_is_a_duplicate() -> None:
    opened = open_round(4, {"staleness_max": 2})
    first = opened.commit(base=3)
    again = Opened(
        first.state, append_record(opened.last, opened.last.time_ms, opened.event), opened.key
    )
    outcome = again.commit(base=3)
    assert outcome.reject is not None and outcome.reject.reason == "duplicate"
