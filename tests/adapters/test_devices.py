"""Where training runs: the machine's choice, everything of a step in one place, scores on the CPU.

Tests over `DEVICES` run on the CPU and, where there is one, on a GPU. PyTorch's meta device, which
keeps shapes and no numbers, stands in for a GPU where only the places of tensors are asked for.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

import pytest
import torch
from tests.adapters.test_execution import (
    CONV,
    DROPOUT,
    MLP,
    TRAINS,
    assert_same,
    make_shards,
    run,
    start_of,
)
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import kumiai
from kumiai.adapters.compute.execution import devices
from kumiai.adapters.compute.execution.choose import Costs, Wish, choose_on_gpu
from kumiai.adapters.compute.execution.devices import (
    deterministic,
    drawing,
    pick_device,
    place_shards,
    place_work,
    read_device,
)
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.execution.inline import iterate
from kumiai.adapters.compute.execution.shards import CPU, join_shards
from kumiai.adapters.compute.execution.vectorised import VectorisedBackend
from kumiai.base.errors import InputError
from kumiai.learning.client import TrainSettings, build_local_work
from kumiai.learning.layout import unflatten
from kumiai.learning.privacy.sgd import PrivacySettings
from kumiai.learning.recipe import build_recipe, wrap_recipe

HAS_GPU = torch.cuda.is_available()
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="no CUDA device here")),
]
META = torch.device("meta")
GUIDED = TrainSettings(batch_size=8, algorithm="scaffold", is_scheduled=True, has_offset=True)
RULES = {**TRAINS, "guided": GUIDED, "muon": TrainSettings(batch_size=8, optimizer="muon")}


class OnePlace(TorchDispatchMode):
    """Every tensor with dimensions that enters or leaves an operation lies on the meta device.

    Numbers without dimensions may come from anywhere, as on a GPU; copies to it are its doors.
    """

    def __init__(self):
        super().__init__()
        self.op_count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        tensors = [t for t in pytree.tree_leaves((args, kwargs, result)) if torch.is_tensor(t)]
        if name not in ("_to_copy", "copy_") and any(t.device == META for t in tensors):
            self.op_count += 1
            away = [tuple(t.shape) for t in tensors if t.device != META and t.dim() > 0]
            assert away == [], f"{name}: tensors of {away} are not on the device that trains"
        return result


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["auto", "inline", "vectorised"])
@pytest.mark.parametrize("train", TRAINS.values(), ids=TRAINS.keys())
@pytest.mark.parametrize("recipe", [MLP, CONV], ids=lambda r: r.name)
def test_same_result_as_inline_on_the_cpu(recipe, train, backend, device):
    shards = make_shards(recipe)
    with Engine(recipe, train, backend, tier="eager", device=device) as engine:
        found = engine.train(start_of(engine, recipe), shards, list(range(5)))
        assert engine.device.type == device
    assert found.updates_NP.device == found.losses_N.device == CPU
    expected = run(recipe, train, "inline", shards)
    if device == "cpu":
        return assert_same(found, expected)
    difference = (found.updates_NP - expected.updates_NP).norm(dim=1)
    assert (difference <= 1e-4 * expected.updates_NP.norm(dim=1)).all(), difference
    return None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("recipe", [MLP, CONV, DROPOUT], ids=lambda r: r.name)
def test_same_seed_same_bytes(recipe, device):
    results = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        with Engine(recipe, TRAINS["momentum"], "inline", tier="eager", device=device) as engine:
            start = start_of(engine, recipe)
            results.append(engine.train(start, make_shards(recipe), [9, 8, 7, 6, 5]))
    assert torch.equal(results[0].updates_NP, results[1].updates_NP)
    assert torch.equal(results[0].losses_N, results[1].losses_N)


@pytest.mark.parametrize("samples_bytes_max", [0, 2**30])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("recipe", [MLP, CONV], ids=lambda r: r.name)
def test_everything_of_an_iteration_is_in_one_place(recipe, rule, samples_bytes_max, monkeypatch):
    monkeypatch.setattr(devices, "SAMPLES_BYTES_MAX", samples_bytes_max)
    work = place_work(build_local_work(recipe, RULES[rule]), META)
    data = place_shards(join_shards(make_shards(recipe)), META)
    assert data.inputs.device == (META if samples_bytes_max else CPU)
    start_P = torch.zeros(work.layout.size, device=META)
    guide_G = torch.zeros(work.guide_size, device=META)
    with torch.no_grad(), OnePlace() as watch:
        carry = work.init(unflatten(work.layout, start_P))
        anchor = carry.params
        if work.guide_size:
            carry = work.guide(carry, guide_G)
        last, loss_sum, _ = iterate(work, work.step, carry, anchor, data, member=0, seed=1)
    assert watch.op_count > 20
    assert {t.device for t in pytree.tree_leaves((last, loss_sum)) if t.dim()} == {META}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("is_separable", [False, True])
def test_stacked_members_are_in_one_place(rule, is_separable, monkeypatch):
    work = place_work(build_local_work(MLP, RULES[rule]), META)
    data = place_shards(join_shards(make_shards(MLP)), META)
    backend = VectorisedBackend(work, is_separable=is_separable)
    guides = torch.zeros(5, work.guide_size) if work.guide_size else None
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)  # meta has nothing to bring
    with torch.no_grad(), OnePlace() as watch:
        updates, losses = backend.train(torch.zeros(work.layout.size), data, range(5), guides)
    assert watch.op_count > 20
    assert updates.device == losses.device == META


def test_what_a_network_holds_beside_its_parameters_comes_along():
    """A transformer's mask is in no state dict."""
    recipe = build_recipe("transformer", {}, [1_000_000], (8,), 12)
    work = place_work(build_local_work(recipe, TrainSettings(batch_size=4)), META)
    tokens = torch.zeros(6, 8, dtype=torch.int64)
    data = place_shards(join_shards([(tokens, tokens)]), META)
    with torch.no_grad(), OnePlace():
        carry = work.init(unflatten(work.layout, torch.zeros(work.layout.size, device=META)))
        iterate(work, work.step, carry, carry.params, data, member=0, seed=1)


