"""What a member does between two global models: one local iteration of one recipe under one rule.

The rules themselves are `local_rules`.

Slim training: the loss of an iteration is a mean over widths of the losses of the leading
sub-networks, full and narrowest always among them ("sandwich rule": Yu and Huang, "Universally
Slimmable Networks and Improved Training Techniques", 2019). Their in-place distillation is the
setting `slim_distill` (see `distill`). Three deviations, so this is a reconstruction and not the
paper's recipe. The mean instead of the sum keeps the learning rate's meaning. In it the full
network counts as much as all narrower ones together: with equal shares it learnt at a fraction of
the pace that it has alone, and what the best member received lagged behind plain averaging by up to
three points (`kumiai bench aequa`). And all widths of the grid are trained where the paper draws a
few at random per iteration. Drawing decides the shapes of an iteration: members stacked in one
batch, and an iteration traced once and run many times, cannot each have their own. Computing all
and weighing some with 0 would cost the same and add noise.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.utils import _pytree as pytree

from kumiai.learning.distill import check_distillable, compute_soft_loss
from kumiai.learning.layout import Layout, compute_layout, integer_buffers, unflatten
from kumiai.learning.local_rules import Params, Rule, Slots, TrainSettings, build_rule
from kumiai.learning.local_rules.wrappers import CONTROL, RATE
from kumiai.learning.recipe import Recipe, build_seeded, compute_class_loss
from kumiai.learning.shared_layer import SharedFirstLayer
from kumiai.learning.slim import slice_state

__all__ = [
    "Carry",
    "LocalWork",
    "Params",
    "TrainSettings",
    "build_local_work",
    "compute_sample_losses",
    "expand",
]

FULL_SHARE = 0.5  # of an iteration's loss, where narrower networks are trained too
IMAGE_DIMENSIONS = 4  # of one convolution kernel
CLASS_DIMENSIONS = 2  # [samples, classes]


class Carry(NamedTuple):
    """What a member carries from one iteration to the next: a pytree of tensors.

    params: trained tensors; rest: the layout's other tensors (float buffers, frozen parameters).
    """

    params: Params
    rest: Params
    slots: Slots


@dataclass(frozen=True)
class LocalWork:
    """One recipe under one rule, ready to run: the modules of all trained widths and their layout.

    modules: (module, its shapes or None for the full width), the full one first. integers: the
    integer buffers' initial values of each module, handed to every iteration anew.
    """

    recipe: Recipe
    settings: TrainSettings
    layout: Layout
    rule: Rule
    modules: tuple[tuple[nn.Module, dict[str, tuple[int, ...]] | None], ...]
    integers: tuple[Params, ...]

    def init(self, tensors: Params) -> Carry:
        """Start a round from the global model's tensors (by name)."""
        params, rest = self.divide(tensors)
        return Carry(params, rest, self.rule.init(params))

    @property
    def guide_size(self) -> int:
        """G, the numbers that each round hands every member beside the model; 0 for most rules."""
        vectors = int(self.settings.algorithm == "scaffold") + int(self.settings.has_offset)
        return int(self.settings.is_scheduled) + self.layout.size * vectors

    def guide(self, carry: Carry, guide: Tensor) -> Carry:
        """Write a round's guide [G] (of stacked members [C, G]) into a fresh carry.

        Its numbers, as far as the rule has them: the factor on the learning rate, then how far
        from the global model the member starts, then what is added to the gradient, both in the
        order of the layout.
        """
        if self.settings.has_offset:
            first = int(self.settings.is_scheduled)
            carry = self._shift(carry, guide[..., first : first + self.layout.size])
        slots = dict(carry.slots)
        if RATE in slots:
            slots[RATE] = guide[..., 0]
        if CONTROL in slots:
            control, _ = self.divide(unflatten(self.layout, guide[..., -self.layout.size :]))
            # a compiled graph counts on the memory format that convolution kernels have
            slots[CONTROL] = {
                name: _form_like(t, carry.params[name]) if guide.dim() == 1 else t
                for name, t in control.items()
            }
        return carry._replace(slots=slots)

    def _shift(self, carry: Carry, offset: Tensor) -> Carry:
        params, rest = self.divide(unflatten(self.layout, offset))
        return carry._replace(
            params={name: t + params[name] for name, t in carry.params.items()},
            rest={name: t + rest[name] for name, t in carry.rest.items()},
        )

    def divide(self, tensors: Params) -> tuple[Params, Params]:
        """Divide the layout's tensors into trained ones and the rest."""
        trained = zip(self.layout.names, self.layout.is_parameter, strict=True)
        is_trained = dict(trained)
        params = {name: t for name, t in tensors.items() if is_trained[name]}
        return params, {name: t for name, t in tensors.items() if not is_trained[name]}

    def step(
        self,
        carry: Carry,
        anchor: Params,
        inputs: Tensor,
        targets: Tensor,
        weights_B: Tensor | None,
    ) -> tuple[Carry, Tensor]:
        """One iteration on one batch; returns the next carry and the data loss before it.

        weights_B: None for the recipe's own mean, else each sample's share of it (0 for padding);
        only right where `probe` found the loss to be a mean over independent samples.
        """
        grads, loss, rest = self.differentiate(carry, inputs, targets, weights_B)
        params, slots = self.rule.apply(grads, carry.slots, carry.params, anchor)
        return Carry(params, rest, slots), loss

    def differentiate(
        self, carry: Carry, inputs: Tensor, targets: Tensor, weights_B: Tensor | None
    ) -> tuple[Params, Tensor, Params]:
        """Return a batch's gradients, its loss and the rest after its forward pass."""
        leaves = _free(carry.params)
        with torch.enable_grad():
            loss, rest = self.compute_loss(leaves, carry.rest, inputs, targets, weights_B)
            grads = _compute_gradients(loss, leaves)
        return grads, loss.detach(), _detach(rest)

    def step_stacked(
        self,
        carry: Carry,
        anchor: Params,
        inputs: Tensor,
        targets: Tensor,
        weights_CB: Tensor | None,
    ) -> tuple[Carry, Tensor]:
        """`step` for C members at once: a leading dimension C on all but `anchor`.

        The forward pass is mapped over the members. The gradient is that of the sum of all losses:
        each member's parameters are in its own loss alone, and the backward pass needs no mapping,
        which is much of what a small network's step costs.
        """
        leaves = _free(carry.params)
        in_dims = (0, 0, 0, 0, None if weights_CB is None else 0)
        with torch.enable_grad():
            compute = vmap(self.compute_loss, in_dims=in_dims)
            loss_C, rest = compute(leaves, carry.rest, inputs, targets, weights_CB)
            grads = _compute_gradients(loss_C.sum(), leaves)
        apply = vmap(self.rule.apply, in_dims=(0, 0, 0, None))
        params, slots = apply(grads, carry.slots, carry.params, anchor)
        return Carry(params, _detach(rest), slots), loss_C.detach()

    def compute_loss(
        self,
        params: Params,
        rest: Params,
        inputs: Tensor,
        targets: Tensor,
        weights_B: Tensor | None,
    ) -> tuple[Tensor, Params]:
        """Return the weighed mean of the widths' losses, and the float buffers afterwards."""
        # buffers such as BatchNorm's running mean are written in place by the module
        rest = {name: t.clone() for name, t in rest.items()}
        tensors = {**params, **rest}
        total: Tensor | None = None
        teacher: Tensor | None = None
        shared = SharedFirstLayer(inputs, tensors) if len(self.modules) > 1 else None
        shares = self._share_loss()
        for (module, shapes), integers, share in zip(
            self.modules, self.integers, shares, strict=True
        ):
            state = tensors if shapes is None else slice_state(tensors, shapes)
            counters = {name: t.clone() for name, t in integers.items()}
            if shared is not None:
                shared.register(state)
            with shared or nullcontext():
                outputs = functional_call(module, {**state, **counters}, (inputs,))
            if teacher is None:
                loss = compute_batch_loss(self.recipe, outputs, targets, weights_B)
            else:
                loss = compute_soft_loss(self.recipe, outputs, teacher, weights_B)
            if self.settings.slim_distill and shapes is None:
                teacher = outputs
            part = loss if shared is None else share * loss
            total = part if total is None else total + part
        assert total is not None
        return total, rest

    def _share_loss(self) -> tuple[float, ...]:
        """Return the share of each width in the loss."""
        is_full = [shapes is None for _, shapes in self.modules]
        narrow = is_full.count(False)
        if not narrow or not any(is_full):
            return (1 / len(is_full),) * len(is_full)
        return tuple(FULL_SHARE if full else (1 - FULL_SHARE) / narrow for full in is_full)


