"""One member's iteration as a compiled graph, for the batch sizes that most iterations have.

Other sizes (a shard smaller than a batch) run the plain step: same result, and no compiling for
what runs rarely.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kumiai.adapters.compute.execution.inline import convert_format
from kumiai.adapters.compute.execution.lowering import Flat, Tier, lower
from kumiai.adapters.compute.execution.shards import IMAGE_DIMENSIONS, JoinedShards
from kumiai.learning.client import Carry, LocalWork, Params
from kumiai.learning.layout import unflatten

SHARE_MIN = 0.3  # of all iterations, for a batch size to be worth a graph


class LoweredStep:
    """Callable like `LocalWork.step`; made before workers are forked, so that they inherit it."""

    def __init__(
        self,
        work: LocalWork,
        tier: Tier,
        cache_dir: Path | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self._work = work
        self._tier = tier
        self._cache_dir = cache_dir
        self._threads = threads
        self._graphs: dict[int, Flat] = {}
        self._spec: pytree.TreeSpec | None = None

    def prepare(self, global_P: Tensor, data: JoinedShards) -> None:
        """Lower the step for the frequent batch sizes of these shards."""
        tensors = convert_format(unflatten(self._work.layout, global_P), data.is_channels_last)
        carry = self._work.init(tensors)
        _, self._spec = pytree.tree_flatten((carry, carry.params))
        settings = self._work.settings
        for size in find_frequent_sizes(data.counts, settings.batch_size, settings.is_filled):
            member = next(n for n, count in enumerate(data.counts) if count >= size)
            start = data.offsets[member]
            inputs, targets = data.batch(torch.arange(start, start + size))
            # one iteration on, so that optimiser memory and distance to the anchor are not zero
            moved, _ = self._work.step(carry, carry.params, inputs, targets, None)
            formed = convert_like(moved, carry)
            leaves = [*pytree.tree_leaves((formed, carry.params)), inputs, targets]
            self._graphs[size] = lower(
                self._flat, leaves, self._tier, self._cache_dir, threads=self._threads
            )

    def __call__(
        self,
        carry: Carry,
        anchor: Params,
        inputs: Tensor,
        targets: Tensor,
        weights_B: Tensor | None,
    ) -> tuple[Carry, Tensor]:
        """Run one iteration, lowered where this batch size is."""
        graph = self._graphs.get(len(inputs))
        if graph is None or weights_B is not None:
            return self._work.step(carry, anchor, inputs, targets, weights_B)
        leaves, spec = pytree.tree_flatten(carry)
        *moved, loss = graph(*leaves, *pytree.tree_leaves(anchor), inputs, targets)
        return pytree.tree_unflatten(moved, spec), loss

    def _flat(self, *leaves: Tensor) -> list[Tensor]:
        assert self._spec is not None
        *state, inputs, targets = leaves
        carry, anchor = pytree.tree_unflatten(state, self._spec)
        moved, loss = self._work.step(carry, anchor, inputs, targets, None)
        # the graph is made for its example's strides, and its results come back as inputs
        return [*pytree.tree_leaves(convert_like(moved, carry)), loss]


def find_frequent_sizes(counts: tuple[int, ...], batch_size: int, is_filled: bool) -> list[int]:
    """Return the batch sizes that make up at least SHARE_MIN of an epoch's iterations."""
    sizes: Counter[int] = Counter()
    for count in counts:
        full, rest = divmod(count, batch_size)
        if full and rest and is_filled:
            full, rest = full + 1, 0
        sizes.update({batch_size: full, rest: int(rest > 0)})
    total = sum(sizes.values())
    return sorted(size for size, times in sizes.items() if times >= SHARE_MIN * total)


def convert_like(moved: Carry, carry: Carry) -> Carry:
    """Return `moved` in the memory format of `carry`."""
    formed: Carry = pytree.tree_map(
        lambda new, old: new.contiguous(memory_format=get_format(old)), moved, carry
    )
    return formed


def get_format(tensor: Tensor) -> torch.memory_format:
    """Return the memory format of a tensor made by `convert_format`."""
    is_last = tensor.dim() == IMAGE_DIMENSIONS and not tensor.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format
