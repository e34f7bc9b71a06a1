"""All pairs' inner products in one pass: what the rules of distance and norm need to know.

Every such rule chooses weights q from the Gram matrix G_ij = u_i . u_j alone; `linear` then adds
the rows up. Two passes over the data, N x N numbers between them.

Two machines get the same bits from int32 rows. A row is rounded to 15 bits (ties up), so that a
product takes 30 bits, and `Kernels.multiply_pairs` adds the products exactly, in int64 from block
to block: one sum, whatever the order, the threads and the machine. What follows from G in real
numbers (`geometric_median`, `clipping`, `trust`) uses only operations that IEEE 754 rounds
correctly (+ - * / sqrt) and math.fsum, which rounds the exact sum once: no machine and no order of
members can change a bit. Then shares are rounded to integers.

Where the 15 bits lie differs:

    compute_gram       each row at its own scale 2**s, G_ij = 2**(s_i + s_j) (r_i . r_j) in float64:
                       a hostile giant neither coarsens the others nor hides its own length
    compute_distances  one scale for all, by the median member's largest value, and saturated one
                       bit above: exact integer distances, for Krum's comparisons

float32 rows are multiplied as they are, in float32 a block and float64 from block to block: fast,
and the same on one machine only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.aggregation.kernels import Kernels
from kumiai.learning.aggregation.rows import (
    Rows,
    Vector,
    iterate_blocks,
    stack,
)

GRAM_BITS = 15  # without sign
GRAM_BLOCK = 8_192  # numbers a block of the product of all pairs of float rows


def compute_gram(rows: Rows, kernels: Kernels) -> NDArray[np.float64]:
    """Return the inner products [N, N] of the rows, each rounded to 15 bits at its own scale.

    Relative error of a row at most 2**-14 of its largest number. Raises ValueError for float rows
    that are not finite.
    """
    if rows.dtype.kind == "f":
        return _multiply_floats(rows)
    shifts_N = [max(0, p.bit_length() - GRAM_BITS) for p in _compute_peaks(rows, kernels)]
    gram_NN = _multiply_integers(rows, shifts_N, kernels).astype(np.float64)
    scaled_NN: NDArray[np.float64] = np.ldexp(gram_NN, np.add.outer(shifts_N, shifts_N))
    return scaled_NN


def compute_distances(rows: Rows, kernels: Kernels) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return the squared distances [N, N] between the updates, in integers shifted down to 15 bits.

    All updates are shifted by one amount, so that the median member's largest value takes 14 bits,
    and saturate at 15. The median, because one hostile giant must not shift the others to zero.
    """
    if rows.dtype.kind == "f":
        gram_NN = _multiply_floats(rows)
        squares_N = np.diagonal(gram_NN)
        return np.maximum(squares_N[:, None] + squares_N[None, :] - 2 * gram_NN, 0.0)
    peaks = sorted(_compute_peaks(rows, kernels))
    shift = max(0, peaks[len(peaks) // 2].bit_length() - (GRAM_BITS - 1))
    products_NN = _multiply_integers(rows, [shift] * len(rows), kernels)
    lengths_N = np.diagonal(products_NN)
    distances_NN: NDArray[np.int64] = lengths_N[:, None] + lengths_N[None, :] - 2 * products_NN
    return distances_NN


def _compute_peaks(rows: Rows, kernels: Kernels) -> list[int]:
    peaks = [0] * len(rows)
    for block in iterate_blocks(rows.size, kernels.sum_block):
        peaks = list(map(max, peaks, kernels.compute_peaks(rows.take(block))))
    return peaks


def _multiply_integers(rows: Rows, shifts_N: Sequence[int], kernels: Kernels) -> NDArray[np.int64]:
    gram_NN = np.zeros((len(rows), len(rows)), dtype=np.int64)
    for block in iterate_blocks(rows.size, kernels.sum_block):
        gram_NN += kernels.multiply_pairs(rows.take(block), shifts_N, GRAM_BITS)
    return gram_NN


def _multiply_floats(rows: Rows) -> NDArray[np.float64]:
    gram_NN = np.zeros((len(rows), len(rows)), dtype=np.float64)
    for block in iterate_blocks(rows.size, GRAM_BLOCK):
        part_NB: Vector = stack(rows.take(block))
        gram_NN += part_NB @ part_NB.T
    finite_N = np.isfinite(np.diagonal(gram_NN))
    if not finite_N.all():
        raise ValueError(f"row {int(np.argmin(finite_N))} is not finite or overflows its square")
    return gram_NN
