"""A provider's machine: one order in, one update out, the same bytes however often it is asked.

Everything that an order names came from a stranger: the task, the recipe, the model and the shard
are blobs that are capped before they are read and checked before they are used, and the work is
estimated before it is begun. Same order, same bytes on machines of one class (`determinism`): the
work runs by itself, on one thread, with deterministic operations.

The engine's device is the processor unless the owner names another; a CPU and a GPU, or two kinds
of processor, give updates that differ in their last bits (see `redundancy`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.shards import count_member_iterations
from kumiai.adapters.compute.market.exact import exact
from kumiai.adapters.compute.market.limits import WorkLimits, check_demand, compute_demand
from kumiai.adapters.compute.market.opened import OpenedJob, open_job, refuse_code
from kumiai.adapters.compute.market.shards import decode_shard
from kumiai.adapters.data.federated import Samples
from kumiai.base.errors import InputError, RunFailedError, StoreError
from kumiai.learning import fixed_point
from kumiai.nodes.market.work import Trained, TrainOrder
from kumiai.nodes.ports import BlobPort, TrainJob

JOBS_KEPT_MAX = 4
MEMBER = "provider"
SEED_MAX = 2**63
# what networks and losses raise on samples that they cannot take
RECIPE_FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class MarketProvider:
    """`ProviderWorkPort` over the engine."""

    def __init__(
        self,
        blobs: BlobPort,
        allow_code: Callable[[str], bool] = refuse_code,
        limits: WorkLimits | None = None,
        device: str = "cpu",
    ) -> None:
        """blobs: the provider's own store, where an order's blobs are and its updates go.

        allow_code: whether the file of a recipe that is not the library's, named by its sha256, may
        run here, with all of this process's rights. By default none may.
        """
        self._blobs, self._allow_code, self._device = blobs, allow_code, device
        self._limits = limits or WorkLimits()
        self._jobs: OrderedDict[tuple[object, ...], OpenedJob] = OrderedDict()

    def train(self, order: TrainOrder) -> Trained:
        """Train one round on one shard.

        InputError for a task, model or shard that is not what it says or asks for too much;
        RunFailedError where the training diverged: there is no update to deliver.
        """
        try:
            return self._train(order)
        except MemoryError as error:
            raise InputError("task", order.task, "more memory than this machine has") from error

    def _train(self, order: TrainOrder) -> Trained:
        if not 0 <= order.seed < SEED_MAX:
            raise InputError("seed", order.seed, "a whole number within 0..2**63-1")
        job = self.open(order)
        if not 1 <= order.round <= job.task.training.rounds:
            raise InputError("round", order.round, f"within 1..{job.task.training.rounds}")
        with exact(job.device):
            shard = self._read_shard(order, job)
            self._check_work(job, len(shard[1]), order.seconds)
            self._check_model(order, job)
            try:
                compute = EngineCompute(
                    job.task, job.recipe, job.engine, self._blobs, {MEMBER: shard}, {}
                )
            except ValueError as error:  # what its rules for the next model say, too
                raise InputError("task", order.task, str(error)) from error
            try:
                (done,) = compute.train([TrainJob(order.round, MEMBER, order.model, order.seed)])
            except RECIPE_FAULTS as error:
                raise InputError("shard", order.shard, str(error)) from error
        if not done.update:
            raise RunFailedError(f"round {order.round}: the training diverged, nothing to deliver")
        return Trained(
            update=done.update,
            size_bytes=done.size_bytes,
            sample_count=done.sample_count,
            iteration_count=done.iteration_count,
            flop=done.flop,
            loss_ppm=done.loss_ppm,
        )

    def open(self, order: TrainOrder) -> OpenedJob:
        """Return the order's job, opened once for all its rounds; InputError as `open_job`."""
        key = (order.task, order.code, order.input_shape, order.class_count)
        if key not in self._jobs:
            job = open_job(
                self._blobs,
                order.task,
                order.code,
                order.input_shape,
                order.class_count,
                limits=self._limits,
                allow_code=self._allow_code,
                device=self._device,
            )
            while len(self._jobs) >= JOBS_KEPT_MAX:
                self._jobs.popitem(last=False)[1].close()
            self._jobs[key] = job
        self._jobs.move_to_end(key)
        return self._jobs[key]

    def close(self) -> None:
        """Let go of all opened jobs."""
        while self._jobs:
            self._jobs.popitem()[1].close()

    def _read_shard(self, order: TrainOrder, job: OpenedJob) -> Samples:
        data = self._get("shard", order.shard, self._limits.shard_bytes_max)
        return decode_shard(data, job.input_shape, job.class_count)

    def _check_model(self, order: TrainOrder, job: OpenedJob) -> None:
        size = job.layout.size
        data = self._get("model", order.model, fixed_point.compute_size_bytes_max(size))
        try:
            fixed_point.decode_vector("model", data, size)
        except ValueError as error:
            raise InputError("model", order.model, str(error)) from error

    def _check_work(self, job: OpenedJob, sample_count: int, seconds: int) -> None:
        """Refuse work beyond the limits before a number of it is computed."""
        if not job.is_library_recipe:
            return
        demand = compute_demand(job.recipe, job.task, job.input_shape, sample_count)
        (count,) = count_member_iterations(job.engine.settings, (sample_count,))
        check_demand(demand, count, self._limits, seconds, job.device.type)

    def _get(self, field: str, name: str, size_bytes_max: int) -> bytes:
        try:
            return self._blobs.get(name, size_bytes_max)
        except StoreError as error:
            if error.is_retriable:
                raise
            raise InputError(field, name, str(error)) from error
