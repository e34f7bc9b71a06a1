"""A compute port without numerics: recorded answers, so that the protocol can be tried alone.

Every member has a fixed quality; its update is a small unique blob and validators see its quality
with a seeded error. For worlds of a thousand members, and for tests of the machines. Not for
training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kumiai.nodes import ports
from kumiai.nodes.rechecking import read_result
from kumiai.proofs import flags as flag
from kumiai.proofs.sheets import is_honest

UPDATE_BYTES = 64


@dataclass(slots=True)
class RecordedCompute:
    """`quality` maps member -> contribution in ppm of a nat (default 10_000); `noise` is its
    spread.

    `raised` maps member -> flags that every validator raises.
    """

    blobs: ports.BlobPort
    quality: Mapping[str, int] = field(default_factory=dict)
    raised: Mapping[str, int] = field(default_factory=dict)
    noise: int = 1_000
    train_count: int = 0
    width_count: int = 4  # of the task's grid

    def init_model(self) -> str:
        """A first model."""
        return self.blobs.put(b"model 0")

    def train(self, jobs: Sequence[ports.TrainJob]) -> list[ports.TrainResult]:
        """One recorded update a job."""
        self.train_count += len(jobs)
        return [self._train(job) for job in jobs]

    def score(self, jobs: Sequence[ports.ScoreJob]) -> list[ports.ScoreResult]:
        """Each member's quality, seen through each validator's noise."""
        return [self._score(job) for job in jobs]

    def recheck(self, jobs: Sequence[ports.RecheckJob]) -> list[ports.RecheckResult]:
        """Sheets compared with what the same recorded scoring gives again."""
        return [
            ports.RecheckResult(
                job.validator,
                tuple(
                    (
                        target.job.round,
                        target.job.validator,
                        not is_honest(read_result(self._score(target.job)), target.claimed),
                    )
                    for target in job.targets
                ),
                job.is_jury,
            )
            for job in jobs
        ]

    def aggregate(self, job: ports.AggregateJob) -> ports.AggregateResult:
        """A model named by what went into it."""
        text = f"{job.model}|{job.round}|{job.included}"
        return ports.AggregateResult(self.blobs.put(text.encode()), None)

    def measure_curve(self, job: ports.CurveJob) -> ports.CurveResult:
        """Wider is better, a little less with each step."""
        accuracies = tuple(1_000_000 - 400_000 // step for step in range(1, self.width_count + 1))
        return ports.CurveResult(job.validator, job.model, accuracies)

    def _train(self, job: ports.TrainJob) -> ports.TrainResult:
        seed = f"{job.member}/{job.round}/{job.seed}".encode()
        data = hashlib.sha256(seed).digest() * (UPDATE_BYTES // 32)
        return ports.TrainResult(
            member=job.member,
            update=self.blobs.put(data),
            size_bytes=len(data),
            sample_count=100,
            iteration_count=10,
            flop=1_000_000,
            loss_ppm=500_000,
        )

    def _score(self, job: ports.ScoreJob) -> ports.ScoreResult:
        lines = []
        for update in job.updates:
            digest = hashlib.sha256(f"{job.seed}/{job.validator}/{update.blob}".encode()).digest()
            shake = int.from_bytes(digest[:4], "big") % (2 * self.noise + 1) - self.noise
            value = self.quality.get(update.member, 10_000) + shake
            flags = self.raised.get(update.member, 0)
            original = job.updates[0].member if flags & flag.DUPLICATE else ""
            if original == update.member:
                flags, original = 0, ""
            lines.append(
                ports.ScoreLine(update.member, value, self.noise, value, flags, original, value)
            )
        name = f"root/{job.validator}/{job.round}".encode()
        root = self.blobs.put(name) if job.wants_root else ""
        return ports.ScoreResult(job.validator, tuple(lines), 500_000, 800_000, len(lines), root)
