"""A provider's machine: the same bytes for the same order, and no more than its owner lends."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.adapters.market_work.market_jobs import World, get_world, make_task, make_world
from torch import nn

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.market import MarketProvider, WorkLimits
from kumiai.adapters.compute.market.limits import (
    FLOP_A_SECOND_MAX,
    check_demand,
    compute_demand,
)
from kumiai.adapters.compute.market.shards import encode_shard
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.base.canonical import encode, sha256_hex
from kumiai.base.errors import InputError, RunFailedError
from kumiai.learning import fixed_point
from kumiai.learning.recipe import build_recipe
from kumiai.tasks.document import to_document


def test_same_order_same_bytes_whoever_is_asked_and_however_busy():
    world = get_world()
    first = world.train()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert MarketProvider(world.blobs).train(world.order()) == first
    finally:
        torch.set_num_threads(threads)
    world.train(shard=1)  # something else in between
    assert world.train() == first
    assert world.train(seed=5).update != first.update
    assert world.train(shard=1, seed=world.order().seed).update != first.update


def test_another_process_gives_the_same_bytes(tmp_path):
    world = make_world()
    folder = tmp_path / "blobs"
    store = DirectoryBlobs(folder)
    order = world.order()
    for name in (order.task, order.model, order.shard):
        store.put(world.blobs.get(name, 2**30))
    program = (
        "import sys, pathlib\n"
        "from kumiai.adapters.compute.market import MarketProvider\n"
        "from kumiai.adapters.store.blobs import DirectoryBlobs\n"
        "from kumiai.nodes.market.work import TrainOrder\n"
        f"order = {order!r}\n"
        "print(MarketProvider(DirectoryBlobs(pathlib.Path(sys.argv[1]))).train(order).update)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == world.provider.train(order).update


def test_an_update_is_a_payload_that_lowers_the_loss_and_tells_what_it_took():
    world = get_world()
    done = world.train()
    assert done.size_bytes <= world.prepared.update_bytes_max
    assert done.sample_count == world.prepared.sample_counts[0]
    assert done.iteration_count == 12
    assert done.flop > 0
    lines, _ = world.judge(("a", done.update, 0))
    assert lines["a"].gain > 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"round": 0}, "round"),
        ({"round": 4}, "round"),
        ({"class_count": 0}, "class_count"),
        ({"class_count": 2**40}, "class_count"),
        ({"input_shape": ()}, "input_shape"),
        ({"input_shape": (2**20, 2**20)}, "input_shape"),
        ({"input_shape": (-64,)}, "input_shape"),
        ({"input_shape": (65,)}, "shard"),
        ({"class_count": 9}, "shard"),
        ({"code": "0" * 64}, "code"),
        ({"task": "0" * 64}, "task"),
        ({"task": "../../etc/passwd"}, "task"),
        ({"model": "0" * 64}, "model"),
        ({"shard": "0" * 64}, "shard"),
    ],
)
def test_an_order_that_cannot_be_is_refused_by_field(changes, field):
    world = get_world()
    with pytest.raises(InputError) as found:
        world.provider.train(replace(world.order(), **changes))
    assert found.value.field_name == field


def test_a_task_that_is_no_document_is_refused():
    world = get_world()
    document = to_document(make_task())
    bad = [
        b"",
        b"[]",
        b"null",
        b"[" * 60_000,
        pickle.dumps(document),
        encode({**document, "extra": 1}),
        encode({k: v for k, v in document.items() if k != "training"}),
        encode(document).replace(b",", b", "),  # not canonical
        b" " * 70_000,
    ]
    for data in bad:
        with pytest.raises(InputError):
            world.train(task=world.blobs.put(data))


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"training": {"codec": "ef|int4"}}, "training.codec"),
        ({"training": {"algorithm": "scaffold"}}, "training.algorithm"),
        ({"training": {"fragments": 2}}, "training.fragments"),
        ({"data": {"mode": "private"}}, "data.mode"),
        ({"privacy": {"mode": "local"}}, "privacy.mode"),
        ({"model": {"recipe": "lora", "options": {}}}, "model.recipe"),
        ({"model": {"options": {"hidden": 24, "parallel": "ddp"}}}, "model.options.parallel"),
        ({"model": {"options": {"hidden": 2**21}}}, "model.options.hidden"),
        ({"training": {"server_momentum": 0.999999}}, "task"),
    ],
)
def test_a_task_that_needs_more_than_an_order_is_refused_by_field(section, field):
    world = get_world()
    with pytest.raises(InputError) as found:
        world.train(task=world.put_task(**section))
    assert found.value.field_name == field


def test_a_giant_network_is_refused_before_it_has_memory():
    world = get_world()
    for hidden in ("1000000,1000000", "9" * 20):
        with pytest.raises(InputError):
            world.train(task=world.put_task(model={"options": {"hidden": hidden}}))
    sizes = {"layers": 1, "heads": 512, "head_size": 512}
    giant = {"recipe": "transformer", "options": sizes}
    with pytest.raises(InputError):
        world.train(task=world.put_task(model=giant))


def test_a_network_that_is_too_big_never_has_memory(monkeypatch):
    """Its weights are only ever shapes: they lie on the meta device."""
    world = get_world()
    made: list[str] = []
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda t, *a, **k: made.append(t.device.type))
    provider = MarketProvider(world.blobs, limits=WorkLimits(memory_bytes_max=2**16))
    task = world.put_task(model={"options": {"hidden": 2_000}})
    with pytest.raises(InputError) as found:
        provider.train(replace(world.order(), task=task))
    assert found.value.field_name == "model.options"
    assert set(made) == {"meta"}


def test_a_network_that_is_too_big_to_be_trained_never_has_memory(monkeypatch):
    """Four times its numbers are needed: what has room for them once was built before it fell."""
    world = get_world()
    made: list[str] = []
    monkeypatch.setattr(nn.init, "kaiming_uniform_", lambda t, *a, **k: made.append(t.device.type))
    numbers = 2_000 * (64 + 1) + 10 * (2_000 + 1)
    provider = MarketProvider(world.blobs, limits=WorkLimits(memory_bytes_max=2 * 4 * numbers))
    task = world.put_task(model={"options": {"hidden": 2_000}})
    with pytest.raises(InputError):
        provider.train(replace(world.order(), task=task))
    assert set(made) == {"meta"}


def test_a_machine_without_enough_memory_declines(monkeypatch):
    """A customer must not be able to end a provider that lends more than it has."""
    world = get_world()

    def fail(*_given, **_named):
        raise MemoryError("cannot allocate")

    monkeypatch.setattr(EngineCompute, "train", fail)
    with pytest.raises(InputError, match="more memory"):
        world.train()


def test_numbers_are_computed_on_one_thread_and_deterministically(monkeypatch):
    """What repeatable bits rest on; with small tensors a lack of it would not show."""
    world = get_world()
    seen: list[tuple[int, bool]] = []

    def note(real):
        def call(*args, **kwargs):
            seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(Engine, "train", note(Engine.train))
    monkeypatch.setattr(HoldoutMeasure, "open", note(HoldoutMeasure.open))
    torch.set_num_threads(2)
    try:
        update = world.train().update
        world.judge(("ada", update, 0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert len(seen) >= 2
    assert set(seen) == {(1, True)}
    assert not torch.are_deterministic_algorithms_enabled()


def test_work_that_no_machine_does_in_its_time_is_not_begun():
    """A thread cannot be stopped: such an order kept a provider busy for weeks after its round."""
    world = get_world()
    task = world.put_task(training={"local_iterations": 1_000_000, "batch_size": 65_536})
    order = replace(world.order(), task=task)
    with pytest.raises(InputError) as found:
        world.provider.train(replace(order, seconds=1))
    assert found.value.field_name == "training"
    demand = compute_demand(
        world.customer.job.recipe, world.customer.job.task, world.prepared.input_shape, 200
    )
    check_demand(demand, 12, WorkLimits(), 1, "cpu")
    count = 2 * FLOP_A_SECOND_MAX["cpu"] // demand.flop
    with pytest.raises(InputError, match="in 1 s"):
        check_demand(demand, count, WorkLimits(), 1, "cpu")
    check_demand(demand, count, WorkLimits(), 3, "cpu")
    check_demand(demand, count, WorkLimits(), 1, "cuda")
    check_demand(demand, count, WorkLimits(), 0, "cpu")
    assert world.train(seconds=1) == world.train()


def test_limits_hold_for_shard_memory_and_arithmetic():
    world = get_world()
    demand = compute_demand(
        world.customer.job.recipe, world.customer.job.task, world.prepared.input_shape, 200
    )
    for limits, field in (
        (WorkLimits(shard_bytes_max=1_000), "shard"),
        (WorkLimits(memory_bytes_max=demand.memory_bytes - 1), "model"),
        (WorkLimits(flop_max=12 * demand.flop - 1), "training"),
    ):
        provider = MarketProvider(world.blobs, limits=limits)
        with pytest.raises(InputError) as found:
            provider.train(world.order())
        assert found.value.field_name == field
    enough = WorkLimits(memory_bytes_max=demand.memory_bytes, flop_max=12 * demand.flop)
    assert MarketProvider(world.blobs, limits=enough).train(world.order()) == world.train()


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("mlp", {"hidden": 24}, (64,)),
        ("cnn", {}, (1, 16, 16)),
        ("transformer", {}, (32,)),
    ],
)
def test_the_estimate_is_near_what_the_engine_counts(name, options, shape):
    """Arithmetic without memory: a third more or less than forward and backward as counted."""
    from kumiai.adapters.compute.market.opened import assemble

    task = make_task(model={"recipe": name, "options": options})
    recipe = build_recipe(name, options, [1_000_000], shape, 10)
    job = assemble(task, recipe, shape, 10)
    targets = torch.zeros(1, *shape, dtype=torch.int64) if name == "transformer" else None
    counted = job.engine.count_flop(shape, targets) * 16
    assert 0.65 < compute_demand(recipe, task, shape, 100).flop / counted < 1.55


def test_a_model_of_another_size_or_form_is_refused():
    world = get_world()
    size = world.customer.job.layout.size
    for data in (
        b"x",
        fixed_point.encode_vector("model", np.zeros(size + 1, np.int32)),
        fixed_point.encode_vector("model", np.zeros(size, np.int64)),
        fixed_point.encode_vector("update", np.zeros(size, np.int32)),
    ):
        with pytest.raises(InputError) as found:
            world.train(model=world.blobs.put(data))
        assert found.value.field_name == "model"


def test_tokens_outside_of_the_vocabulary_are_refused():
    task = make_task(
        data={"source": "sotu", "options": {"length": 16, "samples": 400}},
        model={"recipe": "transformer", "options": {"layers": 1, "heads": 1}},
    )
    world = make_world(task)
    x = torch.full((4, 16), 99.0)
    shard = world.blobs.put(encode_shard((x, torch.zeros(4, 16, dtype=torch.int64))))
    with pytest.raises(InputError) as found:
        world.provider.train(replace(world.order(), shard=shard))
    assert found.value.field_name == "shard"


def test_training_that_diverges_has_nothing_to_deliver():
    world = make_world(make_task(training={"learning_rate": 10, "momentum": 0.999}))
    size = world.customer.job.layout.size
    start = np.random.default_rng(0).integers(-(2**30), 2**30, size).astype(np.int32)
    with pytest.raises(RunFailedError, match="diverged"):
        world.train(model=world.blobs.put(fixed_point.encode_vector("model", start)))


def make_code_world(folder: Path) -> World:
    """A job whose recipe is the customer's own file; importing it anywhere leaves a mark."""
    (folder / "net.py").write_text(
        "import pathlib\n"
        "from torch import nn\n"
        f"pathlib.Path({str(folder / 'ran')!r}).touch()\n"
        "def build(width, hidden=8):\n"
        "    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))\n"
    )
    task = make_task(model={"recipe": "net.py:build", "options": {"hidden": 8}})
    world = make_world(task, folder)
    (folder / "ran").unlink()
    return world


