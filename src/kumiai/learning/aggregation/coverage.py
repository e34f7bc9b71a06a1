"""The mean of nested blocks: every number is averaged over the members whose width holds it.

    delta_p = sum_(n: a_n >= l_p) w_n u_np / sum_(n: a_n >= l_p) w_n      0 where nobody holds p

a_n = `places_N` (the place of member n's width in the grid), l_p = `levels_P` (the place of the
narrowest width that has number p), u = `updates_NP`, w = `weights_N`. Dividing by the weight of all
members instead would shrink the steps of the outer blocks, which few members train.

Source: the rule of nested widths in S. Horvath et al., "FjORD: Fair and Accurate Federated Learning
under heterogeneous targets with Ordered Dropout", 2021, and of overlapping blocks in E. Diao, J.
Ding and V. Tarokh, "HeteroFL", 2021 (there by count); reconstructions. That Aequa's variant with
rewards during training averages so is our inference: its text was not available.

Integers, rounded half to even, one result on every machine. Members of weight 0 are left out, their
order never matters, and with all widths full it is the plain mean bit for bit. Numbers outside of a
member's own block are never read. Cost O(N P): the numbers that the same members hold are one plain
mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.aggregation.door import aggregate
from kumiai.learning.aggregation.kernels import Kernels
from kumiai.learning.fixed_point import IntVector


def average_covered(
    updates_NP: Sequence[IntVector],
    weights_N: Sequence[int],
    places_N: Sequence[int],
    levels_P: IntVector,
    kernels: Kernels | None = None,
) -> IntVector:
    """Return the delta [P]; ValueError as `aggregate`, or for sizes that do not fit."""
    if not len(updates_NP) == len(weights_N) == len(places_N):
        raise ValueError(
            f"{len(updates_NP)} updates, {len(weights_N)} weights and {len(places_N)} widths"
        )
    if any(update_P.shape != levels_P.shape for update_P in updates_NP):
        raise ValueError(f"an update does not have the {len(levels_P)} numbers of the model")
    delta_P = np.zeros(len(levels_P), dtype=np.int32)
    for low, high in _list_steps(places_N, weights_N):
        held = [n for n, place in enumerate(places_N) if place >= high and weights_N[n] > 0]
        block_B = np.flatnonzero((levels_P > low) & (levels_P <= high))
        if not len(block_B):
            continue
        rows = [updates_NP[n][block_B] for n in held]
        weights = [weights_N[n] for n in held]
        delta_P[block_B] = aggregate("mean", rows, weights, kernels=kernels)
    return delta_P


def find_covered(
    places_N: Sequence[int], levels_P: IntVector, weights_N: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Return the numbers, ascending, that at least one member (of positive weight) holds."""
    weights = weights_N or [1] * len(places_N)
    held = [place for place, weight in zip(places_N, weights, strict=True) if weight > 0]
    return np.flatnonzero(levels_P <= max(held, default=-1))


def count_covering(places_N: Sequence[int], levels_P: IntVector) -> NDArray[np.int64]:
    """Return how many members hold each number [P]."""
    levels = int(levels_P.max()) + 1 if len(levels_P) else 0
    counts_L = np.array([sum(place >= level for place in places_N) for level in range(levels)])
    counts_P: NDArray[np.int64] = counts_L.astype(np.int64)[levels_P]
    return counts_P


def is_inside(update_P: IntVector, place: int, levels_P: IntVector) -> bool:
    """Tell whether an update is zero outside of the block of widths[place]."""
    return not update_P[levels_P > place].any()


def _list_steps(places_N: Sequence[int], weights_N: Sequence[int]) -> list[tuple[int, int]]:
    """Return (low, high]: the levels between two members' widths, all held by the same members."""
    edges = sorted({p for p, weight in zip(places_N, weights_N, strict=True) if weight > 0})
    return list(zip([-1, *edges], edges, strict=False))