def build_local_work(recipe: Recipe, settings: TrainSettings) -> LocalWork:
    """Build the modules of all widths that `settings` trains.

    Raises ValueError where the recipe's build raises or its float tensors are not float32, or for
    slim_distill with a loss of the recipe's own.
    """
    if settings.slim_distill:
        check_distillable(recipe)
    full = build_seeded(recipe, 1.0, seed=0).train()
    layout = compute_layout(full)
    modules: list[tuple[nn.Module, dict[str, tuple[int, ...]] | None]] = [(full, None)]
    for width in sorted(set(settings.slim_widths) - {1.0}):
        narrow = build_seeded(recipe, width, seed=0).train()
        narrow_layout = compute_layout(narrow)
        modules.append((narrow, dict(zip(narrow_layout.names, narrow_layout.shapes, strict=True))))
    if not any(layout.is_parameter):
        raise ValueError(f"recipe {recipe.name!r} has no parameter to train")
    return LocalWork(
        recipe=recipe,
        settings=settings,
        layout=layout,
        rule=build_rule(settings),
        modules=tuple(modules),
        integers=tuple(integer_buffers(module) for module, _ in modules),
    )


def expand(shared: Carry, count: int) -> Carry:
    """Return `count` members that share one carry: stacked [C, ...] without a copy."""
    stacked: Carry = pytree.tree_map(lambda t: t.unsqueeze(0).expand(count, *t.shape), shared)
    return stacked


