"""From a choice to the backend that trains: the one place that knows all of the family."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kumiai.adapters.compute.execution.choose import Choice
from kumiai.adapters.compute.execution.inline import InlineBackend
from kumiai.adapters.compute.execution.lowered_step import LoweredStep
from kumiai.adapters.compute.execution.parallel import ParallelBackend
from kumiai.adapters.compute.execution.probe import probe
from kumiai.adapters.compute.execution.process import ProcessBackend
from kumiai.adapters.compute.execution.ray_backend import RayBackend
from kumiai.adapters.compute.execution.ray_cluster import RayOptions
from kumiai.adapters.compute.execution.shards import JoinedShards
from kumiai.adapters.compute.execution.stacked import StackedBackend
from kumiai.adapters.compute.execution.vectorised import VectorisedBackend
from kumiai.learning.client import LocalWork

Backend = (
    InlineBackend
    | VectorisedBackend
    | StackedBackend
    | ProcessBackend
    | RayBackend
    | ParallelBackend
)


@dataclass(frozen=True)
class Means:
    """What the machine gives beside the work: a folder for what is kept, workers, Ray."""

    cache_dir: Path | None
    worker_count: int | None
    ray_options: RayOptions


def build_backend(
    work: LocalWork, choice: Choice, global_P: Tensor, data: JoinedShards, means: Means
) -> Backend:
    """Return the chosen backend for this work, which lies on the device that trains.

    Raises LoweringError where the choice's tier cannot be had, InputError where Ray cannot.
    """
    if choice.backend == "parallel":
        assert work.recipe.parallel is not None
        return ParallelBackend(work, work.recipe.parallel, choice.device_type)
    if choice.backend == "vectorised" and choice.tier != "eager":
        return StackedBackend(work, choice.tier, means.cache_dir)
    if choice.backend == "vectorised":
        is_separable = probe(work, global_P.to(data.device), data).is_separable
        return VectorisedBackend(work, is_separable=is_separable)
    step = None
    if choice.tier != "eager":
        # a forked worker must not touch its parent's pool of threads: it would wait for ever
        threads = 1 if choice.backend in ("process", "ray") else None
        step = LoweredStep(work, choice.tier, means.cache_dir, threads=threads)
        step.prepare(global_P, data)
    if choice.backend == "process":
        return ProcessBackend(work, step, means.worker_count)
    if choice.backend == "ray":
        # its workers compile for themselves, or find in the cache what was compiled just now
        return RayBackend(work, choice.tier, means.cache_dir, means.ray_options)
    return InlineBackend(work, step)
