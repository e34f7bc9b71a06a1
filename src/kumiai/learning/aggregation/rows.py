"""The updates of a round as rows that are read block by block, so that memory stays flat in P.

`Rows` are N vectors [P] of one type: int32 (fixed point, what a committee certifies) or float32
(for experiments). `take` gives a block of every row without a copy. A rule that needs other rows
than the members' own (buckets, a reference beside them) derives them: `DerivedRows`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]  # int32 or float32; every rule returns the type it was given
Block = Sequence[Vector] | NDArray[Any]  # N rows of B numbers: a list of vectors or an array
FINGERPRINT_BYTES = 16
FINGERPRINT_BLOCK = 65_536  # numbers


class Rows(Protocol):
    """N rows of `size` numbers of type `dtype`."""

    @property
    def size(self) -> int: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def take(self, block: slice) -> Block:
        """Return every row's part `block`; not to be written to."""
        ...


@dataclass(frozen=True)
class PlainRows:
    """Rows that lie in memory: an array [N, P], or N vectors anywhere."""

    vectors_NP: Block

    @property
    def size(self) -> int:
        return len(self.vectors_NP[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.vectors_NP[0].dtype
        return dtype

    def __len__(self) -> int:
        return len(self.vectors_NP)

    def take(self, block: slice) -> Block:
        if isinstance(self.vectors_NP, np.ndarray):
            return self.vectors_NP[:, block]
        return [vector[block] for vector in self.vectors_NP]


@dataclass(frozen=True)
class DerivedRows:
    """The base of rows that are made out of other rows, a block at a time."""

    rows: Rows

    @property
    def size(self) -> int:
        return self.rows.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype


@dataclass(frozen=True)
class WithReference(DerivedRows):
    """The members' rows and, as the last row, a reference vector [P]."""

    reference_P: Vector

    def __len__(self) -> int:
        return len(self.rows) + 1

    def take(self, block: slice) -> Block:
        return [*self.rows.take(block), self.reference_P[block]]


def iterate_blocks(size: int, block: int) -> Iterator[slice]:
    """Return slices of at most `block` numbers that cover 0..size."""
    return (slice(start, min(start + block, size)) for start in range(0, size, block))


def stack(rows_NB: Block) -> Vector:
    """Return rows as an array [N, B]; a view where they are one already."""
    return rows_NB if isinstance(rows_NB, np.ndarray) else np.stack(rows_NB)


def compute_peak(values_B: Vector) -> int:
    """Return the largest absolute value of integers, 0 for none."""
    return max(-int(values_B.min()), int(values_B.max())) if len(values_B) else 0


def compute_fingerprint(rows: Rows, index: int, seed: int = 0) -> bytes:
    """Return a keyed hash of one row's numbers: an order of members that nobody's place decides.

    Same numbers and seed, same bytes on every machine (little-endian). Drawn after the updates are
    committed, `seed` makes the order impossible to aim at.
    """
    digest = hashlib.blake2b(
        digest_size=FINGERPRINT_BYTES, key=seed.to_bytes(64, "little", signed=True)
    )
    for part in iterate_blocks(rows.size, FINGERPRINT_BLOCK):
        row_B = rows.take(part)[index]
        digest.update(np.ascontiguousarray(row_B, row_B.dtype.newbyteorder("<")).data)
    return digest.digest()
