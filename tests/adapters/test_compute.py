"""The compute port over the engine: training, scoring and aggregation on real digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from kumiai.adapters.compute import combine, methods
from kumiai.adapters.compute.coalitions import LOSS_BROKEN, LOSS_RISE_MAX, CoalitionGame
from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.measure import HoldoutMeasure, Losses, compute_bound
from kumiai.adapters.compute.member_work import MemberWork
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.data import load_source, split
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.sim.adversaries import AdversarialCompute
from kumiai.base.errors import InputError, RunFailedError, StoreError
from kumiai.learning import aggregation, fixed_point, server
from kumiai.learning.client import TrainSettings
from kumiai.learning.codecs import build_codec
from kumiai.learning.layout import Layout, compute_layout, unflatten
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded, wrap_recipe
from kumiai.nodes import ports
from kumiai.proofs import flags as flag
from kumiai.tasks.document import TaskDocument, task_from_mapping
from kumiai.tasks.sections import ValidationSection

MEMBERS = [f"{i:064x}" for i in range(6)]
JUDGES = ["judge-a", "judge-b"]
BEACON = "5e" * 32
FLIPPED = [(label + 1) % 10 for label in range(10)]
IMAGES = ((1, 8, 8), 10)
METHODS = get_args(ValidationSection.model_fields["valuation"].annotation)  # every one there is
LOOKS = ("cosine", "cgsv", "class_cosine")  # at updates alone


def make_task(**sections: dict[str, Any]) -> TaskDocument:
    return TaskDocument.model_validate({"name": "test", **sections})


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return split(
        load_source("digits", {"samples": 600}, 0),
        trainers=6,
        partition="dirichlet",
        alpha_ppm=1_000_000,
        holdout_ppm=300_000,
        test_ppm=50_000,
        validators=2,
        seed=3,
    )


@pytest.fixture(scope="module")
def recipe(data):
    shape = tuple(data.test[0].shape[1:])
    return build_recipe("mlp", {"hidden": "32"}, [1_000_000], shape, 10)


@pytest.fixture(scope="module")
def engine(recipe):
    with Engine(recipe, TrainSettings(learning_rate=0.1), "inline") as engine:
        yield engine


@pytest.fixture
def make(data, recipe, engine):
    def build(task: TaskDocument | None = None, **changes: Any) -> EngineCompute:
        arguments: dict[str, Any] = {
            "task": task or make_task(),
            "recipe": recipe,
            "engine": engine,
            "blobs": MemoryBlobs(),
            "shards": dict(zip(MEMBERS, data.shards, strict=True)),
            "holdouts": {
                judge: Holdout(*parts) for judge, parts in zip(JUDGES, data.validation, strict=True)
            },
        }
        return EngineCompute(**{**arguments, **changes})

    return build


def train_jobs(model: str, round_number: int = 1) -> list[ports.TrainJob]:
    return [
        ports.TrainJob(round_number, member, model, 100 * round_number + i)
        for i, member in enumerate(MEMBERS)
    ]


def refs_of(results: Sequence[ports.TrainResult]) -> tuple[ports.UpdateRef, ...]:
    return tuple(ports.UpdateRef(r.member, r.update, 10 + i) for i, r in enumerate(results))


def score_jobs(
    model: str,
    refs: tuple[ports.UpdateRef, ...],
    previous: str | None = None,
    round_number: int = 1,
) -> list[ports.ScoreJob]:
    return [ports.ScoreJob(round_number, j, model, previous, refs, BEACON) for j in JUDGES]


@pytest.fixture(scope="module")
def first_round(data, recipe, engine):
    """The blobs of everybody's first updates, trained once for all tests."""
    blobs = MemoryBlobs()
    shards = dict(zip(MEMBERS, data.shards, strict=True))
    compute = EngineCompute(make_task(), recipe, engine, blobs, shards, {})
    model = compute.init_model()
    return SimpleNamespace(blobs=blobs, model=model, refs=refs_of(compute.train(train_jobs(model))))


@pytest.fixture
def played(make, first_round):
    """A fresh compute port with the first model and everybody's first updates in its store."""
    return SimpleNamespace(
        compute=make(blobs=first_round.blobs), model=first_round.model, refs=first_round.refs
    )


def read(compute: EngineCompute, name: str, blob: str) -> np.ndarray:
    return DecodedBlobs(compute._blobs, compute.engine.layout.size).get(name, blob)


def put_update(compute: EngineCompute, values: np.ndarray) -> str:
    return compute._blobs.put(fixed_point.encode_vector("update", values.astype(np.int32)))


def lines_by_member(result: ports.ScoreResult) -> dict[str, ports.ScoreLine]:
    return {line.member: line for line in result.lines}


# --- init and training ---


def test_the_initial_model_depends_on_the_seed_alone(make):
    assert make().init_model() == make().init_model()
    assert make(make_task(seed=1)).init_model() != make().init_model()


