"""The committee's root of trust: trained by validators, combined so that a minority moves nothing;
and what else of a round the log gives to an aggregator.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kumiai.adapters.compute.combine import combine_updates
from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.roots import ROOT, count_repeats, find_root
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.data import load_source, split
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.learning import fixed_point
from kumiai.learning.aggregation import NumpyKernels, Settings, aggregate
from kumiai.learning.client import TrainSettings
from kumiai.learning.recipe import build_recipe
from kumiai.nodes import ports
from kumiai.tasks.document import TaskDocument, task_from_mapping

SIZE, NUMPY = 300, NumpyKernels()
BEACON, OTHER = "5e" * 32, "5f" * 32


def make_task(data: dict[str, Any] | None = None, **training: Any) -> TaskDocument:
    return task_from_mapping({"name": "test", "data": data or {}, "training": training})


@pytest.fixture
def store():
    """Seven members' updates around one direction, and roots along it, as blobs."""
    blobs, generator = MemoryBlobs(), np.random.default_rng(3)
    truth = generator.normal(0, 50_000, SIZE)

    def put(name: str, vector) -> str:  # type: ignore[no-untyped-def]
        return blobs.put(fixed_point.encode_vector(name, np.rint(vector).astype(np.int32)))

    def near(count: int, noise: float) -> list[np.ndarray]:
        return [truth + generator.normal(0, noise, SIZE) for _ in range(count)]

    updates = [put("update", u) for u in [*near(4, 20_000), *[-5 * truth] * 3]]
    roots = [put(ROOT, r) for r in near(4, 20_000)]
    return SimpleNamespace(
        blobs=blobs, decoded=DecodedBlobs(blobs, SIZE), put=put, truth=truth,
        updates=updates, roots=roots,
    )  # fmt: skip


def make_job(store, **changes: Any) -> ports.AggregateJob:  # type: ignore[no-untyped-def]
    included = tuple((f"m{i}", blob, 1) for i, blob in enumerate(store.updates))
    return ports.AggregateJob(2, "", None, included, **changes)


def cosine(a, b) -> float:  # type: ignore[no-untyped-def]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def combine(store, training, job):
    updates = [store.decoded.get("update", blob) for _, blob, _ in job.included]
    return combine_updates(training, store.decoded, job, updates, NUMPY)


def test_hostile_majority_of_trainers_is_outvoted_by_the_root(store):
    task = make_task({"trainers": 7}, aggregator="trust_root", byzantine_count=6)
    job = make_job(store, roots=tuple(store.roots))
    delta = combine(store, task.training, job).astype(float)
    assert cosine(delta, store.truth) > 0.95
    mean = combine(store, make_task().training, job).astype(float)
    assert cosine(mean, store.truth) < -0.9


def test_a_minority_of_roots_cannot_leave_the_honest_ones_range(store):
    honest = np.stack([store.decoded.get(ROOT, blob) for blob in store.roots[:3]])
    hostile = store.put(ROOT, np.full(SIZE, 2.0**30))
    root = find_root(store.decoded, [*store.roots[:3], hostile, hostile], NUMPY)
    assert (root >= honest.min(axis=0)).all()
    assert (root <= honest.max(axis=0)).all()


def test_roots_that_cannot_be_read_are_left_out(store):
    spoilt = [
        store.blobs.put(b"no tensor"),
        store.put(ROOT, np.ones(SIZE - 1)),
        store.put("update", np.ones(SIZE)),
        "00" * 32,
    ]
    found = find_root(store.decoded, [*spoilt, *store.roots], NUMPY)
    assert np.array_equal(found, find_root(store.decoded, store.roots, NUMPY))
    assert find_root(store.decoded, spoilt, NUMPY) is None
    assert find_root(store.decoded, [store.put(ROOT, np.zeros(SIZE))], NUMPY) is None


def test_without_a_root_the_median_stands_in(store):
    task = make_task(aggregator="trust_root")
    delta = combine(store, task.training, make_job(store))
    rows = [store.decoded.get("update", blob) for blob in store.updates]
    assert np.array_equal(delta, aggregate("median", rows, [1] * 7))


def test_the_beacon_draws_the_buckets(store):
    training = make_task(aggregator="median", bucket_size=3).training
    deltas = [
        combine(store, training, make_job(store, seed=seed)).tolist()
        for seed in (BEACON, BEACON, OTHER)
    ]
    assert deltas[0] == deltas[1] != deltas[2]


