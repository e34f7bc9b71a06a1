"""Value without validation data: how well each update agrees with the others.

    value_i = cos(u_i, sum over j != i of u_j / |u_j|)

Source: after CGSV, X. Xu et al., "Gradient-Driven Rewards to Guarantee Fairness in Collaborative
Machine Learning", NeurIPS 2021 (a reconstruction; the paper's own formula, with its memory over
rounds, is in `cgsv`). Deviation: an update is not compared with itself, so that noise is worth
about 0 rather than 1 / sqrt(n).

A replay of the last global step, or a copy, scores high: flag them first. Values lie in -1..1.
Cost O(N P), nothing is sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.game import FloatArray, Valuation

CANCELLED = 1e-9  # length below which a sum of unit vectors is only rounding


def value_by_cosine(updates_NP: NDArray[Any]) -> Valuation:
    """Value the rows of `updates_NP` (any real dtype); a row of zeros, or a lone row, is worth 0.

    ValueError if the shape is not [N, P] or an entry is not finite.
    """
    rows = normalise_rows(updates_NP)
    everybody = rows.sum(axis=0)
    values_N = np.zeros(len(rows))
    for i, row in enumerate(rows):
        others = everybody - row
        length = float(np.linalg.norm(others))
        if length > CANCELLED:
            values_N[i] = row @ others / length
    return Valuation(values_N, np.zeros(len(rows)), 0)


def normalise_rows(updates_NP: NDArray[Any]) -> FloatArray:
    """Return the rows divided by their length, a row of zeros as it is.

    ValueError if the shape is not [N, P] or an entry is not finite.
    """
    if updates_NP.ndim != 2:
        raise ValueError(f"updates have shape {updates_NP.shape}, expected [N, P]")
    rows_NP = np.array(updates_NP, dtype=np.float64)
    if not np.isfinite(rows_NP).all():
        bad = int(np.argwhere(~np.isfinite(rows_NP))[0, 0])
        raise ValueError(f"update {bad} is not finite")
    lengths_N = np.linalg.norm(rows_NP, axis=1)
    rows_NP /= np.where(lengths_N > 0, lengths_N, 1)[:, None]
    return rows_NP


def compute_row_cosines(rows_NP: FloatArray, direction_P: FloatArray) -> FloatArray:
    """Return each row's cosine with `direction_P`; 0 where either is (but for rounding) nothing.

    The rows are at most of length 1.
    """
    lengths_N = np.linalg.norm(rows_NP, axis=1) * np.linalg.norm(direction_P)
    is_something = lengths_N > CANCELLED
    safe_N = np.where(is_something, lengths_N, 1.0)
    return np.where(is_something, rows_NP @ direction_P / safe_N, 0.0)
