"""Members averaged in small random groups before any other rule sees them.

Karimireddy, He and Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
2022, algorithm 1: a random permutation, buckets of s = settings.bucket_size, the mean of each. It
makes honest members with different data look alike, at the price that one hostile member spoils its
bucket: f of N become at most f of ceil(N / s). The outer rule's settings count buckets.

A bucket's row is its members' weighted mean, half to even, and its weight their sum: a hostile
member that inflates its weight takes a bucket which is spoilt anyway. Deviation: the permutation is
the order of the rows' fingerprints under settings.seed, so that neither the order of the members
nor, if the seed is drawn after the commitments, anything they do decides who shares a bucket.

The rows are made a block at a time: no copy of all buckets is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kumiai.learning.aggregation.kernels import Kernels
from kumiai.learning.aggregation.linear import combine
from kumiai.learning.aggregation.rows import (
    Block,
    DerivedRows,
    PlainRows,
    Vector,
    compute_fingerprint,
)
from kumiai.learning.aggregation.rule import Members


@dataclass(frozen=True)
class BucketRows(DerivedRows):
    """The buckets' means; buckets: the members' indices of each."""

    buckets: Sequence[Sequence[int]]
    weights_N: Sequence[int]
    kernels: Kernels

    def __len__(self) -> int:
        return len(self.buckets)

    def take(self, block: slice) -> Block:
        parts_NB = self.rows.take(block)
        return [self._average(parts_NB, bucket) for bucket in self.buckets]

    def _average(self, parts_NB: Block, bucket: Sequence[int]) -> Vector:
        weights = [self.weights_N[index] for index in bucket]
        return combine(
            PlainRows([parts_NB[index] for index in bucket]), weights, sum(weights), self.kernels
        )


def bucket_members(members: Members) -> Members:
    """Return buckets in the members' place; as they are with a bucket size of 1."""
    size, count = members.settings.bucket_size, len(members.rows)
    if size < 1:
        raise ValueError(f"bucket_size {size} is below 1")
    if size == 1:
        return members
    seed, weights_N = members.settings.seed, members.weights_N
    order = sorted(
        range(count), key=lambda i: (compute_fingerprint(members.rows, i, seed), weights_N[i])
    )
    buckets = [order[start : start + size] for start in range(0, count, size)]
    rows = BucketRows(members.rows, buckets, weights_N, members.kernels)
    sums = [sum(weights_N[index] for index in bucket) for bucket in buckets]
    return replace(members, rows=rows, weights_N=sums)
