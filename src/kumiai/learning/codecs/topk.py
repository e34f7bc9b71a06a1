"""Top-k: only the largest numbers travel, with their places.

Keeps the K numbers of largest size, equal sizes by the lower index, over all P numbers or (with
chunk above 0) the same count in every chunk: SparseLoCo (2025) and DeMo (Peng et al., "DeMo:
Decoupled Momentum Optimization", 2024) choose within chunks of 4096, which needs no global
selection and spreads what is sent over the layers. Reconstruction: how those papers write the
places down is not known to us; here they are coded gaps (see `bits`), about 8.1 bits at a density
of 1 %, near the entropy.

K depends on P alone: round(density * chunk) per chunk, half to even, at least 1. So a decoder knows
the count and the place of everything before it reads. Needs error feedback: what is not sent is
lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.base.amounts import PPM, divide_half_even
from kumiai.learning.codecs import bits
from kumiai.learning.codecs.wire import Slot
from kumiai.learning.fixed_point import FloatVector


@dataclass(frozen=True)
class TopK:
    """density_ppm: share of the numbers that is kept; chunk: 0 for one choice over all P."""

    density_ppm: int
    chunk: int = 0

    def compute_count(self, size: int) -> int:
        chunk_count, rest = divmod(size, self._get_chunk(size))
        return chunk_count * self._keep(self._get_chunk(size)) + (self._keep(rest) if rest else 0)

    def compute_own_bytes(self, size: int) -> tuple[int, int]:
        return bits.compute_index_bytes(size, self.compute_count(size))

    def init(self, size: int) -> Slot:
        return ()

    def encode(
        self, values_P: FloatVector, slot: Slot, seed: int
    ) -> tuple[bytes, FloatVector, Slot]:
        size, chunk = len(values_P), self._get_chunk(len(values_P))
        # float32 of one sign sorts as its bits do, so sizes are compared as integers
        sizes_P = np.abs(values_P).view(np.int32)
        full = size - size % chunk
        is_kept_P = np.empty(size, dtype=bool)
        is_kept_P[:full] = _choose(sizes_P[:full].reshape(-1, chunk), self._keep(chunk)).ravel()
        if full < size:
            rest_P = sizes_P[full:].reshape(1, -1)
            is_kept_P[full:] = _choose(rest_P, self._keep(size - full)).ravel()
        indices_K = np.flatnonzero(is_kept_P)
        return bits.encode_indices(indices_K, size), values_P[indices_K], slot

    def decode(self, own: bytes, values_K: FloatVector, size: int) -> FloatVector:
        chunk, count = self._get_chunk(size), len(values_K)
        indices_K = bits.decode_indices(own, count, size)
        expected_K = np.minimum(np.arange(count) // self._keep(chunk), (size - 1) // chunk)
        if (indices_K // chunk != expected_K).any():
            index = int(indices_K[np.argmax(indices_K // chunk != expected_K)])
            raise ValueError(f"index {index} is one too many in its chunk of {chunk}")
        values_P = np.zeros(size, dtype=np.float32)
        values_P[indices_K] = values_K
        return values_P

    def _get_chunk(self, size: int) -> int:
        return min(self.chunk, size) if self.chunk else size

    def _keep(self, chunk: int) -> int:
        return max(1, divide_half_even(chunk * self.density_ppm, PPM))


def _choose(sizes_CN: NDArray[np.int32], keep: int) -> NDArray[np.bool_]:
    """Mark the `keep` largest of each row, among equals the first ones."""
    length = sizes_CN.shape[1]
    thresholds_C1 = np.partition(sizes_CN, length - keep, axis=1)[:, length - keep, None]
    is_kept_CN: NDArray[np.bool_] = sizes_CN >= thresholds_C1
    crowded = np.flatnonzero(is_kept_CN.sum(axis=1) > keep)
    if len(crowded):  # several at the threshold
        is_above_DN = sizes_CN[crowded] > thresholds_C1[crowded]
        is_equal_DN = is_kept_CN[crowded] & ~is_above_DN
        room_D1 = keep - is_above_DN.sum(axis=1, keepdims=True)
        is_kept_CN[crowded] = is_above_DN | (
            is_equal_DN & (is_equal_DN.cumsum(axis=1, dtype=np.int64) <= room_D1)
        )
    return is_kept_CN
