"""One data set dealt to everybody: trainers' shards, validators' hold-outs, and the test part.

The test and hold-out parts come first, stratified by class, so that scores and reported accuracy
rest on all classes however skewed the trainers' shards are. Each validator has its own part of the
hold-out, halved again: A judges during the run, B is kept for the final ranking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kumiai.adapters.data.dataset import Dataset, check_dataset
from kumiai.base.amounts import PPM
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import InputError
from kumiai.learning.partition import partition as partition_samples

Samples = tuple[Tensor, Tensor]  # features float32 [n, ...], labels int64 [n] or [n, T]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class FederatedData:
    """shards: one per trainer; validation: (A, B) per validator; owner_names: one per shard.

    kept: with `keep_own`, what each trainer keeps aside of its own data; else ().
    An owner name is empty unless the split goes by the data's owners; several are joined by "+".
    """

    shards: tuple[Samples, ...]
    validation: tuple[tuple[Samples, Samples], ...]
    test: Samples
    owner_names: tuple[str, ...]
    kept: tuple[Samples, ...] = ()


def split(
    dataset: Dataset,
    *,
    trainers: int,
    partition: str,
    alpha_ppm: int,
    holdout_ppm: int,
    test_ppm: int,
    validators: int,
    seed: int,
) -> FederatedData:
    """Deal `dataset`: test_ppm of it to the test part, holdout_ppm to the validators, the rest to
    the trainers by `partition`. Every sample goes to exactly one place.

    Raises InputError when a part would stay empty, naming the field to change.
    """
    check_dataset(dataset, shards=trainers)
    size = len(dataset.features)
    test_size, holdout_size = size * test_ppm // PPM, size * holdout_ppm // PPM
    if holdout_size < 2 * validators:
        fault = f"{holdout_size} of {size} samples for {validators} validators: each needs 2"
        raise InputError("data.holdout_ppm", holdout_ppm, fault)
    rest_size = size - test_size - holdout_size
    if rest_size < trainers:
        fault = f"only {rest_size} samples remain after test and hold-out"
        raise InputError("data.trainers", trainers, fault)
    classes = dataset.labels if dataset.labels.ndim == 1 else np.zeros(size, dtype=np.int64)
    order = _order_stratified(classes, _derive_seed(seed, "holdout"))
    holdout = order[test_size : test_size + holdout_size]
    rest = np.sort(order[test_size + holdout_size :])
    try:
        shards = partition_samples(
            dataset.labels[rest],
            None if dataset.owners is None else dataset.owners[rest],
            trainers,
            partition,
            alpha=alpha_ppm / PPM,
            seed=_derive_seed(seed, "partition"),
        )
    except ValueError as error:
        raise InputError("data.partition", partition, str(error)) from error
    shards = [rest[shard] for shard in shards]
    parts = _deal_evenly(holdout, classes, 2 * validators)
    halves = [_take(dataset, part) for part in parts]
    return FederatedData(
        shards=tuple(_take(dataset, shard) for shard in shards),
        validation=tuple((halves[2 * i], halves[2 * i + 1]) for i in range(validators)),
        test=_take(dataset, np.sort(order[:test_size])),
        owner_names=tuple(_name_owners(dataset, shard, partition) for shard in shards),
    )


def keep_own(data: FederatedData, share_ppm: int, seed: int) -> FederatedData:
    """Set a share of every shard aside, at least one sample, the classes in proportion.

    InputError naming the trainer whose shard is too small to be divided.
    """
    shards, kept = [], []
    for place, (inputs, targets) in enumerate(data.shards):
        count = len(targets)
        aside = min(count - 1, max(1, count * share_ppm // PPM))
        if aside < 1:
            fault = f"shard {place + 1} has {count} samples: nothing of it can be kept aside"
            raise InputError("model_rewards.personalise", "on", fault)
        classes = targets.numpy() if targets.dim() == 1 else np.zeros(count, dtype=np.int64)
        order = torch.from_numpy(_order_stratified(classes, _derive_seed(seed, f"own/{place}")))
        own, rest = order[:aside].sort().values, order[aside:].sort().values
        kept.append((inputs[own], targets[own]))
        shards.append((inputs[rest], targets[rest]))
    return replace(data, shards=tuple(shards), kept=tuple(kept))


def _order_stratified(classes_n: NDArray[np.int64], seed: int) -> Indices:
    """Return all indices in an order whose every stretch holds the classes in proportion.

    Each class is shuffled and spread evenly over 0..1; the samples are sorted by that place.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    place_n = np.empty(len(classes_n))
    for value in np.unique(classes_n):
        members = np.flatnonzero(classes_n == value)
        ranks = generator.permutation(len(members))
        place_n[members] = (ranks + generator.random()) / len(members)
    return np.lexsort((classes_n, place_n)).astype(np.int64)


def _deal_evenly(indices: Indices, classes_n: NDArray[np.int64], parts: int) -> list[Indices]:
    """Deal like cards, class after class: parts differ by at most one in size and in each class."""
    by_class = indices[np.argsort(classes_n[indices], kind="stable")]
    return [np.sort(by_class[part::parts]) for part in range(parts)]


def _take(dataset: Dataset, indices: Indices) -> Samples:
    return (
        torch.from_numpy(np.ascontiguousarray(dataset.features[indices])),
        torch.from_numpy(np.ascontiguousarray(dataset.labels[indices])),
    )


def _name_owners(dataset: Dataset, shard: Indices, partition: str) -> str:
    if partition != "owner" or dataset.owners is None:
        return ""
    return "+".join(dataset.owner_names[owner] for owner in np.unique(dataset.owners[shard]))


def _derive_seed(seed: int, label: str) -> int:
    return int(sha256_hex(f"data/{label}/{seed}".encode())[:15], 16)
