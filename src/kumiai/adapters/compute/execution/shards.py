"""The members' samples as the backends read them: joined once, reused for every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kumiai.learning.client import TrainSettings
from kumiai.learning.schedule import Batches, count_iterations, plan_batches

Shard = tuple[Tensor, Tensor]

CPU = torch.device("cpu")

IMAGE_DIMENSIONS = 4  # [n, channels, height, width]


@dataclass(frozen=True)
class JoinedShards:
    """All members' samples in one tensor: inputs [n, ...], targets [n, ...], and where each starts.

    is_channels_last: the inputs lie in memory with channels innermost, as CPU convolutions want
    them; their shape is unchanged. device: where batches come out; the samples lie there or on the
    CPU.
    """

    inputs: Tensor
    targets: Tensor
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    is_channels_last: bool
    device: torch.device = CPU

    def select(self, members: Sequence[int]) -> JoinedShards:
        """Return the same samples, seen as the shards of `members` alone."""
        offsets = tuple(self.offsets[n] for n in members)
        counts = tuple(self.counts[n] for n in members)
        return replace(self, offsets=offsets, counts=counts)

    def batch(self, rows: Tensor) -> Shard:
        """Return inputs and targets of `rows` (any shape of indices, in front of the sample's)."""
        flat = rows.reshape(-1).to(self.inputs.device)
        targets = self.targets.index_select(0, flat).to(self.device)
        targets = targets.view(rows.shape + self.targets.shape[1:])
        if self.is_channels_last and rows.dim() == 1:
            # index_select would fall back to the default format
            inner = self.inputs.permute(0, 2, 3, 1).index_select(0, flat)
            return inner.to(self.device).permute(0, 3, 1, 2), targets
        inputs = self.inputs.index_select(0, flat).to(self.device)
        return inputs.reshape(rows.shape + self.inputs.shape[1:]), targets


def join_shards(shards: Sequence[Shard], *, is_channels_last: bool = False) -> JoinedShards:
    """Join the members' samples.

    Raises ValueError, with the member's index, for no members, an empty shard, inputs and targets
    of different length, or a sample shape that differs from the first member's.
    """
    check_shards(shards)
    counts = tuple(len(inputs) for inputs, _ in shards)
    offsets = tuple(sum(counts[:n]) for n in range(len(counts)))
    inputs = torch.cat([inputs for inputs, _ in shards])
    targets = torch.cat([targets for _, targets in shards])
    is_image = inputs.dim() == IMAGE_DIMENSIONS and is_channels_last
    if is_image:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return JoinedShards(inputs, targets, offsets, counts, is_image)


def check_shards(shards: Sequence[Shard]) -> None:
    """Raise ValueError, naming the member, for shards that cannot be trained on together."""
    if not shards:
        raise ValueError("no shards: a round needs at least one member")
    shape, target_shape = shards[0][0].shape[1:], shards[0][1].shape[1:]
    for n, (inputs, targets) in enumerate(shards):
        if len(inputs) == 0:
            raise ValueError(f"member {n}: its shard has zero samples")
        if len(inputs) != len(targets):
            raise ValueError(f"member {n}: {len(inputs)} inputs but {len(targets)} targets")
        if inputs.shape[1:] != shape or targets.shape[1:] != target_shape:
            raise ValueError(
                f"member {n}: samples of shape {tuple(inputs.shape[1:])} with targets "
                f"{tuple(targets.shape[1:])}, member 0 has {tuple(shape)} and {tuple(target_shape)}"
            )


def is_same(known: Sequence[tuple[Shard, int, int]], shards: Sequence[Shard]) -> bool:
    """Whether `shards` are the very tensors of `known` (see `remember`), unchanged since."""
    return len(known) == len(shards) and all(
        one[0][0] is x and one[0][1] is y and one[1] == x._version and one[2] == y._version
        for one, (x, y) in zip(known, shards, strict=True)
    )


def remember(shards: Sequence[Shard]) -> list[tuple[Shard, int, int]]:
    """Return the tensors with their version counters, which every in-place change raises."""
    return [((x, y), x._version, y._version) for x, y in shards]


def falsify(shard: Shard, label_map: Sequence[int] | None) -> Shard:
    """Return the shard with its labels replaced by `label_map`; None leaves them as they are."""
    if label_map is None:
        return shard
    return shard[0], torch.tensor(list(label_map), dtype=torch.int64)[shard[1]]


def plan_member(settings: TrainSettings, sample_count: int, seed: int) -> Batches:
    """Return the rows (within the shard) of each of a member's iterations."""
    return plan_batches(
        sample_count,
        settings.batch_size,
        seed,
        epochs=settings.local_epochs,
        iterations=settings.local_iterations,
        shuffle=settings.shuffle,
        is_filled=settings.is_filled,
    )


def count_member_iterations(settings: TrainSettings, counts: Sequence[int]) -> tuple[int, ...]:
    """Return each member's number of optimiser updates in a round."""
    return tuple(
        count_iterations(
            count, settings.batch_size, settings.local_epochs, settings.local_iterations
        )
        for count in counts
    )
