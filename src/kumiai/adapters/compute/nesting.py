"""Members that work at different widths in one round: which numbers are whose (aequa-live).

A member of width w is trained in the network of width w alone, built from the leading blocks of the
global model: the numbers of the wider ones never reach its training. Its update is laid back into
the full layout, zero outside of its block, so that everything else sees updates of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kumiai.adapters.compute.execution.engine import Engine, RoundResult
from kumiai.adapters.compute.execution.shards import Shard
from kumiai.base.amounts import PPM
from kumiai.learning.aggregation import (
    Kernels,
    average_covered,
    count_covering,
    find_covered,
    is_inside,
)
from kumiai.learning.fixed_point import IntVector
from kumiai.learning.recipe import Recipe
from kumiai.learning.slim import compute_levels


class Nesting:
    """The grid of widths of one recipe over its flat model; costs nothing while all are full."""

    def __init__(self, recipe: Recipe, grid_ppm: Sequence[int]) -> None:
        """grid_ppm: the recipe's widths as the task and the log write them."""
        self._recipe, self._grid_ppm = recipe, tuple(grid_ppm)

    @cached_property
    def levels_P(self) -> IntVector:
        """See `learning.slim.compute_levels`."""
        return compute_levels(self._recipe)

    def find_place(self, width_ppm: int) -> int:
        """Return the width's place in the grid; ValueError for one that is not of the grid."""
        if width_ppm == PPM:
            return len(self._grid_ppm) - 1
        if width_ppm not in self._grid_ppm:
            raise ValueError(f"width {width_ppm} ppm is none of {list(self._grid_ppm)}")
        return self._grid_ppm.index(width_ppm)

    def find_block(self, width_ppm: int) -> NDArray[np.int64]:
        """Return the numbers of the leading block of a width, ascending."""
        return np.flatnonzero(self.levels_P <= self.find_place(width_ppm))

    def find_outside(self, width_ppm: int) -> NDArray[np.int64]:
        """Return the other numbers, ascending."""
        return np.flatnonzero(self.levels_P > self.find_place(width_ppm))

    def is_inside(self, update_P: IntVector, width_ppm: int) -> bool:
        """Tell whether an update is zero outside of the block of its member's width."""
        if width_ppm == PPM:
            return True
        return is_inside(update_P, self.find_place(width_ppm), self.levels_P)

    def count_covering(self, widths_ppm: Sequence[int]) -> NDArray[np.int64]:
        """Return how many of these widths hold each number [P]."""
        return count_covering([self.find_place(width) for width in widths_ppm], self.levels_P)

    def find_covered(self, widths_ppm: Sequence[int]) -> NDArray[np.int64]:
        """Return the numbers that at least one of these widths holds."""
        return find_covered([self.find_place(width) for width in widths_ppm], self.levels_P)

    def average(
        self,
        updates: Sequence[IntVector],
        weights: Sequence[int],
        widths_ppm: Sequence[int],
        kernels: Kernels,
    ) -> IntVector:
        """Return the mean [P] of every number over the members whose width holds it."""
        places = [self.find_place(width) for width in widths_ppm]
        return average_covered(updates, weights, places, self.levels_P, kernels)

    def get_engine(self, engine: Engine, width_ppm: int) -> Engine:
        """Return the engine of the network of this width."""
        return engine if width_ppm == PPM else engine.narrow(self.find_place(width_ppm))

    def train(
        self,
        engine: Engine,
        widths_ppm: Sequence[int],
        global_P: Tensor,
        shards: Sequence[Shard],
        seeds: Sequence[int],
        guides_NG: Tensor | None,
        keys: Sequence[bytes],
    ) -> RoundResult:
        """As `Engine.train` with a width a member; those of one width train together."""
        if all(width == PPM for width in widths_ppm):
            return engine.train(global_P, shards, seeds, guides_NG, keys)
        updates_NP = torch.zeros(len(shards), len(global_P))
        losses_N = torch.zeros(len(shards))
        iterations, samples = [0] * len(shards), [0] * len(shards)
        for width_ppm in sorted(set(widths_ppm)):
            rows = [n for n, width in enumerate(widths_ppm) if width == width_ppm]
            block_Q = torch.from_numpy(self.find_block(width_ppm))
            done = self.get_engine(engine, width_ppm).train(
                global_P[block_Q],
                [shards[n] for n in rows],
                [seeds[n] for n in rows],
                None if guides_NG is None else guides_NG[rows],
            )
            for place, n in enumerate(rows):
                updates_NP[n, block_Q] = done.updates_NP[place]
                losses_N[n] = done.losses_N[place]
                iterations[n], samples[n] = done.iterations_N[place], done.samples_N[place]
        return RoundResult(updates_NP, losses_N, tuple(iterations), tuple(samples))
