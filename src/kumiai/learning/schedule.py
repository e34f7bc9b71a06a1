"""Which samples a member trains on in which iteration, and whose iterations are stacked.

Pure functions of sizes, settings and seeds. A member's batches are the same whichever backend runs
them: stacking only decides what runs side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IntArray = npt.NDArray[np.int64]
UintArray = npt.NDArray[np.uint64]
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
    is_filled: bool = True,
) -> Batches:
    """Return the rows of each iteration: epochs passes, or exactly `iterations` if that is not 0.

    Every pass is a fresh permutation from `seed`. is_filled: what its last batch lacks is taken
    from the pass's beginning, so that all are full (or the whole shard, where that is smaller);
    else it stays partial, a single sample perhaps, whose gradient then moves the model by a whole
    step as if it were a batch's mean. Raises ValueError for no samples, no batch size or nothing to
    do.
    """
    if sample_count < 1:
        raise ValueError(f"sample_count {sample_count}: a shard needs at least one sample")
    if batch_size < 1 or (iterations < 1 and epochs < 1):
        raise ValueError(f"batch_size {batch_size}, epochs {epochs}, iterations {iterations}")
    batches: list[Tensor] = []
    epoch = 0
    while len(batches) < iterations if iterations else epoch < epochs:
        batches += plan_epoch(
            sample_count, batch_size, seed, epoch, shuffle=shuffle, is_filled=is_filled
        )
        epoch += 1
    return tuple(batches[:iterations] if iterations else batches)


def plan_epoch(
    sample_count: int,
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    shuffle: bool = True,
    is_filled: bool = True,
) -> Batches:
    """Return the rows of one pass's iterations: for who needs some iterations of many."""
    if shuffle:
        order = torch.from_numpy(permute_rows([sample_count], [seed], epoch)[0])
    else:
        order = torch.arange(sample_count)
    if is_filled and sample_count > batch_size:
        order = torch.cat((order, order[: -sample_count % batch_size]))
    return tuple(torch.split(order, batch_size))


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


def plan_block(
    counts_N: Sequence[int],
    seeds_N: Sequence[int],
    batch_size: int,
    *,
    epochs: int = 1,
    iterations: int = 0,
    shuffle: bool = True,
    is_filled: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return rows and weights [S, N, B] of all members' batches, padded to one shape.

    The batches of `plan_batches` for each member, rows within its own shard. B is the batch size or
    the largest shard if that is smaller; S the largest number of iterations. Iterations that a
    member does not have get weight 0 throughout.
    """
    counts = np.asarray(counts_N, dtype=np.int64)
    per_epoch = -(-counts // batch_size)
    totals = np.full_like(counts, iterations) if iterations else epochs * per_epoch
    step_S1 = np.arange(totals.max())[:, None]
    epoch_SN = step_S1 // per_epoch
    size = min(batch_size, int(counts.max()))
    position_SNB = (step_S1 % per_epoch * batch_size)[:, :, None] + np.arange(size)
    end = np.where(counts > batch_size, per_epoch * batch_size, counts) if is_filled else counts
    is_real = (position_SNB < end[:, None]) & (step_S1 < totals)[:, :, None]
    rows = position_SNB % counts[:, None]
    if shuffle:
        epoch_count = int(epoch_SN.max()) + 1
        orders = np.stack([permute_rows(counts_N, seeds_N, e) for e in range(epoch_count)])
        rows = orders[epoch_SN[:, :, None], np.arange(len(counts))[:, None], rows]
    weights = is_real / np.maximum(is_real.sum(2, keepdims=True), 1)
    return torch.from_numpy(rows), torch.from_numpy(weights.astype(np.float32))


def permute_rows(counts_N: Sequence[int], seeds_N: Sequence[int], epoch: int) -> IntArray:
    """Return each member's permutation [N, largest count]; entries from its count on mean nothing.

    Rows are sorted by a hash (splitmix64: Steele, Lea and Flood, 2014) of seed, epoch and row: no
    generator to set up for every member, so that a hundred members cost what one does, and a
    member's order is the same alone and in company.
    """
    counts = np.asarray(counts_N, dtype=np.int64)
    seeds = np.asarray([seed % 2**64 for seed in seeds_N], dtype=np.uint64)
    rows = np.arange(counts.max(), dtype=np.uint64)
    stream_N1 = _mix(_mix(seeds) + np.uint64(epoch))[:, None]
    keys_NB = _mix(stream_N1 + rows)
    keys_NB[rows.astype(np.int64) >= counts[:, None]] = np.iinfo(np.uint64).max
    return np.argsort(keys_NB, axis=1, kind="stable")


def _mix(values: UintArray) -> UintArray:
    """One output of splitmix64 for each state in `values`; wraps at 2**64 by design."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


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
        rows, weights = _join(part, offsets, max(sizes))
        is_full = min(sizes) == max(sizes)
        segments.append(Segment(members, rows, None if is_full else weights))
        s = end
    return segments


def _sizes(batches_N: Sequence[Batches], members: tuple[int, ...], s: int) -> list[int]:
    return [len(batches_N[n][s]) for n in members]


def _join(
    batches_N: Sequence[Batches], offsets_N: Sequence[int], size: int
) -> tuple[Tensor, Tensor]:
    """Return rows and weights [K, M, size] of members with equally many batches."""
    rows = torch.empty(len(batches_N[0]), len(batches_N), size, dtype=torch.int64)
    weights = torch.zeros(rows.shape)
    for n, (batches, offset) in enumerate(zip(batches_N, offsets_N, strict=True)):
        for s, batch in enumerate(batches):
            rows[s, n] = batch[0] + offset
            rows[s, n, : len(batch)] = batch + offset
            weights[s, n, : len(batch)] = 1.0 / len(batch)
    return rows, weights
