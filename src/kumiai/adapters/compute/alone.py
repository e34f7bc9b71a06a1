"""What a member reaches alone: the task's network, trained on one shard and nothing else.

A member takes part with reason when the model it receives is no worse than the one it could have
made by itself. Alone it trains the full network from numbers of its own, with the task's optimiser
and full rate, for as many passes as it made in the run. Neither noise for privacy nor narrow widths
are trained: nobody but the member sees this network, and it needs no smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.measure import Samples
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten
from kumiai.learning.personal import make_personal_settings
from kumiai.learning.recipe import Recipe, build_seeded


def make_alone_settings(settings: TrainSettings, rounds: int) -> TrainSettings:
    """Return plain local training of as many passes as `rounds` rounds had; ValueError below 1."""
    if rounds < 1:
        raise ValueError(f"{rounds} rounds are no training")
    epochs, iterations = settings.local_epochs * rounds, settings.local_iterations * rounds
    plain = make_personal_settings(settings, "fine_tune", epochs, 0.0)
    return replace(plain, local_iterations=iterations)


def measure_alone(
    recipe: Recipe,
    settings: TrainSettings,
    shards: Sequence[Samples],
    rounds: Sequence[int],
    seeds: Sequence[int],
    part: Samples,
) -> list[float | None]:
    """Return the accuracy on `part` of each member's own network; None where training diverged.

    shards, rounds, seeds: one a member; rounds: in how many it took part, 0 trains nothing (None).
    """
    results: list[float | None] = []
    for shard, count, seed in zip(shards, rounds, seeds, strict=True):
        if not count:
            results.append(None)
            continue
        own = make_alone_settings(settings, count)
        with Engine(recipe, own, "inline", tier="eager") as engine:
            start_P = flatten(engine.layout, build_seeded(recipe, 1.0, seed).state_dict())
            alone_P = start_P + engine.train(start_P, [shard], [seed]).updates_NP[0]
            is_finite = bool(torch.isfinite(alone_P).all())
            accuracy = engine.evaluate(alone_P[None], *part)[1][0] if is_finite else None
        results.append(None if accuracy is None else float(accuracy))
    return results
