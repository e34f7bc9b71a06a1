"""What a member does between two global models: its optimiser, its rule and one local iteration.

Rules are (init, apply) pairs in functional form, so that the same code runs for one member, under
torch.func.vmap for many at once, and traced into a compiled graph.

FedAvg: plain local optimisation (McMahan et al., "Communication-Efficient Learning of Deep Networks
from Decentralized Data", 2017). FedProx: adds mu/2 ||w - w_global||^2 to the local objective, that
is mu (w - w_global) to its gradient (Li et al., "Federated Optimization in Heterogeneous Networks",
2020). DiLoCo: many local AdamW iterations, then an outer Nesterov step of the server on the mean of
the differences (Douillard et al., 2023); here the inner state is fresh every round, where the paper
keeps it between rounds (members may come and go). The outer step is the server's and lives there.

Slim training: the loss of an iteration is the mean over widths of the losses of the leading
sub-networks, full and narrowest always among them ("sandwich rule": Yu and Huang, "Universally
Slimmable Networks and Improved Training Techniques", 2019). Their in-place distillation is the
setting `slim_distill` (see `distill`). Two deviations, so this is a reconstruction and not the
paper's recipe: the mean instead of the sum keeps the learning rate's meaning; and all widths of the
grid are trained where the paper draws a few at random per iteration. Drawing decides the shapes of
an iteration: members stacked in one batch, and an iteration traced once and run many times, cannot
each have their own. Computing all and weighing some with 0 would cost the same and add noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.utils import _pytree as pytree

from kumiai.learning.distill import check_distillable, compute_soft_loss
from kumiai.learning.layout import Layout, compute_layout, integer_buffers
from kumiai.learning.recipe import Recipe, build_seeded, compute_class_loss
from kumiai.learning.slim import slice_state

ADAM_BETA_MEAN = 0.9
ADAM_BETA_SQUARE = 0.999
ADAM_EPSILON = 1e-8
CLASS_DIMENSIONS = 2  # [samples, classes]

Params = dict[str, Tensor]
Slots = dict[str, Any]  # the optimiser's memory: a pytree of tensors


@dataclass(frozen=True)
class TrainSettings:
    """How every member trains in a round. Rates are plain floats; the task document holds ppm.

    local_iterations > 0 fixes the number of iterations (passing over the data as often as needed);
    otherwise local_epochs decides. slim_widths: the widths trained beside the full one, () for
    none. slim_distill: the other widths learn the full one's outputs instead of the labels; then
    the reported loss is the mean over both kinds. shuffle=False keeps the order of the
    samples (reference work of the benchmark only).
    """

    algorithm: Literal["fedavg", "fedprox", "diloco"] = "fedavg"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.0
    weight_decay: float = 0.0
    prox_mu: float = 0.01
    batch_size: int = 32
    local_epochs: int = 1
    local_iterations: int = 0
    slim_widths: tuple[float, ...] = ()
    slim_distill: bool = False
    shuffle: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError, with the number, for settings that cannot train."""
        if self.algorithm not in ("fedavg", "fedprox", "diloco"):
            raise ValueError(f"algorithm {self.algorithm!r} is not fedavg, fedprox or diloco")
        if self.optimizer not in ("sgd", "adamw"):
            raise ValueError(f"optimizer {self.optimizer!r} is not sgd or adamw")
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} is less than 1")
        if self.local_iterations < 0 or (self.local_iterations == 0 and self.local_epochs < 1):
            raise ValueError(
                f"local_epochs {self.local_epochs} and local_iterations {self.local_iterations} "
                "leave nothing to do"
            )
        if not all(0.0 < width <= 1.0 for width in self.slim_widths):
            raise ValueError(f"slim_widths {self.slim_widths} must lie above 0 and at most at 1")


class Rule(NamedTuple):
    """A client update rule.

    init(params) gives the optimiser's memory; apply(grads, slots, params, anchor) gives the next
    (params, slots), where anchor holds the global model's parameters.
    """

    init: Callable[[Params], Slots]
    apply: Callable[[Params, Slots, Params, Params], tuple[Params, Slots]]


def build_rule(settings: TrainSettings) -> Rule:
    """Return the rule of `settings.algorithm` around its inner optimiser."""
    if settings.optimizer == "adamw" or settings.algorithm == "diloco":
        inner = adamw(settings.learning_rate, settings.weight_decay)
    else:
        inner = sgd(settings.learning_rate, settings.momentum, settings.weight_decay)
    return fedprox(inner, settings.prox_mu) if settings.algorithm == "fedprox" else inner


