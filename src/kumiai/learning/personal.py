"""After a run: each member's received model, trained on with its own data alone.

    fine_tune   v starts at w and takes plain local epochs               (no pull: lambda = 0)
    ditto       minimise F_k(v) + lambda / 2 |v - w|^2 over v, from v = w

w: the model that the member received; F_k: its own loss; lambda: `pull`. Ditto: Li, Hu, Beirami and
Smith, "Ditto: Fair and Robust Federated Learning Through Personalization", 2021; a reconstruction,
the objective is theirs. Deviation: Ditto keeps v from round to round and takes a few steps towards
the moving w in each; here v begins when w is final. Both solve the same problem for the last w;
ours costs nothing while the run lasts, and the global model is the same as without.

The pull is FedProx' rule with w as its anchor. The optimiser is the task's, with its full rate.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from kumiai.learning.client import TrainSettings
from kumiai.learning.recipe import Recipe

MODES = ("none", "fine_tune", "ditto")


def make_personal_settings(
    settings: TrainSettings, mode: str, epochs: int, pull: float
) -> TrainSettings:
    """Return how a member trains its own model; ValueError for a mode that trains none."""
    if mode not in MODES[1:]:
        raise ValueError(f"mode {mode!r} is not one of {', '.join(MODES[1:])}")
    is_adamw = settings.optimizer == "sgd" and settings.algorithm == "diloco"
    return replace(
        settings,
        algorithm="fedprox" if mode == "ditto" else "fedavg",
        prox_mu=pull,
        optimizer="adamw" if is_adamw else settings.optimizer,
        local_epochs=epochs,
        local_iterations=0,
        slim_widths=(),
        slim_distill=False,
        is_scheduled=False,
        has_offset=False,
    )


def narrow(recipe: Recipe, width: float) -> Recipe:
    """Return the recipe whose full network is `recipe`'s of `width`."""

    def build(_: float) -> nn.Module:
        return recipe.build(width)

    return replace(recipe, build=build, widths=(1.0,))