def test_centered_clip_starts_from_the_last_step(store):
    training = make_task(aggregator="centered_clip", aggregator_iterations=1).training
    before = store.put("model", np.zeros(SIZE))
    after = store.put("model", store.truth)
    job = make_job(store, previous_model=before)
    job = ports.AggregateJob(2, after, None, job.included, previous_model=before)
    rows = [store.decoded.get("update", blob) for blob in store.updates]
    step = store.decoded.get("model", after)
    expected = aggregate("centered_clip", rows, [1] * 7, Settings(iterations=1), reference_P=step)
    delta = combine(store, training, job)
    assert np.array_equal(delta, expected)
    first = combine(store, training, make_job(store))
    assert not np.array_equal(first, delta)


@pytest.mark.parametrize(
    ("setting", "value", "rule", "options"),
    [
        ("clip_ppm", 300_000, "norm_clip", Settings(clip_ppm=300_000)),
        ("clip_norm_ppm", 20_000, "norm_clip", Settings(clip_norm=20_000 * 2**24 // 10**6)),
        ("aggregator_iterations", 2, "geometric_median", Settings(iterations=2)),
        ("trim_ppm", 300_000, "trimmed_mean", Settings(trim_ppm=300_000)),
    ],
)
def test_each_setting_reaches_its_rule(store, setting, value, rule, options):
    training = make_task(aggregator=rule, **{setting: value}).training
    delta = combine(store, training, make_job(store))
    rows = [store.decoded.get("update", blob) for blob in store.updates]
    assert np.array_equal(delta, aggregate(rule, rows, [1] * 7, options))
    assert not np.array_equal(delta, aggregate(rule, rows, [1] * 7))


@pytest.mark.parametrize("backend", ["inline", "vectorised", "process"])
def test_validators_train_a_root_when_asked(backend):
    data = {"trainers": 3, "holdout_ppm": 300_000, "test_ppm": 50_000}
    sections = {"data": data, "validation": {"validators": 2}}
    task = task_from_mapping({"name": "x", "training": {"aggregator": "trust_root"}, **sections})
    dealt = split(
        load_source("digits", {"samples": 600}, 0), trainers=3, partition="iid",
        alpha_ppm=1_000_000, holdout_ppm=300_000, test_ppm=50_000, validators=2, seed=3,
    )  # fmt: skip
    recipe = build_recipe("mlp", {"hidden": 16}, [1_000_000], (1, 8, 8), 10)
    members, judges, blobs = ["a", "b", "c"], ["y", "z"], MemoryBlobs()
    with Engine(recipe, TrainSettings(learning_rate=0.1), backend) as engine:
        holdouts = {j: Holdout(*parts) for j, parts in zip(judges, dealt.validation, strict=True)}
        compute = EngineCompute(
            task, recipe, engine, blobs, dict(zip(members, dealt.shards, strict=True)), holdouts
        )
        model = compute.init_model()
        jobs = [ports.TrainJob(1, m, model, i) for i, m in enumerate(members)]
        trained = compute.train(jobs)
        refs = tuple(ports.UpdateRef(r.member, r.update, i) for i, r in enumerate(trained))
        scores = [ports.ScoreJob(1, j, model, None, refs, BEACON, wants_root=True) for j in judges]
        roots = [result.root for result in compute.score(scores)]
        assert [result.root for result in compute.score(scores)] == roots
        assert compute.train(jobs) == trained
        plain = [ports.ScoreJob(1, j, model, None, refs, BEACON) for j in judges]
        assert [result.root for result in compute.score(plain)] == ["", ""]
    assert len(set(roots)) == 2
    decoded = DecodedBlobs(blobs, engine.layout.size)
    first, second = (decoded.get(ROOT, blob).astype(float) for blob in roots)
    update = decoded.get("update", trained[0].update).astype(float)
    assert cosine(first, second) > 0.3
    assert cosine(first, update) > 0.3
    # as much work as an average trainer: lengths of one order
    assert 0.5 < np.linalg.norm(first) / np.linalg.norm(update) < 2


@pytest.mark.parametrize(
    ("trainers", "validators", "iterations", "expected"),
    [(6, 4, 0, 4), (60, 4, 0, 1), (1, 31, 0, 64), (6, 4, 10, 1)],
)
def test_a_hold_out_is_repeated_to_a_shards_length(trainers, validators, iterations, expected):
    task = task_from_mapping(
        {
            "name": "x",
            "data": {"trainers": trainers},
            "validation": {"validators": validators},
            "training": {"local_iterations": iterations},
        }
    )
    assert count_repeats(task) == expected
