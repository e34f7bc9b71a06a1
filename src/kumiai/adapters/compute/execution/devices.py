"""Which device trains: the machine's choice, never the task's, and only of training.

KUMIAI_DEVICE is auto, cpu, cuda or cuda:N. auto: a GPU where there is one and the recipe's
iterations are long enough for it, and where one iteration of the recipe runs on it. What several
members compute and compare (scores, probes, aggregates) stays on the CPU whatever is chosen here.

On a GPU PyTorch's deterministic algorithms are asked for, and full float32 (no TF32): the same
seeds give the same bytes on the same kind of device, and CPU's numbers to float rounding. An
operation that has no deterministic algorithm is warned of by PyTorch and may break the first.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from kumiai.adapters.compute.execution.shards import CPU, JoinedShards
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork
from kumiai.learning.layout import unflatten

FIELD = "KUMIAI_DEVICE"
AUTO = "auto"
FORMS = "write auto, cpu, cuda or cuda:N"
FLOP_MIN = 10**9  # of one iteration, for `auto`; a guess: a few milliseconds of a core's time
SAMPLES_BYTES_MAX = 2**30  # of samples that are kept on the device; more are moved by batches
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def read_device(text: str) -> torch.device | None:
    """Return the device that `text` names, None for auto (or "").

    InputError for another word, or a device that this machine has not got.
    """
    if text in ("", AUTO):
        return None
    if text == "cpu":
        return CPU
    found = re.fullmatch(r"cuda(?::(\d{1,3}))?", text)
    if found is None:
        raise InputError(FIELD, text, FORMS)
    if not torch.cuda.is_available():
        fix = "PyTorch finds no CUDA device on this machine: write auto or cpu"
        raise InputError(FIELD, text, fix)
    count, index = torch.cuda.device_count(), int(found[1] or 0)
    if index >= count:
        raise InputError(FIELD, text, f"this machine has {count}, numbered from 0")
    return torch.device("cuda", index) if found[1] else torch.device("cuda")


def is_worth_gpu(flop: int) -> bool:
    """Tell whether iterations of so many operations are long enough for `auto`."""
    return flop >= FLOP_MIN


def explain_cpu(backend: str, tier: str, *, is_private: bool) -> str:
    """Say why work of this kind is the CPU's alone, "" where it is not."""
    if is_private:
        return "private training is done on the CPU"
    if backend in ("process", "ray"):
        return f"the workers of backend {backend!r} train on the CPU"
    if tier in ("traced", "compiled"):
        return f"tier {tier!r} is lowered for the CPU"
    return ""


def pick_device(
    wanted: torch.device | None,
    count_flop: Callable[[], int],
    work: LocalWork,
    data: JoinedShards,
    start_P: torch.Tensor,
) -> torch.device:
    """Return the device for this work: the one asked for, or by the rule of `auto`.

    count_flop: of one iteration; asked only where it matters. A recipe that fails on the GPU (it
    has a tensor of its own on the CPU, say) trains on the CPU under auto; where the GPU was asked
    for by name, the failure is an InputError.
    """
    if wanted is not None and wanted.type == CPU.type:
        return CPU
    if wanted is None and not (torch.cuda.is_available() and is_worth_gpu(count_flop())):
        return CPU
    device = torch.device("cuda", 0) if wanted is None or str(wanted) == "cuda" else wanted
    try:
        try_iteration(place_work(work, device), place_shards(data, device), start_P.to(device))
    except Exception as error:  # whatever the user's network raises there
        if wanted is None:
            return CPU
        fix = (
            f"recipe {work.recipe.name!r} does not run there ({type(error).__name__}: {error}): "
            "make its own tensors on its inputs' device, or write cpu"
        )
        raise InputError(FIELD, str(device), fix) from error
    return device


def try_iteration(work: LocalWork, data: JoinedShards, start_P: torch.Tensor) -> None:
    """Run one iteration on the first member's first samples, for what it raises."""
    rows = torch.arange(min(data.counts[0], work.settings.batch_size)) + data.offsets[0]
    carry = work.init(unflatten(work.layout, start_P))
    with deterministic(data.device):
        work.step(carry, carry.params, *data.batch(rows), None)


def place_work(work: LocalWork, device: torch.device) -> LocalWork:
    """Return the work with its modules' and counters' tensors on `device`."""
    if device.type == CPU.type:
        return work
    modules = tuple((copy.deepcopy(module).to(device), shapes) for module, shapes in work.modules)
    integers = tuple({name: t.to(device) for name, t in one.items()} for one in work.integers)
    return replace(work, modules=modules, integers=integers)


def place_shards(data: JoinedShards, device: torch.device) -> JoinedShards:
    """Return the samples so that batches come on `device`; all of them moved if they are few."""
    if device.type == CPU.type:
        return data
    size = sum(t.numel() * t.element_size() for t in (data.inputs, data.targets))
    if size > SAMPLES_BYTES_MAX:
        return replace(data, device=device)
    inputs, targets = data.inputs.to(device), data.targets.to(device)
    return replace(data, inputs=inputs, targets=targets, device=device)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Ask for the same bytes from the same work on a GPU; changes nothing for the CPU."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")  # read when cuBLAS is first used
    was_on = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        is_on = torch.backends.cudnn.enabled  # PyTorch's own default here is to switch it off
        with torch.backends.cudnn.flags(enabled=is_on, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=warned)


@contextmanager
def drawing(device: torch.device, seed: int) -> Iterator[None]:
    """Let whatever a recipe draws come from `seed`; the random state is put back."""
    index = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=index):
        torch.default_generator.manual_seed(seed)
        if index:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given: for whoever measures time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
