"""How fair a round of model rewards was: does who gave more receive more, and does nobody lose?

    gain_n  G_n = A_n - B_n   received accuracy minus the accuracy the member reaches alone
    pearson rho(c, A)         correlation of contribution and received accuracy
    mean    (1/N) sum G_n     "mean collaboration gain"
    spread  std of the G_n    "collaboration gain spread": population form, divided by N
    least   min G_n           below 0: somebody would have done better alone

Names as in Tastan et al., "CYCle: Choosing Your Collaborators Wisely to Enhance Collaborative
Fairness in Decentralized Learning", 2025; the formulas are a reconstruction. The correlation alone
hides a loss that all share, so the four belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

SPREAD_LEAST = 1e-12  # of the largest value: below, differences are rounding errors


@dataclass(frozen=True, slots=True)
class Fairness:
    """pearson is None where it is undefined: one member, or no difference in one of the two."""

    pearson: float | None
    gain_mean: float
    gain_spread: float
    gain_least: float


def compute_fairness(
    contributions_N: ArrayLike, received_N: ArrayLike, standalone_N: ArrayLike
) -> Fairness:
    """Return the four measures of N members.

    Raises ValueError for no member, lengths that differ, or a number that is not finite (naming
    the member).
    """
    c_N, a_N, b_N = check_members(
        ("contribution", contributions_N), ("received", received_N), ("standalone", standalone_N)
    )
    gains_N = a_N - b_N
    return Fairness(
        pearson=compute_pearson(c_N, a_N),
        gain_mean=float(gains_N.mean()),
        gain_spread=float(gains_N.std()),
        gain_least=float(gains_N.min()),
    )


def compute_pearson(first_N: ArrayLike, second_N: ArrayLike) -> float | None:
    """Return the correlation of two vectors, or None where one of them does not vary.

    Raises as `compute_fairness`.
    """
    x_N, y_N = check_members(("first", first_N), ("second", second_N))
    if not (has_spread(x_N) and has_spread(y_N)):
        return None
    x_N, y_N = _center(x_N), _center(y_N)
    rho = float(x_N @ y_N / np.sqrt((x_N @ x_N) * (y_N @ y_N)))
    return min(1.0, max(-1.0, rho))


def has_spread(values_N: FloatArray) -> bool:
    """Whether values differ by more than the rounding of their size."""
    size = float(np.abs(values_N).max())
    return bool(values_N.max() / 2 - values_N.min() / 2 > SPREAD_LEAST * size)


def check_members(*named: tuple[str, ArrayLike]) -> list[FloatArray]:
    """Return the vectors as float64 [N]; raises ValueError naming the first member at fault."""
    vectors: list[FloatArray] = []
    for name, values in named:
        vector_N = np.asarray(values, dtype=np.float64)
        if vector_N.ndim != 1 or len(vector_N) == 0:
            raise ValueError(f"{name} of shape {vector_N.shape} is not one number a member")
        if vectors and len(vector_N) != len(vectors[0]):
            raise ValueError(
                f"{name} of {len(vector_N)} members, {named[0][0]} of {len(vectors[0])}"
            )
        wrong = np.flatnonzero(~np.isfinite(vector_N))
        if len(wrong):
            raise ValueError(f"{name} of member {int(wrong[0])} is {vector_N[wrong[0]]}")
        vectors.append(vector_N)
    return vectors


def list_floats(values: Sequence[float] | FloatArray) -> tuple[float, ...]:
    """Return plain floats, which compare and hash."""
    return tuple(float(value) for value in values)


def _center(values_N: FloatArray) -> FloatArray:
    """Subtract the mean and scale to at most 1, so that squares neither vanish nor overflow."""
    scaled_N = values_N / np.abs(values_N).max()
    centered_N = scaled_N - scaled_N.mean()
    return np.asarray(centered_N / np.abs(centered_N).max())
