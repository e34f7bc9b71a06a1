"""Sorting networks: fixed lists of comparators that put any values in order.

A comparator (i, j) leaves the smaller of two values at i and the larger at j. The list depends on
the count alone, never on the values, so a row of a thousand coordinates passes it at once: two
elementwise operations a comparator, no branch. For compiled kernels; see `kernels` for numpy.

Batcher, "Sorting Networks and Their Applications", 1968: merge exchange, for any count, with
O(N log^2 N) comparators (1,077 for 100). Whoever wants only some of the sorted places drops the
comparators that reach none of them: 889 are left for the median of 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

Comparator = tuple[int, int]


@lru_cache(maxsize=64)
def build_network(count: int, start: int, stop: int) -> tuple[Comparator, ...]:
    """Return comparators after which the places start..stop-1 hold what sorting puts there."""
    if not 0 <= start < stop <= count:
        raise ValueError(f"places {start}..{stop} are not within 0..{count}")
    return tuple(prune(build_merge_exchange(count), start, stop))


def build_merge_exchange(count: int) -> list[Comparator]:
    """Return Batcher's comparators that sort `count` values."""
    comparators = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    merged = top  # p in Knuth, "Sorting and Searching", algorithm 5.2.2M
    while merged:
        distance, offset, step = merged, 0, top
        while True:
            comparators += [
                (i, i + distance) for i in range(count - distance) if i & merged == offset
            ]
            if step == merged:
                break
            distance, offset, step = step - merged, merged, step // 2
        merged //= 2
    return comparators


def prune(comparators: Sequence[Comparator], start: int, stop: int) -> list[Comparator]:
    """Return the comparators, in order, that can change what the places start..stop-1 hold."""
    needed, kept = set(range(start, stop)), []
    for comparator in reversed(comparators):
        if needed.intersection(comparator):
            needed.update(comparator)
            kept.append(comparator)
    return kept[::-1]
