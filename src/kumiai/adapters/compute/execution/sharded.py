"""A member's network of which every process holds a share: PyTorch's `fully_shard` (FSDP2).

The elements of every nn.Sequential and nn.ModuleList (a transformer's layers, say) are gathered one
at a time, forwards and again backwards; what lies outside of them, with the root. Tensors are cut
along their first dimension into pieces of ceil(rows / processes) rows, as torch.chunk does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch._dynamo  # fully_shard imports it: here once, before processes are forked
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils import _pytree as pytree

from kumiai.adapters.compute.execution.inline import iterate
from kumiai.adapters.compute.execution.parallel_step import mix_seed
from kumiai.adapters.compute.execution.shards import JoinedShards
from kumiai.learning.client import Carry, LocalWork, Params
from kumiai.learning.local_rules.wrappers import CONTROL, RATE
from kumiai.learning.parallel import compute_share


@dataclass(frozen=True)
class Piece:
    """Where a tensor's rows in this process lie in the model's P numbers, and their shape."""

    start: int
    end: int
    shape: tuple[int, ...]


class SharedOut:
    """fsdp: of every parameter, of its gradient and of the rule's memory, this process's rows."""

    def __init__(self, work: LocalWork, rank: int, count: int, device: torch.device) -> None:
        """Take the work's full network apart; it is this process's own and must not be shared."""
        self._work, self._rank, self._count = work, rank, count
        module = work.modules[0][0]
        mesh = init_device_mesh(device.type, (count,))
        for part in [*find_blocks(module), module]:
            part.register_forward_hook(own_outputs)  # before PyTorch's own
            fully_shard(part, mesh=mesh)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                # a sum: the shares' weights make it the mean
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        self._module = module
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self._tensors = {name: named[name] for name in work.layout.names}
        self._counters = {name: named[name] for name in work.integers[0]}
        self._pieces = dict(self._list_pieces())

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        member: int,
        seed: int,
        guide_G: Tensor | None,
        update_P: Tensor,
    ) -> float:
        """Train a member with the other processes; each writes its rows of `update_P`.

        Returns what this process's samples add to the member's mean loss.
        """
        carry = self._work.init(self.cut(global_P, data.device))
        anchor = carry.params
        if guide_G is not None:
            carry = self._guide(carry, guide_G, data.device)
        self._load({**carry.params, **carry.rest})
        carry, loss_sum, seen = iterate(
            self._work,
            self.step,
            carry,
            anchor,
            data,
            member=member,
            seed=seed,
            draw_seed=mix_seed(seed, self._rank),
        )
        for name, tensor in {**carry.params, **carry.rest}.items():
            piece = self._pieces[name]
            if isinstance(self._tensors[name], DTensor) or self._rank == 0:
                part = slice(piece.start, piece.end)
                torch.sub(tensor.reshape(-1).cpu(), global_P[part], out=update_P[part])
        return float(loss_sum) / seen

    def step(
        self,
        carry: Carry,
        anchor: Params,
        inputs: Tensor,
        targets: Tensor,
        weights_B: Tensor | None,
    ) -> tuple[Carry, Tensor]:
        """One iteration on this process's share; the loss is its part of the batch's."""
        first, end = compute_share(len(inputs), self._rank, self._count)
        weight = (end - first) / len(inputs)
        # who has no sample of this batch still takes part in gathering: with one that weighs 0
        part = slice(first, end) if first < end else slice(0, 1)
        for name, counter in self._counters.items():
            counter.copy_(self._work.integers[0][name])
        with torch.enable_grad():
            outputs = self._module(inputs[part])
            loss = weight * self._work.recipe.compute_loss(outputs, targets[part])
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        grads = self._take_gradients(carry.params)
        params, slots = self._work.rule.apply(grads, carry.slots, carry.params, anchor)
        self._load(params)
        return Carry(params, carry.rest, slots), loss.detach()

    def cut(self, vector_P: Tensor, device: torch.device) -> Params:
        """Return this process's rows of every tensor of a flat model: copies on `device`."""
        return {
            name: vector_P[piece.start : piece.end].view(piece.shape).clone().to(device)
            for name, piece in self._pieces.items()
        }

    def _guide(self, carry: Carry, guide_G: Tensor, device: torch.device) -> Carry:
        """`LocalWork.guide` for what lies in this process."""
        settings, size = self._work.settings, self._work.layout.size
        slots, tensors = dict(carry.slots), {**carry.params, **carry.rest}
        if settings.has_offset:
            first = int(settings.is_scheduled)
            offset = self.cut(guide_G[first : first + size], device)
            tensors = {name: t + offset[name] for name, t in tensors.items()}
        if RATE in slots:
            slots[RATE] = guide_G[0].to(device)
        if CONTROL in slots:
            slots[CONTROL], _ = self._work.divide(self.cut(guide_G[-size:], device))
        params, rest = self._work.divide(tensors)
        return Carry(params, rest, slots)

    def _load(self, tensors: Params) -> None:
        for name, tensor in tensors.items():
            held = self._tensors[name]
            (held.to_local() if isinstance(held, DTensor) else held).copy_(tensor)

    def _take_gradients(self, params: Params) -> Params:
        grads = {}
        for name, local in params.items():
            held = self._tensors[name]
            if held.grad is None:
                grads[name] = torch.zeros_like(local)
            else:
                grads[name] = held.grad.to_local() if isinstance(held.grad, DTensor) else held.grad
            held.grad = None
        return grads

    def _list_pieces(self) -> Iterator[tuple[str, Piece]]:
        layout = self._work.layout
        for name, shape, offset, size in zip(
            layout.names, layout.shapes, layout.offsets, layout.sizes, strict=True
        ):
            held = self._tensors[name]
            if not isinstance(held, DTensor):
                yield name, Piece(offset, offset + size, shape)
                continue
            row = size // shape[0]
            rows = -(-shape[0] // self._count)
            first, end = (min(shape[0], r * rows) for r in (self._rank, self._rank + 1))
            local = (end - first, *shape[1:])
            if tuple(held.to_local().shape) != local:
                raise ValueError(
                    f"tensor {name!r}: process {self._rank} of {self._count} holds "
                    f"{tuple(held.to_local().shape)}, expected {local}"
                )
            yield name, Piece(offset + first * row, offset + end * row, local)


def own_outputs(module: nn.Module, inputs: object, outputs: object) -> object:
    """Return outputs that are no views of other tensors.

    PyTorch hangs the gathering for the backward pass on a part's outputs, and an operation in place
    would take a view off that hook without a word.
    """
    return pytree.tree_map_only(Tensor, lambda t: t.clone() if t._is_view() else t, outputs)


def find_blocks(module: nn.Module) -> list[nn.Module]:
    """Return the parts that are gathered one by one, inner ones first.

    Elements of nn.Sequential and nn.ModuleList that own their parameters alone: a weight that is
    also used elsewhere has to be there together with its other user, in the root.
    """
    owners: dict[int, int] = {}
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    blocks = []
    for holder in module.modules():
        if not isinstance(holder, nn.Sequential | nn.ModuleList):
            continue
        for block in holder.children():
            own = list(block.parameters())
            is_whole = not isinstance(block, nn.ModuleList | nn.ModuleDict)
            if own and is_whole and all(owners[id(p)] == 1 for p in own):
                blocks.append(block)
    return list(dict.fromkeys(reversed(blocks)))
