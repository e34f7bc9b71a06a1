"""PowerSGD: each matrix of an update as the product of two thin ones.

Vogels, Karimireddy and Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
Optimization", 2019, algorithm 1, for the matrix M [n, m] of a tensor and rank r:

    P = M Q;  P = orthogonalise(P);  Q = M^T P;  sent: P [n, r], Q [m, r];  decoded: P Q^T

Q of the last round is the start of this one (warm start): one power iteration a round follows the
leading directions. A column of Q that is zero (at first, or a direction that died out) starts from
signs drawn from the round's seed. Tensors whose factors would not be smaller travel as they are,
behind all factors. Each column of P is multiplied, and that of Q divided, by the power of two that
brings their peaks together: a quantiser's block may hold the end of one and the start of the other.

Deviation: the paper averages P and Q over all workers by all-reduce; here each member sends its own
factors, so that an update can be committed to, scored and excluded on its own. The products run
through `exact`: the same bits everywhere, to about 2**-20 of a row's peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.codecs.exact import draw_words, multiply_exact
from kumiai.learning.codecs.tensors import get_matrices
from kumiai.learning.codecs.wire import Shape, Slot
from kumiai.learning.fixed_point import FloatVector

START = 2  # purpose of random words: a direction's start
RESIDUE_MIN = 2.0**-12  # a column this much shorter after projection is rounding: dropped


@dataclass(frozen=True)
class PowerSgd:
    """rank: columns of the factors; shapes: of the tensors in their flat order."""

    rank: int
    shapes: tuple[Shape, ...]

    def compute_count(self, size: int) -> int:
        return sum(
            rank * (rows + columns) if rank else rows * columns
            for _, rows, columns, rank in self._plan(size)
        )

    def compute_own_bytes(self, size: int) -> tuple[int, int]:
        return 0, 0

    def init(self, size: int) -> Slot:
        """Return one Q of zeros for each tensor that is factored."""
        return tuple(
            np.zeros((columns, rank), dtype=np.float32)
            for _, _, columns, rank in self._plan(size)
            if rank
        )

    def encode(
        self, values_P: FloatVector, slot: Slot, seed: int
    ) -> tuple[bytes, FloatVector, Slot]:
        factors: list[NDArray[np.float32]] = []
        thin: list[NDArray[np.float32]] = []
        whole: list[NDArray[np.float32]] = []
        for offset, rows, columns, rank in self._plan(len(values_P)):
            piece = values_P[offset : offset + rows * columns]
            if not rank:
                whole.append(piece)
                continue
            matrix = piece.reshape(rows, columns)
            # each tensor has its own words: its offset tells them apart
            start = _fill_dead(slot[len(factors)], seed, START + (offset << 8))
            left = orthogonalise(multiply_exact(matrix, start)).astype(np.float32)
            right = multiply_exact(matrix.T, left).astype(np.float32)
            factors.append(right)
            thin += [side.reshape(-1) for side in _balance(left, right)]
        return b"", np.concatenate(thin + whole), tuple(factors)

    def decode(self, own: bytes, values_K: FloatVector, size: int) -> FloatVector:
        values_P = np.empty(size, dtype=np.float32)
        plan = self._plan(size)
        thin = 0
        whole = sum(rank * (rows + columns) for _, rows, columns, rank in plan)
        for offset, rows, columns, rank in plan:
            if rank:
                left = values_K[thin : thin + rank * rows].reshape(rows, rank)
                thin += left.size
                right = values_K[thin : thin + rank * columns].reshape(columns, rank)
                thin += right.size
                with np.errstate(
                    over="ignore"
                ):  # hostile factors: `Stack` refuses what is not finite
                    piece = multiply_exact(left, right.T).astype(np.float32).reshape(-1)
            else:
                piece = values_K[whole : whole + rows * columns]
                whole += piece.size
            values_P[offset : offset + rows * columns] = piece
        return values_P

    def _plan(self, size: int) -> list[tuple[int, int, int, int]]:
        """Return (offset, rows, columns, rank) of each tensor, rank 0 where it travels whole."""
        plan = []
        for offset, rows, columns in get_matrices(self.shapes, size):
            is_smaller = self.rank * (rows + columns) < rows * columns
            plan.append((offset, rows, columns, self.rank if is_smaller else 0))
        return plan


def orthogonalise(columns_NR: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal columns with the same leading spans (Gram and Schmidt, each pass twice).

    A column that the earlier ones explain becomes zero.
    """
    done_NR = np.zeros_like(columns_NR)
    for r in range(columns_NR.shape[1]):
        column_N1 = columns_NR[:, r : r + 1].copy()
        length = _compute_length(column_N1)
        for _ in range(2 if r else 0):
            shares_R1 = multiply_exact(done_NR[:, :r].T, column_N1)
            column_N1 -= multiply_exact(done_NR[:, :r], shares_R1)
        rest = _compute_length(column_N1)
        if rest > RESIDUE_MIN * length:
            done_NR[:, r : r + 1] = column_N1 / rest
    return done_NR


def _balance(
    left_NR: NDArray[np.float32], right_MR: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    _, left_R = np.frexp(np.abs(left_NR).max(axis=0))
    _, right_R = np.frexp(np.abs(right_MR).max(axis=0))
    shift_R = (right_R - left_R) // 2
    return np.ldexp(left_NR, shift_R), np.ldexp(right_MR, -shift_R)


def _compute_length(column_N1: NDArray[np.float64]) -> float:
    # a power of two in front keeps the square of a huge or tiny column within float64
    _, exponent = np.frexp(np.abs(column_N1).max())
    scaled_N1 = np.ldexp(column_N1, -exponent)
    squared = float(multiply_exact(scaled_N1.T, scaled_N1)[0, 0])
    return float(np.ldexp(np.sqrt(squared), exponent))


def _fill_dead(factor_MR: NDArray[np.float32], seed: int, purpose: int) -> NDArray[np.float32]:
    is_dead_R = ~factor_MR.any(axis=0)
    if not is_dead_R.any():
        return factor_MR
    words = draw_words(seed, purpose, factor_MR.size).reshape(factor_MR.shape)
    signs_MR = np.where(words >> 31, np.float32(1), np.float32(-1))
    return np.where(is_dead_R, signs_MR, factor_MR)