def test_training_gives_every_member_its_update(make, data, engine):
    compute = make()
    model = compute.init_model()
    results = compute.train(train_jobs(model))
    assert [r.member for r in results] == MEMBERS
    assert [r.sample_count for r in results] == [len(x) for x, _ in data.shards]
    for result, (x, _) in zip(results, data.shards, strict=True):
        stored = compute._blobs.get(result.update, 10**6)
        assert len(stored) == result.size_bytes
        assert np.abs(read(compute, "update", result.update)).max() > 0
        assert result.flop == engine.count_flop(tuple(x.shape[1:])) * -(-len(x) // 32) * 32
        assert 0 < result.loss_ppm < 4_000_000
    again = make()
    assert again.train(train_jobs(again.init_model())) == results


def test_flop_counts_iterations_where_the_task_does(make, engine, data):
    task = make_task(training={"local_iterations": 7, "batch_size": 16})
    compute = make(task)
    (result,) = compute.train(train_jobs(compute.init_model())[:1])
    # this engine was built to run epochs; what counts is how the claim is made from iterations
    sample = engine.count_flop(tuple(data.shards[0][0].shape[1:]))
    assert result.flop == sample * result.iteration_count * 16


def test_members_of_different_models_train_in_one_call(make):
    compute = make()
    model = compute.init_model()
    first, second, *_ = compute.train(train_jobs(model))
    other = compute.aggregate(ports.AggregateJob(1, model, None, ((MEMBERS[0], first.update, 1),)))
    jobs = train_jobs(model)[:2]
    mixed = [replace(jobs[0], model=other.model), jobs[1]]
    results = compute.train(mixed)
    assert results[1].update == second.update
    assert results[0].update != first.update


def test_one_diverging_member_does_not_stop_the_others(make, data):
    shards = dict(zip(MEMBERS, data.shards, strict=True))
    x, y = shards[MEMBERS[1]]
    shards[MEMBERS[1]] = (x * 1e30, y)
    compute, clean = make(shards=shards), make()
    model = compute.init_model()
    clean.init_model()
    results, expected = compute.train(train_jobs(model)), clean.train(train_jobs(model))
    assert (results[1].update, results[1].size_bytes) == ("", 0)
    assert [r.update for r in results if r.update] == [
        r.update for r in expected if r.member != MEMBERS[1]
    ]


def test_a_result_that_no_number_can_tell_is_no_update(make, monkeypatch, engine):
    compute = make()
    model = compute.init_model()
    honest = engine.train

    def stretched(*arguments: Any) -> Any:
        result = honest(*arguments)
        result.updates_NP[0, 5] = 128.0
        result.losses_N[1] = float("inf")
        return result

    monkeypatch.setattr(engine, "train", stretched)
    results = compute.train(train_jobs(model))
    assert [bool(r.update) for r in results] == [False, False, *[True] * 4]


def test_a_poisoner_trains_on_falsified_labels(make, data):
    honest, poisoned = make(), make(label_maps={MEMBERS[0]: FLIPPED})
    model = honest.init_model()
    assert poisoned.init_model() == model
    good, bad = honest.train(train_jobs(model)), poisoned.train(train_jobs(model))
    assert good[0].update != bad[0].update
    assert [r.update for r in good[1:]] == [r.update for r in bad[1:]]
    x, y = data.shards[0]
    relabelled = make(shards={MEMBERS[0]: (x, torch.tensor([FLIPPED[int(i)] for i in y]))})
    relabelled.init_model()
    assert relabelled.train(train_jobs(model)[:1])[0].update == bad[0].update


# --- scores ---


def dumb_loss(compute: EngineCompute, model: str, weighted: dict[str, float], part: Any) -> float:
    vector = read(compute, "model", model) / 2.0**24
    for blob, weight in weighted.items():
        vector = vector + weight * read(compute, "update", blob) / 2.0**24
    model_P = torch.tensor(vector, dtype=torch.float32)
    return bounded_loss(compute.recipe, compute.engine.layout, model_P, *part)


def bounded_loss(
    recipe: Recipe, layout: Layout, model_P: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> float:
    """A slow twin: one answer at a time, each loss bounded; a user's loss as it is."""
    module = build_seeded(recipe, 1.0, seed=0).eval()
    module.load_state_dict(unflatten(layout, model_P), strict=False)
    with torch.no_grad():
        outputs = module(x)
    if recipe.name == "user":
        return float(recipe.compute_loss(outputs, y))
    logits = outputs.flatten(0, -2).double()
    chosen = -logits.log_softmax(dim=1)[torch.arange(len(logits)), y.flatten()]
    classes = logits.shape[1]
    bound = math.log(classes) / (1 - 1 / classes)
    losses = [min(loss, bound) for loss in chosen.tolist()]
    return sum(losses) / len(losses)


def test_scores_are_what_the_holdouts_say(played, data):
    """Leave-one-out and standalone against a slow computation, on each judge's own two parts."""
    compute = played.compute
    compute.task = make_task(validation={"valuation": "loo"})
    results = compute.score(score_jobs(played.model, played.refs))
    assert [r.validator for r in results] == JUDGES
    everybody = {ref.blob: 1 / 6 for ref in played.refs}
    for result, (part_a, part_b) in zip(results, data.validation, strict=True):
        base = dumb_loss(compute, played.model, {}, part_a)
        start = torch.tensor(read(compute, "model", played.model) / 2.0**24, dtype=torch.float32)
        plain, _ = compute.engine.evaluate(start[None], *part_a)
        assert result.loss_ppm == pytest.approx(float(plain[0]) * 1e6, abs=3)
        for ref, line in zip(played.refs, result.lines, strict=True):
            assert (line.member, line.flags, line.duplicate_of) == (ref.member, 0, "")
            without = {blob: share for blob, share in everybody.items() if blob != ref.blob}
            for part, shown in ((part_a, line.value), (part_b, line.final)):
                gain = dumb_loss(compute, played.model, without, part) - dumb_loss(
                    compute, played.model, everybody, part
                )
                assert shown == pytest.approx(gain * 1e6, abs=3)
            alone = base - dumb_loss(compute, played.model, {ref.blob: 1 / 6}, part_a)
            assert line.standalone == pytest.approx(alone * 1e6, abs=3)


def test_accuracy_is_of_the_starting_model(played, data):
    result = played.compute.score(score_jobs(played.model, played.refs))[1]
    vector = torch.tensor(read(played.compute, "model", played.model) / 2.0**24).float()[None]
    _, accuracy = played.compute.engine.evaluate(vector, *data.validation[1][0])
    assert result.accuracy_ppm == round(float(accuracy[0]) * 1e6)


def test_shapley_values_share_out_the_gain(played, data):
    results = played.compute.score(score_jobs(played.model, played.refs))
    everybody = {ref.blob: 1 / 6 for ref in played.refs}
    for result, parts in zip(results, data.validation, strict=True):
        for part, values in (
            (parts[0], [line.value for line in result.lines]),
            (parts[1], [line.final for line in result.lines]),
        ):
            gain = dumb_loss(played.compute, played.model, {}, part) - dumb_loss(
                played.compute, played.model, everybody, part
            )
            assert sum(values) == pytest.approx(gain * 1e6, abs=10)
        assert result.evaluation_count == 64


def test_a_judge_scores_alone_as_in_company(played, make):
    jobs = score_jobs(played.model, played.refs)
    together = played.compute.score(jobs)
    for job, expected in zip(jobs, together, strict=True):
        (alone,) = played.compute.score([job])
        for one, other in zip(alone.lines, expected.lines, strict=True):
            assert one.flags == other.flags
            # float32 sums may differ in the last place with the shape of a batch
            assert one.value == pytest.approx(other.value, abs=2)
            assert one.final == pytest.approx(other.final, abs=2)
    turned = played.compute.score(jobs[::-1])
    assert [result.validator for result in turned] == JUDGES[::-1]
    assert [result.loss_ppm for result in turned] == [r.loss_ppm for r in together[::-1]]


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(6)))
def test_the_order_of_members_changes_no_value(played, order):
    expected = played.compute.score(score_jobs(played.model, played.refs))
    turned = tuple(played.refs[i] for i in order)
    found = played.compute.score(score_jobs(played.model, turned))
    for one, other in zip(found, expected, strict=True):
        assert lines_by_member(one) == lines_by_member(other)


