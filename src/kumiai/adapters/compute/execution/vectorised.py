"""Many members stacked and trained at once: one batched operation instead of one per member.

Wins by an order of magnitude where the network is
small and the cost of a step is the cost of calling operations; convolutions lose (a stacked
convolution is a grouped one), see `choose`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kumiai.adapters.compute.execution.inline import train_member
from kumiai.adapters.compute.execution.shards import JoinedShards, plan_member
from kumiai.learning.client import Carry, LocalWork, expand
from kumiai.learning.layout import unflatten
from kumiai.learning.schedule import Segment, stack_equal, stack_padded


class VectorisedBackend:
    """Trains all members of a round side by side, in chunks that fit `memory_bytes_max`.

    is_separable: the recipe's loss is a mean over independent samples (see `probe`), so partial
    batches may be padded; otherwise only batches of equal size are stacked.
    """

    name = "vectorised"

    def __init__(self, work: LocalWork, *, is_separable: bool, members_max: int = 128) -> None:
        self._work = work
        self._is_separable = is_separable
        self._members_max = members_max
        self._has_rest = not all(work.layout.is_parameter)

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_NG: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return updates_NP and losses_N (mean over the samples seen) of one round."""
        pieces = []
        global_P = global_P.to(data.device)
        for start in range(0, len(seeds), self._members_max):
            members = range(start, min(start + self._members_max, len(seeds)))
            chunk = data.select(members)
            chunk_seeds = seeds[start : members.stop]
            guides = None
            if guides_NG is not None:
                guides = guides_NG[start : members.stop].to(data.device)
            try:
                pieces.append(self._train_chunk(global_P, chunk, chunk_seeds, guides))
            except Exception as error:
                find_fault(self._work, global_P, data, seeds)
                raise ValueError(
                    f"recipe {self._work.recipe.name!r} cannot be stacked over members, though "
                    f"each trains alone: {type(error).__name__}: {error}"
                ) from error
        updates, losses = zip(*pieces, strict=True)
        return torch.cat(updates).cpu(), torch.cat(losses).cpu()

    def close(self) -> None:
        """Nothing to release."""

    def _train_chunk(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_CG: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        plan = zip(data.counts, seeds, strict=True)
        batches = [plan_member(self._work.settings, count, seed) for count, seed in plan]
        stack = stack_padded if self._is_separable else stack_equal
        segments = stack(batches, data.offsets)
        seen = [float(sum(len(rows) for rows in b)) for b in batches]
        seen_N = torch.tensor(seen, device=data.device)
        carry, losses_N = self._run(global_P, data, segments, len(seeds), guides_CG)
        tensors = {**carry.params, **carry.rest}
        local_NP = torch.cat([tensors[name].flatten(1) for name in self._work.layout.names], 1)
        return local_NP.sub_(global_P), losses_N / seen_N

    def _run(
        self,
        global_P: Tensor,
        data: JoinedShards,
        segments: list[Segment],
        count: int,
        guides_CG: Tensor | None,
    ) -> tuple[Carry, Tensor]:
        """Run all segments; returns the stacked carry and the loss sums over samples [M]."""
        shared = self._work.init(unflatten(self._work.layout, global_P))
        losses_M = torch.zeros(count, device=data.device)
        everyone = tuple(range(count))
        carry: Carry | None = None
        if guides_CG is not None:
            carry = self._work.guide(expand(shared, count), guides_CG)
            carry = pytree.tree_map(lambda t: t.contiguous(), carry)
        for segment in segments:
            whole = segment.members == everyone
            if carry is None and (not whole or self._has_rest):
                carry = pytree.tree_map(lambda t: t.contiguous(), expand(shared, count))
            index = torch.tensor(segment.members, device=data.device)
            part = carry if whole or carry is None else pick(carry, index)
            part, sums = self._run_segment(shared, part, data, segment)
            losses_M.index_add_(0, index, sums)
            if whole or carry is None:
                carry = part
            else:
                put(carry, index, part)
        assert carry is not None
        return carry, losses_M

    def _run_segment(
        self, shared: Carry, part: Carry | None, data: JoinedShards, segment: Segment
    ) -> tuple[Carry, Tensor]:
        sums_M = torch.zeros(len(segment.members), device=data.device)
        for k, rows in enumerate(segment.rows_KMB):
            weights = None
            if segment.weights_KMB is not None:
                weights = segment.weights_KMB[k].to(data.device)
            sizes = rows.shape[1] if weights is None else (weights > 0).sum(1)
            inputs, targets = data.batch(rows)
            # at the first iteration all members still hold the same parameters
            start = expand(shared, len(segment.members)) if part is None else part
            part, loss_M = self._work.step_stacked(start, shared.params, inputs, targets, weights)
            sums_M += loss_M * sizes
        assert part is not None
        return part, sums_M


def pick(carry: Carry, index: Tensor) -> Carry:
    """Return the members `index` of a stacked carry, copied."""
    picked: Carry = pytree.tree_map(lambda t: t.index_select(0, index), carry)
    return picked


def put(carry: Carry, index: Tensor, part: Carry) -> None:
    """Write the members `index` back into the stacked carry."""
    pytree.tree_map(lambda t, new: t.index_copy_(0, index, new), carry, part)


def find_fault(work: LocalWork, global_P: Tensor, data: JoinedShards, seeds: Sequence[int]) -> None:
    """Run the members one by one, so that the error names the member whose samples cause it."""
    for n, seed in enumerate(seeds):
        train_member(work, work.step, global_P, data, member=n, seed=seed)