def test_the_watch_finds_a_tensor_that_stayed_behind():
    """PyTorch's own products on the meta device would let it pass."""
    here, away = torch.zeros(2, 2, device=META), torch.zeros(2, 2)
    with OnePlace(), pytest.raises(AssertionError, match=r"mm: tensors of \[\(2, 2\)\] are not on"):
        torch.mm(here, away)


def test_devices_are_read_with_clear_errors(monkeypatch):
    assert read_device("auto") is read_device("") is None
    assert read_device("cpu") == CPU
    for text in ("gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "mps", "cpu:0", "cuda:1\n"):
        with pytest.raises(InputError, match=r"KUMIAI_DEVICE = .*write auto, cpu, cuda or cuda:N"):
            read_device(text)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match=r"'cuda': PyTorch finds no CUDA device .* auto or cpu"):
        read_device("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert read_device("cuda") == torch.device("cuda")
    assert read_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="'cuda:2': this machine has 2, numbered from 0"):
        read_device("cuda:2")


def test_the_machine_says_it_and_not_the_task(tmp_path, monkeypatch):
    from tests.apps.tiny import write_task

    monkeypatch.setenv("KUMIAI_DEVICE", "quick")
    with pytest.raises(InputError, match="KUMIAI_DEVICE = 'quick'"):
        kumiai.run(write_task(tmp_path), tmp_path / "out")


def pick(wanted, flop, recipe=MLP, tried=None):
    work = build_local_work(recipe, TRAINS["sgd"])
    data = join_shards(make_shards(MLP))
    return pick_device(wanted, lambda: flop, work, data, torch.zeros(work.layout.size))


def test_auto_takes_a_gpu_where_it_is_worth_it_and_works(monkeypatch):
    """The trial on the GPU is played by a meta device: the rule around it is what is tested."""
    big, small = 10**12, 10**6
    monkeypatch.setattr("torch.cuda.is_available", lambda: HAS_GPU)
    if not HAS_GPU:
        assert pick(None, big) == CPU
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    tried = []
    monkeypatch.setattr(devices, "place_work", lambda work, device: work)
    monkeypatch.setattr(devices, "place_shards", lambda data, device: data)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *a, **k: tensor)
    monkeypatch.setattr(devices, "try_iteration", lambda *a: tried.append(a))
    assert pick(None, small) == CPU
    assert pick(CPU, big) == CPU
    assert tried == []
    assert pick(None, big) == torch.device("cuda:0")
    assert pick(torch.device("cuda"), small) == torch.device("cuda:0")
    assert pick(torch.device("cuda:1"), small) == torch.device("cuda:1")
    assert len(tried) == 3

    def fail(*arguments):
        raise RuntimeError("tensors on two devices")

    monkeypatch.setattr(devices, "try_iteration", fail)
    assert pick(None, big) == CPU
    with pytest.raises(InputError, match=r"KUMIAI_DEVICE = 'cuda:1': recipe 'mlp\.py:build' does"):
        pick(torch.device("cuda:1"), small)