def test_copies_zeros_and_garbage_leave_the_game(played):
    compute, refs = played.compute, played.refs
    victim = read(compute, "update", refs[3].blob).astype(np.int64)
    size = len(victim)
    extra = (
        ports.UpdateRef("copier", put_update(compute, victim // 2), 90),
        ports.UpdateRef("idler", put_update(compute, np.zeros(size)), 91),
        ports.UpdateRef("vandal", compute._blobs.put(b"\x00garbage"), 92),
        ports.UpdateRef("ghost", "ab" * 32, 93),
        ports.UpdateRef(
            "cheat", compute._blobs.put(fixed_point.encode_vector("model", victim.astype("i4"))), 94
        ),
        ports.UpdateRef("short", put_update(compute, victim[:-1]), 95),
    )
    honest_only = compute.score(score_jobs(played.model, refs))
    for found, expected in zip(
        compute.score(score_jobs(played.model, refs + extra)), honest_only, strict=True
    ):
        assert found.lines[:6] == expected.lines
        shown = {line.member: (line.flags, line.duplicate_of) for line in found.lines[6:]}
        assert shown == {
            "copier": (flag.DUPLICATE, MEMBERS[3]),
            "idler": (flag.ZERO, ""),
            "vandal": (flag.MALFORMED, ""),
            "ghost": (flag.MALFORMED, ""),
            "cheat": (flag.MALFORMED, ""),
            "short": (flag.MALFORMED, ""),
        }
        assert {line.value for line in found.lines[6:]} == {0}
        assert {line.final for line in found.lines[6:]} == {0}


def test_noise_has_done_no_work_and_a_replay_is_known(played):
    compute, refs = played.compute, played.refs
    included = tuple((ref.member, ref.blob, 1) for ref in refs)
    second = compute.aggregate(ports.AggregateJob(1, played.model, None, included)).model
    step = read(compute, "model", second).astype(np.int64) - read(compute, "model", played.model)
    refs = refs_of(compute.train(train_jobs(second, 2)))
    norm = np.linalg.norm(read(compute, "update", refs[0].blob).astype(float))
    noise = np.random.default_rng(0).standard_normal(len(step)) * norm / len(step) ** 0.5
    refs += (
        ports.UpdateRef("noisy", put_update(compute, noise.round()), 90),
        ports.UpdateRef("replayer", put_update(compute, step), 91),
    )
    for result in compute.score(score_jobs(second, refs, previous=played.model, round_number=2)):
        shown = [line.flags for line in result.lines]
        assert shown == [0] * 6 + [flag.NO_WORK, flag.REPLAY]


def test_a_copy_names_its_original_beside_malformed_updates(played):
    vandal = ports.UpdateRef("vandal", played.compute._blobs.put(b"nonsense"), 1)
    copier = ports.UpdateRef("copier", played.refs[4].blob, 90)
    (result,) = played.compute.score(score_jobs(played.model, (vandal, *played.refs, copier))[:1])
    assert [line.flags for line in result.lines] == [flag.MALFORMED, *[0] * 6, flag.DUPLICATE]
    assert result.lines[7].duplicate_of == MEMBERS[4]


def test_the_previous_step_may_be_longer_than_a_weight(played):
    """From -100 to +100: the step of 200 does not fit 32 bits, and is still known as a replay."""
    compute = played.compute
    size = compute.engine.layout.size
    far = np.full(size, 100 * 2**24, np.int32)
    far[::3] //= 4
    old, new = (
        compute._blobs.put(fixed_point.encode_vector("model", sign * far)) for sign in (-1, 1)
    )
    replay = ports.UpdateRef("replayer", put_update(compute, far // 64), 90)
    refs = (*played.refs, replay)
    (result,) = compute.score(score_jobs(new, refs, previous=old, round_number=2)[:1])
    assert result.lines[6].flags & flag.REPLAY


def test_a_store_that_fails_for_a_moment_is_nobodys_fault(monkeypatch):
    """A missing blob is its sender's fault; a busy disk must not become a verdict."""
    blobs = MemoryBlobs()
    decoded = DecodedBlobs(blobs, 5)
    assert decoded.find("update", "ab" * 32) is None

    def fail(*arguments: object) -> bytes:
        raise StoreError("disk is busy", is_retriable=True)

    monkeypatch.setattr(blobs, "get", fail)
    with pytest.raises(StoreError, match="busy"):
        decoded.find("update", "ab" * 32)


def test_the_poisoner_is_worth_less_than_nothing(make):
    last = 16
    compute = make(label_maps={MEMBERS[0]: FLIPPED})
    model = compute.init_model()
    for number in range(1, last + 1):
        results = compute.train(train_jobs(model, number))
        refs = refs_of(results)
        if number < last:
            included = tuple((ref.member, ref.blob, 1) for ref in refs[1:])
            model = compute.aggregate(ports.AggregateJob(number, model, None, included)).model
    for result in compute.score(score_jobs(model, refs, round_number=last)):
        values = [line.value for line in result.lines]
        assert values[0] < 0
        assert values[0] == min(values)
        assert sum(value > 0 for value in values[1:]) >= 4


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_guessing_surely_is_worth_no_more_than_guessing_evenly(classes):
    surely = (1 - 1 / classes) * compute_bound(classes)
    assert surely == pytest.approx(math.log(classes))


def test_a_giant_does_not_drown_the_others(played):
    """A hundred times the opposite: broken is broken, and honest members keep their gains."""
    compute, refs = played.compute, played.refs
    total = sum(read(compute, "update", ref.blob).astype(np.int64) for ref in refs)
    giant = np.clip(-100 * total, -(2**31) + 1, 2**31 - 1)
    refs += (ports.UpdateRef("giant", put_update(compute, giant), 90),)
    for result in compute.score(score_jobs(played.model, refs)):
        values = [line.value for line in result.lines]
        assert values[6] < -200_000
        assert values[6] > -1.2e6 * LOSS_RISE_MAX  # and the gains that it spoils
        assert sum(value > 0 for value in values[:6]) >= 5


@pytest.mark.parametrize("valuation", METHODS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_or_no_updates(played, valuation, count):
    played.compute.task = make_task(validation={"valuation": valuation})
    for result in played.compute.score(score_jobs(played.model, played.refs[:count])):
        assert len(result.lines) == count
        assert all(line.flags == 0 for line in result.lines)
        assert result.loss_ppm > 0
    if count == 1 and valuation not in LOOKS:
        assert result.lines[0].value == result.lines[0].standalone != 0


@pytest.mark.parametrize("valuation", METHODS)
def test_by_every_method_order_changes_nothing_and_a_copy_earns_nothing(played, valuation):
    """Values follow the member, not its place; who committed first is worth what it is alone."""
    compute = played.compute
    compute.task = make_task(validation={"valuation": valuation})
    copy = ports.UpdateRef("copy", played.refs[0].blob, 99)
    refs = (*played.refs, copy)
    (plain,) = compute.score(score_jobs(played.model, played.refs)[:1])
    (found,) = compute.score(score_jobs(played.model, refs)[:1])
    (turned,) = compute.score(score_jobs(played.model, refs[::-1])[:1])
    lines = {line.member: line for line in found.lines}
    assert {line.member: line for line in turned.lines} == lines
    assert (lines["copy"].value, lines["copy"].duplicate_of) == (0, played.refs[0].member)
    assert [lines[ref.member] for ref in played.refs] == list(plain.lines)
    assert len({line.value for line in plain.lines}) == len(plain.lines)


@pytest.mark.parametrize("valuation", METHODS)
def test_by_every_method_noise_is_worth_less_than_work(played, valuation):
    """The noise is as long as the longest update; similarity is told to look away."""
    compute = played.compute
    compute.task = make_task(validation={"valuation": valuation, "work_z_milli": 0})
    base = [read(compute, "update", ref.blob) for ref in played.refs]
    scale = max(np.sqrt(np.mean(update.astype(float) ** 2)) for update in base)
    noise = np.random.default_rng(3).normal(0, scale, len(base[0])).round()
    refs = (*played.refs, ports.UpdateRef("noise", put_update(compute, noise), 90))
    (result,) = compute.score(score_jobs(played.model, refs)[:1])
    assert [line.flags for line in result.lines] == [0] * 7
    values = {line.member: line.value for line in result.lines}
    honest = sorted(value for member, value in values.items() if member != "noise")
    assert values["noise"] < honest[len(honest) // 2]


def test_the_budget_of_orders_bounds_the_models_of_every_sampling_method(played):
    base = [read(played.compute, "update", ref.blob) for ref in played.refs]
    rng = np.random.default_rng(1)
    updates = [base[i % 6] + rng.normal(0, 20_000, len(base[0])) for i in range(12)]
    refs = tuple(
        ports.UpdateRef(f"m{i:02}", put_update(played.compute, update.round()), i)
        for i, update in enumerate(updates)
    )
    for valuation in methods.SAMPLED:
        counts = []
        for orders in (10, 60):
            settings = {"valuation": valuation, "permutations_max": orders, "truncation_ppm": 0}
            played.compute.task = make_task(validation=settings)
            (result,) = played.compute.score(score_jobs(played.model, refs)[:1])
            assert result.evaluation_count <= max(orders * 12, 2 + 2 * 12 + 12 * 9), valuation
            counts.append(result.evaluation_count)
        assert counts[0] < counts[1], valuation


@pytest.mark.parametrize(
    ("valuation", "players", "expected"),
    [
        ("exact", 12, "exact"),
        ("exact", 13, "gtg"),
        ("exact", 31, "loo"),
        *((name, 30, name) for name in methods.SAMPLED),
        *((name, 31, "loo") for name in methods.SAMPLED),
        ("cgsv", 1_000, "cgsv"),
        ("loo", 1_000, "loo"),
    ],
)
def test_what_would_cost_too_much_becomes_what_does_not(valuation, players, expected):
    assert (
        methods.choose_method(make_task(validation={"valuation": valuation}), players) == expected
    )


def test_class_cosine_reads_the_last_layer_and_its_bias():
    layout = compute_layout(nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 3)))
    updates_NP = np.arange(2 * layout.size, dtype=np.int32).reshape(2, -1)
    heads = methods.read_heads(layout, updates_NP)
    assert heads.shape == (2, 3, 6)
    assert heads[0, 0].tolist() == [15, 16, 17, 18, 19, 30]
    assert heads[1, 2, 5] == updates_NP[1, -1]
    bare = compute_layout(nn.Linear(5, 3, bias=False))
    assert methods.read_heads(bare, updates_NP[:, :15]).shape == (2, 3, 5)


@pytest.mark.parametrize("last", [nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 4)])
def test_a_network_without_class_rows_is_refused_by_name(last):
    layout = compute_layout(nn.Sequential(nn.Linear(2, 5), last))
    with pytest.raises(InputError, match=r"validation\.valuation.*class_cosine.*choose cosine"):
        methods.check_method(make_task(validation={"valuation": "class_cosine"}), layout)


def test_all_copies_of_one(played):
    blob = played.refs[0].blob
    refs = tuple(ports.UpdateRef(member, blob, 50 - i) for i, member in enumerate(MEMBERS))
    (lone,) = played.compute.score(score_jobs(played.model, refs[5:])[:1])
    (found,) = played.compute.score(score_jobs(played.model, refs)[:1])
    assert found.lines[5] == lone.lines[0]  # the earliest commitment
    assert {(x.flags, x.duplicate_of, x.value) for x in found.lines[:5]} == {
        (flag.DUPLICATE, MEMBERS[5], 0)
    }


def test_more_than_thirty_fall_back_to_leave_one_out(played):
    compute = played.compute
    rng = np.random.default_rng(1)
    base = [read(compute, "update", ref.blob) for ref in played.refs]
    updates = [base[i % 6] + rng.normal(0, 20_000, len(base[0])) for i in range(31)]
    refs = tuple(
        ports.UpdateRef(f"m{i:02}", put_update(compute, update.round()), i)
        for i, update in enumerate(updates)
    )
    (result,) = compute.score(score_jobs(played.model, refs)[:1])
    assert [line.flags for line in result.lines] == [0] * 31
    assert result.evaluation_count == 32
    assert {line.error for line in result.lines} == {0}
    (sampled,) = compute.score(score_jobs(played.model, refs[:9])[:1])
    assert sampled.evaluation_count > 60
    assert max(line.error for line in sampled.lines) > 0


def test_competing_models_count_whole(played, data):
    played.compute.task = make_task(mode="compete")
    result = played.compute.score(score_jobs(played.model, played.refs))[0]
    part = data.validation[0][0]
    base = dumb_loss(played.compute, played.model, {}, part)
    for ref, line in zip(played.refs, result.lines, strict=True):
        gain = base - dumb_loss(played.compute, played.model, {ref.blob: 1.0}, part)
        assert line.value == pytest.approx(gain * 1e6, abs=3)


def test_judges_of_different_updates_cannot_share(played):
    jobs = score_jobs(played.model, played.refs)
    with pytest.raises(ValueError, match="round 1 do not judge the same"):
        played.compute.score([jobs[0], replace(jobs[1], updates=played.refs[:3])])


def test_rounds_are_scored_apart(played):
    first, second = (
        score_jobs(played.model, played.refs)[0],
        score_jobs(played.model, played.refs[:4], round_number=2)[1],
    )
    mixed = played.compute.score([second, first])
    assert [(r.validator, len(r.lines)) for r in mixed] == [("judge-b", 4), ("judge-a", 6)]


# --- coalitions and their measure ---


def test_each_coalition_is_its_models_sum(played, data):
    """Built by adding or by taking away: the same loss as from scratch."""
    compute = played.compute
    measure = HoldoutMeasure(compute.recipe, compute.engine.layout, [data.validation[0][0]])
    updates = [read(compute, "update", ref.blob) for ref in played.refs]
    game = CoalitionGame(measure, read(compute, "model", played.model), updates, divisor=6)
    for mask in (0, 1, 0b100101, 0b011111, 0b111111):
        blobs = {ref.blob: 1 / 6 for i, ref in enumerate(played.refs) if mask >> i & 1}
        expected = -dumb_loss(compute, played.model, blobs, data.validation[0][0])
        assert game.utility([mask])[0, 0] == pytest.approx(expected, abs=2e-6)


def test_no_coalition_is_measured_twice(played):
    asked: list[int] = []

    def count(weights: torch.Tensor) -> np.ndarray:
        asked.append(len(weights))
        return Losses(*np.ones((2, len(weights), 2)))

    measure = SimpleNamespace(open=lambda basis: SimpleNamespace(measure=count))
    model_P = read(played.compute, "model", played.model)
    game = CoalitionGame(measure, model_P, [model_P] * 4, divisor=4)  # type: ignore[arg-type]
    game.utility([1, 2, 3, 2, 4, 8])
    game.utility([8, 1, 15, 0])
    assert asked == [1, 5, 1]


def test_a_broken_starting_model_still_gets_an_answer(played, data):
    mixtures = SimpleNamespace(
        measure=lambda weights: Losses(*np.full((2, len(weights), 2), np.nan))
    )
    measure = SimpleNamespace(open=lambda basis: mixtures)
    model_P = read(played.compute, "model", played.model)
    game = CoalitionGame(measure, model_P, [model_P], divisor=1)  # type: ignore[arg-type]
    assert game.losses_K.tolist() == [LOSS_BROKEN] * 2
    assert game.utility([1]).tolist() == [[-LOSS_BROKEN - LOSS_RISE_MAX] * 2]


@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer", "user"])
def test_measure_agrees_with_the_engine(name):
    """Every kind of network and loss, hold-outs that cross the blocks of samples."""
    torch.manual_seed(0)
    x, y = torch.randn(1_200, *IMAGES[0]), torch.randint(0, IMAGES[1], (1_200,))
    options: dict[str, int | str | bool] = {}
    if name == "transformer":
        x, y = torch.randint(0, 11, (60, 12)).float(), torch.randint(0, 11, (60, 12))
        recipe = build_recipe(name, options, [1_000_000], (12,), 11)
    elif name == "user":
        inner = build_recipe("mlp", {"hidden": "8"}, [1_000_000], *IMAGES)
        recipe = wrap_recipe(
            "user", inner.build, [1_000_000], lambda o, t: ((o[:, 0] - t) ** 2).mean()
        )
    else:
        recipe = build_recipe(name, options, [1_000_000], *IMAGES)
    engine = Engine(recipe, TrainSettings(), "inline")
    cuts = [7, 20, 33] if name == "transformer" else [5, 700, 495]
    parts = list(zip(x.split(cuts), y.split(cuts), strict=True))
    measure = HoldoutMeasure(recipe, engine.layout, parts)
    models = torch.randn(3, engine.layout.size) * 0.2  # wrong enough to meet the cap
    found = measure.measure(models)
    for k, part in enumerate(parts):
        losses = [bounded_loss(recipe, engine.layout, model_P, *part) for model_P in models]
        np.testing.assert_allclose(found.bounded_MK[:, k], losses, rtol=2e-5)
        plain, accuracies = engine.evaluate(models, *part)
        np.testing.assert_allclose(found.plain_MK[:, k], plain.numpy(), rtol=2e-5)
        accuracy = measure.measure_accuracy(models[1])[k]
        assert accuracy == pytest.approx(float(accuracies[1]), abs=1e-6)


class Odd(nn.Module):
    """Networks whose first layer mixes as its weights do, or does not."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.norm = nn.LayerNorm(64) if kind == "norm" else nn.Identity()
        self.first = nn.Linear(64, 64)
        if kind == "not linear":
            nn.utils.parametrize.register_parametrization(self.first, "weight", nn.Tanh())
        self.last = nn.Linear(64, 10)
        self.second = nn.Linear(64, 64)
        if kind == "tied":
            self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        hidden = self.first(self.norm(x * 2)).relu()
        if self.kind == "twice":
            hidden = self.first(hidden).relu()
        if self.kind in ("tied", "skip"):
            hidden = self.second(hidden).relu() + x
        scores: torch.Tensor = self.last(hidden)
        return scores


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("plain", True),
        ("skip", True),
        ("norm", False),
        ("twice", False),
        ("tied", False),
        ("not linear", False),
    ],
)
def test_only_a_layer_that_mixes_is_taken_out(kind, found):
    """Whichever way a network runs, a mixture measures as the model that it is."""
    torch.manual_seed(0)
    recipe = wrap_recipe("odd", lambda width: Odd(kind), [1_000_000])
    engine = Engine(recipe, TrainSettings(), "inline")
    x, y = torch.randn(600, 1, 8, 8), torch.randint(0, 10, (600,))
    measure = HoldoutMeasure(recipe, engine.layout, [(x, y)])
    assert (measure.first is not None) == found
    basis = torch.rand(3, engine.layout.size) * 0.1
    weights = torch.tensor([[1.0, 0.3, 0.0], [1.0, 0.5, -0.5], [0.0, 1.0, 2.0]])
    losses = [bounded_loss(recipe, engine.layout, model_P, x, y) for model_P in weights @ basis]
    np.testing.assert_allclose(
        measure.open(basis).measure(weights).bounded_MK[:, 0], losses, rtol=2e-5
    )


def test_outputs_that_would_fill_the_memory_are_not_kept(monkeypatch, recipe, engine, data):
    measure = HoldoutMeasure(recipe, engine.layout, [data.validation[0][0]])
    basis = torch.randn(3, engine.layout.size) * 0.1
    kept = measure.open(basis)
    monkeypatch.setattr("kumiai.adapters.compute.measure.FIRST_LAYER_BYTES_MAX", 1000)
    whole = measure.open(basis)
    assert kept._first is not None
    assert whole._first is None
    np.testing.assert_allclose(
        kept.measure(torch.eye(3)).plain_MK, whole.measure(torch.eye(3)).plain_MK, rtol=2e-5
    )


def test_one_broken_sample_spoils_its_own_holdout_only(recipe, engine, data):
    (xa, ya), (xb, yb) = data.validation[0]
    spoilt = xa.clone()
    spoilt[0] = float("nan")
    measure = HoldoutMeasure(recipe, engine.layout, [(spoilt, ya), (xb, yb)])
    found = measure.measure(torch.randn(3, engine.layout.size) * 0.1)
    for losses_MK in found:
        assert np.isnan(losses_MK[:, 0]).all()
        assert np.isfinite(losses_MK[:, 1]).all()


def test_a_holdout_needs_samples(recipe, engine, data):
    x, y = data.validation[0][0]
    with pytest.raises(ValueError, match=r"\[0\] samples"):
        HoldoutMeasure(recipe, engine.layout, [(x[:0], y[:0])])


def test_the_rounds_rate_reaches_the_trainers(make, recipe):
    """Cosine over three rounds down to nothing: one local iteration moves by the round's share."""
    settings = TrainSettings(learning_rate=0.1, local_iterations=1, is_scheduled=True)
    task = make_task(training={"rounds": 3, "lr_schedule": "cosine", "lr_final_ppm": 0})
    with Engine(recipe, settings, "inline") as scheduled:
        compute = make(task, engine=scheduled)
        model = compute.init_model()
        sizes = []
        for number in (1, 2, 3):
            job = replace(train_jobs(model)[0], round=number)
            (result,) = compute.train([job])
            sizes.append(np.abs(read(compute, "update", result.update)).sum(dtype=np.int64))
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=1e-3)
    assert sizes[2] < sizes[0] / 1000


# --- aggregation ---


def test_aggregation_is_the_exact_mean(played):
    included = tuple((ref.member, ref.blob, 1 + i) for i, ref in enumerate(played.refs))
    result = played.compute.aggregate(ports.AggregateJob(1, played.model, None, included))
    updates = [read(played.compute, "update", ref.blob) for ref in played.refs]
    delta = aggregation.aggregate("mean", updates, [1, 2, 3, 4, 5, 6])
    expected = read(played.compute, "model", played.model) + delta
    assert (read(played.compute, "model", result.model) == expected).all()
    assert result.server_state is None


def test_nothing_included_leaves_the_model(played):
    job = ports.AggregateJob(4, played.model, None, ())
    assert played.compute.aggregate(job) == ports.AggregateResult(played.model, None)


def test_the_same_aggregate_is_computed_once(played, monkeypatch):
    calls = []
    honest = combine.aggregate

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments[0])
        return honest(*arguments, **named)

    monkeypatch.setattr(combine, "aggregate", counted)
    jobs = [
        ports.AggregateJob(number, played.model, None, ((ref.member, ref.blob, 1),))
        for number, ref in enumerate(played.refs * 2)
    ]
    first = played.compute.aggregate(jobs[0])
    assert [played.compute.aggregate(jobs[0]) for _ in range(3)] == [first] * 3
    assert len(calls) == 1
    for job in jobs:
        played.compute.aggregate(job)
    assert played.compute.aggregate(jobs[0]) == first  # forgotten by now, computed anew
    assert len(calls) == 13
    assert len(played.compute._aggregated) <= 8


def test_momentum_travels_in_the_server_state(make):
    compute = make(
        make_task(
            training={
                "algorithm": "diloco",
                "server_learning_rate_ppm": 700_000,
                "server_momentum_ppm": 900_000,
            }
        )
    )
    model = compute.init_model()
    (result, *_) = compute.train(train_jobs(model))
    included = ((result.member, result.update, 1),)
    one = compute.aggregate(ports.AggregateJob(1, model, None, included))
    assert one.server_state is not None
    two = compute.aggregate(ports.AggregateJob(2, one.model, one.server_state, included))
    steps = [
        read(compute, "model", b).astype(np.int64) - read(compute, "model", a)
        for a, b in ((model, one.model), (one.model, two.model))
    ]
    # step_1 = .7 (1 + .9) d, step_2 = .7 (1 + .9 (1 + .9)) d
    assert np.abs(steps[1] / 2.71 - steps[0] / 1.9).max() < 2


def test_scaffold_is_recomputed_from_the_updates_alone(make, recipe):
    """Two rounds against the formulas: the server's c, and the correction that trainers apply."""
    training = {
        "algorithm": "scaffold",
        "local_iterations": 3,
        "learning_rate_ppm": 100_000,
    }
    settings = TrainSettings(algorithm="scaffold", learning_rate=0.1, local_iterations=3)
    with Engine(recipe, settings, "inline") as engine:
        compute = make(make_task(training=training, data={"trainers": 6}), engine=engine)
        model = compute.init_model()
        first = compute.train(train_jobs(model))
        present = first[:4]  # two members' updates do not enter
        included = tuple((r.member, r.update, 1) for r in present)
        one = compute.aggregate(ports.AggregateJob(1, model, None, included))
        u_NP = [read(compute, "update", r.update) / 2.0**24 for r in present]
        v_NP = [-u_P / (3 * 0.1) for u_P in u_NP]
        cap = server.compute_state_bytes_max(compute._rules.server, engine.layout.size)
        (control_P,) = server.decode_state(
            compute._rules.server, compute._blobs.get(one.server_state, cap), engine.layout.size
        )
        assert np.abs(control_P / 2.0**24 - 4 / 6 * np.mean(v_NP, axis=0)).max() < 1e-6
        # the second round: member 0 corrects by c - c_0 with c_0 = v_0; a member that did not
        # enter still has c_i = 0
        second = [
            replace(job, server_state=one.server_state, codec_state=state)
            for job, state in zip(
                train_jobs(one.model, 2),
                [r.codec_state for r in present] + ["", ""],
                strict=True,
            )
        ]
        found = compute.train(second)
        origin_P = torch.from_numpy(fixed_point.dequantise(read(compute, "model", one.model)))
        for place, own_P in ((0, v_NP[0]), (5, np.zeros_like(v_NP[0]))):
            guide_P = torch.from_numpy((control_P / 2.0**24 - own_P).astype(np.float32))
            job = second[place]
            by_hand = engine.train(
                origin_P, [compute._shards[job.member]], [job.seed], guide_P[None]
            )
            update_P = read(compute, "update", found[place].update) / 2.0**24
            assert np.abs(update_P - by_hand.updates_NP[0].numpy()).max() < 1e-6
            assert np.abs(update_P).max() > 1e-3
        plain = compute.train([replace(second[0], codec_state="")])[0]
        assert plain.update != found[0].update  # what is remembered matters
        spoilt = replace(second[0], codec_state=compute._codec_states.put(b"abc"))
        with pytest.raises(ValueError, match="memory of 3 bytes"):
            compute.train([spoilt])


def test_fednova_counts_iterations_by_the_samples_claimed(make):
    """Batches of 32, two epochs: 10, 40 and 100 samples are 2, 4 and 8 iterations."""
    training = {"algorithm": "fednova", "weighting": "samples", "local_epochs": 2}
    compute = make(make_task(training=training))
    model = compute.init_model()
    results = compute.train(train_jobs(model))[:3]
    weights = [10, 40, 100]
    included = tuple((r.member, r.update, w) for r, w in zip(results, weights, strict=True))
    result = compute.aggregate(ports.AggregateJob(1, model, None, included))
    effective = (10 * 2 + 40 * 4 + 100 * 8) / 150
    step = sum(
        w / 150 * effective / n * read(compute, "update", r.update).astype(np.float64)
        for r, w, n in zip(results, weights, (2, 4, 8), strict=True)
    )
    moved = read(compute, "model", result.model) - read(compute, "model", model)
    assert np.abs(moved).max() > 1000
    assert np.abs(moved - step).max() < 8


@pytest.mark.parametrize(
    ("rule", "count", "expected"),
    [
        ("multi_krum", 6, "multi_krum"),
        ("multi_krum", 4, "median"),
        ("multi_krum", 1, "median"),
        ("median", 1, "median"),
        ("trimmed_mean", 2, "trimmed_mean"),
    ],
)
def test_robust_rules_with_few_updates(make, rule, count, expected):
    compute = make(make_task(training={"aggregator": rule, "byzantine_count": 1}))
    model = compute.init_model()
    results = compute.train(train_jobs(model))[:count]
    included = tuple((r.member, r.update, 1) for r in results)
    found = compute.aggregate(ports.AggregateJob(1, model, None, included))
    delta = aggregation.aggregate(
        expected,
        [read(compute, "update", r.update) for r in results],
        [1] * count,
        aggregation.Settings(byzantine_count=1),
    )
    expected_P = read(compute, "model", model) + delta
    assert (read(compute, "model", found.model) == expected_P).all()


def test_a_model_that_leaves_the_range_ends_the_run(played):
    size = played.compute.engine.layout.size
    model = played.compute._blobs.put(
        fixed_point.encode_vector("model", np.full(size, 2**31 - 5, np.int32))
    )
    blob = put_update(played.compute, np.full(size, 100))
    with pytest.raises(RunFailedError, match="round 7: weight 0 would become 128"):
        played.compute.aggregate(ports.AggregateJob(7, model, None, (("a", blob, 1),)))


# --- codecs ---

SPARSE = "ef|topk:density=0.05|int2"
EVERY_SORT = [
    "dense-fixed",
    SPARSE,
    "ef|sign",
    "ef|powersgd:rank=1|int8:stochastic=1",
    "int8:stochastic=1",
]


def coded(codec: str) -> TaskDocument:
    return task_from_mapping({"name": "test", "training": {"codec": codec}})


def next_jobs(
    model: str, results: Sequence[ports.TrainResult], number: int
) -> list[ports.TrainJob]:
    return [
        replace(job, codec_state=result.codec_state)
        for job, result in zip(train_jobs(model, number), results, strict=True)
    ]


def read_coded(compute: EngineCompute, blob: str) -> np.ndarray:
    return DecodedBlobs(compute._blobs, compute.engine.layout.size, compute.codec).get(
        "update", blob
    )


@pytest.mark.parametrize("codec", EVERY_SORT)
def test_everybody_sees_what_the_payload_says(make, codec):
    """The sender's own copy, a stranger's and the aggregate of one: the same integers."""
    compute, stranger = make(coded(codec)), make(coded(codec))
    model = compute.init_model()
    results = compute.train(train_jobs(model))
    for result in results[:2]:
        seen = read_coded(compute, result.update)
        assert np.array_equal(compute._decoded.get("update", result.update), seen)
        stored = compute._blobs.get(result.update, 10**6)
        assert len(stored) == result.size_bytes
        job = ports.AggregateJob(1, model, None, ((result.member, result.update, 1),))
        after = read(compute, "model", compute.aggregate(job).model).astype(np.int64)
        assert np.array_equal(after - read(compute, "model", model), seen)
        stranger._blobs.put(stored)
    stranger.init_model()
    assert stranger.aggregate(job) == compute.aggregate(job)


@pytest.mark.parametrize("codec", EVERY_SORT)
def test_what_was_left_out_is_sent_later(make, engine, codec):
    """Round two by hand: encode the same training with the state that round one left."""
    compute, raw = make(coded(codec)), make()
    model = compute.init_model()
    raw.init_model()
    first = compute.train(train_jobs(model))
    second = compute.train(next_jobs(model, first, 2))
    one, two = raw.train(train_jobs(model)), raw.train(train_jobs(model, 2))
    for i in (0, 5):
        state = compute.codec.init(engine.layout.size)
        for results, plain, number in ((first, one, 1), (second, two, 2)):
            update_P = fixed_point.dequantise(read(raw, "update", plain[i].update))
            payload, state = compute.codec.encode(update_P, state, 100 * number + i)
            found = compute._blobs.get(results[i].update, 10**6)
            if codec == "dense-fixed":
                assert found == payload
            decoded = [compute.codec.decode(data, len(update_P)) for data in (found, payload)]
            # the engine's updates are float32, the twin's went through the fixed point
            assert np.mean(np.abs(decoded[0] - decoded[1]) > 1e-5) < 0.02
        assert bool(first[i].codec_state) == bool(state)


def test_a_state_from_the_members_own_store_goes_on_elsewhere(make):
    """As after a crash: another process with the same store gives the same second round."""
    own, blobs = MemoryBlobs(), MemoryBlobs()
    before = make(coded(SPARSE), codec_states=own, blobs=blobs)
    model = before.init_model()
    first = before.train(train_jobs(model))
    expected = before.train(next_jobs(model, first, 2))
    resumed = make(coded(SPARSE), codec_states=own, blobs=blobs)
    assert resumed.train(next_jobs(model, first, 2)) == expected
    forgetful = resumed.train(train_jobs(model, 2))
    assert all(a.update != b.update for a, b in zip(forgetful, expected, strict=True))
    for result in first:  # what is private is not among the blobs that everybody reads
        assert own.has(result.codec_state)
        assert not blobs.has(result.codec_state)
    with pytest.raises(StoreError):
        make(coded(SPARSE), blobs=blobs).train(next_jobs(model, first, 2))


def test_a_round_tried_again_starts_from_the_state_before_it(make):
    compute = make(coded("ef|sign"))
    model = compute.init_model()
    jobs = train_jobs(model)
    assert compute.train(jobs) == compute.train(jobs)


def test_dense_memory_is_not_put_away(make):
    compute = make()
    assert {r.codec_state for r in compute.train(train_jobs(compute.init_model()))} == {""}


@pytest.mark.parametrize("codec", ["ef|sign", SPARSE])
def test_validators_tell_a_payload_from_garbage(make, codec):
    compute = make(coded(codec))
    model = compute.init_model()
    results = compute.train(train_jobs(model))
    good = compute._blobs.get(results[0].update, 10**6)
    size = compute.engine.layout.size
    bad = [
        good[:-1],
        good + b"\0",
        b"",
        b"KUC\x01" + bytes(12),
        fixed_point.encode_vector("update", np.ones(size, np.int32)),
        good + bytes(10**6),
    ]
    extra = tuple(
        ports.UpdateRef(f"bad{i}", compute._blobs.put(data), 90 + i) for i, data in enumerate(bad)
    )
    refs = refs_of(results)
    alone = compute.score(score_jobs(model, refs))
    for found, expected in zip(compute.score(score_jobs(model, refs + extra)), alone, strict=True):
        assert found.lines[: len(refs)] == expected.lines
        assert {line.flags for line in found.lines[len(refs) :]} == {flag.MALFORMED}
        assert flag.MALFORMED not in {line.flags for line in expected.lines}


@pytest.mark.parametrize("codec", EVERY_SORT)
def test_cheats_write_what_the_codec_writes(make, codec):
    """A lie that nobody can read would only be malformed: each behaviour reaches its own check."""
    honest = make(coded(codec))
    size = honest.engine.layout.size
    kinds = {MEMBERS[1]: "free-rider", MEMBERS[2]: "copier", MEMBERS[3]: "sign-flip"}
    lying = AdversarialCompute(
        honest, honest._blobs, size, kinds, {MEMBERS[2]: MEMBERS[0]}, codec=honest.codec
    )
    results = lying.train(train_jobs(lying.init_model()))
    for result in results:
        stored = honest._blobs.get(result.update, 10**6)
        assert len(stored) == result.size_bytes <= honest.codec.compute_size_bytes_max(size)
    updates = [read_coded(honest, r.update).astype(np.float64) for r in results]
    assert compute_cosine(updates[0], updates[2]) > 0.98
    again = honest.train(train_jobs(honest.init_model()))
    true_update = read_coded(honest, again[3].update).astype(np.float64)
    assert compute_cosine(true_update, updates[3]) < -0.7
    assert abs(compute_cosine(updates[0], updates[1])) < 0.2


def compute_cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


# --- decoded blobs ---


def test_decoded_blobs_are_read_once_and_never_changed(monkeypatch):
    blobs = MemoryBlobs()
    name = blobs.put(fixed_point.encode_vector("update", np.arange(5, dtype=np.int32)))
    decoded = DecodedBlobs(blobs, 5)
    first = decoded.get("update", name)
    monkeypatch.setattr(blobs, "get", None)
    assert decoded.get("update", name) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_updates_are_capped_by_their_codec_and_models_are_not(monkeypatch):
    blobs, codec = MemoryBlobs(), build_codec(SPARSE)
    payload, _ = codec.encode(np.ones(4000, np.float32), codec.init(4000), 0)
    model = fixed_point.encode_vector("model", np.ones(4000, np.int32))
    names = [blobs.put(payload), blobs.put(model)]
    honest, caps = blobs.get, []
    monkeypatch.setattr(blobs, "get", lambda name, cap: caps.append(cap) or honest(name, cap))
    decoded = DecodedBlobs(blobs, 4000, codec)
    decoded.get("update", names[0])
    decoded.get("model", names[1])
    assert caps == [codec.compute_size_bytes_max(4000), fixed_point.compute_size_bytes_max(4000)]
    assert caps[0] < len(model) / 10


def test_decoded_blobs_forget_the_oldest(monkeypatch):
    monkeypatch.setattr("kumiai.adapters.compute.decoded.BYTES_KEPT_MAX", 0)
    blobs = MemoryBlobs()
    names = [
        blobs.put(fixed_point.encode_vector("update", np.full(3, i, np.int32))) for i in range(6)
    ]
    decoded = DecodedBlobs(blobs, 3)
    for name in names[:4]:
        decoded.get("update", name)
    decoded.get("update", names[0])
    decoded.get("update", names[4])
    assert [name for _, name in decoded._kept] == [names[2], names[3], names[0], names[4]]


@pytest.mark.parametrize(
    ("loss", "claimed"), [(0.25, 250_000), (1e305, 2**52), (-1e305, -(2**52)), (-0.5, -500_000)]
)
def test_whatever_loss_a_members_program_claims_is_a_number_on_the_wire(
    make, loss: float, claimed: int
) -> None:
    class Boasting:
        def train(self, model_P, jobs):
            return [MemberWork(np.zeros_like(model_P), loss, 9, b"") for _ in jobs]

    port = make(member_trainer=Boasting())
    (result, *_) = port.train(train_jobs(port.init_model()))
    assert result.loss_ppm == claimed