def sgd(learning_rate: float, momentum: float, weight_decay: float) -> Rule:
    """Stochastic gradient descent as torch.optim.SGD does it (no dampening, no Nesterov)."""

    def init(params: Params) -> Slots:
        if not momentum:
            return {}
        return {"momentum": {name: torch.zeros_like(w) for name, w in params.items()}}

    def apply(grads: Params, slots: Slots, params: Params, anchor: Params) -> tuple[Params, Slots]:
        if weight_decay:
            grads = {name: g + weight_decay * params[name] for name, g in grads.items()}
        if momentum:
            grads = {name: momentum * slots["momentum"][name] + g for name, g in grads.items()}
            slots = {"momentum": grads}
        # not torch.add(..., alpha=...): TorchInductor 2.13 drops the alpha when g is a product
        moved = {name: params[name] - learning_rate * g for name, g in grads.items()}
        return moved, slots

    return Rule(init, apply)


def adamw(learning_rate: float, weight_decay: float) -> Rule:
    """AdamW (Loshchilov and Hutter, 2019) as torch.optim.AdamW does it, betas 0.9 and 0.999."""

    def init(params: Params) -> Slots:
        some = next(iter(params.values()))
        return {
            "mean": {name: torch.zeros_like(w) for name, w in params.items()},
            "square": {name: torch.zeros_like(w) for name, w in params.items()},
            "count": torch.zeros((), dtype=some.dtype),
        }

    def apply(grads: Params, slots: Slots, params: Params, anchor: Params) -> tuple[Params, Slots]:
        count = slots["count"] + 1
        mean_scale = learning_rate / (1 - ADAM_BETA_MEAN**count)
        square_scale = (1 - ADAM_BETA_SQUARE**count).sqrt()
        mean, square, moved = {}, {}, {}
        for name, g in grads.items():
            mean[name] = ADAM_BETA_MEAN * slots["mean"][name] + (1 - ADAM_BETA_MEAN) * g
            square[name] = ADAM_BETA_SQUARE * slots["square"][name] + (1 - ADAM_BETA_SQUARE) * g * g
            scale = square[name].sqrt() / square_scale + ADAM_EPSILON
            kept = params[name] * (1 - learning_rate * weight_decay)
            moved[name] = kept - mean_scale * mean[name] / scale
        return moved, {"mean": mean, "square": square, "count": count}

    return Rule(init, apply)


def fedprox(inner: Rule, mu: float) -> Rule:
    """Wrap `inner` so that each gradient carries mu (w - w_global)."""

    def apply(grads: Params, slots: Slots, params: Params, anchor: Params) -> tuple[Params, Slots]:
        pulled = {name: g + mu * (params[name] - anchor[name]) for name, g in grads.items()}
        return inner.apply(pulled, slots, params, anchor)

    return Rule(inner.init, apply)


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
        leaves = _free(carry.params)
        with torch.enable_grad():
            loss, rest = self.compute_loss(leaves, carry.rest, inputs, targets, weights_B)
            grads = _compute_gradients(loss, leaves)
        params, slots = self.rule.apply(grads, carry.slots, carry.params, anchor)
        return Carry(params, _detach(rest), slots), loss.detach()

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
        """Return the mean loss over the trained widths and the float buffers after the forward."""
        # buffers such as BatchNorm's running mean are written in place by the module
        rest = {name: t.clone() for name, t in rest.items()}
        tensors = {**params, **rest}
        total: Tensor | None = None
        teacher: Tensor | None = None
        for (module, shapes), integers in zip(self.modules, self.integers, strict=True):
            state = tensors if shapes is None else slice_state(tensors, shapes)
            counters = {name: t.clone() for name, t in integers.items()}
            outputs = functional_call(module, {**state, **counters}, (inputs,))
            if teacher is None:
                loss = compute_batch_loss(self.recipe, outputs, targets, weights_B)
            else:
                loss = compute_soft_loss(self.recipe, outputs, teacher, weights_B)
            if self.settings.slim_distill and shapes is None:
                teacher = outputs
            total = loss if total is None else total + loss
        assert total is not None
        return total / len(self.modules) if len(self.modules) > 1 else total, rest


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