def test_the_trial_finds_a_recipe_that_keeps_tensors_of_its_own():
    """A constant made on the CPU: the first iteration elsewhere fails, before any round does."""
    shift = torch.ones(4)

    class Shifted(nn.Linear):
        def forward(self, x):
            return super().forward(x) + shift

    recipe = wrap_recipe("shifted", lambda width: Shifted(10, 4), [1_000_000])
    data = place_shards(join_shards(make_shards(MLP)), META)
    for one, fails in ((MLP, False), (recipe, True)):
        work = place_work(build_local_work(one, TRAINS["sgd"]), META)
        start_P = torch.zeros(work.layout.size, device=META)
        with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
            devices.try_iteration(work, data, start_P)


@pytest.mark.parametrize(
    "changes",
    [
        {"backend": "process"},
        {"tier": "traced"},
        {"privacy": PrivacySettings(1.0, 1.0, 1e-5)},
    ],
    ids=lambda c: next(iter(c)),
)
def test_work_that_is_the_cpus_alone(changes, monkeypatch):
    """By name a GPU is refused for it; auto stays on the CPU however many there are."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(InputError, match=r"KUMIAI_DEVICE = 'cuda': .* CPU.*: write auto or cpu"):
        Engine(MLP, TRAINS["sgd"], **changes, device="cuda")
    monkeypatch.setattr(devices, "FLOP_MIN", 0)
    keys = [bytes([n]) * 32 for n in range(5)] if "privacy" in changes else []
    with Engine(MLP, TRAINS["sgd"], **changes, worker_count=1, device="auto") as engine:
        engine.train(start_of(engine, MLP), make_shards(MLP), list(range(5)), keys=keys)
        assert engine.device == CPU


@pytest.mark.parametrize(("stacked", "expected"), [(None, "inline"), (1.0, "vectorised")])
def test_on_a_gpu_neither_workers_nor_lowering_are_chosen(stacked, expected):
    costs = Costs(
        inline=2.0, process=None, vectorised=stacked, iteration_count=9, op_count=9, graph_count=2
    )
    choice = choose_on_gpu(costs, Wish("auto", "auto", 10**6))
    assert (choice.backend, choice.tier) == (expected, "eager")
    assert choose_on_gpu(costs, Wish("inline", "auto", 1)).backend == "inline"


@pytest.mark.parametrize("device", DEVICES)
def test_random_state_and_settings_are_put_back(device):
    place = torch.device(device)
    before = torch.get_rng_state()
    with deterministic(place):
        with drawing(place, 5):
            one = torch.rand(3, device=place)
        with drawing(place, 5):
            assert torch.equal(torch.rand(3, device=place), one)
        assert torch.are_deterministic_algorithms_enabled() == (device == "cuda")
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_asked_of_a_gpu_and_put_back(monkeypatch):
    """The switches are there without a GPU, too."""
    monkeypatch.setenv(devices.WORKSPACE, "")
    monkeypatch.delenv(devices.WORKSPACE)
    cudnn = torch.backends.cudnn
    before = (cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32)
    with deterministic(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert (cudnn.enabled, cudnn.deterministic) == (True, True)
        assert (cudnn.benchmark, cudnn.allow_tf32) == (False, False)
        assert os.environ[devices.WORKSPACE] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert (cudnn.enabled, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32) == before


def test_scores_are_the_cpus_whatever_trains(monkeypatch):
    """Evaluation builds its own network and never asks where training runs."""
    with Engine(MLP, TRAINS["sgd"], "inline", device="cpu") as engine:
        engine.device = META  # as if it had trained elsewhere
        engine._placed = place_work(engine._work, META)
        vectors = torch.stack([start_of(engine, MLP)] * 2)
        inputs, targets = make_shards(MLP)[0]
        losses, accuracies = engine.evaluate(vectors, inputs, targets)
    assert losses.device == accuracies.device == CPU
    assert torch.isfinite(losses).all()


def test_narrower_engines_train_where_the_full_one_does(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with Engine(replace(MLP), TRAINS["sgd"], "inline", device="cuda:1") as engine:
        assert str(engine.narrow(0)._wanted) == "cuda:1"
