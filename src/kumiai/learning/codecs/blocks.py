"""Blocks of numbers that share a scale, and what scales are made of.

B blocks of N numbers each; the last one may be shorter and is filled up with zeros while it is
worked on. A bfloat is the upper half of a float32.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.codecs.wire import PEAK_MIN, WIRE_MAX
from kumiai.learning.fixed_point import FloatVector

MEAN_BITS = 24  # a block's numbers as integers of so many bits, for an exact mean
NORMAL_MIN = 0x00800000  # the bits of the smallest float32 that is not subnormal

Blocks = NDArray[np.float32]
Bfloats = NDArray[np.uint16]
Number = TypeVar("Number", bound=np.generic)


def to_bfloat(values: FloatVector) -> Bfloats:
    """Return the upper 16 bits of float32 numbers, rounded to nearest, ties to even."""
    words = values.view(np.uint32)
    return ((words + np.uint32(0x7FFF) + ((words >> 16) & np.uint32(1))) >> 16).astype(np.uint16)


def from_bfloat(halves: Bfloats) -> FloatVector:
    """Return the float32 numbers whose upper 16 bits are `halves` and whose lower are zero."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def count_blocks(count: int, block: int) -> int:
    """Return how many blocks `count` numbers fill."""
    return -(-count // block)


def to_blocks(values_K: NDArray[Number], block: int) -> NDArray[Number]:
    """Return [B, block], the last row filled with zeros; a view where nothing is missing."""
    block_count = count_blocks(len(values_K), block)
    if block_count * block == len(values_K):
        return values_K.reshape(block_count, block)
    padded = np.zeros(block_count * block, dtype=values_K.dtype)
    padded[: len(values_K)] = values_K
    return padded.reshape(block_count, block)


def to_integers(
    blocks_BN: Blocks, count: int
) -> tuple[Blocks, NDArray[np.float64], NDArray[np.int64]]:
    """Return |x| as integers up to 2**24, the unit of each block and its count of numbers.

    A block with a peak below PEAK_MIN becomes zeros.
    """
    sizes_BN = np.abs(blocks_BN)
    peaks_B = sizes_BN.max(axis=1)
    peaks_B[peaks_B < PEAK_MIN] = 0
    _, exponents_B = np.frexp(peaks_B)
    factors_B = np.ldexp(np.float32(1), MEAN_BITS - exponents_B)
    factors_B[peaks_B == 0] = 0
    sizes_BN *= factors_B[:, None]
    np.rint(sizes_BN, out=sizes_BN)
    counts_B = np.full(len(peaks_B), blocks_BN.shape[1], dtype=np.int64)
    counts_B[-1] = count - blocks_BN.shape[1] * (len(peaks_B) - 1)
    return sizes_BN, np.ldexp(1.0, exponents_B - MEAN_BITS), counts_B


def check_scales(scales_B: FloatVector) -> None:
    """Refuse scales that no encoder writes: negative, not finite, subnormal, too large."""
    words_B = scales_B.view(np.uint32)
    is_normal_B = (words_B >= NORMAL_MIN) & (words_B < np.float32(WIRE_MAX).view(np.uint32))
    is_good_B = is_normal_B | (words_B == 0)
    if not is_good_B.all():
        index = int(np.argmin(is_good_B))
        raise ValueError(
            f"scale {float(scales_B[index])} of block {index} is not 0 or positive, normal and "
            f"below {WIRE_MAX:.3g}"
        )
