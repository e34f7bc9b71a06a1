"""The splits that papers on fair rewards use: one data set dealt to members, validators and a test.

    homogeneous  equal shares of a random order
    dirichlet    each class dealt by shares drawn from Dirichlet(0.5) (Hsu, Qi and Brown, 2019)
    label        label skew: every member holds few classes, one more than the member before it up
                 to all of them (as "class imbalance" in Xu et al., "Gradient Driven Rewards to
                 Guarantee Fairness in Collaborative Machine Learning", 2021)
    quantity     same classes, amounts by a power law: member n holds n times the first one's share
                 (as "power law" there; reconstruction of both)

Validators and test get a stratified part each, whatever the split. Every sample has one place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kumiai.adapters.data.dataset import Dataset
from kumiai.learning.partition import partition

SPLITS = ("homogeneous", "dirichlet", "label", "quantity")
DIRICHLET_ALPHA = 0.5
CLASSES_LEAST = 2  # of the member with the fewest, under label skew
TRAIN_SHARE = 0.4
VALIDATION_SHARE = 0.3  # the rest is the test

Samples = tuple[Tensor, Tensor]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """shards: one a member. validation: what contributions and the curve are measured on. test:
    what nobody has seen.
    """

    shards: tuple[Samples, ...]
    validation: Samples
    test: Samples
    class_count: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each member."""
        return tuple(len(labels) for _, labels in self.shards)


def deal(dataset: Dataset, kind: str, members: int, seed: int) -> Split:
    """Deal `dataset` by `kind`.

    Raises ValueError for an unknown kind or fewer samples than members.
    """
    if kind not in SPLITS:
        raise ValueError(f"split {kind!r} is unknown: use one of {', '.join(SPLITS)}")
    generator = np.random.Generator(np.random.PCG64(seed))
    labels = dataset.labels
    order = _order_stratified(labels, generator)
    first, second = (
        int(len(order) * share) for share in (TRAIN_SHARE, TRAIN_SHARE + VALIDATION_SHARE)
    )
    train = np.sort(order[:first])
    if len(train) < members:
        raise ValueError(f"{len(train)} samples cannot be dealt to {members} members")
    parts = _deal_to_members(labels[train], dataset.class_count, kind, members, seed, generator)
    return Split(
        shards=tuple(_take(dataset, train[part]) for part in parts),
        validation=_take(dataset, order[first:second]),
        test=_take(dataset, order[second:]),
        class_count=dataset.class_count,
    )


def _deal_to_members(
    labels_n: Indices,
    class_count: int,
    kind: str,
    members: int,
    seed: int,
    generator: np.random.Generator,
) -> list[Indices]:
    if kind in ("homogeneous", "dirichlet"):
        name = "iid" if kind == "homogeneous" else "dirichlet"
        return partition(labels_n, None, members, name, alpha=DIRICHLET_ALPHA, seed=seed)
    order = generator.permutation(len(labels_n))
    if kind == "quantity":
        sizes = np.arange(1, members + 1)
        cuts = np.maximum(
            np.rint(np.cumsum(sizes)[:-1] / sizes.sum() * len(order)).astype(np.int64),
            np.arange(1, members),  # nobody is left empty
        )
        return [np.sort(part) for part in np.split(order, cuts)]
    return _deal_classes(labels_n, class_count, members, generator)


def _deal_classes(
    labels_n: Indices, class_count: int, members: int, generator: np.random.Generator
) -> list[Indices]:
    """Member n holds a number of classes between CLASSES_LEAST and all; sizes are equal.

    Each member draws from its classes in equal parts, without putting samples back; where a class
    is used up it draws from its others, and last from whatever is left.
    """
    pools = {
        c: list(generator.permutation(np.flatnonzero(labels_n == c))) for c in range(class_count)
    }
    size = len(labels_n) // members
    counts = np.rint(np.linspace(min(CLASSES_LEAST, class_count), class_count, members)).astype(int)
    parts: list[list[int]] = []
    for index, count in enumerate(counts):
        start = index * CLASSES_LEAST
        classes = [(start + step) % class_count for step in range(count)]
        part: list[int] = []
        turn = 0
        while len(part) < size:
            alive = [c for c in classes if pools[c]] or [c for c in pools if pools[c]]
            part.append(pools[alive[turn % len(alive)]].pop())
            turn += 1
        parts.append(part)
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]


def _order_stratified(labels_n: Indices, generator: np.random.Generator) -> Indices:
    """Return all rows in an order whose every stretch holds the classes in proportion."""
    place_n = np.empty(len(labels_n))
    for value in np.unique(labels_n):
        rows = np.flatnonzero(labels_n == value)
        place_n[rows] = (generator.permutation(len(rows)) + generator.random()) / len(rows)
    return np.argsort(place_n, kind="stable").astype(np.int64)


def _take(dataset: Dataset, rows: Indices) -> Samples:
    return (
        torch.from_numpy(np.ascontiguousarray(dataset.features[rows])),
        torch.from_numpy(np.ascontiguousarray(dataset.labels[rows])),
    )
