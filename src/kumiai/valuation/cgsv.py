"""CGSV: members are valued by how well their update points where everybody's does. No hold-out.

    u_N = sum over i of r_i u_i / |u_i|            r: importance, sums to 1
    psi_i = cos(u_i, u_N)                          the round's value
    r_i <- max(floor, memory r_i + (1 - memory) psi_i), then divided by the sum

Source: X. Xu, L. Lyu, X. Ma, C. Miao, C. S. Foo, B. K. H. Low, "Gradient-Driven Rewards to
Guarantee Fairness in Collaborative Machine Learning", NeurIPS 2021 (a reconstruction from public
code): memory 0.95, floor 0.001, and the shares of data as the first importance. The paper's Gamma,
a common length of all updates, changes no cosine and is left out; so is its reward, the masked
download. Self-reported sizes are easily made up: start with equal ones where members may lie.

`cosine` is the cautious variant: there an update is not compared with itself, so that noise is
worth about 0 rather than about r_i / |u_N|. A replay of the last global step, or a copy, scores
high in both: flag them first (`duplicates`).

Values lie in -1..1. Nothing is measured or sampled. Cost O(N P).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.cosine import compute_row_cosines, normalise_rows
from kumiai.valuation.game import FloatArray, Valuation

MEMORY = 0.95
FLOOR = 1e-3


def init_cgsv(sizes_N: Sequence[float] | NDArray[Any]) -> FloatArray:
    """Return the first importance: shares of the members' data sizes; equal ones for no trust.

    ValueError for sizes that are negative, not finite or sum to 0.
    """
    sizes = np.array(sizes_N, dtype=np.float64)
    if sizes.ndim != 1 or not np.isfinite(sizes).all() or (sizes < 0).any() or sizes.sum() <= 0:
        raise ValueError(f"sizes {sizes.tolist()}: expected one of 0 or more a member, not all 0")
    return np.asarray(sizes / sizes.sum())


def value_by_cgsv(
    updates_NP: NDArray[Any], importance_N: Sequence[float] | NDArray[Any] | None = None
) -> Valuation:
    """Return psi of one round; equal importance if None. An update of zeros is worth 0.

    ValueError if the shape is not [N, P], an entry is not finite, or importance does not fit.
    """
    rows_NP = normalise_rows(updates_NP)
    together_P = compute_shares(importance_N, len(rows_NP)) @ rows_NP
    values_N = compute_row_cosines(rows_NP, together_P)
    return Valuation(values_N, np.zeros(len(rows_NP)), 0)


def apply_cgsv(
    importance_N: Sequence[float] | NDArray[Any],
    updates_NP: NDArray[Any],
    memory: float = MEMORY,
    floor: float = FLOOR,
) -> tuple[Valuation, FloatArray]:
    """Return (psi of this round, the importance after it). ValueError as `value_by_cgsv`."""
    if not 0 <= memory <= 1 or floor <= 0:
        raise ValueError(f"memory {memory} is not in 0..1, or floor {floor} not above 0")
    valuation = value_by_cgsv(updates_NP, importance_N)
    kept_N = memory * init_cgsv(importance_N) + (1 - memory) * valuation.values_N
    return valuation, init_cgsv(np.maximum(kept_N, floor))


def compute_shares(
    importance_N: Sequence[float] | NDArray[Any] | None, member_count: int
) -> FloatArray:
    """Return importance as shares of 1, equal ones if None. ValueError for another count."""
    if importance_N is None:
        importance_N = np.ones(member_count)
    if len(importance_N) != member_count:
        raise ValueError(f"{len(importance_N)} importances for {member_count} members")
    return init_cgsv(importance_N) if member_count else np.zeros(0)
