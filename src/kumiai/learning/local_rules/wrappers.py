"""Rules around an inner optimiser: what is added to its gradient or done to its step."""

from __future__ import annotations

import torch

from kumiai.learning.local_rules.rule import Params, Rule, Slots

RATE, CONTROL = "rate", "control"


def fedprox(inner: Rule, mu: float) -> Rule:
    """Wrap `inner` so that each gradient carries mu (w - w_global)."""

    def apply(grads: Params, slots: Slots, params: Params, anchor: Params) -> tuple[Params, Slots]:
        pulled = {name: g + mu * (params[name] - anchor[name]) for name, g in grads.items()}
        return inner.apply(pulled, slots, params, anchor)

    return Rule(inner.init, apply)


def guided(inner: Rule, *, has_rate: bool, has_control: bool) -> Rule:
    """Wrap `inner` so that each round's guide reaches it: a learning rate, a control variate.

    rate: a factor on the learning rate. Every inner optimiser's step is linear in its learning
    rate, so the factor is applied to the step. control: added to every gradient. Both lie in the
    slots, since they may differ between members and rounds while the traced graph stays the same;
    they start as 1 and 0, and the engine writes the round's own (see `LocalWork.guide`).
    """

    def init(params: Params) -> Slots:
        slots: Slots = {"inner": inner.init(params)}
        if has_rate:
            slots[RATE] = next(iter(params.values())).new_ones(())
        if has_control:
            slots[CONTROL] = {name: torch.zeros_like(w) for name, w in params.items()}
        return slots

    def apply(grads: Params, slots: Slots, params: Params, anchor: Params) -> tuple[Params, Slots]:
        if has_control:
            grads = {name: g + slots[CONTROL][name] for name, g in grads.items()}
        moved, memory = inner.apply(grads, slots["inner"], params, anchor)
        if has_rate:
            rate = slots[RATE]
            moved = {name: params[name] + rate * (w - params[name]) for name, w in moved.items()}
        return moved, {**slots, "inner": memory}

    return Rule(init, apply)
