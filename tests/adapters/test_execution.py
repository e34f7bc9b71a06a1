"""One common test for all backends: each member gets what `inline` gives it."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from kumiai.adapters.compute.execution.choose import (
    Costs,
    Wish,
    list_stacked_totals,
    pick_backend,
    pick_tier,
)
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.execution.lowering import LoweringError, check_agreement, has_compiler
from kumiai.adapters.compute.execution.probe import Traits
from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.adapters.data.user_file import load_user_recipe
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten
from kumiai.learning.parallel import Parallel
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded, wrap_recipe

RAY_MARKS = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`"),
    pytest.mark.xdist_group("ray"),
]

# (backend, tier); compiling takes too long for every case here: see test_compiled_round
BACKENDS = [
    ("vectorised", "eager"),
    ("vectorised", "traced"),
    ("inline", "traced"),
    ("process", "eager"),
    pytest.param(("ray", "eager"), marks=RAY_MARKS),
    ("ddp", "eager"),
    ("fsdp", "eager"),
]
PARALLEL = ("ddp", "fsdp")  # chosen by the recipe: two processes a member
SERIAL = ("inline", "process", "ray", *PARALLEL)  # a member's bytes do not depend on its company
ALL = [("inline", "eager"), *BACKENDS]
TOLERANCE = 1e-5
COUNTS = (20, 9, 1, 16, 20)

TRAINS = {
    "sgd": TrainSettings(batch_size=8),
    "momentum": TrainSettings(batch_size=8, momentum=0.9, weight_decay=0.01, local_epochs=2),
    "adamw": TrainSettings(batch_size=8, optimizer="adamw", learning_rate=1e-3, local_iterations=4),
    "prox": TrainSettings(batch_size=8, algorithm="fedprox", prox_mu=0.5, local_epochs=2),
    "slim": TrainSettings(batch_size=8, slim_widths=(0.25, 1.0)),
    "fixed-order": TrainSettings(batch_size=8, shuffle=False),
}


def load(name, widths):
    """From a file, as a user's recipe: that is how it reaches workers that are not forked."""
    return load_user_recipe(f"{name}.py:build", {}, widths, Path(__file__).parent / "recipes")


WIDTHS = [250000, 1000000]
MLP = load("mlp", WIDTHS)
CONV = load("conv", WIDTHS)
WEIGHTED = load("weighted", WIDTHS)
BATCHNORM = load("batchnorm", [1000000])
DROPOUT = load("dropout", [1000000])


def make_shards(recipe: Recipe, counts=COUNTS):
    generator = torch.Generator().manual_seed(5)
    shape = (1, 6, 6) if recipe is CONV else (10,)
    return [
        (
            torch.randn(n, *shape, generator=generator),
            torch.randint(0, 4, (n,), generator=generator),
        )
        for n in counts
    ]


@pytest.fixture(autouse=True)
def _ray_if_needed(request):
    """One Ray for all tests, started by the first that asks for it."""
    case = getattr(request.node, "callspec", None)
    if case is not None and case.params.get("backend") == ("ray", "eager"):
        request.getfixturevalue("ray_cluster")


def run(recipe, train, backend, shards, seeds=None, **options):
    name, tier = (backend, "eager") if isinstance(backend, str) else backend
    known = recipe in (MLP, CONV)
    if name in PARALLEL:
        recipe, name = replace(recipe, parallel=Parallel(name, 2)), "auto"
    with Engine(recipe, train, name, tier=tier, worker_count=2, **options) as engine:
        start = flatten(engine.layout, build_seeded(recipe, 1.0, seed=3).state_dict()).detach()
        seeds = list(range(len(shards))) if seeds is None else seeds
        result = engine.train(start, shards, seeds)
        if known:
            # no silent retreat to a slower tier
            chosen = "parallel" if recipe.parallel else name
            assert (engine.choice.backend, engine.choice.tier) == (chosen, tier), engine.reason
        return result


