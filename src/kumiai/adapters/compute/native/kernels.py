"""The kernels of aggregation in compiled code, on as many cores as the caller allows.

Sums of sorted values come from a sorting network (`learning.aggregation.networks`) of minima and
maxima in the first cache; weighted sums are int64. All results over int32 rows are integers that
the definition leaves no freedom in, so they equal `NumpyKernels` to the bit; `load_kernels` checks
that on a small case before it trusts a compiler, and gives the numpy kernels where there is none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kumiai.adapters.compute.native.build import BuildError, load_library
from kumiai.learning.aggregation.kernels import (
    Kernels,
    NumpyKernels,
    check_bits,
    compute_half,
    compute_limit,
)
from kumiai.learning.aggregation.networks import build_gates
from kumiai.learning.aggregation.rows import Block, Vector
from kumiai.learning.fixed_point import IntVector, LongVector

BLOCK = 2**18  # numbers: 2 MiB of sums beside N rows that are read where they lie
ALIGNMENT_BYTES = 64
COUNT_MAX = 1024  # rows: above, a network's O(N log^2 N) and the caches favour numpy's sort
DIVISOR_MAX = 2**31
SHARE_MIN = 4_096  # columns: a thread is not worth less

Share = TypeVar("Share")
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "scratch_bytes": (_LONG, [_LONG]),
    "pair_scratch_bytes": (_LONG, [_LONG]),
    "multiply_pairs": (None, [_POINTER, *[_LONG] * 3, *[_POINTER] * 5]),
    "divide_sums": (None, [_POINTER, *[_LONG] * 3, _POINTER]),
    "compute_peak": (_LONG, [_POINTER, _LONG]),
    "sum_weighted": (None, [_POINTER, _LONG, _LONG, _LONG, _POINTER, _POINTER]),
    **{
        f"reduce_sorted_{name}": (
            ctypes.c_int,
            [_POINTER, _LONG, _LONG, _LONG, _POINTER, _LONG, _LONG, _LONG, _POINTER, _POINTER],
        )
        for name in ("int32", "float32")
    },
}


class NativeKernels:
    """`Kernels` over a library made of loops.c; threads: how many share a block."""

    def __init__(self, library: ctypes.CDLL, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads {threads} is below 1")
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library, self._threads = library, threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._numpy = NumpyKernels()

    @property
    def sort_block(self) -> int:
        return BLOCK

    @property
    def sum_block(self) -> int:
        return BLOCK

    def reduce_sorted(self, rows_NB: Block, start: int, stop: int) -> Vector:
        rows, count = _prepare(rows_NB), len(rows_NB)
        if count > COUNT_MAX:
            return self._numpy.reduce_sorted(rows_NB, start, stop)
        kind = rows[0].dtype.name
        reduce = getattr(self._library, f"reduce_sorted_{kind}")
        gates = np.array(build_gates(count, start, stop), dtype=np.int32).reshape(-1, 5)
        sums_B: Vector = np.empty(len(rows[0]), np.float64 if kind == "float32" else np.int64)
        pointers_N = _point(rows)

        def work(begin: int, end: int) -> int:
            scratch = _allocate(self._library.scratch_bytes(count))
            has_nan: int = reduce(
                pointers_N.ctypes.data, count, begin, end, gates.ctypes.data, len(gates),
                start, stop, scratch.ctypes.data, sums_B.ctypes.data,
            )  # fmt: skip
            return has_nan

        if any(self._share(work, len(sums_B))):
            raise ValueError("a row has NaN: no order of its values exists")
        return sums_B

    def sum_weighted(self, rows_NB: Block, weights_N: Sequence[int]) -> LongVector:
        rows = _prepare(rows_NB)
        sums_B = np.empty(len(rows[0]), dtype=np.int64)
        all_weights_N = np.array(weights_N, dtype=np.int64)
        kept = np.flatnonzero(all_weights_N)  # what counts nothing is not read
        pointers, weights = _point(rows)[kept], all_weights_N[kept]

        def work(begin: int, end: int) -> int:
            self._library.sum_weighted(
                pointers.ctypes.data, len(kept), begin, end, weights.ctypes.data,
                sums_B.ctypes.data,
            )  # fmt: skip
            return 0

        self._share(work, len(sums_B))
        return sums_B

    def divide_into(self, delta_B: IntVector, sums_B: LongVector, divisor: int) -> None:
        is_dense = delta_B.flags.c_contiguous and sums_B.flags.c_contiguous
        if not is_dense or len(delta_B) != len(sums_B) or not 1 <= divisor <= DIVISOR_MAX:
            raise ValueError(
                f"{len(sums_B)} sums over {divisor} into {len(delta_B)} numbers: expected as many "
                f"of both, one after another, and a divisor within 1..{DIVISOR_MAX}"
            )

        def work(begin: int, end: int) -> int:
            self._library.divide_sums(
                sums_B.ctypes.data, begin, end, divisor, delta_B.ctypes.data
            )  # fmt: skip
            return 0

        self._share(work, len(sums_B))

    def compute_peaks(self, rows_NB: Block) -> list[int]:
        rows = _prepare(rows_NB)

        def work(row: NDArray[np.int32]) -> int:
            peak: int = self._library.compute_peak(row.ctypes.data, len(row))
            return peak

        return self._share_rows(work, rows)

    def multiply_pairs(
        self, rows_NB: Block, shifts_N: Sequence[int], bits: int
    ) -> NDArray[np.int64]:
        check_bits(bits)
        rows, count = _prepare(rows_NB), len(rows_NB)
        limits_N = np.array([compute_limit(shift, bits) for shift in shifts_N], dtype=np.int32)
        halves_N = np.array([compute_half(shift) for shift in shifts_N], dtype=np.int32)
        places_N = np.array(shifts_N, dtype=np.int32)
        pointers_N = _point(rows)

        def work(begin: int, end: int) -> NDArray[np.int64]:
            upper_NN = np.zeros((count, count), dtype=np.int64)
            scratch = _allocate(self._library.pair_scratch_bytes(count))
            self._library.multiply_pairs(
                pointers_N.ctypes.data, count, begin, end, limits_N.ctypes.data,
                halves_N.ctypes.data, places_N.ctypes.data, scratch.ctypes.data,
                upper_NN.ctypes.data,
            )  # fmt: skip
            return upper_NN

        upper_NN = np.triu(sum(self._share(work, len(rows[0]))))
        return upper_NN + np.triu(upper_NN, 1).T

    def _share_rows(self, work: Callable[[NDArray[Any]], int], rows: Block) -> list[int]:
        if self._pool is None or len(rows[0]) < SHARE_MIN:
            return list(map(work, rows))
        return list(self._pool.map(work, rows))

    def _share(self, work: Callable[[int, int], Share], size: int) -> list[Share]:
        """Run work(begin, end) over all columns, in threads where these are many."""
        parts = min(self._threads, max(1, size // SHARE_MIN))
        if self._pool is None or parts == 1:
            return [work(0, size)]
        borders = [size * part // parts for part in range(parts + 1)]
        return list(self._pool.map(work, borders[:-1], borders[1:]))


def load_kernels(cache_dir: Path | None = None, threads: int = 1) -> Kernels:
    """Return compiled kernels, or numpy's where no compiler makes them or they compute wrongly."""
    try:
        kernels = NativeKernels(load_library(cache_dir), threads)
    except (BuildError, AttributeError):  # a library without the functions is not ours
        return NumpyKernels()
    return kernels if is_faithful(kernels) else NumpyKernels()


