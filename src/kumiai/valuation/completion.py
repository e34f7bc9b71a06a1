"""A matrix of which some entries are known, filled in as if it were of low rank.

    minimise  sum over known (t, c) of (U_tc - a_t . b_c)^2  +  ridge * (sum |a_t|^2 + sum |b_c|^2)

by alternating least squares: with all b fixed every a_t is a ridge regression, and the other way
round. U is first divided by the root mean square of its known entries, so `ridge` has no unit.

The fit has at most as many factors as its least known column has entries: a column seen once fixes
one number. (In a game of rank 2 with noise, and columns seen once, a fit of rank 2 misses the
values by twice as much as a fit of rank 1; of rank 5, by five times.) It grows from rank 1, each
rank started from the singular value decomposition of the matrix whose holes hold the fit before:
nothing is drawn, and reordering rows or columns reorders the answer. A known entry is returned as
it was given.

Guarantee: none in general; a matrix of rank <= `rank` whose known entries determine it comes back
up to the shrinkage by `ridge`. Cost: iterations * T * C * rank^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.valuation.game import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CompletionLimits:
    """rank: of the fit, at most, 1 or more; ridge: > 0; stop when the objective falls by less than
    `tolerance` of itself, or after `iterations_max` pairs of regressions.
    """

    rank: int = 2
    ridge: float = 1e-4
    tolerance: float = 1e-7
    iterations_max: int = 300


def complete_matrix(
    values_TC: FloatArray, known_TC: BoolArray, limits: CompletionLimits
) -> FloatArray:
    """Return `values_TC` with the entries that are not known filled in; their content is ignored.

    Raises ValueError for a column or row of which nothing is known, or limits out of range.
    """
    if limits.rank < 1 or limits.ridge <= 0 or limits.iterations_max < 1:
        raise ValueError(f"{limits}: rank and iterations are at least 1, ridge above 0")
    for axis, name in ((0, "column"), (1, "row")):
        empty = np.flatnonzero(~known_TC.any(axis=axis))
        if len(empty):
            raise ValueError(f"{name} {int(empty[0])} has no known entry")
    given_TC = np.where(known_TC, values_TC, 0.0)
    scale = float(np.sqrt((given_TC**2).sum() / max(1, known_TC.sum())))
    if scale == 0 or known_TC.all():
        return given_TC
    fit_TC = _fit(given_TC / scale, known_TC.astype(np.float64), limits) * scale
    return np.where(known_TC, given_TC, fit_TC)


def _fit(values_TC: FloatArray, weights_TC: FloatArray, limits: CompletionLimits) -> FloatArray:
    """Fit rank 1, 2, ... up to what the least known column allows, each from the one before."""
    known_C = weights_TC.sum(axis=0)
    fit_TC = np.broadcast_to(values_TC.sum(axis=0) / known_C, values_TC.shape)
    for rank in range(1, min(limits.rank, int(known_C.min()), values_TC.shape[1]) + 1):
        filled_TC = np.where(weights_TC > 0, values_TC, fit_TC)
        _, sizes_R, right_RC = np.linalg.svd(filled_TC, full_matrices=False)
        columns_CR = right_RC[:rank].T * np.sqrt(sizes_R[:rank])
        fit_TC = _alternate(values_TC, weights_TC, columns_CR, limits)
    return fit_TC


def _alternate(
    values_TC: FloatArray, weights_TC: FloatArray, columns_CR: FloatArray, limits: CompletionLimits
) -> FloatArray:
    """Return the fit of the columns' rank, by regressions in turn until nothing is won any more."""
    before = np.inf
    for _ in range(limits.iterations_max):
        rows_TR = _regress(values_TC, weights_TC, columns_CR, limits.ridge)
        columns_CR = _regress(values_TC.T, weights_TC.T, rows_TR, limits.ridge)
        misfit = float((weights_TC * (values_TC - rows_TR @ columns_CR.T) ** 2).sum())
        now = misfit + limits.ridge * float((rows_TR**2).sum() + (columns_CR**2).sum())
        if before - now <= limits.tolerance * now:
            break
        before = now
    return np.asarray(rows_TR @ columns_CR.T)


def _regress(
    values_TC: FloatArray, weights_TC: FloatArray, columns_CR: FloatArray, ridge: float
) -> FloatArray:
    """Return the T ridge regressions [T, R] of the rows' known values on the columns' factors."""
    rank = columns_CR.shape[1]
    squares_CRR = columns_CR[:, :, None] * columns_CR[:, None, :]
    grams_TRR = (weights_TC @ squares_CRR.reshape(-1, rank * rank)).reshape(-1, rank, rank)
    grams_TRR += ridge * np.eye(rank)
    sides_TR = (weights_TC * values_TC) @ columns_CR
    return np.asarray(np.linalg.solve(grams_TRR, sides_TR[:, :, None])[:, :, 0])
