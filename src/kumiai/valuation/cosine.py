"""Value without validation data: how well each update agrees with the others.

    value_i = cos(u_i, sum over j != i of u_j / |u_j|)

Source: after CGSV, X. Xu et al., "Gradient-Driven Rewards to Guarantee Fairness in Collaborative
Machine Learning", NeurIPS 2021 (a reconstruction: one round's cosine; the paper's moving average
over rounds is left to the caller). Deviation: an update is not compared with itself, so that noise
is worth about 0 rather than 1 / sqrt(n).

A replay of the last global step, or a copy, scores high: flag them first. Values lie in -1..1.
Cost O(N P), nothing is sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.game import Valuation


def value_by_cosine(updates_NP: NDArray[Any]) -> Valuation:
    """Value the rows of `updates_NP` (any real dtype); a row of zeros, or a lone row, is worth 0.

    ValueError if the shape is not [N, P] or an entry is not finite.
    """
    if updates_NP.ndim != 2:
        raise ValueError(f"updates have shape {updates_NP.shape}, expected [N, P]")
    rows = np.array(updates_NP, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ValueError(f"update {int(np.argwhere(~np.isfinite(rows))[0, 0])} is not finite")
    lengths = np.linalg.norm(rows, axis=1)
    rows /= np.where(lengths > 0, lengths, 1)[:, None]
    everybody = rows.sum(axis=0)
    values_N = np.zeros(len(rows))
    for i, row in enumerate(rows):
        others = everybody - row
        length = float(np.linalg.norm(others))
        if length > 1e-9:  # others that cancel out leave only rounding
            values_N[i] = row @ others / length
    return Valuation(values_N, np.zeros(len(rows)), 0)
