"""Aequa: one slimmable model trained by all, of which each member receives the width it earned.

Tastan, Horváth and Nandakumar, "Aequa: Fair Model Rewards in Collaborative Learning via Slimmable
Networks", 2025 (reconstruction: the paper's text was not available). Training is FedAvg in which an
iteration trains four widths: the full one, the narrowest and two between (the sandwich rule of Yu
and Huang, "Universally Slimmable Networks and Improved Training Techniques", 2019). They draw the
two; here eight fixed pairs take turns, so that an iteration is traced once a pair. All learn from
the labels: distillation came out worse at budgets this short (see `learning/distill.py`). Then
`learning/allocation.py` gives each member the width whose accuracy on the validation part is the
one it is owed; widths between those trained are used too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from kumiai.adapters.sim.rewards.federation import Federation, LastModels, Received
from kumiai.learning.allocation import Allocation, AllocationSettings, allocate_widths
from kumiai.learning.curve import Curve, measure_curve
from kumiai.learning.fairness import FloatArray
from kumiai.learning.layout import compute_layout, unflatten
from kumiai.learning.recipe import build_seeded
from kumiai.learning.slim import slice_state

PAIRS = 8
SETTINGS = AllocationSettings(rounding="nearest")


def list_width_sets(widths: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Return the four widths of each of the iterations that take turns.

    The widths between are spread evenly on a logarithmic scale: accuracy changes fastest where the
    network is narrow. Of `widths` the nearest are taken.
    """
    between = np.geomspace(widths[0], 1.0, 2 * PAIRS + 2)[1:-1]
    near = [min(widths, key=lambda width: abs(width - wished)) for wished in between]
    return tuple(
        (widths[0], near[index], near[index + PAIRS], widths[-1]) for index in range(PAIRS)
    )


def play_aequa(federation: Federation) -> Received:
    """Return the slimmed model at each member's width."""
    model_P = train_slim(federation)
    allocation, _ = allocate(federation, model_P)
    return Received(model_P.expand(federation.size, -1), allocation.widths)


def train_slim(federation: Federation) -> Tensor:
    """Return the slimmable model [P] after all rounds."""
    model_P = federation.start_P
    sets = list_width_sets(federation.trainer.recipe.widths)
    last = LastModels(federation.rounds)
    for number in range(federation.rounds):
        models_NP = model_P.expand(federation.size, -1).contiguous()
        local_NP = federation.trainer.train(
            models_NP, federation.data, federation.get_seeds(number), sets
        )
        model_P = federation.shares_N @ local_NP
        last.add(number, model_P)
    return last.compute_mean()


def allocate(federation: Federation, model_P: Tensor) -> tuple[Allocation, Curve]:
    """Return the widths, and the accuracy-width curve on the validation part that gave them."""
    widths = federation.trainer.recipe.widths
    curve = measure_curve(lambda width: score_samples(federation, model_P, width), widths)
    contributions_N = federation.contributions_N
    return allocate_widths(contributions_N, curve, contributions_N, SETTINGS), curve


def score_samples(federation: Federation, model_P: Tensor, width: float) -> FloatArray:
    """Return 1 for each validation sample that the network of `width` takes right, else 0."""
    recipe, layout = federation.trainer.recipe, federation.trainer.layout
    module = build_seeded(recipe, width, seed=0).eval()
    narrow = compute_layout(module)
    shapes = dict(zip(narrow.names, narrow.shapes, strict=True))
    state = slice_state(unflatten(layout, model_P), shapes)
    inputs, targets = federation.split.validation
    with torch.no_grad():
        outputs = functional_call(module, state, (inputs,))
    return recipe.compute_correct(outputs, targets).double().numpy()
