"""NoLoCo: there is no common model; after local work members meet in pairs, and both step.

Kolehmainen et al., "NoLoCo: No-all-reduce Low Communication Training Method for Large Models",
2025. A reconstruction: the formula is that of the authors' published experiments, their text was
not available, and their random routing between pipeline stages is left out.

    m_i <- alpha m_i + beta (d_i + d_j) / 2 + gamma ((w_i + w_j) / 2 - w_i)
    w_i <- w_i + m_i

w: models before local work (models_NP), d: what the work changed (updates_NP), m: momenta_NP,
alpha: momentum, beta: learning_rate, gamma: pull, which keeps the models together (equal to beta
there). j: i's partner of the round; who has none meets itself.

Nothing here is certified: a run's committee has no common model to score (docs/adr/0019). It is for
members who trust each other, and stands beside the other rules in `benchmarks/traffic.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Group = tuple[int, ...]


@dataclass(frozen=True)
class PairStep:
    """The step after each meeting."""

    momentum: float = 0.5
    learning_rate: float = 0.7
    pull: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum {self.momentum} is not in [0, 1)")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate {self.learning_rate} is not positive")
        # Two models that keep meeting differ by e_t+1 = (1 + momentum - pull) e_t - momentum e_t-1,
        # which dies out between these bounds only.
        if not 0 < self.pull < 2 * (1 + self.momentum):
            bound = 2 * (1 + self.momentum)
            raise ValueError(
                f"pull {self.pull} is not between 0 and {bound:g}: models part for good"
            )

    def apply(
        self, models_NP: Matrix, momenta_NP: Matrix, updates_NP: Matrix, groups: Sequence[Group]
    ) -> tuple[Matrix, Matrix]:
        """Return the models and momenta after the meetings.

        Raises ValueError where shapes differ or the groups are not each member once.
        """
        if not models_NP.shape == momenta_NP.shape == updates_NP.shape:
            shapes = models_NP.shape, momenta_NP.shape, updates_NP.shape
            raise ValueError(f"models, momenta and updates have shapes {shapes}")
        if sorted(member for group in groups for member in group) != list(range(len(models_NP))):
            raise ValueError(f"groups {groups}: each of {len(models_NP)} members must be in one")
        means_NP, changes_NP = np.empty_like(models_NP), np.empty_like(updates_NP)
        for group in groups:
            members = list(group)
            means_NP[members] = models_NP[members].mean(0)
            changes_NP[members] = updates_NP[members].mean(0)
        stepped_NP = (
            self.momentum * momenta_NP
            + self.learning_rate * changes_NP
            + self.pull * (means_NP - models_NP)
        ).astype(np.float32)
        return models_NP + stepped_NP, stepped_NP


def draw_pairs(count: int, seed: int) -> tuple[Group, ...]:
    """Return a random pairing of `count` members; the last group is a single one if it is odd."""
    if count < 1:
        raise ValueError(f"count {count}: no member")
    order = np.random.default_rng(seed).permutation(count).tolist()
    return tuple(tuple(order[place : place + 2]) for place in range(0, count, 2))
