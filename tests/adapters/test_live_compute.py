"""Members of different widths in one round: what they train, what is found in it, how it is put
together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from kumiai.adapters.compute.coalitions import CoalitionGame
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.nesting import Nesting
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.sim.adversaries import AdversarialCompute
from kumiai.base.amounts import PPM
from kumiai.learning import fixed_point
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import Recipe, build_recipe
from kumiai.learning.slim import extract_width, narrow_recipe
from kumiai.nodes import ports
from kumiai.proofs import flags as flag
from kumiai.tasks.document import TaskDocument

GRID = (250_000, 500_000, 1_000_000)
RECIPE = build_recipe("mlp", {"hidden": 64}, GRID, (20,), 5)
TASK = TaskDocument.model_validate(
    {
        "name": "t",
        "model": {"widths_ppm": list(GRID)},
        "model_rewards": {"policy": "aequa-live"},
        "validation": {"permutations_max": 4},
    }
)
MEMBERS = [f"{i:064x}" for i in range(6)]
WIDTHS = (250_000, 250_000, 500_000, 500_000, PPM, PPM)
SETTINGS = TrainSettings(
    batch_size=16, local_epochs=2, learning_rate=0.1, slim_widths=RECIPE.widths[:-1]
)
CENTRES = torch.randn(5, 20, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_shard(seed: int, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (count,), generator=generator)
    return CENTRES[labels] + torch.randn(count, 20, generator=generator), labels


def make_compute(backend: str = "inline", tier: str = "eager") -> EngineCompute:
    engine = Engine(RECIPE, SETTINGS, backend, tier=tier, worker_count=2)
    shards = {member: make_shard(i, 40 + 10 * i) for i, member in enumerate(MEMBERS)}
    holdouts = {"judge": Holdout(make_shard(50), make_shard(51))}
    return EngineCompute(TASK, RECIPE, engine, MemoryBlobs(), shards, holdouts)


def train(compute: EngineCompute | AdversarialCompute, model: str) -> list[ports.TrainResult]:
    jobs = [
        ports.TrainJob(1, member, model, 7 + i, width_ppm=width)
        for i, (member, width) in enumerate(zip(MEMBERS, WIDTHS, strict=True))
    ]
    return compute.train(jobs)


def read(compute: EngineCompute, name: str, blob: str) -> np.ndarray:
    return compute._decoded.get(name, blob)


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[EngineCompute, str, list[ports.TrainResult]]]:
    compute = make_compute()
    model = compute.init_model()
    yield compute, model, train(compute, model)
    compute.engine.close()


def score(compute: EngineCompute, model: str, refs: list[ports.UpdateRef]) -> list[ports.ScoreLine]:
    job = ports.ScoreJob(2, "judge", model, None, tuple(refs), "5e" * 32)
    return list(compute.score([job])[0].lines)


def make_refs(results: list[ports.TrainResult]) -> list[ports.UpdateRef]:
    return [
        ports.UpdateRef(result.member, result.update, 10 + i, width)
        for i, (result, width) in enumerate(zip(results, WIDTHS, strict=True))
    ]


def put(compute: EngineCompute, update_P: np.ndarray) -> str:
    return compute._blobs.put(fixed_point.encode_vector("update", update_P.astype(np.int32)))


def test_a_member_trains_the_narrow_network_alone(played) -> None:
    """The update is what training the extracted network gives, zero everywhere else."""
    compute, model, results = played
    global_P = torch.from_numpy(fixed_point.dequantise(read(compute, "model", model)))
    for i, (result, width) in enumerate(zip(results, WIDTHS, strict=True)):
        place = GRID.index(width)
        inner = narrow_recipe(RECIPE, place)
        settings = TrainSettings(
            batch_size=16, local_epochs=2, learning_rate=0.1, slim_widths=inner.widths[:-1]
        )
        update_P = read(compute, "update", result.update)
        with Engine(inner, settings, "inline", tier="eager") as alone:
            cut_Q = flatten(alone.layout, extract_width(RECIPE, global_P, width / PPM))
            shard = make_shard(i, 40 + 10 * i)
            twin_Q = alone.train(cut_Q, [shard], [7 + i]).updates_NP[0]
        block = compute._nesting.find_block(width)
        assert np.array_equal(update_P[block], fixed_point.quantise(twin_Q.numpy()))
        assert np.count_nonzero(update_P) == np.count_nonzero(update_P[block]) > 0
    assert results[0].flop < results[4].flop  # narrow work is less work


def test_numbers_outside_of_the_width_do_not_change_the_update(played) -> None:
    compute, model, results = played
    ints_P = read(compute, "model", model).copy()
    ints_P[compute.find_outside(250_000)] += 2**20
    other = compute._put("model", ints_P)
    again = train(compute, other)
    assert [r.update for r in again[:2]] == [r.update for r in results[:2]]
    assert again[4].update != results[4].update


@pytest.mark.parametrize(
    ("backend", "tier"), [("vectorised", "eager"), ("vectorised", "traced"), ("process", "eager")]
)
def test_every_backend_gives_the_same(played, backend: str, tier: str) -> None:
    compute, model, results = played
    other = make_compute(backend, tier)
    try:
        assert other.init_model() == model
        found, again = train(other, model), train(other, model)
    finally:
        other.engine.close()
    assert [r.update for r in found] == [r.update for r in again]  # same seed, same bytes
    for one, two in zip(found, results, strict=True):
        mine, theirs = read(other, "update", one.update), read(compute, "update", two.update)
        assert np.abs(mine.astype(np.int64) - theirs).max() < 2**24 * 1e-5
        assert (one.sample_count, one.iteration_count) == (two.sample_count, two.iteration_count)


def test_the_next_model_is_the_mean_over_who_holds_a_number(played) -> None:
    compute, model, results = played
    included = tuple((r.member, r.update, r.sample_count) for r in results)
    job = ports.AggregateJob(1, model, None, included, widths_ppm=WIDTHS)
    done = compute.aggregate(job)
    step = read(compute, "model", done.model).astype(np.int64) - read(compute, "model", model)
    updates = np.stack([read(compute, "update", r.update) for r in results]).astype(np.float64)
    weights = np.array([r.sample_count for r in results], dtype=np.float64)
    holds = np.array([compute._nesting.levels_P <= GRID.index(w) for w in WIDTHS])
    expected = (weights[:, None] * updates).sum(0) / (weights[:, None] * holds).sum(0)
    assert np.abs(step - expected).max() <= 0.5
    plain = compute.aggregate(ports.AggregateJob(1, model, None, included))
    assert plain.model != done.model


def test_what_nobody_holds_stays_whatever_the_momentum(played) -> None:
    compute, model, results = played
    training = {"server_momentum_ppm": 900_000}
    task = TaskDocument.model_validate({**TASK.model_dump(), "training": training})
    other = EngineCompute(task, RECIPE, compute.engine, compute._blobs, {}, {})
    included = tuple((r.member, r.update, 1) for r in results)
    all_widths = ports.AggregateJob(1, model, None, included, widths_ppm=WIDTHS)
    first = other.aggregate(all_widths)
    narrow = ports.AggregateJob(
        2, first.model, first.server_state, included[:4], widths_ppm=WIDTHS[:4]
    )
    before = read(other, "model", first.model)
    after = read(other, "model", other.aggregate(narrow).model)
    changed = np.flatnonzero(before != after)
    assert len(changed) and set(changed) <= set(other._nesting.find_block(500_000))


def test_the_grand_coalition_is_the_equally_weighted_next_model(played) -> None:
    compute, model, results = played
    included = tuple((r.member, r.update, 1) for r in results)
    job = ports.AggregateJob(1, model, None, included, widths_ppm=WIDTHS)
    after = read(compute, "model", compute.aggregate(job).model)
    measure = HoldoutMeasure(RECIPE, compute.engine.layout, [make_shard(50)])
    updates = [read(compute, "update", r.update) for r in results]
    counts = compute._nesting.count_covering(WIDTHS)
    game = CoalitionGame(measure, read(compute, "model", model), updates, counts)
    end = CoalitionGame(measure, after, updates, 1)
    assert game.utility([2**6 - 1])[0, 0] == pytest.approx(end.utility([0])[0, 0], abs=1e-5)
    with pytest.raises(ValueError, match="divisor 0"):
        CoalitionGame(measure, after, updates, counts * 0)


def test_scores_come_from_the_game_that_divides_by_who_holds_a_number(played) -> None:
    compute, model, results = played
    lines = score(compute, model, make_refs(results))
    holdout = compute._holdouts["judge"]
    measure = HoldoutMeasure(RECIPE, compute.engine.layout, [holdout.a])
    updates = [read(compute, "update", r.update) for r in results]
    counts = compute._nesting.count_covering(WIDTHS)
    for divisor, is_ours in ((counts, True), (len(updates), False)):
        game = CoalitionGame(measure, read(compute, "model", model), updates, divisor)
        utilities = game.utility([0, *(1 << i for i in range(6))])[:, 0]
        gains = 1e6 * (utilities[1:] - utilities[0])
        gap = np.abs([line.standalone for line in lines] - gains).max()
        assert (gap < 5) == is_ours, gap


def test_honest_members_of_all_widths_are_not_flagged_and_are_worth_something(played) -> None:
    compute, model, results = played
    lines = score(compute, model, make_refs(results))
    assert [line.flags for line in lines] == [0] * 6
    assert all(line.value > 0 for line in lines)


def test_who_sends_more_than_its_width_is_found_and_out_of_the_game(played) -> None:
    compute, model, results = played
    refs = make_refs(results)
    update_P = read(compute, "update", results[1].update).copy()
    outside = compute.find_outside(250_000)
    update_P[outside[-1]] = 1  # a single unit is enough
    refs[1] = ports.UpdateRef(MEMBERS[1], put(compute, update_P), 11, 250_000)
    lines = score(compute, model, refs)
    assert [line.flags for line in lines] == [0, flag.OUTSIDE, 0, 0, 0, 0]
    assert lines[1].value == 0
    refs[1] = ports.UpdateRef(MEMBERS[1], compute._blobs.put(b"nonsense"), 11, 250_000)
    assert score(compute, model, refs)[1].flags == flag.MALFORMED


def test_a_copy_cut_to_the_copiers_width_is_a_copy(played) -> None:
    """Of the whole vectors the two would differ: most of the original is not in the copy."""
    compute, model, results = played
    original = read(compute, "update", results[4].update).astype(np.int64)
    copy = original.copy()
    copy[compute.find_outside(250_000)] = 0
    assert copy @ original < 0.9 * np.linalg.norm(copy) * np.linalg.norm(original)
    copy[compute._nesting.find_block(250_000)] += 3
    refs = [*make_refs(results), ports.UpdateRef("copier", put(compute, copy), 90, 250_000)]
    lines = score(compute, model, refs)
    assert lines[6].flags == flag.DUPLICATE and lines[6].duplicate_of == MEMBERS[4]
    assert [line.flags for line in lines[:6]] == [0] * 6


def test_noise_in_a_narrow_block_is_no_work(played) -> None:
    compute, model, results = played
    task = TaskDocument.model_validate(
        {**TASK.model_dump(), "validation": {"work_z_milli": 2_500, "permutations_max": 4}}
    )
    judge = EngineCompute(
        task, RECIPE, compute.engine, compute._blobs, {}, {"judge": compute._holdouts["judge"]}
    )
    block = compute._nesting.find_block(500_000)
    flagged = 0
    for seed in range(10):
        noise = np.zeros(compute.engine.layout.size)
        noise[block] = np.random.default_rng(seed).normal(0, 40_000, len(block))
        refs = [*make_refs(results), ports.UpdateRef("idle", put(judge, noise), 90, 500_000)]
        lines = score(judge, model, refs)
        flagged += lines[6].flags == flag.NO_WORK
        assert [line.flags for line in lines[:6]] == [0] * 6
    assert flagged >= 7


def test_nothing_and_a_replay_are_seen_in_the_members_own_block(played) -> None:
    compute, model, results = played
    included = tuple((r.member, r.update, 1) for r in results)
    job = ports.AggregateJob(1, model, None, included, widths_ppm=WIDTHS)
    after = compute.aggregate(job).model
    step = read(compute, "model", after).astype(np.int64) - read(compute, "model", model)
    step[compute.find_outside(250_000)] = 0
    refs = [
        *make_refs(results),
        ports.UpdateRef("replayer", put(compute, step), 90, 250_000),
        ports.UpdateRef("empty", put(compute, step * 0), 91, 250_000),
    ]
    lines = compute.score([ports.ScoreJob(2, "judge", after, model, tuple(refs), "5e" * 32)])[0]
    assert [line.flags for line in lines.lines[6:]] == [flag.REPLAY, flag.ZERO]


def test_a_client_that_overreaches_sends_the_full_width_and_other_cheats_do_not(played) -> None:
    compute, model, _ = played
    cheat = AdversarialCompute(
        inner=compute,
        blobs=compute._blobs,
        size=compute.engine.layout.size,
        behaviours={MEMBERS[0]: "overreach", MEMBERS[1]: "free-rider"},
        find_outside=compute.find_outside,
    )
    results = train(cheat, model)
    is_inside = [
        compute._nesting.is_inside(read(compute, "update", r.update), width)
        for r, width in zip(results, WIDTHS, strict=True)
    ]
    assert is_inside == [False, True, True, True, True, True]


def test_a_width_that_is_not_of_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="width 300000 ppm is none of"):
        Nesting(RECIPE, GRID).find_place(300_000)


def test_private_engines_and_ray_have_no_narrow_ones() -> None:
    from kumiai.learning.privacy.sgd import PrivacySettings

    private = PrivacySettings(noise_multiplier=1.0, clip_norm=1.0, delta=1e-5)
    recipe: Recipe = RECIPE
    with Engine(recipe, SETTINGS, "inline", privacy=private) as engine:
        assert engine.narrow(2) is engine
        with pytest.raises(ValueError, match="neither privately nor on ray"):
            engine.narrow(0)
