"""Members' own models: the received one, trained on with each member's data (`learning.personal`).

Nothing of it is certified, paid or seen by anybody else: it happens after the run, at the member.
The seed of each member's training comes from the task, so a run that is taken up again after a
crash ends with the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.measure import Samples
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.personal import narrow
from kumiai.learning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Personal:
    """One member's own model and its accuracy on the member's own kept samples.

    shared_accuracy: of the received model on the same samples.
    """

    tensors: dict[str, Tensor]
    accuracy: float
    shared_accuracy: float


def personalise(
    recipe: Recipe,
    settings: TrainSettings,
    width: float,
    received: dict[str, Tensor],
    shards: Sequence[Samples],
    kept: Sequence[Samples],
    seeds: Sequence[int],
) -> list[Personal | None]:
    """Train members who received the network of `width`; None for whose training diverged.

    received: that network's tensors. shards, kept, seeds: one a member; `kept` was never trained
    on by anybody. settings: see `make_personal_settings`.
    """
    results: list[Personal | None] = []
    with Engine(narrow(recipe, width), settings, "inline", tier="eager") as engine:
        received_P = flatten(engine.layout, received)
        trained = engine.train(received_P, shards, seeds)
        for update_P, (inputs, targets) in zip(trained.updates_NP, kept, strict=True):
            personal_P = received_P + update_P
            if not bool(torch.isfinite(personal_P).all()):
                results.append(None)
                continue
            both_2P = torch.stack([received_P, personal_P])
            shared, own = engine.evaluate(both_2P, inputs, targets)[1].tolist()
            tensors = unflatten(engine.layout, personal_P)
            results.append(Personal({k: t.clone() for k, t in tensors.items()}, own, shared))
    return results
