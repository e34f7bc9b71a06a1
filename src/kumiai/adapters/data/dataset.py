"""One data set in memory, and the checks that it must pass before anybody trains on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.base.errors import InputError

FIELD = "data.source"


@dataclass(frozen=True)
class Dataset:
    """n samples with their labels.

    features: float32 [n, *input_shape]; labels: int64 [n], or [n, T] for sequences, within
    0..class_count-1; owners: int64 [n], an index into owner_names, or None when nobody owns them.
    alphabet: the character that each class stands for, where the labels are text; else empty.
    tokens: the bytes that each class stands for, where the labels are a tokenizer's; else empty.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    owners: NDArray[np.int64] | None
    class_count: int
    input_shape: tuple[int, ...]
    owner_names: tuple[str, ...] = ()
    licence: str = ""
    description: str = ""
    alphabet: str = ""
    tokens: tuple[bytes, ...] = ()

    @property
    def spellings(self) -> tuple[bytes, ...]:
        """The bytes of text that each class stands for; empty where the labels are no text."""
        return self.tokens or tuple(character.encode() for character in self.alphabet)


def check_dataset(dataset: Dataset, shards: int = 1, source: str = "") -> None:
    """Raise InputError unless the data can be split over `shards` trainers and trained on.

    Refused, each with the first bad row: NaN or infinity, labels out of range, owners without a
    name; and arrays of different length, other dtypes, no samples, fewer samples than shards.
    """
    features, labels = dataset.features, dataset.labels
    size = len(features)
    if features.dtype != np.float32 or features.shape[1:] != dataset.input_shape:
        shape = ", ".join(map(str, ("n", *dataset.input_shape)))
        expected = f"float32 of shape [{shape}]"
        _refuse(source, f"features are {_describe(features)}, expected {expected}")
    if labels.dtype != np.int64 or labels.ndim not in (1, 2):
        expected = "int64 of shape [n] (or [n, T] for sequences)"
        _refuse(source, f"labels are {_describe(labels)}, expected {expected}")
    if len(labels) != size:
        _refuse(source, f"{size} samples but {len(labels)} labels: give one label a sample")
    if size == 0 or features.size == 0:
        _refuse(source, "there are no samples: the loader returned an empty array")
    if size < shards:
        _refuse(source, f"{size} samples for {shards} trainers: lower data.trainers")
    _check_rows(source, ~_rows(np.isfinite(features)), "holds NaN or infinity: clean or drop it")
    inside: NDArray[np.bool_] = np.logical_and(labels >= 0, labels < dataset.class_count)
    expected = f"has a label outside 0..{dataset.class_count - 1}"
    _check_rows(source, ~_rows(inside), expected)
    _check_owners(dataset, source)


def _check_owners(dataset: Dataset, source: str) -> None:
    owners = dataset.owners
    if owners is None:
        return
    if owners.dtype != np.int64 or owners.shape != (len(dataset.features),):
        expected = f"int64 of shape [{len(dataset.features)}]"
        _refuse(source, f"owners are {_describe(owners)}, expected {expected}")
    nameless = ~np.isin(owners, np.arange(len(dataset.owner_names)))
    _check_rows(source, nameless, f"has an owner outside 0..{len(dataset.owner_names) - 1}")


def _rows(is_good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return per row whether all its entries are good."""
    return np.asarray(is_good.reshape(len(is_good), -1).all(axis=1), dtype=np.bool_)


def _check_rows(source: str, is_bad_n: NDArray[np.bool_], fault: str) -> None:
    if is_bad_n.any():
        row, count = int(np.argmax(is_bad_n)), int(is_bad_n.sum())
        more = f" ({count} rows do)" if count > 1 else ""
        _refuse(source, f"row {row} {fault}{more}")


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {list(array.shape)}"


def _refuse(source: str, fault: str) -> None:
    raise InputError(FIELD, source, fault)