def assert_same(result, expected):
    difference = (result.updates_NP - expected.updates_NP).norm(dim=1)
    assert (difference <= TOLERANCE * expected.updates_NP.norm(dim=1)).all(), difference
    torch.testing.assert_close(result.losses_N, expected.losses_N, rtol=TOLERANCE, atol=TOLERANCE)
    assert result.iterations_N == expected.iterations_N
    assert result.samples_N == expected.samples_N


@pytest.mark.parametrize("train", TRAINS.values(), ids=TRAINS.keys())
@pytest.mark.parametrize("recipe", [MLP, CONV], ids=lambda r: r.name)
@pytest.mark.parametrize("backend", BACKENDS)
def test_same_result_as_inline(backend, recipe, train):
    shards = make_shards(recipe)
    if backend[0] == "fsdp" and train.slim_widths:
        with pytest.raises(InputError, match=r"training\.slim = True: .*parallel = \"ddp\""):
            run(recipe, train, backend, shards)
        return
    assert_same(run(recipe, train, backend, shards), run(recipe, train, "inline", shards))


@pytest.mark.parametrize("backend", BACKENDS)
def test_losses_that_mix_samples_are_not_padded(backend):
    """A class-weighted mean is not the mean of the samples' losses: found, and still the same."""
    shards = make_shards(WEIGHTED)
    train = TRAINS["momentum"]
    if backend[0] in PARALLEL:
        with pytest.raises(InputError, match="not the mean of its samples' losses"):
            run(WEIGHTED, train, backend, shards)
        return
    assert_same(run(WEIGHTED, train, backend, shards), run(WEIGHTED, train, "inline", shards))


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_statistics_travel_with_the_update(backend):
    """BatchNorm sees the whole batch: no padding, and its buffers are in the update."""
    shards = make_shards(BATCHNORM, counts=(20, 10, 18, 4))
    train = TrainSettings(batch_size=8, local_epochs=2)
    expected = run(BATCHNORM, train, "inline", shards)
    if backend[0] in PARALLEL:
        with pytest.raises(InputError, match="samples see each other"):
            run(BATCHNORM, train, backend, shards)
        return
    assert_same(run(BATCHNORM, train, backend, shards), expected)
    with Engine(BATCHNORM, train, "inline") as engine:
        index = engine.layout.names.index("1.running_mean")
        start = engine.layout.offsets[index]
    assert (expected.updates_NP[:, start : start + 8].abs() > 0).all()


@pytest.mark.parametrize("is_filled", [False, True])
def test_inline_is_the_plain_loop_a_user_would_write(is_filled):
    shards = make_shards(CONV)
    train = TrainSettings(batch_size=8, shuffle=False, local_epochs=2, is_filled=is_filled)
    result = run(CONV, train, "inline", shards)
    assert any(len(x) % 8 for x, _ in shards)
    for n, (inputs, targets) in enumerate(shards):
        lacking = -len(inputs) % 8 if is_filled and len(inputs) > 8 else 0
        x, y = (torch.cat([whole, whole[:lacking]]) for whole in (inputs, targets))
        model = build_seeded(CONV, 1.0, seed=3)
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(2):
            for i in range(0, len(x), 8):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[i : i + 8]), y[i : i + 8]).backward()
                optimizer.step()
        update = nn.utils.parameters_to_vector(model.parameters()).detach() - before
        torch.testing.assert_close(result.updates_NP[n], update, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ALL)
def test_same_seed_same_bytes_whatever_ran_before(backend):
    shards = make_shards(MLP)
    first = run(MLP, TRAINS["momentum"], backend, shards, seeds=[9, 8, 7, 6, 5])
    torch.manual_seed(123)
    run(MLP, TRAINS["sgd"], backend, shards[:2], seeds=[1, 1])
    second = run(MLP, TRAINS["momentum"], backend, shards, seeds=[9, 8, 7, 6, 5])
    assert torch.equal(first.updates_NP, second.updates_NP)
    assert torch.equal(first.losses_N, second.losses_N)
    other = run(MLP, TRAINS["momentum"], backend, shards, seeds=[0, 8, 7, 6, 5])
    assert not torch.equal(first.updates_NP[0], other.updates_NP[0])
    assert_same_rows(first.updates_NP[1:], other.updates_NP[1:], exactly=backend[0] in SERIAL)


