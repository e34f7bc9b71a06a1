"""Sorting networks: fixed lists of comparators that put any values in order.

A comparator (i, j) leaves the smaller of two values at i and the larger at j. The list depends on
the count alone, never on the values, so a row of a thousand coordinates passes it at once: two
elementwise operations a comparator, no branch. For compiled kernels; see `kernels` for numpy.

Batcher, "Sorting Networks and Their Applications", 1968: merge exchange, for any count, with
O(N log^2 N) comparators (1,077 for 100). Whoever wants only some of the sorted places drops the
comparators that reach none of them: 889 are left for the median of 100.

Compiled, a comparator spends its time on reading and writing two rows. So comparators that follow
one another on at most four places are fused into one gate, which reads and writes each place once:
1,153 rows instead of 1,778 for the median of 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

Comparator = tuple[int, int]
Gate = tuple[int, int, int, int, int]  # pattern, four places; those that it does not use repeat one

PLACES_MAX = 4  # of a gate
# What a gate does with its places, by number: the kernels' own order. They make up 96 % of what
# networks of 10 to 100 values are fused into; comparators in other patterns stay alone.
PATTERNS: tuple[tuple[Comparator, ...], ...] = (
    ((0, 1),),
    ((0, 1), (0, 2)),
    ((0, 1), (1, 2)),
    ((0, 1), (0, 2), (2, 1)),
    ((0, 1), (0, 2), (3, 1)),
    ((0, 1), (0, 2), (1, 3)),
    ((0, 1), (1, 2), (1, 3)),
    ((0, 1), (2, 0), (2, 3)),
    ((0, 1), (2, 3), (1, 2)),
    ((0, 1), (2, 3), (0, 2), (1, 3)),
    ((0, 1), (2, 3), (0, 2), (3, 1)),
    ((0, 1), (0, 2), (2, 1), (0, 3)),
    ((0, 1), (0, 2), (2, 1), (3, 0)),
    ((0, 1), (2, 3), (0, 2), (1, 3), (2, 1)),
)


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


@lru_cache(maxsize=64)
def build_gates(count: int, start: int, stop: int) -> tuple[Gate, ...]:
    """Return `build_network` as gates, which give the same when each follows the one before."""
    gates: list[Gate] = []
    for fused in fuse(build_network(count, start, stop)):
        pattern, places = describe_pattern(fused)
        if pattern in PATTERNS:
            a, b, c, d = (*places, *places[:1] * (PLACES_MAX - len(places)))
            gates.append((PATTERNS.index(pattern), a, b, c, d))
        else:
            gates += [(0, i, j, i, i) for i, j in fused]
    return tuple(gates)


def fuse(comparators: Sequence[Comparator]) -> list[list[Comparator]]:
    """Return the comparators in groups on at most `PLACES_MAX` places, each group after the last.

    A comparator joins the groups that were the last on its places, where these groups are the last
    on all of theirs: nothing has used what they leave, so they can as well run now.
    """
    last: dict[int, int] = {}  # place -> group
    groups: dict[int, list[Comparator]] = {}
    for number, (i, j) in enumerate(comparators):
        open_groups = [
            group
            for group in dict.fromkeys((last.get(i), last.get(j)))
            if group is not None and all(last[place] == group for place in _list(groups[group]))
        ]
        # all of them if they fit, else one of the two, else a group of its own
        for joined in (open_groups, open_groups[:1], open_groups[1:], []):
            merged = [comparator for group in joined for comparator in groups[group]] + [(i, j)]
            if len(_list(merged)) <= PLACES_MAX:
                break
        for group in joined:
            del groups[group]
        groups[number] = merged
        last.update(dict.fromkeys(_list(merged), number))
    return list(groups.values())


def describe_pattern(
    group: Sequence[Comparator],
) -> tuple[tuple[Comparator, ...], tuple[int, ...]]:
    """Return a group's comparators over places numbered as they come, and these places."""
    places = _list(group)
    return tuple((places.index(i), places.index(j)) for i, j in group), tuple(places)


def _list(group: Sequence[Comparator]) -> list[int]:
    return list(dict.fromkeys(place for comparator in group for place in comparator))
