"""The compute port over the learning engine: a member's data stays in here, blobs come out.

One instance serves all members of a process. A round's members are trained in one stacked call; all
validators of a round share the coalition models, each measuring them on its own hold-out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.combine import combine_updates
from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.execution.shards import count_member_iterations, falsify
from kumiai.adapters.compute.measure import HoldoutMeasure
from kumiai.adapters.compute.member_work import MemberJob, MemberTrainer, convert_loss
from kumiai.adapters.compute.memory import (
    Memory,
    compute_memory_bytes,
    decode_memory,
    encode_memory,
)
from kumiai.adapters.compute.nesting import Nesting
from kumiai.adapters.compute.private_work import NoiseKeys, Shard, account_epsilon
from kumiai.adapters.compute.rechecked import Rechecker
from kumiai.adapters.compute.roots import ROOT, train_roots
from kumiai.adapters.compute.scoring import Holdout, score_round
from kumiai.adapters.compute.secure_work import GroupSums, encode_masked
from kumiai.adapters.compute.task_rules import TaskRules, build_task_codec
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.base.amounts import PPM
from kumiai.base.errors import RunFailedError
from kumiai.learning import fixed_point, server
from kumiai.learning.aggregation import Kernels, NumpyKernels
from kumiai.learning.codecs import for_round
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.nodes import ports
from kumiai.tasks.document import TaskDocument, compute_task_id
from kumiai.tasks.secure import is_secure

AGGREGATES_KEPT_MAX = 8
PROGRAM_BYTES_MAX = 2**31  # of a member's program: twice what it may give


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
        kernels: Kernels | None = None,
        member_trainer: MemberTrainer | None = None,
        tell: Callable[[str, str], None] | None = None,
        noise_secrets: Mapping[str, bytes] | None = None,
    ) -> None:
        """Take the data of the members that live in this process.

        shards: member -> its own (inputs, labels). holdouts: validator -> its own two hold-outs.
        label_maps: member -> a permutation of the classes by which its labels are falsified before
        training: a poisoner's machine, for scenarios. codec_states: where the members of this
        process keep what their codec remembers, written before a result is returned so that a
        killed run goes on from it; without it, it is kept in memory. kernels: compiled loops of
        aggregation; numpy's, which give the same bits, without them. member_trainer: does the local
        work instead of the engine; `tell` (member, sentence) hears why a member has no update.
        noise_secrets: member -> 32 bytes that nobody else knows, where the task asks for privacy;
        noise and masks follow from them.
        """
        self.task, self.recipe, self.engine, self._blobs = task, recipe, engine, blobs
        maps = label_maps or {}
        self._shards = {key: falsify(shard, maps.get(key)) for key, shard in shards.items()}
        self._holdouts = dict(holdouts)
        self.codec = build_task_codec(task, engine.layout.shapes)
        self._codec_states = codec_states if codec_states is not None else MemoryBlobs()
        self._rules = TaskRules(task, engine.layout.size)
        self._member_trainer, self._tell = member_trainer, tell
        self._decoded = DecodedBlobs(blobs, engine.layout.size, self.codec)
        self._nesting = Nesting(recipe, task.model.widths_ppm)
        self._kernels = kernels or NumpyKernels()
        self._secrets = dict(noise_secrets or {})
        self._noise = NoiseKeys(task, self._secrets, self._shards)
        self._sums = GroupSums(blobs, engine.layout.size)
        self._rechecker = Rechecker(
            task, recipe, engine.layout, blobs, self._decoded, self._nesting, self._sums, holdouts
        )
        self._task_id = compute_task_id(task)
        self._aggregated: dict[ports.AggregateJob, ports.AggregateResult] = {}
        self._measure: tuple[tuple[str, ...], HoldoutMeasure] | None = None
        self._server_state: tuple[str, server.ServerState] = ("", ())  # the last one that was made

    def init_model(self) -> str:
        """Build the initial global model from the task's seed; return its blob."""
        module = build_seeded(self.recipe, 1.0, self.task.seed)
        vector_P = flatten(self.engine.layout, module.state_dict())
        return self._put("model", fixed_point.quantise(vector_P.numpy()))

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        """Train all jobs' members, those who start from the same model in one call.

        A member whose training diverged (a loss or weight that is not finite, or beyond the fixed
        point) gets a result with an empty `update`; the others are not disturbed. KeyError for a
        member without a shard (or, with privacy, a secret) here.
        """
        is_private = self.task.privacy.mode == "local"
        results: dict[int, ports.TrainResult] = {}
        for start in dict.fromkeys((job.model, job.server_state) for job in jobs):
            places = [i for i, j in enumerate(jobs) if (j.model, j.server_state) == start]
            model = start[0]
            if self._member_trainer is not None:
                done = self._let_members_train(self._member_trainer, [jobs[i] for i in places])
                results.update(zip(places, done, strict=True))
                continue
            global_P = torch.from_numpy(fixed_point.dequantise(self._decoded.get("model", model)))
            chosen = [jobs[i] for i in places]
            memories = [self._load_memory(job.codec_state) for job in chosen]
            server_state: server.ServerState = ()
            if self._rules.has_control:
                server_state = self._load_server_state(chosen[0].server_state)
            held_NP = [memory.codec[0] for memory in memories] if self._rules.has_offset else []
            trained = self._nesting.train(
                self.engine,
                [job.width_ppm for job in chosen],
                global_P,
                [self._shards[job.member] for job in chosen],
                [job.seed for job in chosen],
                self._rules.make_guides(
                    [job.round for job in chosen],
                    [memory.control_P for memory in memories],
                    server_state,
                    held_NP,
                ),
                [self._noise.derive_key(job) for job in chosen] if is_private else (),
            )
            losses_N = trained.losses_N.tolist()
            updates_NP = trained.updates_NP.numpy()
            for row, held_P in enumerate(held_NP):
                updates_NP[row] -= held_P  # the codec's memory adds it again
            for row, i in enumerate(places):
                results[i] = self._answer(
                    jobs[i],
                    updates_NP[row],
                    losses_N[row],
                    trained.samples_N[row],
                    trained.iterations_N[row],
                    memories[row],
                    server_state,
                )
        return [results[i] for i in range(len(jobs))]

    def _let_members_train(
        self, trainer: MemberTrainer, jobs: Sequence[ports.TrainJob]
    ) -> list[ports.TrainResult]:
        """The members' own programs from one model; theirs is the word on samples and loss."""
        model_P = fixed_point.dequantise(self._decoded.get("model", jobs[0].model))
        places = {member: place for place, member in enumerate(self._shards)}
        memories = [self._load_memory(job.codec_state) for job in jobs]
        works = trainer.train(
            model_P,
            [
                MemberJob(places[job.member], len(places), job.round, job.seed, memory.program)
                for job, memory in zip(jobs, memories, strict=True)
            ],
        )
        results = []
        for job, memory, work in zip(jobs, memories, works, strict=True):
            if work.fault and self._tell is not None:
                self._tell(job.member, work.fault)
            if work.fault:
                results.append(ports.TrainResult(job.member, "", 0, 0, 0, 0, 0))
                continue
            settings = self.engine.settings
            (iterations,) = count_member_iterations(settings, (work.sample_count,))
            results.append(
                self._answer(
                    job,
                    work.update_P,
                    work.loss,
                    work.sample_count,
                    iterations,
                    memory._replace(program=work.memory),
                    (),
                )
            )
        return results

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        """Judge updates for all validators in this process, those of one round together.

        KeyError for a validator without a hold-out here.
        """
        results: dict[int, ports.ScoreResult] = {}
        for number in dict.fromkeys(job.round for job in jobs):
            places = [i for i, job in enumerate(jobs) if job.round == number]
            chosen = [jobs[i] for i in places]
            measure = self._get_measure(tuple(job.validator for job in chosen))
            scored = score_round(
                self.task, measure, self._decoded, chosen, self._nesting, self._sums
            )
            self._rechecker.remember(chosen, scored)
            roots = self._train_roots([job for job in chosen if job.wants_root])
            scored = [replace(one, root=roots.get(one.validator, "")) for one in scored]
            results.update(zip(places, scored, strict=True))
        return [results[i] for i in range(len(jobs))]

    def recheck(self, jobs: Sequence[ports.RecheckJob]) -> list[ports.RecheckResult]:
        """Recompute others' sheets on the hold-outs that the customer opened."""
        return self._rechecker.recheck(jobs)

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
        weights = [weight for _, _, weight in job.included]
        updates: list[NDArray[np.int32]] = []
        if not job.groups:
            updates = [self._decoded.get("update", blob) for _, blob, _ in job.included]

        def combine(vectors: list[NDArray[np.int32]]) -> NDArray[np.int32]:
            if job.widths_ppm:
                return self._nesting.average(vectors, weights, job.widths_ppm, self._kernels)
            return combine_updates(self.task.training, self._decoded, job, vectors, self._kernels)

        if job.groups:
            delta_P = self._sums.compute_mean(job.groups, self._kernels)
        else:
            delta_P = combine(self._rules.prepare(updates, weights))
        rule = self._rules.server
        state = self._load_server_state(job.server_state or "")
        try:
            state, model_P = server.apply_in_span(
                rule,
                state,
                self._decoded.get("model", job.model),
                delta_P,
                self._nesting.find_covered(job.widths_ppm)
                if job.widths_ppm
                else self._rules.get_span(job.round),
            )
        except ValueError as error:
            raise RunFailedError(f"round {job.round}: {error}") from error
        if self._rules.has_control:
            next_state = self._rules.compute_next_state
            state = next_state(state, updates, weights, job.round, combine)
        state_blob = self._blobs.put(server.encode_state(rule, state)) if state else None
        self._server_state = (state_blob or "", state)
        return ports.AggregateResult(self._put("model", model_P), state_blob)

    def _train_roots(self, jobs: Sequence[ports.ScoreJob]) -> dict[str, str]:
        """Train the updates of validators that want a root of their own; blobs by validator."""
        if not jobs:
            return {}
        model_P = self._decoded.get("model", jobs[0].model)
        holdouts = [self._holdouts[job.validator].a for job in jobs]
        guides_NG = self._rules.make_guides([job.round for job in jobs], (), ())
        roots = train_roots(self.task, self.engine, model_P, jobs, holdouts, guides_NG)
        span = self._rules.get_span(jobs[0].round)
        for root_P in roots.values():  # as long as what it is compared with
            root_P[: span.start] = root_P[span.stop :] = 0
        return {validator: self._put(ROOT, root_P) for validator, root_P in roots.items()}

    def _answer(
        self,
        job: ports.TrainJob,
        update_P: NDArray[np.float32],
        loss: float,
        sample_count: int,
        iteration_count: int,
        memory: Memory,
        server_state: server.ServerState,
    ) -> ports.TrainResult:
        nothing = ports.TrainResult(job.member, "", 0, sample_count, iteration_count, 0, 0)
        if not math.isfinite(loss):
            return nothing
        try:
            codec = for_round(self.codec, job.round)
            data, after = codec.encode(update_P, memory.codec, job.seed)
            ints_P = self.codec.decode_fixed(data, len(update_P))  # what everybody will see
        except ValueError:  # not finite, or too far from the global model for the fixed point
            return nothing
        control_P = memory.control_P
        if self._rules.has_control:
            control_P = self._rules.compute_next_own(
                control_P, server_state, ints_P, iteration_count, job.round
            )
        remembered = encode_memory(Memory(control_P, after, memory.program))
        state = self._codec_states.put(remembered) if remembered else ""
        if is_secure(self.task):  # the open update leaves no trace outside of this process
            data = encode_masked(self._secrets[job.member], self._task_id, job, ints_P)
        blob = self._blobs.put(data)
        if not is_secure(self.task):
            self._decoded.keep("update", blob, ints_P)
        seen = iteration_count * min(self.task.training.batch_size, sample_count)
        inputs, targets = self._shards[job.member]
        engine = self._nesting.get_engine(self.engine, job.width_ppm)
        return ports.TrainResult(
            member=job.member,
            update=blob,
            size_bytes=len(data),
            sample_count=sample_count,
            iteration_count=iteration_count,
            flop=engine.count_flop(tuple(inputs.shape[1:]), targets[:1]) * seen,
            # 0 with privacy: what no noise or mask covers is not told
            loss_ppm=0 if is_secure(self.task) else convert_loss(loss),
            codec_state=state,
            epsilon_milli=self.claim_epsilon(job.trained_before, sample_count, iteration_count),
        )

    def claim_epsilon(self, trained_before: int, sample_count: int, iteration_count: int) -> int:
        """Return milli-epsilon of this round and all before it; 0 where nothing is private."""
        return account_epsilon(self.task, (trained_before + 1) * iteration_count, sample_count)

    def find_outside(self, width_ppm: int) -> NDArray[np.int64]:
        """Return the model's numbers that a member of this width may not change."""
        return self._nesting.find_outside(width_ppm)

    def _load_memory(self, name: str) -> Memory:
        """Read what a member remembers; what a first update starts from if nothing."""
        size = self.engine.layout.size
        first = Memory(np.zeros(size * self._rules.has_control, np.int32), self.codec.init(size))
        if not name:
            return first
        cap = compute_memory_bytes(self.codec, first, size)
        if self._member_trainer is not None:
            cap += PROGRAM_BYTES_MAX
        return decode_memory(self.codec, first, self._codec_states.get(name, cap), size)

    def _load_server_state(self, name: str) -> server.ServerState:
        """Read the server rule's state; its first one for no name."""
        rule, size = self._rules.server, self.engine.layout.size
        if not name:
            return rule.init(size)
        made, state = self._server_state  # read once: verify aggregates in threads
        if name == made:
            return state
        cap = server.compute_state_bytes_max(rule, size)
        return server.decode_state(rule, self._blobs.get(name, cap), size)

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