def test_code_of_others_runs_only_where_the_owner_allowed_this_very_file(tmp_path):
    world = make_code_world(tmp_path)
    assert sha256_hex((tmp_path / "net.py").read_bytes()) == world.prepared.code
    for provider in (
        MarketProvider(world.blobs),
        MarketProvider(world.blobs, allow_code=lambda code: code == "0" * 64),
    ):
        with pytest.raises(InputError, match="runs no code of others") as found:
            provider.train(world.order())
        assert found.value.field_name == "code"
    assert not (tmp_path / "ran").exists()
    asked: list[str] = []
    provider = MarketProvider(
        world.blobs, allow_code=lambda code: asked.append(code) is None and len(code) == 64
    )
    done = provider.train(world.order())
    assert asked == [world.prepared.code]
    assert (tmp_path / "ran").exists()
    assert provider.train(world.order()) == done
    lines, _ = world.judge(("a", done.update, 0))
    assert lines["a"].gain > 0


def test_a_file_with_another_hash_is_not_what_was_allowed(tmp_path):
    world = make_code_world(tmp_path)
    provider = MarketProvider(world.blobs, allow_code=lambda code: True)
    for code in ("", "net.py", "0" * 64):
        with pytest.raises(InputError) as found:
            provider.train(replace(world.order(), code=code))
        assert found.value.field_name == "code"
    (tmp_path / "net.py").write_text("def build(width): raise SystemExit")
    with pytest.raises(InputError, match="changed"):
        world.customer.prepare()
