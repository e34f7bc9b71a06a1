"""Last stages of one and two bits a number: a sign, and one or two magnitudes a block.

    sign    x ~ +-s, s = mean |x|                               1 + 16/n bits for blocks of n
    int2    x ~ +-lo or +-hi                                    2 + 32/n bits

sign is that of Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient Compression
Schemes", 2019, per block instead of per layer. int2 is a reconstruction: the 2-bit form of
SparseLoCo (2025) is not known to us. Ours is one step of Lloyd's rule from the block's mean:
m = mean |x|, lo = mean of the |x| <= m, hi = mean of the others. Scales are bfloats, so that
numbers decode without any arithmetic. They come first (all lo, then all hi), codes after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.codecs import bits
from kumiai.learning.codecs.blocks import (
    Blocks,
    check_scales,
    count_blocks,
    from_bfloat,
    to_bfloat,
    to_blocks,
    to_integers,
)
from kumiai.learning.fixed_point import FloatVector

LOW_MIN = 2.0**-120  # of int2's smaller magnitude: below, beside a far larger peak, it is zero


@dataclass(frozen=True)
class TwoBit:
    """A sign and one of two magnitudes a number: bit 0 is the sign, bit 1 chooses hi."""

    block: int

    def compute_size_bytes(self, count: int) -> int:
        return 4 * count_blocks(count, self.block) + bits.count_bytes(2 * count)

    def encode(self, values_K: FloatVector, seed: int) -> bytes:
        blocks_BN = to_blocks(values_K, self.block)
        ints_BN, units_B, counts_B = to_integers(blocks_BN, len(values_K))
        sums_B = ints_BN.sum(axis=1, dtype=np.float64)
        means_B = np.floor(sums_B / counts_B)  # for integers: above the mean or above its floor
        is_high_BN = ints_BN > means_B.astype(np.float32)[:, None]
        high_counts_B = is_high_BN.sum(axis=1)
        high_sums_B = np.where(is_high_BN, ints_BN, 0).sum(axis=1, dtype=np.float64)
        low_B = (sums_B - high_sums_B) / (counts_B - high_counts_B) * units_B
        high_B = high_sums_B / np.maximum(high_counts_B, 1) * units_B
        high_B = np.where(high_counts_B == 0, low_B, high_B)
        low_B[low_B < LOW_MIN] = 0
        scales_2B = to_bfloat(np.concatenate([low_B, high_B]).astype(np.float32))
        codes_BN = is_high_BN.view(np.uint8) << 1
        codes_BN |= (blocks_BN < 0).view(np.uint8)
        codes_BN[scales_2B[len(high_B) :] == 0] = 0
        codes_K = codes_BN.reshape(-1)[: len(values_K)]
        return scales_2B.astype("<u2", copy=False).tobytes() + bits.pack(codes_K, 2)

    def decode(self, data: bytes, count: int) -> FloatVector:
        block_count = count_blocks(count, self.block)
        scales_2B = from_bfloat(np.frombuffer(data[: 4 * block_count], dtype="<u2"))
        check_scales(scales_2B)
        low_B, high_B = scales_2B[:block_count], scales_2B[block_count:]
        if (low_B > high_B).any():
            raise ValueError(f"block {int(np.argmax(low_B > high_B))} has lo above hi")
        codes_BN = to_blocks(bits.unpack(data[4 * block_count :], count, 2), self.block)
        if codes_BN[high_B == 0].any():
            raise ValueError("a block of scale 0 has codes that are not 0")
        sizes_BN = np.where(codes_BN & 2, high_B[:, None], low_B[:, None])
        return _apply_signs(sizes_BN, codes_BN & np.uint8(1)).reshape(-1)[:count]


@dataclass(frozen=True)
class Sign:
    """One bit a number and the block's mean size: a set bit means below zero."""

    block: int

    def compute_size_bytes(self, count: int) -> int:
        return 2 * count_blocks(count, self.block) + bits.count_bytes(count)

    def encode(self, values_K: FloatVector, seed: int) -> bytes:
        blocks_BN = to_blocks(values_K, self.block)
        ints_BN, units_B, counts_B = to_integers(blocks_BN, len(values_K))
        means_B = ints_BN.sum(axis=1, dtype=np.float64) / counts_B * units_B
        scales_B = to_bfloat(means_B.astype(np.float32))
        is_negative_BN = blocks_BN < 0
        is_negative_BN[scales_B == 0] = False
        codes_K = is_negative_BN.reshape(-1)[: len(values_K)].view(np.uint8)
        return scales_B.astype("<u2", copy=False).tobytes() + bits.pack(codes_K, 1)

    def decode(self, data: bytes, count: int) -> FloatVector:
        split = 2 * count_blocks(count, self.block)
        scales_B = from_bfloat(np.frombuffer(data[:split], dtype="<u2"))
        check_scales(scales_B)
        codes_BN = to_blocks(bits.unpack(data[split:], count, 1), self.block)
        if codes_BN[scales_B == 0].any():
            raise ValueError("a block of scale 0 has codes that are not 0")
        sizes_BN = np.repeat(scales_B[:, None], self.block, axis=1)
        return _apply_signs(sizes_BN, codes_BN).reshape(-1)[:count]


def _apply_signs(sizes_BN: Blocks, bits_BN: NDArray[np.uint8]) -> Blocks:
    words_BN = sizes_BN.view(np.uint32)
    words_BN |= bits_BN.astype(np.uint32) << 31
    return sizes_BN
