"""What runs inside a Ray worker: it keeps recipe, samples and compiled step, and trains on request.

The class is plain Python and imports no Ray; `ray_cluster` makes an actor of it. What arrives is
plain data: bytes of tensors, frozen settings and where the recipe comes from. The recipe is made
again from its file or its name, in the worker; functions never travel. A worker whose recipe,
kumiai, PyTorch or processor is another than the run's refuses to train: its results would differ.

No method raises for what the work brings with it: the answer says so. What Ray then reports as an
error is the loss of the worker.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kumiai import learning
from kumiai.adapters.compute.execution.inline import Step, train_member
from kumiai.adapters.compute.execution.lowered_step import LoweredStep
from kumiai.adapters.compute.execution.lowering import LoweringError, Tier
from kumiai.adapters.compute.execution.shards import JoinedShards
from kumiai.adapters.data.user_file import is_user_reference, load_user_recipe
from kumiai.adapters.language.lora import LORA, remake_lora_recipe
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork, TrainSettings, build_local_work
from kumiai.learning.recipe import Recipe, RecipeOrigin, build_recipe

Kind = Literal["trained", "failed", "unlowered", "refused"]


@dataclass(frozen=True)
class PackedTensor:
    """A tensor as bytes, which Ray keeps in shared memory and hands out without a copy."""

    data: NDArray[np.uint8]
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class PackedShards:
    """`JoinedShards` as bytes; images with channels innermost where the run wants them so."""

    inputs: PackedTensor
    targets: PackedTensor
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    is_channels_last: bool


@dataclass(frozen=True)
class WorkOrder:
    """What a worker needs to build the run's work itself. traits: see `describe_traits`."""

    origin: RecipeOrigin
    settings: TrainSettings
    tier: Tier
    cache_dir: Path | None
    traits: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What came of a chunk of c members: updates_CP and losses_C, or why not.

    kind: failed (the recipe raised), unlowered (no compiled step), refused (the worker is unlike
    the run). seconds: what training took.
    """

    kind: Kind
    updates_CP: NDArray[np.float32] | None = None
    losses_C: tuple[float, ...] = ()
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Bench:
    """A run's work and samples as they lie in one worker."""

    work: LocalWork
    step: Step
    data: JoinedShards


UNOPENED = Answer(
    "refused",
    message="a worker could not open the run's samples or recipe: Ray's log says why",
)


class RayWorker:
    """Trains members of the runs that were opened in it, one at a time, on one thread."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._benches: dict[str, Bench | Answer] = {}

    def get_pid(self) -> int:
        """Return the process id, which also says that the worker is up."""
        return os.getpid()

    def open(
        self, key: str, order: WorkOrder, shards: PackedShards, global_P: NDArray[np.float32]
    ) -> None:
        """Build the work of run `key`; what is wrong with it is the answer to its first chunk."""
        try:
            with torch.no_grad():
                self._benches[key] = make_bench(order, shards, view(global_P))
        except LoweringError as error:
            self._benches[key] = Answer("unlowered", message=str(error))
        except (InputError, ValueError) as error:
            self._benches[key] = Answer("refused", message=str(error))

    def train(
        self,
        key: str,
        global_P: NDArray[np.float32],
        members: Sequence[int],
        seeds: Sequence[int],
        guides_CG: NDArray[np.float32] | None = None,
    ) -> Answer:
        """Train `members` from the global model, each with its seed and its guide, if any."""
        bench = self._benches.get(key, UNOPENED)
        if isinstance(bench, Answer):
            return bench
        updates_CP = np.empty((len(members), len(global_P)), dtype=np.float32)
        losses = []
        start = time.perf_counter()
        try:
            with torch.no_grad():
                for c, (member, seed) in enumerate(zip(members, seeds, strict=True)):
                    update_P, loss = train_member(
                        bench.work,
                        bench.step,
                        view(global_P),
                        bench.data,
                        member=member,
                        seed=seed,
                        guide_G=None if guides_CG is None else view(guides_CG[c]),
                    )
                    updates_CP[c] = update_P.numpy()
                    losses.append(loss)
        except ValueError as error:
            return Answer("failed", message=str(error))
        return Answer("trained", updates_CP, tuple(losses), time.perf_counter() - start)

    def forget(self, key: str) -> None:
        """Drop a run's work and samples."""
        self._benches.pop(key, None)