def _form_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """Return the tensor in the pattern's memory format."""
    is_last = pattern.dim() == IMAGE_DIMENSIONS and not pattern.is_contiguous()
    return tensor.contiguous(memory_format=torch.channels_last) if is_last else tensor.contiguous()


def _free(params: Params) -> Params:
    return {name: t.detach().requires_grad_() for name, t in params.items()}


def _detach(tensors: Params) -> Params:
    return {name: t.detach() for name, t in tensors.items()}


def _compute_gradients(objective: Tensor, leaves: Params) -> Params:
    """Return d objective / d leaf by name, zeros for what the objective does not depend on.

    torch.autograd and not torch.func.grad, whose first call imports a compiler for two seconds.
    """
    if not objective.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    gradients = torch.autograd.grad(objective, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def compute_batch_loss(
    recipe: Recipe, outputs: Tensor, targets: Tensor, weights_B: Tensor | None
) -> Tensor:
    """Return the recipe's mean loss, or the sum of single samples' losses times `weights_B`."""
    if weights_B is None:
        return recipe.compute_loss(outputs, targets)
    return (compute_sample_losses(recipe, outputs, targets) * weights_B).sum()


def compute_sample_losses(recipe: Recipe, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each sample alone, [B]."""
    if recipe.compute_loss is compute_class_loss and outputs.dim() == CLASS_DIMENSIONS:
        return functional.cross_entropy(outputs, targets, reduction="none")

    def compute_one(output: Tensor, target: Tensor) -> Tensor:
        return recipe.compute_loss(output.unsqueeze(0), target.unsqueeze(0))

    losses_B: Tensor = vmap(compute_one)(outputs, targets)
    return losses_B
