"""Members that cheat: a compute port that lies for some of them, so that their nodes need not
change.

A cheating member runs the ordinary role with a modified client: what changes is the result of its
work. Trainers may skip the work (noise), replay, copy, flip signs or send garbage; validators may
score without looking or favour friends. Every lie is drawn from the job's own seed: same seed, same
lie. A forged update travels as the task's codec writes it: an unreadable one would never be paid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kumiai.adapters.compute.decoded import DecodedBlobs
from kumiai.adapters.sim import lies
from kumiai.base.amounts import PPM
from kumiai.learning import fixed_point
from kumiai.learning.codecs import Codec, Plain, for_round
from kumiai.nodes import ports
from kumiai.proofs.verdict import Verdict

NOISE_RMS = 40_000  # fixed-point units (2**-24): the size of an ordinary first update's entries
SIGN_FLIP_FACTOR = -3
COPY_NOISE = 64  # units added to a copy so that its hash differs
CLAIMED_SAMPLES = 300
CLAIMED_ITERATIONS = 10
COLLUSION_VALUE = 500_000

NOISY = frozenset({"free-rider", "canary"})
TRAINS_NOT = NOISY | {"copier", "replayer", "garbage"}


@dataclass(slots=True)
class AdversarialCompute:
    """`behaviours` maps public key -> what it does; `victims` maps a copier to whom it copies.

    `size` is P, the model's numbers. Behaviours of trainers: free-rider, canary, copier, replayer,
    sign-flip, garbage, overreach (trains and sends the full width whatever it was given), in
    audited runs withholder (opens nothing), trace-copier, and those of `fakers`, who lie while they
    train; of validators: lazy, zeros, echo (see `lies`), colluder (`friends` are whom colluders
    favour; in rechecks it accuses everybody but colluders), lazy-auditor, colluding-auditor,
    false-accuser. find_outside: the numbers that a member of a width may not
    change; all but overreach leave them alone.
    """

    inner: ports.ComputePort
    blobs: ports.BlobPort
    size: int
    behaviours: Mapping[str, str] = field(default_factory=dict)
    victims: Mapping[str, str] = field(default_factory=dict)
    friends: frozenset[str] = frozenset()
    codec: Codec = field(default_factory=Plain)
    claim_epsilon: Callable[[int, int, int], int] = lambda before, samples, iterations: 0
    find_outside: Callable[[int], np.ndarray] = lambda width_ppm: np.array([], dtype=np.int64)
    _models: list[str] = field(default_factory=list)
    _last: Mapping[str, int] = field(default_factory=dict)  # member -> value, of the last round

    def init_model(self) -> str:
        """As the honest port."""
        return self.inner.init_model()

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        """As the honest port: a wrong digest would only be a vote for nothing."""
        return self.inner.aggregate(job)

    def measure_curve(self, job: ports.CurveJob) -> ports.CurveResult:
        """A lazy validator claims the same for every width; the others measure."""
        found = self.inner.measure_curve(job)
        if self._behaviour(job.validator) == "lazy":
            return replace(found, accuracies_ppm=(800_000,) * len(found.accuracies_ppm))
        return found

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        """Honest members train together; the others' results are made from theirs."""
        self._remember(jobs[0].model)
        working = [job for job in jobs if self._behaviour(job.member) not in TRAINS_NOT]
        working = [
            replace(job, width_ppm=PPM) if self._behaviour(job.member) == "overreach" else job
            for job in working
        ]
        results = {r.member: r for r in (self.inner.train(working) if working else [])}
        for job in jobs:
            if job.member not in results:
                results[job.member] = self._fake(job, results)
            elif self._behaviour(job.member) == "sign-flip":
                results[job.member] = self._flip(job, results[job.member])
            elif self._behaviour(job.member) == "trace-copier":
                victim = results[self.victims[job.member]]
                results[job.member] = replace(victim, member=job.member)
        return [results[job.member] for job in jobs]

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        """Honest validators score; a lazy one invents, a colluder rewrites its friends' lines.

        zeros and echo see the flags, which follow from bytes and cost nothing.
        """
        working = [job for job in jobs if self._behaviour(job.validator) != "lazy"]
        results = {r.validator: r for r in (self.inner.score(working) if working else [])}
        scored = [r for key, r in results.items() if self._behaviour(key) not in lies.INVENTS]
        last, self._last = self._last, lies.find_middle(scored)
        for job in jobs:
            if job.validator not in results:
                results[job.validator] = lies.invent(job)
            elif self._behaviour(job.validator) in lies.INVENTS:
                known = last if self._behaviour(job.validator) == "echo" else {}
                results[job.validator] = lies.repeat(results[job.validator], known)
            elif self._behaviour(job.validator) == "colluder":
                results[job.validator] = self._favour(results[job.validator])
        return [results[job.validator] for job in jobs]

    def open_traces(self, jobs: Sequence[ports.OpenJob]) -> list[ports.OpenResult]:
        """A withholder shows nothing; a copier of traces has only its victim's states to show."""
        results = []
        for job in jobs:
            behaviour = self._behaviour(job.work.member)
            if behaviour == "withholder":
                results.append(ports.OpenResult(job.work.member, ()))
                continue
            (opened,) = self.inner.open_traces([job])  # type: ignore[attr-defined]
            results.append(opened)
        return results

    def audit(self, jobs: Sequence[ports.AuditJob]) -> list[ports.AuditResult]:
        """A lazy auditor approves everything unseen, a colluding one its friends; one accuses."""
        results = self.inner.audit(jobs)  # type: ignore[attr-defined]
        return [
            _bend(job, result, self._behaviour(job.validator), self.friends)
            for job, result in zip(jobs, results, strict=True)
        ]

    def recheck(self, jobs: Sequence[ports.RecheckJob]) -> list[ports.RecheckResult]:
        """Who did not score does not recheck either; accusers and colluders say what they like."""
        results = self.inner.recheck(jobs)  # type: ignore[attr-defined]
        return [
            lies.bend_recheck(result, self._behaviour(result.validator), self.behaviours)
            for result in results
        ]

    def _behaviour(self, member: str) -> str:
        return self.behaviours.get(member, "")

    def _remember(self, model: str) -> None:
        if model not in self._models:
            self._models = [*self._models[-1:], model]

    def _fake(
        self, job: ports.TrainJob, results: Mapping[str, ports.TrainResult]
    ) -> ports.TrainResult:
        generator = np.random.default_rng(job.seed)
        behaviour = self._behaviour(job.member)
        if behaviour == "garbage":
            garbage = self.blobs.put(b"\x00garbage" + generator.bytes(56))
            return self._claim(job, garbage, 64)
        victim = results.get(self.victims.get(job.member, ""))
        if behaviour == "copier" and victim is not None and victim.update:
            values = self._read("update", victim.update)
            shake = generator.integers(-COPY_NOISE, COPY_NOISE + 1, self.size)
            return self._publish(job, values + shake)
        if behaviour == "replayer" and len(self._models) == 2:
            new, old = (self._read("model", blob) for blob in reversed(self._models))
            return self._publish(job, new - old)
        return self._publish(job, generator.normal(0, NOISE_RMS, self.size).round())

    def _flip(self, job: ports.TrainJob, result: ports.TrainResult) -> ports.TrainResult:
        flipped = SIGN_FLIP_FACTOR * self._read("update", result.update)
        forged = self._publish(job, flipped)
        return replace(result, update=forged.update, size_bytes=forged.size_bytes)

    def _favour(self, result: ports.ScoreResult) -> ports.ScoreResult:
        lines = tuple(
            replace(line, value=COLLUSION_VALUE, final=COLLUSION_VALUE, flags=0, duplicate_of="")
            if line.member in self.friends
            else replace(line, value=-abs(line.value), final=-abs(line.final))
            for line in result.lines
        )
        return replace(result, lines=lines)

    def _read(self, name: str, blob: str) -> np.ndarray:
        return DecodedBlobs(self.blobs, self.size, self.codec).get(name, blob).astype(np.int64)

    def _publish(self, job: ports.TrainJob, values: np.ndarray) -> ports.TrainResult:
        limit = 2**31 - 1
        ints = np.clip(values, -limit, limit).astype(np.int32)
        if job.width_ppm < PPM:  # more would be seen at once
            ints[self.find_outside(job.width_ppm)] = 0
        if isinstance(self.codec, Plain):
            data = self.codec.encode_fixed(ints)
        else:  # a lie is built on nothing: each one from the codec's first state
            update_P = fixed_point.dequantise(ints)
            codec = for_round(self.codec, job.round)
            data, _ = codec.encode(update_P, codec.init(self.size), job.seed)
        return self._claim(job, self.blobs.put(data), len(data))

    def _claim(self, job: ports.TrainJob, blob: str, size_bytes: int) -> ports.TrainResult:
        """What a cheat says about its work: as much as anybody's."""
        epsilon_milli = self.claim_epsilon(job.trained_before, CLAIMED_SAMPLES, CLAIMED_ITERATIONS)
        loss_ppm = 0 if epsilon_milli else 400_000  # private members tell none
        return ports.TrainResult(
            member=job.member,
            update=blob,
            size_bytes=size_bytes,
            sample_count=CLAIMED_SAMPLES,
            iteration_count=CLAIMED_ITERATIONS,
            flop=10**9,
            loss_ppm=loss_ppm,
            epsilon_milli=epsilon_milli,
        )


def _bend(
    job: ports.AuditJob, result: ports.AuditResult, behaviour: str, friends: frozenset[str]
) -> ports.AuditResult:
    """Return what an auditor of this kind says instead of what was found."""
    lines = list(result.lines)
    for place, target in enumerate(job.targets):
        is_friend = behaviour == "colluding-auditor" and target.member in friends
        if behaviour == "lazy-auditor" or is_friend:
            lines[place] = (Verdict.VALID.value, 0, "")
        elif behaviour == "false-accuser" and target.machine == result.machine:
            lines[place] = (Verdict.INVALID.value, target.segments[0], "0" * 64)
    return replace(result, lines=tuple(lines))
