"""Which samples a member trains on in which iteration, and whose iterations are stacked.

Pure functions of sizes, settings and seeds. A member's batches are the same whichever backend runs
them: stacking only decides what runs side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Batches = tuple[Tensor, ...]  # one int64 tensor of rows per iteration


@dataclass(frozen=True)
class Segment:
    """Iterations that the same members run side by side.

    members: indices [M] of who takes part; rows_KMB: sample rows into the joined shards for K
    iterations; weights_KMB: each sample's share of its batch's mean (0 for padding), or None where
    all batches are full and the recipe's own mean serves.
    """

    members: tuple[int, ...]
    rows_KMB: Tensor
    weights_KMB: Tensor | None


def plan_batches(
    sample_count: int,
    batch_size: int,
    seed: int,
    *,
    epochs: int = 1,
    iterations: int = 0,
    shuffle: bool = True,
) -> Batches:
    """Return the rows of each iteration: epochs passes, or exactly `iterations` if that is not 0.

    Every pass is a fresh permutation from `seed`; its last, partial batch is kept. Raises
    ValueError for no samples, no batch size or nothing to do.
    """
    if sample_count < 1:
        raise ValueError(f"sample_count {sample_count}: a shard needs at least one sample")
    if batch_size < 1 or (iterations < 1 and epochs < 1):
        raise ValueError(f"batch_size {batch_size}, epochs {epochs}, iterations {iterations}")
    generator = torch.Generator()
    generator.manual_seed(seed)
    batches: list[Tensor] = []
    epoch = 0
    while len(batches) < iterations if iterations else epoch < epochs:
        if shuffle:
            order = torch.randperm(sample_count, generator=generator)
        else:
            order = torch.arange(sample_count)
        batches.extend(torch.split(order, batch_size))
        epoch += 1
    return tuple(batches[:iterations] if iterations else batches)


def count_iterations(sample_count: int, batch_size: int, epochs: int, iterations: int) -> int:
    """Return how many batches `plan_batches` gives."""
    return iterations or epochs * -(-sample_count // batch_size)


def stack_padded(batches_N: Sequence[Batches], offsets_N: Sequence[int]) -> list[Segment]:
    """Stack all members iteration by iteration, padding partial batches with weight 0.

    offsets_N: where each member's shard starts in the joined data. Members drop out when their
    batches are used up. For recipes whose loss is a mean over independent samples.
    """
    segments = []
    done = 0
    for last in sorted({len(batches) for batches in batches_N}):
        active = tuple(n for n, batches in enumerate(batches_N) if len(batches) >= last)
        segments.extend(_pad(batches_N, offsets_N, active, done, last))
        done = last
    return segments


def stack_equal(batches_N: Sequence[Batches], offsets_N: Sequence[int]) -> list[Segment]:
    """Stack only members whose next batch has the same size; for any recipe at all.

    Greedy: the size that most members wait with runs next (ties: the larger size).
    """
    position = [0] * len(batches_N)
    segments: list[Segment] = []
    while True:
        waiting = {
            n: len(batches[position[n]])
            for n, batches in enumerate(batches_N)
            if position[n] < len(batches)
        }
        if not waiting:
            return segments
        counts = Counter(waiting.values())
        size = max(counts, key=lambda b: (counts[b], b))
        members = tuple(n for n, b in waiting.items() if b == size)
        rows = torch.stack([batches_N[n][position[n]] + offsets_N[n] for n in members])
        segments.append(Segment(members, rows.unsqueeze(0), None))
        for n in members:
            position[n] += 1


def stack_block(
    batches_N: Sequence[Batches], offsets_N: Sequence[int], size: int, member_count: int
) -> tuple[Tensor, Tensor]:
    """Return rows and weights [S, member_count, size] of members padded to one shape.

    For a compiled graph of fixed shape: iterations that a member does not have, and members beyond
    the given ones, get weight 0 throughout and row 0.
    """
    step_count = max(len(batches) for batches in batches_N)
    rows = torch.zeros(step_count, member_count, size, dtype=torch.int64)
    weights = torch.zeros(step_count, member_count, size)
    for n, batches in enumerate(batches_N):
        full = len(batches)
        if all(len(batch) == size for batch in batches):
            rows[:full, n] = torch.stack(list(batches)) + offsets_N[n]
            weights[:full, n] = 1.0 / size
            continue
        for s, batch in enumerate(batches):
            rows[s, n] = batch[0] + offsets_N[n]
            rows[s, n, : len(batch)] = batch + offsets_N[n]
            weights[s, n, : len(batch)] = 1.0 / len(batch)
    return rows, weights


def _pad(
    batches_N: Sequence[Batches],
    offsets_N: Sequence[int],
    members: tuple[int, ...],
    first: int,
    last: int,
) -> list[Segment]:
    """Return segments of iterations first..last-1 of `members`: runs of the same batch size."""
    segments = []
    s = first
    while s < last:
        sizes = _sizes(batches_N, members, s)
        end = s + 1
        while end < last and _sizes(batches_N, members, end) == sizes:
            end += 1
        part = [batches_N[n][s:end] for n in members]
        offsets = [offsets_N[n] for n in members]
        rows, weights = stack_block(part, offsets, max(sizes), len(members))
        is_full = min(sizes) == max(sizes)
        segments.append(Segment(members, rows, None if is_full else weights))
        s = end
    return segments


def _sizes(batches_N: Sequence[Batches], members: tuple[int, ...], s: int) -> list[int]:
    return [len(batches_N[n][s]) for n in members]
