"""Partitions: each sample to exactly one trainer, nobody empty, and the skew asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.learning.partition import KINDS, partition

LABELS = np.arange(600) % 10
OWNERS = np.arange(600) ** 2 % 13


def split(kind, trainers=6, alpha=0.5, seed=1, labels=LABELS, owners=OWNERS):
    return partition(labels, owners, trainers, kind, alpha=alpha, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
@given(
    trainers=st.integers(1, 7),
    size=st.integers(7, 80),
    alpha=st.sampled_from([1e-6, 0.05, 0.5, 5.0, 1e6]),
    seed=st.integers(0, 2**63 - 1),
)
def test_disjoint_exhaustive_and_nobody_empty(kind, trainers, size, alpha, seed):
    labels, owners = np.arange(size) % 3, np.arange(size) % 7
    shards = partition(labels, owners, trainers, kind, alpha=alpha, seed=seed)
    assert len(shards) == trainers
    assert min(map(len, shards)) >= 1
    assert sorted(np.concatenate(shards).tolist()) == list(range(size))
    again = partition(labels, owners, trainers, kind, alpha=alpha, seed=seed)
    assert all(map(np.array_equal, shards, again))


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "quantity"])
def test_the_seed_changes_the_split(kind):
    assert not all(map(np.array_equal, split(kind, seed=1), split(kind, seed=2)))


def test_iid_shares_are_equal():
    assert [len(shard) for shard in split("iid", trainers=7)] == [86] * 5 + [85] * 2


def compute_skew(shards):
    """Mean over shards of the share of the commonest class."""
    return np.mean([np.bincount(LABELS[shard]).max() / len(shard) for shard in shards])


def test_small_alpha_skews_labels_and_large_does_not():
    assert compute_skew(split("dirichlet", alpha=0.1)) > 0.35
    assert compute_skew(split("dirichlet", alpha=1000.0)) < 0.2
    assert compute_skew(split("quantity", alpha=0.5)) < 0.3


def test_small_alpha_skews_amounts():
    sizes = [len(shard) for shard in split("quantity", alpha=0.3)]
    assert max(sizes) > 3 * min(sizes)
    even = [len(shard) for shard in split("quantity", alpha=1000.0)]
    assert max(even) < 1.3 * min(even)


@pytest.mark.parametrize("kind", ["dirichlet", "quantity"])
def test_shards_have_the_wished_size_where_shares_allow(kind):
    assert min(len(shard) for shard in split(kind, alpha=0.5)) >= 10


def test_owners_are_never_divided_and_loads_are_even():
    shards = split("owner", trainers=4)
    held = [set(OWNERS[shard].tolist()) for shard in shards]
    assert sum(map(len, held)) == len(set(OWNERS.tolist()))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= np.bincount(OWNERS).max()


def test_the_largest_owners_are_placed_first():
    owners = np.array([0, 1, 2, 2])
    shards = partition(np.zeros(4), owners, 2, "owner", alpha=1.0, seed=0)
    assert sorted(map(len, shards)) == [2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "random"}, "unknown"),
        ({"kind": "iid", "trainers": 601}, "600 samples cannot be split over 601"),
        ({"kind": "iid", "trainers": 0}, "over 0 trainers"),
        ({"kind": "owner", "trainers": 8}, "use at most 7 trainers"),
        ({"kind": "owner", "owners": None}, "names no owners"),
        ({"kind": "dirichlet", "alpha": 0.0}, "alpha 0.0"),
        ({"kind": "quantity", "alpha": float("nan")}, "alpha nan"),
        ({"kind": "quantity", "alpha": float("inf")}, "alpha inf"),
        ({"kind": "dirichlet", "labels": np.zeros((600, 4))}, "one class a sample"),
    ],
)
def test_impossible_splits_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        split(**changes)