def is_faithful(kernels: Kernels) -> bool:
    """Whether `kernels` give numpy's numbers on a case with odd sizes and the largest numbers."""
    generator = np.random.Generator(np.random.PCG64(1))
    rows_NB = generator.integers(-(2**31) + 1, 2**31 - 1, (13, 1_299), dtype=np.int32)
    floats_NB = generator.standard_normal((13, 1_299), dtype=np.float32)
    many_NB = generator.integers(-9, 9, (50, 99), dtype=np.int32)  # enough for every sort of gate
    weights_N = [0, 1, -1, 2**29, -(2**29), 2**29, *range(7)]

    sums_B = np.concatenate([np.arange(-99, 99), generator.integers(-(2**62), 2**62, 99)])

    def divide(kernels: Kernels, divisor: int) -> IntVector:
        delta_B = np.empty(len(sums_B), dtype=np.int32)
        kernels.divide_into(delta_B, sums_B, divisor)
        return delta_B

    def compute(kernels: Kernels) -> list[Vector]:
        return [
            kernels.sum_weighted(rows_NB, weights_N),
            kernels.sum_weighted(rows_NB, [1] * 13),
            *(kernels.reduce_sorted(rows_NB, *places) for places in ((6, 7), (5, 8), (0, 13))),
            *(kernels.reduce_sorted(many_NB, *places) for places in ((0, 50), (24, 26), (12, 38))),
            kernels.reduce_sorted(floats_NB, 6, 7),
            *(divide(kernels, divisor) for divisor in (1, 2, 6, 2**30 - 1, 2**31)),
            np.array(kernels.compute_peaks(rows_NB)),
            kernels.multiply_pairs(rows_NB, range(8, 21), 15),
            kernels.multiply_pairs(np.full_like(rows_NB, 2**31 - 1), [16] * 13, 15),
        ]

    return all(map(np.array_equal, compute(kernels), compute(NumpyKernels())))


def _prepare(rows_NB: Block) -> Block:
    """Return rows whose numbers lie one after another, as the loops read them."""
    if isinstance(rows_NB, np.ndarray):
        is_dense = rows_NB.strides[1] == rows_NB.itemsize
        return rows_NB if is_dense else np.ascontiguousarray(rows_NB)
    return [np.ascontiguousarray(row) for row in rows_NB]


def _point(rows: Block) -> NDArray[np.intp]:
    """Return the rows' addresses; the caller holds the rows."""
    if isinstance(rows, np.ndarray):
        return rows.ctypes.data + rows.strides[0] * np.arange(len(rows), dtype=np.intp)
    return np.array([row.__array_interface__["data"][0] for row in rows], dtype=np.intp)


def _allocate(size_bytes: int) -> NDArray[np.uint8]:
    """Return scratch that begins at a cache line."""
    scratch = np.empty(size_bytes + ALIGNMENT_BYTES, dtype=np.uint8)
    offset = -scratch.ctypes.data % ALIGNMENT_BYTES
    return scratch[offset:]