def make_bench(order: WorkOrder, shards: PackedShards, global_P: Tensor) -> Bench:
    """Build recipe, step and view of the samples.

    Raises InputError or ValueError where this worker's recipe or machine is not the run's.
    """
    work = build_local_work(remake_recipe(order.origin), order.settings)
    here = describe_traits(work)
    for name, wanted in order.traits.items():
        if here[name] != wanted:
            raise ValueError(
                f"{name} is {here[name]} on a Ray worker and {wanted} where the run was started: "
                "results would differ; make both alike"
            )
    data = unpack_shards(shards)
    if order.tier == "eager":
        return Bench(work, work.step, data)
    step = LoweredStep(work, order.tier, order.cache_dir, threads=1)
    step.prepare(global_P, data)
    return Bench(work, step, data)


def remake_recipe(origin: RecipeOrigin) -> Recipe:
    """Return the recipe that `origin` names; InputError where its file is missing or another."""
    if origin.name == LORA:
        return remake_lora_recipe(origin)
    options = dict(origin.options)
    if not is_user_reference(origin.name):
        return build_recipe(
            origin.name, options, origin.widths_ppm, origin.input_shape, origin.class_count
        )
    path = Path(origin.folder) / origin.name.rpartition(":")[0]
    if not path.is_file():
        fix = f"a Ray worker finds no file {path}: put the folder where every node of Ray sees it"
        raise InputError("model.recipe", origin.name, fix)
    if sha256_hex(path.read_bytes()) != origin.file_sha256:
        fix = f"{path} is not the file that the run was started with: start the run anew"
        raise InputError("model.recipe", origin.name, fix)
    return load_user_recipe(origin.name, options, origin.widths_ppm, Path(origin.folder))


def describe_traits(work: LocalWork) -> dict[str, str]:
    """Return what must be alike for the same bytes to come out."""
    return {
        "kumiai's code": hash_code(),
        "PyTorch's version": str(torch.__version__),
        "the processor's instruction set": torch.backends.cpu.get_cpu_capability(),
        "the network's layout": sha256_hex(repr(work.layout).encode())[:16],
    }


@cache
def hash_code() -> str:
    """Return a short hash of all code that training runs, as it lies on this machine."""
    folders = [Path(__file__).parent, *map(Path, learning.__path__)]
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return sha256_hex(b"".join(path.read_bytes() for path in files))[:16]


def pack_shards(data: JoinedShards) -> PackedShards:
    """Return the samples as bytes."""
    inputs = data.inputs.permute(0, 2, 3, 1) if data.is_channels_last else data.inputs
    return PackedShards(
        pack(inputs), pack(data.targets), data.offsets, data.counts, data.is_channels_last
    )


def unpack_shards(packed: PackedShards) -> JoinedShards:
    """Return the samples over the same memory, which must not be written to."""
    inputs = unpack(packed.inputs)
    if packed.is_channels_last:
        inputs = inputs.permute(0, 3, 1, 2)
    targets = unpack(packed.targets)
    return JoinedShards(inputs, targets, packed.offsets, packed.counts, packed.is_channels_last)


def pack(tensor: Tensor) -> PackedTensor:
    """Return a tensor's numbers in their order, as bytes."""
    plain = tensor.detach().contiguous()
    data = plain.view(-1).view(torch.uint8).numpy()
    return PackedTensor(data, plain.dtype, tuple(plain.shape))


def unpack(packed: PackedTensor) -> Tensor:
    """Return the tensor over the same memory."""
    return view(packed.data).view(packed.dtype).view(packed.shape)


def view(array: NDArray[Any]) -> Tensor:
    """Return a tensor over the array's memory, which Ray shares and nobody writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)
