"""The compute port over the learning engine: a member's data stays in here, blobs come out.

One instance serves all members of a process. A round's members are trained in one stacked call; all
validators of a round share the coalition models, each measuring them on its own hold-out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.scoring import Holdout, score_round
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.base.amounts import PPM
from kumiai.base.errors import RunFailedError
from kumiai.learning import aggregation, fixed_point, server
from kumiai.learning.codecs import (
    State,
    build_codec,
    compute_state_bytes,
    decode_state,
    encode_state,
)
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.nodes import ports
from kumiai.tasks.document import TaskDocument

Shard = tuple[torch.Tensor, torch.Tensor]

AGGREGATES_KEPT_MAX = 8
LOSS_PPM_MAX = 2**52  # of a training loss as claimed: an exact integer in any reader's JSON


class EngineCompute:
    """All numeric work of the members that live in this process."""

    def __init__(
        self,
        task: TaskDocument,
        recipe: Recipe,
        engine: Engine,
        blobs: ports.BlobPort,
        shards: Mapping[str, Shard],
        holdouts: Mapping[str, Holdout],
        label_maps: Mapping[str, Sequence[int]] | None = None,
        codec_states: ports.BlobPort | None = None,
    ) -> None:
        """Take the data of the members that live in this process.

        shards: member -> its own (inputs, labels). holdouts: validator -> its own two hold-outs.
        label_maps: member -> a permutation of the classes by which its labels are falsified before
        training: a poisoner's machine, for scenarios. codec_states: where the members of this
        process keep what their codec remembers, written before a result is returned so that a
        killed run goes on from it; without it, it is kept in memory.
        """
        self.task, self.recipe, self.engine, self._blobs = task, recipe, engine, blobs
        maps = label_maps or {}
        self._shards = {key: _falsify(shard, maps.get(key)) for key, shard in shards.items()}
        self._holdouts = dict(holdouts)
        self.codec = build_codec(task.training.codec, engine.layout.shapes)
        self._codec_states = codec_states if codec_states is not None else MemoryBlobs()
        self._decoded = DecodedBlobs(blobs, engine.layout.size, self.codec)
        self._aggregated: dict[ports.AggregateJob, ports.AggregateResult] = {}
        self._measure: tuple[tuple[str, ...], HoldoutMeasure] | None = None

    def init_model(self) -> str:
        """Build the initial global model from the task's seed; return its blob."""
        module = build_seeded(self.recipe, 1.0, self.task.seed)
        vector_P = flatten(self.engine.layout, module.state_dict())
        return self._put("model", fixed_point.quantise(vector_P.numpy()))

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        """Train all jobs' members, those who start from the same model in one call.

        A member whose training diverged (a loss or weight that is not finite, or beyond the fixed
        point) gets a result with an empty `update`; the others are not disturbed. KeyError for a
        member without a shard here.
        """
        results: dict[int, ports.TrainResult] = {}
        for model in dict.fromkeys(job.model for job in jobs):
            places = [i for i, job in enumerate(jobs) if job.model == model]
            global_P = torch.from_numpy(fixed_point.dequantise(self._decoded.get("model", model)))
            trained = self.engine.train(
                global_P,
                [self._shards[jobs[i].member] for i in places],
                [jobs[i].seed for i in places],
            )
            losses_N = trained.losses_N.tolist()
            updates_NP = trained.updates_NP.numpy()
            for row, i in enumerate(places):
                results[i] = self._answer(
                    jobs[i],
                    updates_NP[row],
                    losses_N[row],
                    trained.samples_N[row],
                    trained.iterations_N[row],
                )
        return [results[i] for i in range(len(jobs))]

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        """Judge updates for all validators in this process, those of one round together.

        KeyError for a validator without a hold-out here.
        """
        results: dict[int, ports.ScoreResult] = {}
        for number in dict.fromkeys(job.round for job in jobs):
            places = [i for i, job in enumerate(jobs) if job.round == number]
            chosen = [jobs[i] for i in places]
            measure = self._get_measure(tuple(job.validator for job in chosen))
            scored = score_round(self.task, measure, self._decoded, chosen)
            results.update(zip(places, scored, strict=True))
        return [results[i] for i in range(len(jobs))]

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        """Compute the next model in integers; the same job is computed once a process.

        Without any update the model stays as it is. RunFailedError if a weight would leave the
        range of the fixed point: the run diverges.
        """
        if job not in self._aggregated:
            while len(self._aggregated) >= AGGREGATES_KEPT_MAX:
                del self._aggregated[next(iter(self._aggregated))]
            self._aggregated[job] = self._aggregate(job)
        return self._aggregated[job]

    def measure_curve(self, job: ports.CurveJob) -> ports.CurveResult:
        """Measure a model at every width on the validator's second hold-out.

        KeyError for a validator without a hold-out here.
        """
        ints_P = self._decoded.get("model", job.model)
        model_1P = torch.from_numpy(fixed_point.dequantise(ints_P))[None]
        inputs, targets = self._holdouts[job.validator].b
        accuracies = [
            self.engine.evaluate(model_1P, inputs, targets, width)[1]
            for width in self.recipe.widths
        ]
        shares = tuple(round(float(accuracy[0]) * PPM) for accuracy in accuracies)
        return ports.CurveResult(job.validator, job.model, shares)

    def _aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        if not job.included:
            return ports.AggregateResult(job.model, job.server_state)
        training, size = self.task.training, self.engine.layout.size
        rule = server.build_server(
            training.algorithm, training.server_learning_rate_ppm, training.server_momentum_ppm
        )
        delta_P = aggregation.aggregate(
            self._choose_aggregator(len(job.included)),
            [self._decoded.get("update", blob) for _, blob, _ in job.included],
            [weight for _, _, weight in job.included],
            aggregation.Settings(training.trim_ppm, training.byzantine_count),
        )
        state_P = rule.init(size)
        if job.server_state is not None:
            cap = fixed_point.compute_size_bytes_max(size, 8)
            state_P = server.decode_state(self._blobs.get(job.server_state, cap), size)
        try:
            state_P, model_P = rule.apply(state_P, self._decoded.get("model", job.model), delta_P)
        except ValueError as error:
            raise RunFailedError(f"round {job.round}: {error}") from error
        state_blob = None if state_P is None else self._blobs.put(server.encode_state(state_P))
        return ports.AggregateResult(self._put("model", model_P), state_blob)

    def _choose_aggregator(self, count: int) -> str:
        """The task's rule, or the median where too few updates are left for multi-Krum."""
        name, byzantine_count = self.task.training.aggregator, self.task.training.byzantine_count
        too_few = byzantine_count > 0 and count < 2 * byzantine_count + 3
        return "median" if name == "multi_krum" and too_few else name

    def _answer(
        self,
        job: ports.TrainJob,
        update_P: NDArray[np.float32],
        loss: float,
        sample_count: int,
        iteration_count: int,
    ) -> ports.TrainResult:
        nothing = ports.TrainResult(job.member, "", 0, sample_count, iteration_count, 0, 0)
        if not math.isfinite(loss):
            return nothing
        before = self._load_state(job.codec_state)
        try:
            data, after = self.codec.encode(update_P, before, job.seed)
            ints_P = self.codec.decode_fixed(data, len(update_P))  # what everybody will see
        except ValueError:  # not finite, or too far from the global model for the fixed point
            return nothing
        state = self._codec_states.put(encode_state(after)) if after else ""
        blob = self._blobs.put(data)
        self._decoded.keep("update", blob, ints_P)
        training = self.task.training
        seen = sample_count * training.local_epochs
        if training.local_iterations:
            seen = iteration_count * training.batch_size
        inputs, targets = self._shards[job.member]
        return ports.TrainResult(
            member=job.member,
            update=blob,
            size_bytes=len(data),
            sample_count=sample_count,
            iteration_count=iteration_count,
            flop=self.engine.count_flop(tuple(inputs.shape[1:]), targets[:1]) * seen,
            loss_ppm=min(LOSS_PPM_MAX, round(loss * PPM)),
            codec_state=state,
        )

    def _load_state(self, name: str) -> State:
        """Read what the member's codec remembers; what a first update starts from if nothing."""
        size = self.engine.layout.size
        if not name:
            return self.codec.init(size)
        data = self._codec_states.get(name, compute_state_bytes(self.codec, size))
        return decode_state(self.codec, data, size)

    def _get_measure(self, validators: tuple[str, ...]) -> HoldoutMeasure:
        """Join the hold-outs of these validators, A and B of each, once for all rounds."""
        if self._measure is None or self._measure[0] != validators:
            parts = [
                part
                for validator in validators
                for part in (self._holdouts[validator].a, self._holdouts[validator].b)
            ]
            measure = HoldoutMeasure(self.recipe, self.engine.layout, parts)
            self._measure = (validators, measure)
        return self._measure[1]

    def _put(self, name: str, ints_P: NDArray[np.int32]) -> str:
        blob = self._blobs.put(fixed_point.encode_vector(name, ints_P))
        self._decoded.keep(name, blob, ints_P)
        return blob


def _falsify(shard: Shard, label_map: Sequence[int] | None) -> Shard:
    if label_map is None:
        return shard
    return shard[0], torch.tensor(list(label_map), dtype=torch.int64)[shard[1]]
