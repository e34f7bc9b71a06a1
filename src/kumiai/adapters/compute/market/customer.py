"""A customer's machine, and a validator's: make a job of a task file, judge updates, combine them.

The customer's hold-outs and test part never leave this process: `prepare` publishes the shards, the
task, the first model and the recipe's file, nothing else. Data are dealt by the task's seed, so a
customer that starts again after a crash has the very same job, blob for blob.
"""

from __future__ import annotations

from pathlib import Path

import torch

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.market.exact import exact
from kumiai.adapters.compute.market.judging import judge_updates
from kumiai.adapters.compute.market.opened import OpenedJob, assemble, check_market_task
from kumiai.adapters.compute.market.shards import encode_shard
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.methods import check_method
from kumiai.adapters.compute.task_rules import check_task_server
from kumiai.adapters.compute.task_work import load_recipe, split_task, try_recipe
from kumiai.adapters.data.federated import Samples
from kumiai.adapters.data.sources import load_source
from kumiai.adapters.data.user_file import is_user_reference
from kumiai.base import canonical
from kumiai.base.amounts import PPM
from kumiai.base.errors import InputError
from kumiai.learning import fixed_point
from kumiai.learning.slim import extract_width
from kumiai.nodes.market.work import Combined, CombineOrder, Judgement, JudgeOrder, Prepared
from kumiai.nodes.ports import AggregateJob, BlobPort
from kumiai.tasks.document import TaskDocument, to_document

CANDIDATES_MAX = 256
SEED_DIGITS = 64


class MarketJudge:
    """`CustomerWorkPort` over the engine, for whoever has the job and a hold-out of its own."""

    def __init__(self, job: OpenedJob, blobs: BlobPort, holdout: Samples) -> None:
        """holdout: (inputs, targets) that no provider has seen; it stays here."""
        self.job, self.blobs, self.holdout = job, blobs, holdout
        self._compute = EngineCompute(job.task, job.recipe, job.engine, blobs, {}, {})
        self._decoded = DecodedBlobs(blobs, job.layout.size, job.codec)
        self._measure = HoldoutMeasure(job.recipe, job.layout, [holdout])

    def judge(self, order: JudgeOrder) -> Judgement:
        """Measure a round's updates; see `judging`. ValueError for an order that is no round's.

        InputError for models that are none, or more updates than are judged: a judge has both from
        a customer whom it need not trust.
        """
        providers = [candidate.provider for candidate in order.candidates]
        if len(set(providers)) != len(providers):
            raise ValueError(f"{len(providers)} candidates of fewer providers: each once")
        if len(providers) > CANDIDATES_MAX:
            raise InputError("candidates", len(providers), f"at most {CANDIDATES_MAX} a round")
        if not canonical.is_hash(order.seed):
            raise ValueError(f"seed {order.seed!r} is not {SEED_DIGITS} hex digits")
        for name in filter(None, (order.model, order.previous_model)):
            self._check_model(name)
        with exact(self.job.device):
            return judge_updates(self.job, self._measure, self._decoded, order)

    def combine(self, order: CombineOrder) -> Combined:
        """Make the next model, in integers: whoever has the same updates makes the same bytes.

        Without any update the model stays. RunFailedError where a weight would leave the range of
        the fixed point; ValueError for an update that cannot be decoded: it was not judged.
        """
        done = self._compute.aggregate(
            AggregateJob(
                round=order.round,
                model=order.model,
                server_state=order.server_state,
                included=order.included,
                previous_model=order.previous_model,
                seed=order.seed,
            )
        )
        return Combined(done.model, done.server_state)

    def measure(self, model: str, samples: Samples) -> tuple[int, int]:
        """Return a model's mean loss (ppm of a nat) and accuracy (ppm) on these samples."""
        vector_P = self._read(model)
        with exact(self.job.device):
            loss, accuracy = self.job.engine.evaluate(vector_P[None], *samples)
        return round(float(loss[0]) * PPM), round(float(accuracy[0]) * PPM)

    def name_tensors(self, model: str) -> dict[str, torch.Tensor]:
        """Return a model's tensors by the names of the recipe's network, at full width."""
        tensors = extract_width(self.job.recipe, self._read(model), 1.0)
        return {name: tensor.contiguous() for name, tensor in tensors.items()}

    def _check_model(self, name: str) -> None:
        try:
            self._decoded.get("model", name)
        except ValueError as error:
            raise InputError("model", name, str(error)) from error

    def _read(self, model: str) -> torch.Tensor:
        size = self.job.layout.size
        data = self.blobs.get(model, fixed_point.compute_size_bytes_max(size))
        vector_P = fixed_point.dequantise(fixed_point.decode_vector("model", data, size))
        return torch.from_numpy(vector_P)

    def close(self) -> None:
        """Let go of the job."""
        self.job.close()


class MarketCustomer(MarketJudge):
    """A customer: a judge that has the data, and so can also make the job."""

    def __init__(
        self, task: TaskDocument, base_dir: Path, blobs: BlobPort, device: str = "cpu"
    ) -> None:
        """Load and deal the data, build and try the recipe; InputError names what does not fit.

        base_dir: where the task file's own files lie. The customer's code runs with its rights.
        """
        check_market_task(task)
        dataset = load_source(task.data.source, dict(task.data.options), task.seed, base_dir)
        data = split_task(task, dataset)
        recipe = load_recipe(task, base_dir, dataset.input_shape, dataset.class_count)
        try_recipe(recipe, dataset)
        job = assemble(task, recipe, dataset.input_shape, dataset.class_count, device)
        check_method(task, job.layout)
        check_task_server(task)
        halves = [half for pair in data.validation for half in pair]
        holdout = torch.cat([x for x, _ in halves]), torch.cat([y for _, y in halves])
        super().__init__(job, blobs, holdout)
        self.shards, self._base_dir = data.shards, base_dir
        self.test = data.test  # what the finished model is reported on: neither trained nor judged

    def prepare(self) -> Prepared:
        """Publish the job's blobs into the own store; the same names however often it is asked."""
        job = self.job
        task, code = job.task, ""
        if is_user_reference(task.model.recipe):
            code = self.blobs.put(self._read_code())
        with exact(job.device):
            model = self._compute.init_model()
        return Prepared(
            task=self.blobs.put(canonical.encode(to_document(task))),
            code=code,
            model=model,
            shards=tuple(self.blobs.put(encode_shard(shard)) for shard in self.shards),
            sample_counts=tuple(len(targets) for _, targets in self.shards),
            input_shape=job.input_shape,
            class_count=job.class_count,
            update_bytes_max=job.codec.compute_size_bytes_max(job.layout.size),
        )

    def _read_code(self) -> bytes:
        """Return the recipe's file: the one that was loaded, or nothing is published."""
        reference = self.job.task.model.recipe
        data = (self._base_dir / reference.rpartition(":")[0]).read_bytes()
        origin = self.job.recipe.origin
        if origin is None or canonical.sha256_hex(data) != origin.file_sha256:
            raise InputError("model.recipe", reference, "the file has changed: start again")
        return data
