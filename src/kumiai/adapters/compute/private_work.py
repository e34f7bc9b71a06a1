"""What privacy asks of a member's work: a key of its own for each piece, and what it has spent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch

from kumiai.base import canonical
from kumiai.learning.privacy.accountant import compute_epsilon_milli
from kumiai.learning.privacy.stream import derive_stream_key
from kumiai.nodes.ports import TrainJob
from kumiai.tasks.document import TaskDocument, to_document

Shard = tuple[torch.Tensor, torch.Tensor]


class NoiseKeys:
    """The keys of members who train privately in this process, from secrets of 32 bytes each."""

    def __init__(
        self, task: TaskDocument, secrets: Mapping[str, bytes], shards: Mapping[str, Shard]
    ) -> None:
        self._secrets, self._shards = secrets, shards
        self._task_hash = canonical.hash_document(to_document(task)) if secrets else ""
        self._shard_digests: dict[str, str] = {}

    def derive_key(self, job: TrainJob) -> bytes:
        """Return the key of this very work: other data or another start must get other noise.

        The start is the model, what the member holds back and the server's control variate. Equal
        noise on two different results would cancel in their difference. KeyError for a member
        without a secret.
        """
        member = job.member
        if member not in self._shard_digests:
            self._shard_digests[member] = digest_shard(self._shards[member])
        return derive_stream_key(
            self._secrets[member],
            "dp-sgd",
            self._task_hash,
            job.model,
            job.codec_state,
            job.server_state,
            job.seed,
            self._shard_digests[member],
        )


def account_epsilon(task: TaskDocument, step_count: int, sample_count: int) -> int:
    """Return milli-epsilon of `step_count` private steps on `sample_count` samples, rounded up."""
    if task.privacy.mode != "local" or step_count == 0:
        return 0
    return compute_epsilon_milli(
        step_count,
        task.training.batch_size,
        max(1, sample_count),
        task.privacy.noise_multiplier_milli / 1_000,
        task.privacy.delta_ppb / 1_000_000_000,
    )


def digest_shard(shard: Shard) -> str:
    """Return a hash over a shard's numbers; it stays with the member."""
    digest = hashlib.sha256()
    for tensor in shard:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
