"""The compute port of audited runs: training that leaves a trace, its states, and replays.

Every trainer of such a run is trained by itself, in the plain loop of `execution.traced`. Its
states are kept as far as there is room and only until its next round; one that was not kept, or
that a crash took, is trained again, which gives the same bits. What is opened becomes a blob.

A replay has nothing from the trainer but the states that it opened: the data come from the shard
that the customer named, the batches from the seed, the update from the last state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from kumiai.adapters.compute.determinism import get_class, reproducible
from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.devices import CPU
from kumiai.adapters.compute.execution.probe import has_convolution
from kumiai.adapters.compute.execution.shards import Shard, join_shards
from kumiai.adapters.compute.execution.traced import State, TracedWork, run_trace
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError, StoreError
from kumiai.learning import fixed_point
from kumiai.learning.codecs import for_round
from kumiai.nodes import ports
from kumiai.proofs.trace import count_segments, find_iteration
from kumiai.proofs.verdict import CLOSING, START, Verdict, compare_machines

SHARD_BYTES_MAX = 2**31
STATES_BYTES_MAX = 2**28  # of one member's kept states
SHARDS_KEPT_MAX = 64  # decoded, of audited members
Line = tuple[str, int, str]
Tracer = Callable[[TracedWork, int, Callable[[int, State], None]], tuple[State, Any, float]]


class KeptStates:
    """The states of one member's latest work, by index, as long as they fit."""

    def __init__(self, bytes_max: int = STATES_BYTES_MAX) -> None:
        self._bytes_max, self._held, self._states = bytes_max, 0, dict[int, bytes]()

    def keep(self, index: int, data: bytes) -> None:
        """Keep a state's bytes if there is room."""
        if self._held + len(data) <= self._bytes_max:
            self._states[index] = data
            self._held += len(data)

    def get(self, index: int) -> bytes | None:
        """Return a state's bytes, None if it was not kept."""
        return self._states.get(index)

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept."""
        return self._held


class AuditedCompute(EngineCompute):
    """An `EngineCompute` for tasks with audit.mode = replay."""

    def __init__(
        self,
        *args: Any,
        tracers: Mapping[str, Tracer] | None = None,
        states_bytes_max: int = STATES_BYTES_MAX,
        **kwargs: Any,
    ) -> None:
        """As `EngineCompute`. tracers: member -> what it does instead of `run_trace`: a cheat's
        machine, for scenarios. states_bytes_max: of each member's kept states. InputError for a
        recipe that is trained by several processes.
        """
        super().__init__(*args, **kwargs)
        if self.recipe.parallel is not None:
            fix = f"recipe {self.recipe.name!r} divides a member's sums: leave it out for audits"
            raise InputError("model.options.parallel", self.recipe.parallel.mode, fix)
        self._tracers, self._bytes_max = dict(tracers or {}), states_bytes_max
        self._states: dict[str, tuple[ports.TrainJob, KeptStates]] = {}
        self._assigned: dict[str, Shard] = {}

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        """Train every member by itself and leave a trace; see `EngineCompute.train`."""
        return [self._train_traced(job) for job in jobs]

    def open_traces(self, jobs: Sequence[ports.OpenJob]) -> list[ports.OpenResult]:
        """Put the states that are asked for into the blobs; train again what was not kept."""
        results = []
        for job in jobs:
            kept = self._states.get(job.work.member)
            missing = kept is None or kept[0] != job.work
            if missing or any(kept[1].get(index) is None for index in job.indices):
                self._trace(job.work, wanted=frozenset(job.indices))
            _, states = self._states[job.work.member]
            found = [states.get(index) for index in job.indices]
            names = [self._blobs.put(data) for data in found if data is not None]
            results.append(ports.OpenResult(job.work.member, tuple(names)))
        return results

    def audit(self, jobs: Sequence[ports.AuditJob]) -> list[ports.AuditResult]:
        """Replay what each validator was asked to; in one process the same replay is done once."""
        done: dict[tuple[str, ports.AuditTarget], tuple[Line, int]] = {}
        results = []
        for job in jobs:
            found = []
            for target in job.targets:
                place = (job.model, target)
                if place not in done:
                    done[place] = self.replay(job.model, job.round, target)
                found.append(done[place])
            results.append(
                ports.AuditResult(
                    job.validator,
                    get_class(CPU),
                    tuple(line for line, _ in found),
                    sum(count for _, count in found),
                )
            )
        return results

    def replay(self, model: str, number: int, target: ports.AuditTarget) -> tuple[Line, int]:
        """Replay one target; return what was found first and how many iterations were trained."""
        shard = self._load_shard(target.shard)
        traced = self._begin(model, number, shard, target.seed)
        unequal = compare_machines(target.machine, get_class(CPU)).value
        digests, every = dict(target.leaves), target.checkpoint_every
        if traced.iteration_count != target.iterations:
            return (unequal, START, ""), 0
        last, count = count_segments(target.iterations, every), 0
        with reproducible(CPU), torch.no_grad():
            first = traced.compute_digest(traced.init())
            if first != digests[0]:
                return (unequal, START, first), 0
            for segment in (*target.segments, last):
                try:
                    state = self._fetch(traced, segment, digests[segment], target)
                except LookupError:
                    return (Verdict.MISSING.value, _name(segment, last), ""), count
                except ValueError:  # bytes that are no state of this work
                    return (unequal, _name(segment, last), ""), count
                if segment == last:
                    found = self._compute_blob(traced, state, number, target.seed)
                    if found != target.update:
                        return (unequal, CLOSING, found), count
                    continue
                end = find_iteration(segment + 1, target.iterations, every)
                count += end - state.iteration
                try:
                    found = traced.compute_digest(traced.run(state, end)[0])
                except ValueError:  # a random state that no generator has
                    return (unequal, segment, ""), count
                if found != digests[segment + 1]:
                    return (unequal, segment, found), count
        return (Verdict.VALID.value, 0, ""), count

    def _train_traced(self, job: ports.TrainJob) -> ports.TrainResult:
        traced, state, digests, loss = self._trace(job)
        result = self._answer(
            job,
            traced.compute_update(state).numpy(),
            loss,
            traced.sample_count,
            traced.iteration_count,
            self._load_memory(job.codec_state),
            (),
        )
        if not result.update:
            return result
        return replace(result, trace=digests, machine=get_class(CPU))

    def _trace(
        self, job: ports.TrainJob, wanted: frozenset[int] = frozenset()
    ) -> tuple[TracedWork, State, tuple[str, ...], float]:
        """Train a job's work from its beginning; keep its states, or only those wanted."""
        traced = self._begin(job.model, job.round, self._shards[job.member], job.seed)
        kept = KeptStates(2**62 if wanted else self._bytes_max)

        def keep(index: int, state: State) -> None:
            if not wanted or index in wanted:
                kept.keep(index, traced.encode(state))

        with reproducible(CPU), torch.no_grad():
            run = self._tracers.get(job.member, run_trace)
            state, digests, loss = run(traced, job.checkpoint_every, keep)
        self._states[job.member] = (job, kept)  # what was there is of a round that has passed
        return traced, state, digests, loss

    def _begin(self, model: str, number: int, shard: Shard, seed: int) -> TracedWork:
        global_P = torch.from_numpy(fixed_point.dequantise(self._decoded.get("model", model)))
        guides = self._rules.make_guides([number], (), ())
        work = self.engine.work
        data = join_shards([shard], is_channels_last=has_convolution(work))
        return TracedWork(work, global_P, data, seed, None if guides is None else guides[0])

    def _fetch(
        self, traced: TracedWork, segment: int, digest: str, target: ports.AuditTarget
    ) -> State:
        """Return an opened state; LookupError where it was not opened.

        A disk that fails here and now is nobody's fault but ours: its error is passed on.
        """
        if segment == 0:
            return traced.init()
        iteration = find_iteration(segment, target.iterations, target.checkpoint_every)
        cap = traced.count_bytes()
        try:
            data = self._blobs.get(digest, cap)
        except StoreError as error:
            if error.is_retriable:
                raise
            raise LookupError(digest) from error
        return traced.decode(data, iteration)

    def _compute_blob(self, traced: TracedWork, state: State, number: int, seed: int) -> str:
        """Return which blob an honest member sends from its last state, "" for none."""
        update_P = traced.compute_update(state).numpy()
        size = self.engine.layout.size
        if not np.isfinite(update_P).all():
            return ""
        try:
            codec = for_round(self.codec, number)
            return sha256_hex(codec.encode(update_P, self.codec.init(size), seed)[0])
        except ValueError:
            return ""

    def _load_shard(self, name: str) -> Shard:
        """Return the assigned data that the log names; StoreError where it cannot be had."""
        if name not in self._assigned:
            while len(self._assigned) >= SHARDS_KEPT_MAX:
                del self._assigned[next(iter(self._assigned))]
            try:
                tensors = load_tensors(self._blobs.get(name, SHARD_BYTES_MAX))
                self._assigned[name] = (tensors["x"], tensors["y"])
            except (SafetensorError, KeyError) as error:
                raise StoreError(f"blob {name} is no shard: {error}") from error
        return self._assigned[name]


def _name(segment: int, last: int) -> int:
    return CLOSING if segment == last else segment
