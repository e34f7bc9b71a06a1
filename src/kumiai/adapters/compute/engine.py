"""The compute port over the learning engine: a member's data stays in here, blobs come out.

One instance serves all members of a process. Jobs of a round are trained in one stacked call; all
validators of a round share the coalition models, each measuring them on its own hold-out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.scoring import Holdout, score_round
from kumiai.learning import aggregate, fixed_point, server
from kumiai.learning.engine import Engine
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.nodes import ports
from kumiai.tasks.document import TaskDocument

Shard = tuple[torch.Tensor, torch.Tensor]
_PPM = 1_000_000
_CLAIM_MAX = 2**52


@dataclass(slots=True)
class EngineCompute:
    """`shards`: member -> its own (X, y). `holdouts`: validator -> its own two hold-outs.

    `label_maps`: member -> a permutation of the classes by which its labels are falsified before
    training: a poisoner's machine, for scenarios.
    """

    task: TaskDocument
    recipe: Recipe
    engine: Engine
    blobs: ports.BlobPort
    shards: Mapping[str, Shard]
    holdouts: Mapping[str, Holdout]
    label_maps: Mapping[str, Sequence[int]]
    _decoded: DecodedBlobs
    _aggregated: dict[ports.AggregateJob, ports.AggregateResult]

    def __init__(
        self,
        task: TaskDocument,
        recipe: Recipe,
        engine: Engine,
        blobs: ports.BlobPort,
        shards: Mapping[str, Shard],
        holdouts: Mapping[str, Holdout],
        label_maps: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Take the data of the members that live in this process."""
        self.task, self.recipe, self.engine, self.blobs = task, recipe, engine, blobs
        self.label_maps = label_maps or {}
        self.shards = {key: self._falsify(key, shard) for key, shard in shards.items()}
        self.holdouts = holdouts
        self._decoded = DecodedBlobs(blobs, engine.layout.size)
        self._aggregated = {}

    def init_model(self) -> str:
        """Build the initial global model from the task's seed; return its blob."""
        module = build_seeded(self.recipe, 1.0, self.task.seed)
        vector_P = flatten(self.engine.layout, module.state_dict())
        return self._put("model", fixed_point.quantise(vector_P.numpy()))

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        """Train all jobs' members from the same global model in one call."""
        global_P = torch.from_numpy(fixed_point.dequantise(self._decoded.get("model", jobs[0].model)))
        shards = [self.shards[job.member] for job in jobs]
        result = self.engine.train(global_P, shards, [job.seed for job in jobs])
        answers = []
        for index, job in enumerate(jobs):
            answers.append(
                self._answer(
                    job.member,
                    result.updates_NP[index].numpy(),
                    float(result.losses_N[index]),
                    result.samples_N[index],
                    result.iterations_N[index],
                )
            )
        return answers

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        """Judge one round's updates for all validators in this process."""
        holdouts = [self.holdouts[job.validator] for job in jobs]
        return score_round(self.task, self.engine, self._decoded, jobs, holdouts)

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        """Compute the next model in integers; the same job is computed once a process."""
        if job not in self._aggregated:
            if len(self._aggregated) > 8:
                self._aggregated.clear()
            self._aggregated[job] = self._aggregate(job)
        return self._aggregated[job]

    def _aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        if not job.included:  # nothing valid: the model stays as it is
            return ports.AggregateResult(job.model, job.server_state)
        training = self.task.training
        rule = server.build_server(
            training.algorithm, training.server_learning_rate_ppm, training.server_momentum_ppm
        )
        name = "mean" if len(job.included) == 1 else training.aggregator
        delta_P = aggregate.aggregate(
            name,
            [self._decoded.get("update", blob) for _, blob, _ in job.included],
            [weight for _, _, weight in job.included],
            aggregate.Settings(training.trim_ppm, training.byzantine_count),
        )
        size = self.engine.layout.size
        state = rule.init(size)
        if job.server_state is not None:
            cap = fixed_point.compute_size_bytes_max(size, 8)
            state = server.decode_state(self.blobs.get(job.server_state, cap), size)
        state, model_P = rule.apply(state, self._decoded.get("model", job.model), delta_P)
        state_blob = None if state is None else self.blobs.put(server.encode_state(state))
        return ports.AggregateResult(self._put("model", model_P), state_blob)

    def _answer(
        self, member: str, update_P: np.ndarray, loss: float, samples: int, iterations: int
    ) -> ports.TrainResult:
        """A result that cannot be used carries no update: the member will decline."""
        if not math.isfinite(loss) or not np.isfinite(update_P).all():
            return ports.TrainResult(member, "", 0, samples, iterations, 0, 0)
        try:
            data = fixed_point.encode_vector("update", fixed_point.quantise(update_P))
        except ValueError:  # a diverged update that no fixed-point number can hold
            return ports.TrainResult(member, "", 0, samples, iterations, 0, 0)
        shape = tuple(self.shards[member][0].shape[1:])
        training = self.task.training
        seen = iterations * training.batch_size if training.local_iterations else (
            samples * training.local_epochs
        )
        return ports.TrainResult(
            member=member,
            update=self.blobs.put(data),
            size_bytes=len(data),
            sample_count=samples,
            iteration_count=iterations,
            flop=self.engine.count_flop(shape, self.shards[member][1][:1]) * seen,
            loss_ppm=min(_CLAIM_MAX, round(loss * _PPM)),
        )

    def _put(self, name: str, ints_P: np.ndarray) -> str:
        return self.blobs.put(fixed_point.encode_vector(name, ints_P))

    def _falsify(self, member: str, shard: Shard) -> Shard:
        if member not in self.label_maps:
            return shard
        mapping = torch.tensor(list(self.label_maps[member]), dtype=torch.int64)
        return shard[0], mapping[shard[1]]
