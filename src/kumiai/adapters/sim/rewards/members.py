"""All members' local training side by side, each from a model of its own and at chosen widths.

The engine of runs starts every member from one global model; peers such as CGSV give each member
another one. Members are stacked (torch.func.vmap) and an iteration is traced once per set of widths
and shape, as in `adapters/compute/execution/stacked.py`. Every member does the same number of
iterations a round, so that all methods and members have equal work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.evaluate import evaluate_models
from kumiai.adapters.compute.execution.lowering import Flat, lower
from kumiai.adapters.compute.execution.shards import JoinedShards, Shard, join_shards
from kumiai.learning.client import LocalWork, TrainSettings, build_local_work
from kumiai.learning.layout import Layout, flatten, unflatten
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.learning.schedule import plan_block

Widths = tuple[float, ...]
FULL: tuple[Widths, ...] = ((1.0,),)
DIVERGED = 100  # times the middle length of the members' updates


class MemberTrainer:
    """Trains N members of one recipe; keeps the traced iterations between rounds and methods."""

    def __init__(self, recipe: Recipe, settings: TrainSettings) -> None:
        if not settings.local_iterations:
            raise ValueError("local_iterations 0: members here do an equal number of iterations")
        if settings.optimizer != "sgd" or settings.momentum or settings.algorithm != "fedavg":
            raise ValueError("members here train by plain SGD: the optimiser keeps no memory")
        self.recipe, self.settings = recipe, settings
        self._full = build_local_work(recipe, replace(settings, slim_widths=()))
        self._works: dict[Widths, LocalWork] = {}
        self._graphs: dict[tuple[object, ...], Flat] = {}

    @property
    def layout(self) -> Layout:
        """The flat order of the full model's P numbers."""
        return self._full.layout

    def build_start(self, seed: int) -> Tensor:
        """Return the initial model [P] drawn from `seed`."""
        return flatten(self.layout, build_seeded(self.recipe, 1.0, seed).state_dict())

    def train(
        self,
        models_NP: Tensor,
        shards: Sequence[Shard] | JoinedShards,
        seeds: Sequence[int],
        width_sets: Sequence[Widths] = FULL,
        iterations: int = 0,
    ) -> Tensor:
        """Return the members' local models [N, P] after one round.

        A member whose training diverged (a weight that is not finite, an update DIVERGED times as
        long as the middle one) keeps the model it began with: in a run it would have no update to
        send, or one that the committee refuses. Shards of two samples do diverge at this rate.

        width_sets: iteration k trains the widths of set k modulo their number. iterations: instead
        of the settings'.
        """
        data = shards if isinstance(shards, JoinedShards) else join_shards(shards)
        rows, weights = plan_block(
            data.counts,
            list(seeds),
            self.settings.batch_size,
            iterations=iterations or self.settings.local_iterations,
        )
        rows += torch.tensor(data.offsets).view(1, -1, 1)
        tensors = unflatten(self.layout, models_NP)
        leaves = [tensors[name].contiguous() for name in self.layout.names]
        with torch.no_grad():
            for k in range(len(rows)):
                widths = width_sets[k % len(width_sets)]
                inputs, targets = data.batch(rows[k])
                leaves = list(self._step(widths, [inputs, targets, weights[k], *leaves]))
        local_NP = torch.cat([leaf.flatten(1) for leaf in leaves], 1)
        lengths_N1 = (local_NP - models_NP).norm(dim=1, keepdim=True)
        middle = lengths_N1.nan_to_num(nan=torch.inf).median()
        is_sound_N1 = local_NP.isfinite().all(dim=1, keepdim=True)
        is_sound_N1 &= lengths_N1 <= DIVERGED * middle
        return torch.where(is_sound_N1, local_NP, models_NP)

    def evaluate(self, models_NP: Tensor, samples: Shard, width: float = 1.0) -> Tensor:
        """Return the accuracies [N], float64, of the leading blocks of `width`."""
        return evaluate_models(self.recipe, self.layout, models_NP, *samples, width=width)[1]

    def _step(self, widths: Widths, leaves: list[Tensor]) -> Sequence[Tensor]:
        key = (widths, *(tuple(leaf.shape) for leaf in leaves[:4]))
        if key not in self._graphs:
            work = self._get_work(widths)

            def iterate(
                inputs: Tensor, targets: Tensor, weights: Tensor, *parts: Tensor
            ) -> list[Tensor]:
                tensors = dict(zip(self.layout.names, parts, strict=True))
                carry = work.init(tensors)
                moved, _ = work.step_stacked(carry, carry.params, inputs, targets, weights)
                after = {**moved.params, **moved.rest}
                return [after[name].contiguous() for name in self.layout.names]

            self._graphs[key] = lower(iterate, leaves, "traced")
        return self._graphs[key](*leaves)

    def _get_work(self, widths: Widths) -> LocalWork:
        """Return the iteration that trains exactly `widths`.

        The rate is the settings' times the root of their number: between the weighed mean of the
        losses and their sum, which shakes under label skew. Of four widths the full one, with its
        half of the loss, then learns at the pace at which it is trained alone.
        """
        if widths not in self._works:
            rate = self.settings.learning_rate * math.sqrt(len(widths))
            settings = replace(self.settings, slim_widths=widths, learning_rate=rate)
            work = build_local_work(self.recipe, settings)
            chosen = [
                place
                for place, (module, shapes) in enumerate(work.modules)
                if shapes is not None or 1.0 in widths
            ]
            self._works[widths] = replace(
                work,
                modules=tuple(work.modules[place] for place in chosen),
                integers=tuple(work.integers[place] for place in chosen),
            )
        return self._works[widths]
