"""The loops over all numbers: sums of sorted values, weighted sums, all pairs' inner products.

Their results over int32 rows are integers without any freedom, so a faster implementation gives the
same bits or is wrong: whoever has compiled code for them passes it in as `Kernels`. `NumpyKernels`
needs nothing.

reduce_sorted turns a block round, so that a coordinate's N values lie together, and sorts each
with numpy's vectorised sort. A network of minima and maxima over the rows of a block was measured
too: in numpy it is half as fast (two calls a comparator, 889 comparators for the median of 100),
compiled it is the faster of the two, because a row's block never leaves the first cache
(`networks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.aggregation.rounding import divide_into
from kumiai.learning.aggregation.rows import (
    Block,
    Vector,
    compute_peak,
    iterate_blocks,
    stack,
)
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, LongVector

BITS_MAX = 15  # of a rounded number, without sign
SORT_BLOCK = 512  # numbers a row: N of these lie in the L2 cache, turned round and sorted
PAIR_BLOCK = 8_192  # numbers a row: rounded, as float64, for one product of all pairs
MEAN_BLOCK = 65_536  # numbers: one int32 accumulator and one row stay in the L2 cache


class Kernels(Protocol):
    """Loops over a block of B numbers of N rows."""

    @property
    def sort_block(self) -> int:
        """Numbers B to give `reduce_sorted` at once."""
        ...

    @property
    def sum_block(self) -> int:
        """Numbers B to give `sum_weighted`, `compute_peaks` and `multiply_pairs` at once."""
        ...

    def reduce_sorted(self, rows_NB: Block, start: int, stop: int) -> Vector:
        """Return per coordinate the sum of its sorted values start..stop-1: int64, or float64.

        ValueError where a float row has NaN.
        """
        ...

    def sum_weighted(self, rows_NB: Block, weights_N: Sequence[int]) -> LongVector:
        """Return sum_i w_i row_i of int32 rows; the weights' sizes sum to at most 2**31."""
        ...

    def divide_into(self, delta_B: IntVector, sums_B: LongVector, divisor: int) -> None:
        """Write sums / divisor, rounded half to even and saturated; divisor at most 2**31.

        Sums lie within -2**62..2**62.
        """
        ...

    def compute_peaks(self, rows_NB: Block) -> list[int]:
        """Return every int32 row's largest absolute value, 0 for no numbers."""
        ...

    def multiply_pairs(
        self, rows_NB: Block, shifts_N: Sequence[int], bits: int
    ) -> NDArray[np.int64]:
        """Return the inner products [N, N] of round(rows / 2**shifts), ties up.

        Rounded numbers saturate at `bits` bits without sign, at most BITS_MAX.
        """
        ...


class NumpyKernels:
    """The kernels in numpy."""

    @property
    def sort_block(self) -> int:
        return SORT_BLOCK

    @property
    def sum_block(self) -> int:
        return MEAN_BLOCK

    def reduce_sorted(self, rows_NB: Block, start: int, stop: int) -> Vector:
        sorted_BN = np.ascontiguousarray(stack(rows_NB).T)
        sorted_BN.sort(axis=1)
        is_float = sorted_BN.dtype.kind == "f"
        if is_float and np.isnan(sorted_BN[:, -1]).any():  # numpy sorts NaN to the end
            raise ValueError("a row has NaN: no order of its values exists")
        sums_B: Vector = sorted_BN[:, start:stop].sum(
            axis=1, dtype=np.float64 if is_float else np.int64
        )
        return sums_B

    def sum_weighted(self, rows_NB: Block, weights_N: Sequence[int]) -> LongVector:
        """Sum in int32 while a running bound proves that it fits, else in int64.

        Half the bytes of int64 arithmetic: near the speed of reading the rows once.
        """
        long_B = np.zeros(len(rows_NB[0]), dtype=np.int64)
        short_B = np.zeros(len(rows_NB[0]), dtype=np.int32)
        product_B, wide_B = np.empty_like(short_B), np.empty_like(long_B)
        bound = 0
        for row_B, weight in zip(rows_NB, weights_N, strict=True):
            if weight == 0:
                continue
            peak = compute_peak(row_B) * abs(weight)
            if peak >= 2**31:
                np.multiply(row_B, weight, out=wide_B, dtype=np.int64)
                long_B += wide_B
                continue
            bound += peak
            if bound >= 2**31:
                long_B += short_B
                short_B[:] = 0
                bound = peak
            if weight == 1:
                short_B += row_B
            elif peak > 0:
                np.multiply(row_B, np.int32(weight), out=product_B)
                short_B += product_B
        long_B += short_B
        return long_B

    def divide_into(self, delta_B: IntVector, sums_B: LongVector, divisor: int) -> None:
        divide_into(delta_B, sums_B, divisor)

    def compute_peaks(self, rows_NB: Block) -> list[int]:
        return [compute_peak(row_B) for row_B in rows_NB]

    def multiply_pairs(
        self, rows_NB: Block, shifts_N: Sequence[int], bits: int
    ) -> NDArray[np.int64]:
        """Multiply in float64, where a block's sums stay below 2**43: exact in any order."""
        check_bits(bits)
        size = len(rows_NB[0])
        products_NN = np.zeros((len(rows_NB), len(rows_NB)), dtype=np.int64)
        rounded_NB = np.empty((len(rows_NB), min(PAIR_BLOCK, size)), dtype=np.float64)
        for block in iterate_blocks(size, PAIR_BLOCK):
            part_NB = rounded_NB[:, : block.stop - block.start]
            for row_B, shift, part_B in zip(rows_NB, shifts_N, part_NB, strict=True):
                part_B[:] = _round_row(row_B[block], shift, bits)
            products_NN += (part_NB @ part_NB.T).astype(np.int64)
        return products_NN


def _round_row(row_B: Vector, shift: int, bits: int) -> Vector:
    limit = compute_limit(shift, bits)
    rounded_B: Vector = np.clip(row_B, -limit, limit)
    rounded_B += np.int32(compute_half(shift))
    rounded_B >>= shift
    return rounded_B


def check_bits(bits: int) -> None:
    """Raise ValueError where `multiply_pairs` is asked for more bits than its sums can hold."""
    if not 1 <= bits <= BITS_MAX:
        raise ValueError(f"{bits} bits of a number are not within 1..{BITS_MAX}")


def compute_half(shift: int) -> int:
    """Return what is added before a shift to the right, so that it rounds, ties up."""
    return (1 << shift) >> 1


def compute_limit(shift: int, bits: int) -> int:
    """Return where values saturate, so that they keep `bits` bits and rounding cannot wrap."""
    largest: int = (1 << bits) - 1
    return min(largest << shift, INTEGER_ABS_MAX - compute_half(shift))
