"""Quorum arithmetic: the formula against what a quorum is for."""

from __future__ import annotations

from itertools import combinations

import pytest

from kumiai.consensus.quorum import compute_fault_tolerance, compute_quorum

SIZES = (1, *range(4, 32))


@pytest.mark.parametrize("n", range(1, 200))
def test_fault_tolerance_is_the_largest_that_pbft_allows(n: int) -> None:
    """Castro and Liskov 1999, section 3: n >= 3f + 1, and no larger f does."""
    f = compute_fault_tolerance(n)
    assert n >= 3 * f + 1
    assert n < 3 * (f + 1) + 1


@pytest.mark.parametrize("n", SIZES)
def test_two_quorums_share_an_honest_member_and_the_honest_ones_suffice(n: int) -> None:
    f, q = compute_fault_tolerance(n), compute_quorum(n)
    least_common = 2 * q - n  # sets of q among n share at least this many
    assert least_common > f
    assert q <= n - f
    assert 2 * (q - 1) - n <= f  # one signature fewer would not be safe


@pytest.mark.parametrize("n", [1, *range(4, 9)])
def test_intersection_by_listing_every_pair_of_quorums(n: int) -> None:
    """The dumb twin of the line above: look at all pairs."""
    f, q = compute_fault_tolerance(n), compute_quorum(n)
    quorums = [frozenset(c) for c in combinations(range(n), q)]
    assert min(len(a & b) for a in quorums for b in quorums) > f
    smaller = [frozenset(c) for c in combinations(range(n), q - 1)]
    assert min(len(a & b) for a in smaller for b in smaller) <= f


@pytest.mark.parametrize(
    ("n", "q"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)]
)
def test_known_sizes(n: int, q: int) -> None:
    assert compute_quorum(n) == q


@pytest.mark.parametrize("n", [0, -1])
def test_an_empty_committee_cannot_decide(n: int) -> None:
    with pytest.raises(ValueError, match="cannot decide"):
        compute_quorum(n)
