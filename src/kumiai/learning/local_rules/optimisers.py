"""The inner optimisers: each a local rule of its own, equal to torch.optim's."""

from __future__ import annotations

import torch

from kumiai.learning.local_rules.rule import Params, Rule, Slots

ADAM_BETA_MEAN = 0.9
ADAM_BETA_SQUARE = 0.999
ADAM_EPSILON = 1e-8


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
            "count": some.new_zeros(()),
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
