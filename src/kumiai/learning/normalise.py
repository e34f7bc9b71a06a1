"""FedNova: members who worked longer do not pull the model further towards their own optimum.

J. Wang, Q. Liu, H. Liang, G. Joshi and H. V. Poor, "Tackling the Objective Inconsistency Problem in
Heterogeneous Federated Optimization" (2020), written from its formulas as they are generally known
(reconstruction): x += tau_eff * sum_i p_i delta_i / a_i with tau_eff = sum_i p_i a_i, where
a_i = tau_i for SGD and sum_k (1 - rho^k) / (1 - rho), k = 1 .. tau_i, with momentum rho.

p_i: `weights` over their sum; tau_i: `iterations`; rho: `momentum_ppm`; delta_i: `updates`. Each
update is stretched by tau_eff / a_i, rounded half to even, and then combined by whichever
aggregator the task names. tau_i is not asked for: it follows from the number of samples a member
claimed, which is its weight too. Who claims more gets a greater weight and a smaller stretch, so
that the claim itself gains nearly nothing.

Deviations: the ratio is an integer over 2**20 and at most 2**10; an update that leaves the fixed
point saturates. Cost: one pass over each update, none where all worked equally long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kumiai.base.amounts import PPM
from kumiai.base.amounts import divide_half_even as divide_one
from kumiai.learning.aggregation.rounding import divide_into
from kumiai.learning.fixed_point import IntVector

RATIO_BITS = 20
RATIO_MAX = 2 ** (RATIO_BITS + 10)  # times an int32: below 2**61


def normalise_updates(
    updates: Sequence[IntVector],
    weights: Sequence[int],
    iterations: Sequence[int],
    momentum_ppm: int = 0,
) -> list[IntVector]:
    """Return every update as if its member had worked as long as the members do on average.

    Raises ValueError for lengths that differ, or weights or iterations that are not positive.
    """
    if not len(updates) == len(weights) == len(iterations):
        raise ValueError(
            f"{len(updates)} updates, {len(weights)} weights, {len(iterations)} iterations"
        )
    if not all(value > 0 for value in (*weights, *iterations)):
        raise ValueError(f"weights {weights} and iterations {iterations} must be positive")
    ratios = compute_ratios(weights, [measure_work(n, momentum_ppm) for n in iterations])
    return [_stretch(update_P, ratio) for update_P, ratio in zip(updates, ratios, strict=True)]


def compute_ratios(weights: Sequence[int], work: Sequence[int]) -> list[int]:
    """Return tau_eff / a_i in units of 2**-20, at most 2**10 of them."""
    total = sum(weight * a for weight, a in zip(weights, work, strict=True)) << RATIO_BITS
    return [min(RATIO_MAX, divide_one(total, sum(weights) * a)) for a in work]


def measure_work(iterations: int, momentum_ppm: int) -> int:
    """Return a in ppm: how far `iterations` of one constant gradient of 1 would have gone."""
    if not momentum_ppm:
        return iterations * PPM
    velocity = total = 0
    for done in range(iterations):
        faster = divide_one(velocity * momentum_ppm, PPM) + PPM
        if faster == velocity:  # the terminal velocity
            return total + velocity * (iterations - done)
        velocity = faster
        total += velocity
    return total


def _stretch(update_P: IntVector, ratio: int) -> IntVector:
    if ratio == 1 << RATIO_BITS:
        return update_P
    stretched_P = np.empty_like(update_P)
    divide_into(stretched_P, update_P.astype(np.int64) * ratio, 1 << RATIO_BITS)
    return stretched_P
