"""Who holds which samples: splits of one data set over trainers, to try a federation out.

    iid        equal shares of a random order
    dirichlet  label skew: each class is dealt by shares drawn from Dirichlet(alpha); small alpha
               gives each trainer few classes (Hsu, Qi and Brown, "Measuring the Effects of
               Non-Identical Data Distribution", 2019; per class as in Yurochkin et al., 2019)
    quantity   same classes, unequal amounts by Dirichlet(alpha) (Li et al., "Federated Learning on
               Non-IID Data Silos", 2022)
    owner      by the data's own owners; several owners to a trainer when there are more of them

Every sample goes to exactly one trainer and nobody is left empty. Same arguments, same split, as
long as numpy's Generator draws the same stream (the pinned version does).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("iid", "dirichlet", "quantity", "owner")
SHARD_SIZE_WISHED = 10  # redraw Dirichlet shares until the smallest shard has this many
ALPHA_MAX = 1e9  # equal shares for all purposes
DRAWS_MAX = 50  # then the best draw is kept and empty shards are filled

Indices = NDArray[np.int64]


def partition(
    labels_n: NDArray[np.int64],
    owners_n: NDArray[np.int64] | None,
    trainers: int,
    kind: str,
    *,
    alpha: float,
    seed: int,
) -> list[Indices]:
    """Return for each trainer the ascending indices of its samples.

    alpha is used by dirichlet and quantity alone. Raises ValueError where no such split exists:
    fewer samples or owners than trainers, alpha <= 0, labels that are not one class a sample.
    """
    size = len(labels_n)
    if kind not in KINDS:
        raise ValueError(f"partition {kind!r} is unknown: use one of {', '.join(KINDS)}")
    if trainers < 1 or size < trainers:
        raise ValueError(f"{size} samples cannot be split over {trainers} trainers")
    if kind in ("dirichlet", "quantity") and not 0 < alpha <= ALPHA_MAX:
        raise ValueError(f"alpha {alpha} is outside 0 < alpha <= {ALPHA_MAX:.0f}")
    generator = np.random.Generator(np.random.PCG64(seed))
    if kind == "iid":
        shards = np.array_split(generator.permutation(size), trainers)
    elif kind == "owner":
        shards = _split_by_owner(owners_n, trainers)
    else:
        groups = _group(labels_n) if kind == "dirichlet" else [np.arange(size)]
        shards = _draw_shares(groups, trainers, alpha, generator)
    return [np.sort(shard).astype(np.int64) for shard in shards]


def _draw_shares(
    groups: list[Indices], trainers: int, alpha: float, generator: np.random.Generator
) -> list[Indices]:
    wished = min(SHARD_SIZE_WISHED, sum(map(len, groups)) // (2 * trainers))
    best: list[Indices] = []
    for _ in range(DRAWS_MAX):
        shards = _deal(groups, trainers, alpha, generator)
        if not best or _smallest(shards) > _smallest(best):
            best = shards
        if _smallest(best) >= wished:
            break
    return _fill_empty(best)


def _deal(
    groups: list[Indices], trainers: int, alpha: float, generator: np.random.Generator
) -> list[Indices]:
    parts: list[list[Indices]] = [[] for _ in range(trainers)]
    for group in groups:
        shares = generator.dirichlet(np.full(trainers, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(group)).astype(np.int64)
        pieces = np.split(generator.permutation(group), np.clip(cuts, 0, len(group)))
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]


def _fill_empty(shards: list[Indices]) -> list[Indices]:
    """Give each empty shard one sample of the largest: with samples >= trainers this ends."""
    shards = list(shards)
    for index, shard in enumerate(shards):
        if len(shard) == 0:
            donor = max(range(len(shards)), key=lambda i: (len(shards[i]), -i))
            shards[index] = shards[donor][-1:]
            shards[donor] = shards[donor][:-1]
    return shards


def _split_by_owner(owners_n: NDArray[np.int64] | None, trainers: int) -> list[Indices]:
    """Whole owners to trainers: the largest first, each to the smallest shard so far."""
    if owners_n is None:
        raise ValueError("partition 'owner': this data names no owners, use another partition")
    groups = _group(owners_n)
    if len(groups) < trainers:
        raise ValueError(
            f"partition 'owner': {len(groups)} owners for {trainers} trainers, "
            f"use at most {len(groups)} trainers"
        )
    shards: list[list[Indices]] = [[] for _ in range(trainers)]
    sizes = [0] * trainers
    for group in sorted(groups, key=len, reverse=True):
        smallest = min(range(trainers), key=lambda i: (sizes[i], i))
        shards[smallest].append(group)
        sizes[smallest] += len(group)
    return [np.concatenate(shard) for shard in shards]


def _group(values_n: NDArray[np.int64]) -> list[Indices]:
    if values_n.ndim != 1:
        raise ValueError(
            f"labels of shape {list(values_n.shape)} are not one class a sample: "
            "use the partition iid, quantity or owner"
        )
    return [np.flatnonzero(values_n == value) for value in np.unique(values_n)]


def _smallest(shards: list[Any]) -> int:
    return min(map(len, shards))
