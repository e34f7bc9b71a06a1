"""Owed accuracies by simulated annealing: a comparison for `targets`, which is exact. Not for use.

Kirkpatrick, Gelatt and Vecchi, "Optimization by Simulated Annealing", 1983: one accuracy moves at a
time; a loss is accepted with probability exp(-loss / temperature), and the temperature falls
geometrically. Aequa searches its allocation this way; the schedule is ours (reconstruction).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kumiai.learning.fairness import FloatArray, check_members

TEMPERATURE_FIRST = 0.05  # in units of the objective, that is of accuracy
TEMPERATURE_LAST = 1e-6


def compute_worth(accuracies_N: FloatArray, contributions_N: FloatArray, penalty: float) -> float:
    """Return mean gain - penalty * spread of gains."""
    gains_N = accuracies_N - contributions_N
    return float(gains_N.mean() - penalty * gains_N.std())


def anneal_targets(
    contributions_N: ArrayLike,
    low: float,
    high: float,
    *,
    penalty: float,
    iterations: int,
    seed: int,
) -> FloatArray:
    """Return the best accuracies [N] in low..high that were met in `iterations` moves.

    Same seed, same result. Raises ValueError for bad numbers or no iteration.
    """
    (c_N,) = check_members(("contribution", contributions_N))
    if not 0 <= low <= high <= 1 or iterations < 1:
        raise ValueError(f"low {low}, high {high}, iterations {iterations} allow no search")
    generator = np.random.Generator(np.random.PCG64(seed))
    now_N = generator.uniform(low, high, len(c_N))
    now = best = compute_worth(now_N, c_N, penalty)
    best_N = now_N.copy()
    for iteration in range(iterations):
        done = iteration / iterations
        temperature = TEMPERATURE_FIRST * (TEMPERATURE_LAST / TEMPERATURE_FIRST) ** done
        step = (high - low) * (1 - done) + 1e-4
        next_N = now_N.copy()
        member = generator.integers(len(c_N))
        next_N[member] = np.clip(next_N[member] + generator.normal(0, step), low, high)
        worth = compute_worth(next_N, c_N, penalty)
        if worth >= now or generator.random() < math.exp((worth - now) / temperature):
            now_N, now = next_N, worth
        if now > best:
            best_N, best = now_N.copy(), now
    return best_N