@pytest.mark.parametrize("recipe", [MLP, DROPOUT], ids=lambda r: r.name)
@pytest.mark.parametrize("backend", ALL)
def test_members_in_another_order_change_nothing(backend, recipe):
    shards = make_shards(recipe)
    seeds = [11, 12, 13, 14, 15]
    order = [3, 0, 4, 2, 1]
    train = TRAINS["momentum"]
    plain = run(recipe, train, backend, shards, seeds)
    mixed = run(recipe, train, backend, [shards[n] for n in order], [seeds[n] for n in order])
    assert_same_rows(mixed.updates_NP, plain.updates_NP[order], exactly=backend[0] in SERIAL)


def assert_same_rows(one, other, *, exactly):
    if exactly:
        assert torch.equal(one, other)
    else:
        assert ((one - other).norm(dim=1) <= TOLERANCE * other.norm(dim=1)).all()


@pytest.mark.parametrize("backend", ALL)
def test_a_recipe_that_raises_is_named_with_the_member(backend):
    shards = make_shards(MLP)
    shards[3][1][5] = 77  # no such class
    with pytest.raises(ValueError, match=r"recipe 'mlp.py:build' failed on member 3"):
        run(MLP, TRAINS["sgd"], backend, shards)


@pytest.mark.parametrize("backend", ALL)
def test_divergence_is_reported_not_hidden(backend):
    shards = make_shards(MLP)
    shards[1][0][0, 0] = float("nan")
    result = run(MLP, TRAINS["sgd"], backend, shards)
    assert result.losses_N.isnan().tolist() == [False, True, False, False, False]
    assert result.updates_NP.isnan().any(dim=1).tolist() == [False, True, False, False, False]


def test_built_in_transformer_stacks():
    recipe = build_recipe("transformer", {}, WIDTHS, (8,), 12)
    generator = torch.Generator().manual_seed(1)
    shards = [
        (
            torch.randint(0, 12, (n, 8), generator=generator),
            torch.randint(0, 12, (n, 8), generator=generator),
        )
        for n in (5, 3)
    ]
    train = TrainSettings(batch_size=4, local_epochs=2)
    expected = run(recipe, train, "inline", shards)
    assert_same(run(recipe, train, "vectorised", shards), expected)


def start_of(engine, recipe):
    return flatten(engine.layout, build_seeded(recipe, 1.0, seed=3).state_dict()).detach()


@pytest.mark.slow
def test_compiled_round(tmp_path):
    """Compiled once, loaded by the next run from the cache, and the same bytes from both."""
    if not has_compiler():
        pytest.skip("no C++ compiler")
    train = TrainSettings(batch_size=8, momentum=0.9)
    shards = make_shards(MLP, counts=(8, 3, 8))
    first = run(MLP, train, ("vectorised", "compiled"), shards, cache_dir=tmp_path)
    assert_same(first, run(MLP, train, "inline", shards))
    artefacts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.artefact")}
    assert len(artefacts) == 1
    second = run(MLP, train, ("vectorised", "compiled"), shards, cache_dir=tmp_path)
    assert torch.equal(first.updates_NP, second.updates_NP)
    assert artefacts == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.artefact")}


def test_compiled_code_that_disagrees_is_not_used():
    x = torch.ones(3)
    with pytest.raises(LoweringError, match="off by"):
        check_agreement(lambda t: [2 * t], lambda t: [2.01 * t], [x])
    check_agreement(lambda t: [2 * t], lambda t: [2.00001 * t], [x])


def test_a_recipe_that_cannot_be_traced_runs_eagerly():
    """Branching on a computed number: neither vmap nor tracing allows it, the result stands."""

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(10, 4)

        def forward(self, x):
            return self.layer(x) if float(x.detach().sum()) > 0 else 2 * self.layer(x)

    recipe = wrap_recipe("branching", lambda width: Branching(), [1000000])
    shards = make_shards(recipe)
    expected = run(recipe, TRAINS["sgd"], "inline", shards)
    for backend in ("auto", "vectorised"):
        with Engine(recipe, TRAINS["sgd"], backend, tier="traced") as engine:
            result = engine.train(start_of(engine, recipe), shards, list(range(5)))
            assert engine.choice.tier == "eager"
            assert engine.backend in ("inline", "process")
        assert_same(result, expected)


