"""What copying and splitting earn: the log-union game, to the digits printed for it.

Four owners of 60 items each, each sharing half of them with the next; a group is worth
log(1 + |union|), so that everybody together is worth 1. Owner 0 enters k times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kumiai.valuation import BanzhafLimits, assess, assess_members
from kumiai.valuation.game import Utility

ITEMS = [frozenset(range(30 * owner, 30 * owner + 60)) for owner in range(4)]


def log_union(owners: Sequence[frozenset[int]]) -> Utility:
    whole = np.log1p(len(frozenset[int]().union(*owners)))

    def worth(mask: int) -> float:
        held = [items for i, items in enumerate(owners) if mask >> i & 1]
        return float(np.log1p(len(frozenset[int]().union(*held))) / whole)

    return lambda masks: np.array([worth(mask) for mask in masks])


def copy(count: int) -> list[frozenset[int]]:
    return [*ITEMS, *[ITEMS[0]] * (count - 1)]


def split(count: int) -> list[frozenset[int]]:
    size = 60 // count
    parts = [frozenset(range(size * k, size * (k + 1))) for k in range(count)]
    return [parts[0], *ITEMS[1:], *parts[1:]]


def earn(method: str, owners: Sequence[frozenset[int]]) -> tuple[float, float]:
    """Return what the attacker's identities (first, and all after the fourth) get, and the sum."""
    values = assess(method, len(owners), log_union(owners)).values_N
    return float(values[0] + values[4:].sum()), float(values.sum())


@pytest.mark.parametrize(
    ("method", "printed"),
    [
        ("exact", [0.262, 0.381, 0.457, 0.511]),
        ("gtg", [0.262, 0.381, 0.457, 0.511]),
        ("banzhaf_exact", [0.177, 0.177, 0.133, 0.089]),
        ("banzhaf", [0.177, 0.177, 0.133, 0.089]),
        ("loo", [0.044, 0.0, 0.0, 0.0]),
    ],
)
def test_copies(method, printed):
    found = [earn(method, copy(k))[0] for k in (1, 2, 3, 4)]
    assert [round(value, 3) for value in found] == printed


def test_copies_share_of_normalised_banzhaf():
    """Dividing by the sum brings back most of what copying had lost."""
    shares = [earn("banzhaf_exact", copy(k)) for k in (1, 2, 3, 4)]
    assert [round(own / total, 3) for own, total in shares] == [0.269, 0.352, 0.348, 0.296]


@pytest.mark.parametrize(
    ("method", "printed"),
    [
        ("exact", [0.262, 0.345, 0.392, 0.422]),
        ("banzhaf_exact", [0.177, 0.177, 0.164, 0.152]),
    ],
)
def test_splitting(method, printed):
    found = [earn(method, split(k))[0] for k in (1, 2, 3, 4)]
    assert [round(value, 3) for value in found] == printed


def test_sampled_banzhaf_sees_the_same():
    """With ten players the values are sampled: still no profit in copies."""
    owners = [*ITEMS, *[ITEMS[0]] * 3, *[frozenset(range(200 + k, 240 + k)) for k in range(3)]]
    expected = assess("banzhaf_exact", 10, log_union(owners)).values_N
    found = assess("banzhaf", 10, log_union(owners), seed=1, limits=BanzhafLimits(800))
    assert (np.abs(found.values_N - expected) <= 4 * found.errors_N).all()
    assert found.errors_N.max() < 0.02


@pytest.mark.parametrize("method", ["exact", "gtg", "permutation", "tmc", "banzhaf", "loo"])
@pytest.mark.parametrize("count", [2, 4])
def test_merged_copies_earn_what_one_does(method, count):
    """Every method, as if the copies had never come; they are worth 0, and cost nothing."""
    alone = assess(method, 4, log_union(ITEMS), seed=3)
    marks = [None] * 4 + [0] * (count - 1)
    found = assess_members(method, marks, log_union(copy(count)), seed=3)
    assert found.values_N.tolist() == [*alone.values_N.tolist(), *[0.0] * (count - 1)]
    assert found.errors_N.tolist() == [*alone.errors_N.tolist(), *[0.0] * (count - 1)]
    assert found.evaluation_count == alone.evaluation_count


def test_only_copies_of_one():
    """One player is left and takes everything."""
    found = assess_members("exact", [2, 2, None], log_union([ITEMS[0]] * 3))
    assert found.values_N.tolist() == [0.0, 0.0, 1.0]


def test_a_bad_utility_names_members_not_places():
    with pytest.raises(ValueError, match=r"coalition \{1, 3\} is \[nan\]"):
        assess_members(
            "exact",
            [None, None, 0, None],
            lambda m: np.array([np.nan if x == 10 else 1 for x in m]),
        )
