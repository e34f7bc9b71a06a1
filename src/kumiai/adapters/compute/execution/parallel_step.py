"""ddp: one iteration of a member in one of its processes, the whole model in each.

It is `LocalWork.step` with the gradients added up between the processes; whatever the rule, it sees
the whole batch's gradient. `sharded` is the other way to lay a model out.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from kumiai.adapters.compute.execution.inline import train_member
from kumiai.adapters.compute.execution.shards import JoinedShards
from kumiai.learning.client import Carry, LocalWork, Params
from kumiai.learning.parallel import compute_share

BUCKET_BYTES_MAX = 32 * 2**20  # of gradients that are added up in one go
LOSS = "loss of the batch"  # travels with the gradients; no tensor of a network has such a name


def mix_seed(seed: int, rank: int) -> int:
    """Return what a recipe's own randomness in process `rank` comes from: another one in each."""
    return (seed + rank * 0x9E3779B97F4A7C15) % 2**63


class WholeModel:
    """ddp: the whole model in every process."""

    def __init__(self, work: LocalWork, rank: int, count: int) -> None:
        self._work, self._rank, self._count = work, rank, count

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        member: int,
        seed: int,
        guide_G: Tensor | None,
        update_P: Tensor,
    ) -> float:
        """Train a member with the others; the first process writes `update_P`. Returns its loss."""
        local_P, loss = train_member(
            self._work,
            self.step,
            global_P.to(data.device),
            data,
            member=member,
            seed=seed,
            guide_G=None if guide_G is None else guide_G.to(data.device),
            draw_seed=mix_seed(seed, self._rank),
        )
        if self._rank == 0:
            update_P.copy_(local_P)
        return loss

    def step(
        self,
        carry: Carry,
        anchor: Params,
        inputs: Tensor,
        targets: Tensor,
        weights_B: Tensor | None,
    ) -> tuple[Carry, Tensor]:
        """`LocalWork.step` on this process's share of the batch, with everybody's gradient."""
        first, end = compute_share(len(inputs), self._rank, self._count)
        if first < end:
            part = slice(first, end)
            grads, loss, _ = self._work.differentiate(carry, inputs[part], targets[part], weights_B)
        else:
            grads = {name: torch.zeros_like(w) for name, w in carry.params.items()}
            loss = inputs.new_zeros((), dtype=torch.float32)
        weight = (end - first) / len(inputs)
        grads[LOSS] = loss
        add_up(grads, weight)
        loss = grads.pop(LOSS)
        params, slots = self._work.rule.apply(grads, carry.slots, carry.params, anchor)
        return Carry(params, carry.rest, slots), loss


def add_up(tensors: Params, weight: float) -> None:
    """Put in each tensor's place the sum over all processes, each with its `weight`.

    In buckets, so that beside the tensors only one bucket more is in memory.
    """
    for names in fill_buckets(tensors):
        joined = torch.cat([tensors[name].reshape(-1) for name in names]).mul_(weight)
        dist.all_reduce(joined)
        pieces = torch.split(joined, [tensors[name].numel() for name in names])
        for name, piece in zip(names, pieces, strict=True):
            tensors[name] = piece.view(tensors[name].shape)


def fill_buckets(tensors: Params) -> list[list[str]]:
    """Return the names in order, as many at once as BUCKET_BYTES_MAX allows, one at least."""
    buckets: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        more = tensor.numel() * tensor.element_size()
        if buckets[-1] and size + more > BUCKET_BYTES_MAX:
            buckets.append([])
            size = 0
        buckets[-1].append(name)
        size += more
    return buckets