def test_a_decision_is_kept_for_the_next_run(tmp_path):
    shards = make_shards(MLP)
    choices = []
    for _ in range(2):
        with Engine(MLP, TRAINS["sgd"], "auto", tmp_path, rounds_expected=1) as engine:
            engine.train(start_of(engine, MLP), shards, list(range(5)))
            choices.append(engine.choice)
    assert choices[0] == choices[1]
    with Engine(MLP, TRAINS["sgd"], "auto", tmp_path, rounds_expected=1) as engine:
        # resumed with fewer members: still the same decision
        engine.train(start_of(engine, MLP), shards[:2], [0, 1])
        assert engine.choice == choices[0]
    kept = next(tmp_path.glob("*.json"))
    kept.write_text(kept.read_text().replace(choices[0].backend, "inline"))
    with Engine(MLP, TRAINS["sgd"], "auto", tmp_path, rounds_expected=1) as engine:
        engine.train(start_of(engine, MLP), shards, list(range(5)))
        assert engine.backend == "inline"


@pytest.mark.parametrize(
    ("rounds", "expected"), [(1, "eager"), (100, "traced"), (100_000, "compiled")]
)
def test_lowering_must_repay_itself(rounds, expected):
    """Ten seconds of compiling for a run of five are wrong; for a run of days they are right."""
    costs = Costs(
        inline=0.1, process=0.06, vectorised=0.01, iteration_count=10, op_count=30, graph_count=2
    )
    wish = Wish("auto", "auto", rounds)
    traits = Traits(has_convolution=False, is_random=False, is_separable=True)
    assert pick_backend(costs, wish) == "vectorised"
    if expected == "compiled" and not has_compiler():
        expected = "traced"
    assert pick_tier("vectorised", traits, costs, wish) == expected
    mixing = Traits(has_convolution=False, is_random=False, is_separable=False)
    assert pick_tier("vectorised", mixing, costs, wish) == "eager"


def test_a_big_network_gains_nothing_from_tracing():
    """Its time is in its sums, not in dispatching them."""
    costs = Costs(
        inline=100.0, process=60.0, vectorised=50.0, iteration_count=10, op_count=300, graph_count=2
    )
    totals = list_stacked_totals(costs, rounds=20)
    assert totals["eager"] < totals["traced"]


def test_a_killed_worker_is_a_clear_error_and_the_next_round_works():
    shards = make_shards(MLP, counts=(2000, 2000, 2000))
    train = TrainSettings(batch_size=1, local_epochs=5)
    quick = TrainSettings(batch_size=500)
    with Engine(MLP, quick, "process", tier="eager", worker_count=2) as engine:
        start = start_of(engine, MLP)
        expected = engine.train(start, shards, [1, 2, 3])
        backend = engine._backend
        os.kill(backend.worker_pids[0], signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"ended \(signal 9\) while training member"):
            engine.train(start, shards, [1, 2, 3])
        assert backend.worker_pids == ()
        again = engine.train(start, shards, [1, 2, 3])
        assert torch.equal(again.updates_NP, expected.updates_NP)
    with Engine(MLP, train, "process", tier="eager", worker_count=2) as engine:
        # killed in the middle of its work
        engine_start = start_of(engine, MLP)
        timer = threading.Timer(
            0.5, lambda: os.kill(engine._backend.worker_pids[1], signal.SIGKILL)
        )
        timer.start()
        with pytest.raises(WorkerError, match="signal 9"):
            engine.train(engine_start, shards, [1, 2, 3])


def test_workers_end_with_the_engine():
    shards = make_shards(MLP)
    with Engine(MLP, TRAINS["sgd"], "process", tier="eager", worker_count=2) as engine:
        engine.train(start_of(engine, MLP), shards, list(range(5)))
        pids = engine._backend.worker_pids
        assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
