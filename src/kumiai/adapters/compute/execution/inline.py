"""One member after the other, in this process: the reference that all other backends must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.devices import drawing
from kumiai.adapters.compute.execution.shards import IMAGE_DIMENSIONS, JoinedShards, plan_member
from kumiai.learning.client import Carry, LocalWork, Params
from kumiai.learning.layout import flatten, unflatten

Step = Callable[[Carry, Params, Tensor, Tensor, Tensor | None], tuple[Carry, Tensor]]


class InlineBackend:
    """Trains members one by one; memory for one member whatever their number."""

    name = "inline"

    def __init__(self, work: LocalWork, step: Step | None = None) -> None:
        self._work = work
        self._step = step or work.step

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_NG: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return updates_NP and losses_N (mean over the samples seen) of one round."""
        updates_NP = torch.empty(len(seeds), self._work.layout.size)
        losses_N = torch.empty(len(seeds))
        global_P = global_P.to(data.device)
        for n, seed in enumerate(seeds):
            guide_G = None if guides_NG is None else guides_NG[n].to(data.device)
            update_P, loss = train_member(
                self._work, self._step, global_P, data, member=n, seed=seed, guide_G=guide_G
            )
            updates_NP[n] = update_P
            losses_N[n] = loss
        return updates_NP, losses_N

    def close(self) -> None:
        """Nothing to release."""


def train_member(
    work: LocalWork,
    step: Step,
    global_P: Tensor,
    data: JoinedShards,
    *,
    member: int,
    seed: int,
    guide_G: Tensor | None = None,
    draw_seed: int | None = None,
) -> tuple[Tensor, float]:
    """Return member's update [P] (local - global) and mean loss.

    The member's own seed rules its batches and any randomness inside the recipe (dropout), so that
    the result does not depend on who else trains or in which order. draw_seed: for the recipe's own
    randomness where it is not the batches' (see `parallel_rank`). Raises ValueError naming the
    recipe and the member where the recipe raises.
    """
    tensors = convert_format(unflatten(work.layout, global_P), data.is_channels_last)
    carry = work.init(tensors)
    anchor = carry.params  # the global model, wherever the member starts
    if guide_G is not None:
        carry = work.guide(carry, guide_G)
    carry, loss_sum, seen = iterate(
        work, step, carry, anchor, data, member=member, seed=seed, draw_seed=draw_seed
    )
    update_P = flatten(work.layout, {**carry.params, **carry.rest}) - global_P
    return update_P, float(loss_sum) / seen


def iterate(
    work: LocalWork,
    step: Step,
    carry: Carry,
    anchor: Params,
    data: JoinedShards,
    *,
    member: int,
    seed: int,
    draw_seed: int | None = None,
) -> tuple[Carry, Tensor, int]:
    """Run a member's iterations from `carry`; return the last, the sum of losses, its samples."""
    loss_sum, seen = torch.zeros((), device=data.device), 0
    batches = plan_member(work.settings, data.counts[member], seed)
    with drawing(data.device, seed if draw_seed is None else draw_seed):
        try:
            for rows in batches:
                inputs, targets = data.batch(rows + data.offsets[member])
                carry, loss = step(carry, anchor, inputs, targets, None)
                loss_sum += loss * len(rows)
                seen += len(rows)
        except Exception as error:
            # whatever the user's network or loss raises is one fault with one address
            raise ValueError(describe_fault(work, member, error)) from error
    return carry, loss_sum, seen


def convert_format(tensors: Params, is_channels_last: bool) -> Params:
    """Return fresh copies, convolution kernels with channels innermost where asked for."""
    if not is_channels_last:
        return {name: t.clone() for name, t in tensors.items()}
    return {
        name: t.clone(memory_format=torch.channels_last)
        if t.dim() == IMAGE_DIMENSIONS
        else t.clone()
        for name, t in tensors.items()
    }


def describe_fault(work: LocalWork, member: int, error: BaseException) -> str:
    """Say which recipe failed on which member's samples, and how."""
    return f"recipe {work.recipe.name!r} failed on member {member}: {type(error).__name__}: {error}"
