"""The point with the least sum of distances to all updates, found without leaving N x N numbers.

    z = sum_i c_i u_i,   c_i = v_i / sum_j v_j,   v_i = 1 / max(nu, |z - u_i|),   R times
    |z - u_i|^2 = G_ii - 2 (G c)_i + c' G c,   G = `compute_gram`

Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", 2022, algorithm 2 (the
smoothed Weiszfeld algorithm). Deviations: weights are ignored, as in all robust rules here; nu is a
share of the median length of an update; R = settings.iterations is fixed (32 if 0), not a
tolerance, so that every machine stops at the same place.

Withstands fewer than half hostile members: the result stays within a constant times the honest
members' spread, however far the others go. Cost: two passes over the rows, and R N^2 products.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.aggregation.gram import compute_gram
from kumiai.learning.aggregation.linear import combine, quantise_shares
from kumiai.learning.aggregation.rows import Vector
from kumiai.learning.aggregation.rule import Members

ITERATIONS = 32  # each shrinks the pull of 30 % far away to less than half: 2**-13 after 11
SMOOTHING = 1e-6  # nu as a share of the updates' median length


def compute_geometric_median(members: Members) -> Vector:
    """Return the smoothed geometric median of the updates, unweighted."""
    iterations = members.settings.iterations or ITERATIONS
    if iterations < 0:
        raise ValueError(f"iterations {iterations} is negative")
    shares_N = compute_shares(compute_gram(members.rows, members.kernels), iterations)
    weights_N = quantise_shares(shares_N.tolist())
    return combine(members.rows, weights_N, sum(weights_N), members.kernels)


def compute_shares(gram_NN: NDArray[np.float64], iterations: int) -> NDArray[np.float64]:
    """Return c [N] after `iterations` steps from the mean; exact operations and fsum alone."""
    lengths_N = np.sqrt(np.maximum(np.diagonal(gram_NN), 0.0))
    floor = SMOOTHING * compute_median_length(lengths_N)
    shares_N = np.full(len(lengths_N), 1.0 / len(lengths_N))
    for _ in range(iterations):
        distances_N = np.maximum(compute_center_distances(gram_NN, shares_N), floor)
        if not distances_N.min() > 0.0:  # most updates are zero, and so is z
            is_at_center_N = (distances_N == 0.0).astype(np.float64)
            nearest_N: NDArray[np.float64] = is_at_center_N / math.fsum(is_at_center_N)
            return nearest_N
        pulls_N = distances_N.min() / distances_N
        shares_N = pulls_N / math.fsum(pulls_N)
    return shares_N


def compute_center_distances(
    gram_NN: NDArray[np.float64], shares_N: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return |z - u_i| [N] for z = sum_i shares_i u_i, rounded the same way in any order."""
    projected_N = np.array([math.fsum(row) for row in gram_NN * shares_N])
    center_square = math.fsum(projected_N * shares_N)
    squares_N = (np.diagonal(gram_NN) - projected_N) + (center_square - projected_N)
    distances_N: NDArray[np.float64] = np.sqrt(np.maximum(squares_N, 0.0))
    return distances_N


def compute_median_length(lengths_N: NDArray[np.float64]) -> float:
    """Return the middle length, or the mean of the two middle ones."""
    ordered, count = sorted(lengths_N.tolist()), len(lengths_N)
    return float((ordered[(count - 1) // 2] + ordered[count // 2]) / 2)
