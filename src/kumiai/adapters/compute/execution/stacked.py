"""The stacked round as graphs of fixed shape: traced or compiled once, called for every iteration.

Members are cut into blocks of one size and their batches padded to one shape with weight 0, so that
two graphs serve every round, whoever takes part: `first` (all members still share the global model:
one large product instead of many small ones) and `next`; `single` is a whole round of one
iteration. For recipes whose loss is a mean over independent samples (see `probe`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree as pytree

from kumiai.adapters.compute.execution.lowering import Flat, LoweringError, Tier, lower
from kumiai.adapters.compute.execution.shards import JoinedShards, count_member_iterations
from kumiai.adapters.compute.execution.vectorised import find_fault
from kumiai.learning.client import Carry, LocalWork, expand
from kumiai.learning.layout import unflatten
from kumiai.learning.schedule import plan_block

BLOCK_BYTES_MAX = 16 * 2**20  # parameters of one block of members
GATHER_BYTES_MAX = 64 * 2**20  # samples copied at a time
FLOAT_BYTES = 4


@dataclass(frozen=True)
class BlockPlan:
    """A block's batches: rows into the joined shards and weights [S, C, B], padding included.

    sizes_SC: samples that count in each iteration; seen_C: their sum, at least 1.
    """

    rows_SCB: Tensor
    weights_SCB: Tensor
    sizes_SC: Tensor
    seen_C: Tensor


Batch = tuple[Tensor, Tensor, Tensor]  # inputs [C, B, ...], targets [C, B, ...], weights [C, B]


class StackedBackend:
    """Runs rounds on lowered graphs of the tier `traced` or `compiled`."""

    name = "vectorised"

    def __init__(self, work: LocalWork, tier: Tier, cache_dir: Path | None = None) -> None:
        self._work = work
        self._tier = tier
        self._cache_dir = cache_dir
        self._graphs: dict[tuple[object, ...], Flat] = {}
        zeros = torch.zeros(work.layout.size)
        _, self._spec = pytree.tree_flatten(work.init(unflatten(work.layout, zeros)))
        # with a fixed order of samples every round has the same batches: gathered once
        self._fixed: tuple[JoinedShards, list[tuple[BlockPlan, Iterable[Batch]]]] | None = None

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_NG: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return updates_NP and losses_N (mean over the samples seen) of one round."""
        blocks = self._divide(data)
        try:
            pieces = [
                self._train_block(global_P, *planned, pick_guides(guides_NG, block, len(blocks[0])))
                for block, planned in zip(blocks, self._prepare(data, seeds, blocks), strict=True)
            ]
        except LoweringError:
            raise
        except Exception as error:
            find_fault(self._work, global_P, data, seeds)
            raise ValueError(
                f"recipe {self._work.recipe.name!r} cannot be {self._tier}, though each member "
                f"trains alone: {type(error).__name__}: {error}"
            ) from error
        if len(blocks) == 1 and blocks[0] == list(range(len(seeds))):
            return pieces[0]
        updates_NP = torch.empty(len(seeds), self._work.layout.size)
        losses_N = torch.empty(len(seeds))
        for block, (updates_CP, losses_C) in zip(blocks, pieces, strict=True):
            index = torch.tensor(block)
            updates_NP[index] = updates_CP[: len(block)]
            losses_N[index] = losses_C[: len(block)]
        return updates_NP, losses_N

    def close(self) -> None:
        """Drop the graphs."""
        self._graphs.clear()
        self._fixed = None

    def _divide(self, data: JoinedShards) -> list[list[int]]:
        """Cut the members into blocks of equal size, those with as many iterations together."""
        lengths = count_member_iterations(self._work.settings, data.counts)
        order = list(range(len(lengths)))
        if min(lengths) < max(lengths):
            order.sort(key=lambda n: -lengths[n])
        size_max = max(1, BLOCK_BYTES_MAX // (FLOAT_BYTES * self._work.layout.size))
        block_count = -(-len(order) // size_max)
        size = -(-len(order) // block_count)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _prepare(
        self, data: JoinedShards, seeds: Sequence[int], blocks: list[list[int]]
    ) -> list[tuple[BlockPlan, Iterable[Batch]]]:
        """Return each block's plan and its batches, those of last round if nothing changed."""
        if self._fixed is not None and self._fixed[0] is data:
            return self._fixed[1]
        plans = [self._plan(data, seeds, block, len(blocks[0])) for block in blocks]
        if not self._work.settings.shuffle and count_bytes(data, plans) <= GATHER_BYTES_MAX:
            self._fixed = (data, [(plan, list(gather(data, plan))) for plan in plans])
            return self._fixed[1]
        return [(plan, gather(data, plan)) for plan in plans]

    def _plan(
        self, data: JoinedShards, seeds: Sequence[int], block: list[int], member_count: int
    ) -> BlockPlan:
        """Plan the block's batches, padded to the shape that all blocks share."""
        settings = self._work.settings
        part = data.select(block)
        rows, weights = plan_block(
            part.counts,
            [seeds[n] for n in block],
            settings.batch_size,
            epochs=settings.local_epochs,
            iterations=settings.local_iterations,
            shuffle=settings.shuffle,
            is_filled=settings.is_filled,
        )
        rows += torch.tensor(part.offsets).view(1, -1, 1)
        size = min(settings.batch_size, max(data.counts))
        padding = (0, size - rows.shape[2], 0, member_count - rows.shape[1])
        if any(padding):
            rows, weights = functional.pad(rows, padding), functional.pad(weights, padding)
        sizes_SC = (weights > 0).sum(2).float()
        return BlockPlan(rows, weights, sizes_SC, sizes_SC.sum(0).clamp_(min=1.0))

    def _train_block(
        self,
        global_P: Tensor,
        plan: BlockPlan,
        batches: Iterable[Batch],
        guides: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor]:
        """Run one block; returns its updates [C, P] and losses [C], padding members at the end."""
        upcoming = iter(batches)
        if len(plan.rows_SCB) == 1:
            updates_CP, loss_C = self._run(self._single, (global_P, *next(upcoming), *guides))
            return updates_CP, loss_C
        *leaves, loss_C = self._run(self._first, (global_P, *next(upcoming), *guides))
        losses = [loss_C]
        for batch in upcoming:
            *leaves, loss_C = self._run(self._next, (global_P, *batch, *leaves))
            losses.append(loss_C)
        losses_C = torch.stack(losses).mul_(plan.sizes_SC).sum(0).div_(plan.seen_C)
        return self._join(leaves).sub_(global_P), losses_C

    def _run(self, function: Flat, leaves: tuple[Tensor, ...]) -> Sequence[Tensor]:
        """Run the graph of `function` for these shapes, lowered when they are first seen."""
        key = (function.__name__, leaves[1].shape)
        graph = self._graphs.get(key)
        if graph is None:
            graph = lower(function, leaves, self._tier, self._cache_dir)
            self._graphs[key] = graph
        return graph(*leaves)

    def _single(
        self,
        global_P: Tensor,
        inputs: Tensor,
        targets: Tensor,
        weights_CB: Tensor,
        *guides: Tensor,
    ) -> list[Tensor]:
        *leaves, loss_C = self._first(global_P, inputs, targets, weights_CB, *guides)
        return [self._join(leaves) - global_P, loss_C]

    def _first(
        self,
        global_P: Tensor,
        inputs: Tensor,
        targets: Tensor,
        weights_CB: Tensor,
        *guides: Tensor,
    ) -> list[Tensor]:
        shared = self._work.init(unflatten(self._work.layout, global_P))
        start = expand(shared, len(inputs))
        for guides_CG in guides:  # none or one
            start = self._work.guide(start, guides_CG)
        step = self._work.step_stacked
        carry, loss_C = step(start, shared.params, inputs, targets, weights_CB)
        return [leaf.contiguous() for leaf in (*pytree.tree_leaves(carry), loss_C)]

    def _next(
        self,
        global_P: Tensor,
        inputs: Tensor,
        targets: Tensor,
        weights_CB: Tensor,
        *leaves: Tensor,
    ) -> list[Tensor]:
        carry = pytree.tree_unflatten(leaves, self._spec)
        anchor, _ = self._work.divide(unflatten(self._work.layout, global_P))
        moved, loss_C = self._work.step_stacked(carry, anchor, inputs, targets, weights_CB)
        # a member whose batches are used up keeps what it has
        is_active_C = weights_CB.sum(1) > 0
        kept = [
            torch.where(is_active_C.view(-1, *[1] * (new.dim() - 1)), new, old).contiguous()
            for new, old in zip(pytree.tree_leaves(moved), leaves, strict=True)
        ]
        return [*kept, loss_C.contiguous()]

    def _join(self, leaves: Sequence[Tensor]) -> Tensor:
        """Return the local models [C, P] of a flattened carry."""
        carry: Carry = pytree.tree_unflatten(list(leaves), self._spec)
        tensors = {**carry.params, **carry.rest}
        return torch.cat([tensors[name].flatten(1) for name in self._work.layout.names], 1)


def pick_guides(
    guides_NG: Tensor | None, block: Sequence[int], member_count: int
) -> tuple[Tensor, ...]:
    """Return the guides [C, G] of a block, of padding members the first one's; () without any."""
    if guides_NG is None:
        return ()
    return (guides_NG[[*block, *[block[0]] * (member_count - len(block))]],)


def gather(data: JoinedShards, plan: BlockPlan) -> Iterator[Batch]:
    """Yield the batch of each iteration, copied together as far as the memory limit allows."""
    steps = len(plan.rows_SCB)
    group = max(1, GATHER_BYTES_MAX * steps // max(1, count_bytes(data, [plan])))
    for start in range(0, steps, group):
        inputs, targets = data.batch(plan.rows_SCB[start : start + group])
        weights = plan.weights_SCB[start : start + group]
        yield from zip(inputs, targets, weights, strict=True)


def count_bytes(data: JoinedShards, plans: Sequence[BlockPlan]) -> int:
    """Return the size of all batches' inputs."""
    sample_bytes = data.inputs[0].numel() * data.inputs.element_size()
    return sample_bytes * sum(plan.rows_SCB.numel() for plan in plans)
