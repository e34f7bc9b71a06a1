"""Matrix products and random numbers with the same bits on every machine.

A float product A B depends on the order in which a library adds. Here every row of A and every
column of B is first rounded to integers with a shared power of two, of so few bits that all sums of
products stay within 2**53: float64 adds those exactly, in any order, with or without fused
multiply-add, on any BLAS. For a contraction over k numbers the operands keep (53 - log2 k) / 2
bits, 24 at most: 2**-22 relative to the row's peak for k = 256.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLOAT64_BITS = 53
OPERAND_BITS_MAX = 24
WORD_MASK = 2**64 - 1

FloatMatrix = NDArray[np.float32] | NDArray[np.float64]


def multiply_exact(a_NK: FloatMatrix, b_KM: FloatMatrix) -> NDArray[np.float64]:
    """Return A B [N, M] of the rounded operands, without any error of summation."""
    budget = FLOAT64_BITS - (a_NK.shape[1] - 1).bit_length()
    a_bits = min(OPERAND_BITS_MAX, -(-budget // 2))
    b_bits = min(OPERAND_BITS_MAX, budget - a_bits)
    a_ints, a_unit_N = round_to_bits(a_NK, a_bits, axis=1)
    b_ints, b_unit_M = round_to_bits(b_KM, b_bits, axis=0)
    product: NDArray[np.float64] = a_ints @ b_ints
    product *= a_unit_N
    product *= b_unit_M
    return product


def round_to_bits(
    values: FloatMatrix, bits: int, axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return integers of size 2**bits at most, and the power of two that each row stands for.

    axis: along which one unit is shared. Ties go to even; rows of zeros have the unit 2**-bits.
    """
    low = values.min(axis=axis, keepdims=True).astype(np.float64)
    high = values.max(axis=axis, keepdims=True).astype(np.float64)
    _, exponents = np.frexp(np.maximum(-low, high))
    ints = values * np.ldexp(1.0, bits - exponents)  # float64: a power of two rounds nothing
    np.rint(ints, out=ints)
    return ints, np.ldexp(1.0, exponents - bits)


def draw_words(seed: int, purpose: int, count: int) -> NDArray[np.uint32]:
    """Return `count` random 32-bit words: Philox-4x64 with the key (seed, purpose), in order."""
    if not 0 <= seed <= WORD_MASK:
        raise ValueError(f"seed {seed} is outside 0..2**64-1")
    raw = np.random.Philox(key=seed | purpose << 64).random_raw(-(-count // 2))
    return raw.astype("<u8").view("<u4")[:count].astype(np.uint32)
