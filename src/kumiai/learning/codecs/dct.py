"""Chunked cosine transform: an update as frequencies, of which top-k then keeps the strongest.

DeMo (Peng, Quesnelle and Kingma, "DeMo: Decoupled Momentum Optimization", 2024): each tensor is
cut into tiles of 64 x 64 (vectors into pieces of 64), each tile goes through an orthonormal DCT-II
along both sides, top-k keeps k coefficients a tile. Reconstruction: the paper's text is not known
to us beyond this. Where 64 does not divide a side we take its largest divisor from 16 to 64, else
fill up with zeros; ties and the places' code are `topk`'s. DeMo's momentum is the error that is
kept: "ef:decay=0.999|dct|topk:density=0.007812,chunk=4096"; its sign step is a server's rule.

    X = C_r x C_c^T;  x = C_r^T X C_c
    C_n[k, i] = sqrt((2 - [k = 0]) / n) cos(pi (2i + 1) k / (2n))

Both ways run through `exact`, so coefficients and reconstruction have the same bits everywhere;
there and back costs a relative error near 1e-6.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.codecs.exact import multiply_exact
from kumiai.learning.codecs.tensors import get_matrices
from kumiai.learning.codecs.wire import Shape, Slot
from kumiai.learning.fixed_point import FloatVector

BASIS_BITS = 22
SLAB = 65_536  # numbers transformed at once: their float64 forms stay in the cache
DIVISOR_SHARE = 4  # a divisor below a quarter of the chunk mixes too few numbers: fill up instead


@dataclass(frozen=True)
class _Tiling:
    """Matrix [rows, columns] at `offset`, in tiles of height x width, filled up to whole tiles."""

    offset: int
    rows: int
    columns: int
    height: int
    width: int

    @property
    def tile_rows(self) -> int:
        return -(-self.rows // self.height)

    @property
    def tile_columns(self) -> int:
        return -(-self.columns // self.width)

    @property
    def count(self) -> int:
        return self.tile_rows * self.height * self.tile_columns * self.width


@dataclass(frozen=True)
class Dct:
    """chunk: longest side of a tile; shapes: of the tensors in their flat order, or None."""

    chunk: int
    shapes: tuple[Shape, ...] | None

    def compute_count(self, size: int) -> int:
        return sum(tiling.count for tiling in self._tile(size))

    def compute_own_bytes(self, size: int) -> tuple[int, int]:
        return 0, 0

    def init(self, size: int) -> Slot:
        return ()

    def encode(
        self, values_P: FloatVector, slot: Slot, seed: int
    ) -> tuple[bytes, FloatVector, Slot]:
        pieces = []
        for tiling in self._tile(len(values_P)):
            count = tiling.rows * tiling.columns
            matrix = values_P[tiling.offset : tiling.offset + count].reshape(tiling.rows, -1)
            tiles_THW = _cut(matrix, tiling)
            pieces.append(_transform(tiles_THW, is_inverse=False).reshape(-1))
        return b"", np.concatenate(pieces), slot

    def decode(self, own: bytes, values_K: FloatVector, size: int) -> FloatVector:
        values_P = np.empty(size, dtype=np.float32)
        start = 0
        for tiling in self._tile(size):
            coefficients = values_K[start : start + tiling.count]
            tiles_THW = coefficients.reshape(-1, tiling.height, tiling.width)
            matrix = _join(_transform(tiles_THW, is_inverse=True), tiling)
            values_P[tiling.offset : tiling.offset + matrix.size] = matrix.reshape(-1)
            start += tiling.count
        return values_P

    def _tile(self, size: int) -> Iterator[_Tiling]:
        for offset, rows, columns in get_matrices(self.shapes, size):
            height, width = choose_side(rows, self.chunk), choose_side(columns, self.chunk)
            yield _Tiling(offset, rows, columns, height, width)


def choose_side(length: int, chunk: int) -> int:
    """Return the side of the tiles that a side of `length` is cut into."""
    if length <= chunk:
        return length
    divisor = max(side for side in range(1, chunk + 1) if length % side == 0)
    return divisor if divisor * DIVISOR_SHARE >= chunk else chunk


@functools.cache
def get_basis(length: int) -> NDArray[np.float64]:
    """Return the orthonormal DCT-II matrix [frequency, place], in whole units of 2**-22.

    math.cos may differ between machines in the last bit. None of the values lies near a tie (a test
    goes through all of them), so rounding takes that away; `multiply_exact` then rounds no more.
    """
    basis = np.array([[_wave(k, i, length) for i in range(length)] for k in range(length)])
    rounded: NDArray[np.float64] = np.rint(basis * 2.0**BASIS_BITS) * 2.0**-BASIS_BITS
    return rounded


def _wave(k: int, i: int, length: int) -> float:
    angle = math.pi * ((2 * i + 1) * k % (4 * length)) / (2 * length)
    return math.sqrt((2 if k else 1) / length) * math.cos(angle)


def _transform(tiles_THW: NDArray[np.float32], is_inverse: bool) -> NDArray[np.float32]:
    """Apply the transform along W, then along H, rounding to float32 after each.

    Numbers below 2**120 grow 64-fold at most: float32 holds them.
    """
    count, height, width = tiles_THW.shape
    moved_THW = np.empty((count, height, width), dtype=np.float32)
    slab = max(1, SLAB // (height * width))
    for start in range(0, count, slab):
        tiles = tiles_THW[start : start + slab]
        for _ in range(2):
            length = tiles.shape[2]
            if length > 1:
                basis = get_basis(length)
                product = multiply_exact(
                    tiles.reshape(-1, length), basis if is_inverse else basis.T
                )
                tiles = product.astype(np.float32).reshape(tiles.shape)
            tiles = tiles.transpose(0, 2, 1)
        moved_THW[start : start + slab] = tiles
    return moved_THW


def _cut(matrix: NDArray[np.float32], tiling: _Tiling) -> NDArray[np.float32]:
    rows = tiling.tile_rows * tiling.height
    columns = tiling.tile_columns * tiling.width
    if (rows, columns) != matrix.shape:
        matrix = np.pad(matrix, ((0, rows - tiling.rows), (0, columns - tiling.columns)))
    split = matrix.reshape(tiling.tile_rows, tiling.height, tiling.tile_columns, tiling.width)
    return split.transpose(0, 2, 1, 3).reshape(-1, tiling.height, tiling.width)


def _join(tiles_THW: NDArray[np.float32], tiling: _Tiling) -> NDArray[np.float32]:
    split = tiles_THW.reshape(
        tiling.tile_rows, tiling.tile_columns, tiling.height, tiling.width
    ).transpose(0, 2, 1, 3)
    whole = split.reshape(tiling.tile_rows * tiling.height, tiling.tile_columns * tiling.width)
    return whole[: tiling.rows, : tiling.columns]
