"""Last stages of 4 bits and more: K float32 numbers to a fixed count of bytes.

    dense   float32                                                             4 bytes
    bf16    the upper half of float32, rounded to nearest even                  2 bytes
    int8    per block of n: x ~ s q, s = max|x| / 127, q in -127..127           1 + 4/n bytes
    int4    the same with 7 in place of 127                                     4 + 32/n bits

int8 and int4 may round at random instead (stochastic = 1): floor(x / s + u), u uniform, which is
unbiased (Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", 2017; here per block and scaled by the largest value instead of the 2-norm). Scales come
first, codes after them; the last block may be shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kumiai.learning.codecs import bits
from kumiai.learning.codecs.blocks import (
    check_scales,
    count_blocks,
    from_bfloat,
    to_bfloat,
    to_blocks,
)
from kumiai.learning.codecs.exact import draw_words
from kumiai.learning.codecs.wire import PEAK_MIN, WIRE_MAX, check_below
from kumiai.learning.fixed_point import FloatVector

ROUNDING = 1  # purpose of random words: stochastic rounding


@dataclass(frozen=True)
class Dense:
    """Plain float32: exact."""

    def compute_size_bytes(self, count: int) -> int:
        return 4 * count

    def encode(self, values_K: FloatVector, seed: int) -> bytes:
        return values_K.astype("<f4", copy=False).tobytes()

    def decode(self, data: bytes, count: int) -> FloatVector:
        values_K = np.frombuffer(data, dtype="<f4").astype(np.float32)
        check_below(values_K, WIRE_MAX, "value")
        return values_K


@dataclass(frozen=True)
class Bfloat:
    """float32 without its lower 16 bits: relative error below 2**-8."""

    def compute_size_bytes(self, count: int) -> int:
        return 2 * count

    def encode(self, values_K: FloatVector, seed: int) -> bytes:
        return to_bfloat(values_K).astype("<u2", copy=False).tobytes()

    def decode(self, data: bytes, count: int) -> FloatVector:
        values_K = from_bfloat(np.frombuffer(data, dtype="<u2"))
        check_below(values_K, WIRE_MAX, "value")
        return values_K


@dataclass(frozen=True)
class BlockInt:
    """Integers of 4 or 8 bits with one float32 scale a block: error at most half a scale."""

    width: int
    block: int
    stochastic: int = 0

    @property
    def limit(self) -> int:
        """The largest integer used: symmetric, so one code stays free and is refused."""
        return (1 << (self.width - 1)) - 1

    def compute_size_bytes(self, count: int) -> int:
        return 4 * count_blocks(count, self.block) + bits.count_bytes(count * self.width)

    def encode(self, values_K: FloatVector, seed: int) -> bytes:
        blocks_BN = to_blocks(values_K, self.block)
        peaks_B = np.maximum(blocks_BN.max(axis=1), -blocks_BN.min(axis=1))
        is_used_B = peaks_B >= PEAK_MIN
        scales_B = np.where(is_used_B, peaks_B / np.float32(self.limit), np.float32(0))
        inverses_B = np.divide(1, scales_B, out=np.zeros_like(scales_B), where=is_used_B)
        scaled_BN = blocks_BN * inverses_B[:, None]
        if self.stochastic:
            words_K = draw_words(seed, ROUNDING, scaled_BN.size)
            scaled_BN += (words_K >> 8).astype(np.float32).reshape(scaled_BN.shape) * 2.0**-24
            np.floor(scaled_BN, out=scaled_BN)
            np.clip(scaled_BN, -self.limit, self.limit, out=scaled_BN)
        else:
            np.rint(scaled_BN, out=scaled_BN)
        codes_K = scaled_BN.astype(np.int8).reshape(-1)[: len(values_K)].view(np.uint8)
        codes = codes_K.tobytes() if self.width == 8 else bits.pack(codes_K & np.uint8(15), 4)
        return scales_B.astype("<f4", copy=False).tobytes() + codes

    def decode(self, data: bytes, count: int) -> FloatVector:
        split = 4 * count_blocks(count, self.block)
        scales_B = np.frombuffer(data[:split], dtype="<f4").astype(np.float32)
        check_scales(scales_B)
        if self.width == 8:
            codes_K = np.frombuffer(data, dtype=np.int8, offset=split)
        else:
            codes_K = ((bits.unpack(data[split:], count, 4) ^ 8).view(np.int8) - 8).astype(np.int8)
        if int(codes_K.min()) < -self.limit:
            index = int(np.argmin(codes_K))
            raise ValueError(f"code {-self.limit - 1} at index {index} is not used")
        blocks_BN = to_blocks(codes_K, self.block)
        if blocks_BN[scales_B == 0].any():
            raise ValueError("a block of scale 0 has codes that are not 0")
        return (blocks_BN * scales_B[:, None]).reshape(-1)[:count]
