"""Real updates: a small network on the digits data, skewed shards, int32 fixed point."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

HIDDEN = 64
SCALE = 2.0**24
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RecordedRound:
    """The updates of one round and the global step before it (None in the first)."""

    updates_NP: NDArray[np.int32]
    previous_P: NDArray[np.int32] | None


def _load_digits() -> tuple[FloatArray, NDArray[np.int64]]:
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the digits file comes with scikit-learn, which is not installed")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:1080, :64] / 16, table[:1080, 64].astype(np.int64)


def _split(
    labels: NDArray[np.int64], count: int, alpha: float, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        for label in range(10):
            index = rng.permutation(np.flatnonzero(labels == label))
            cuts = (np.cumsum(rng.dirichlet([alpha] * count))[:-1] * len(index)).astype(int)
            for part, piece in zip(parts, np.split(index, cuts), strict=True):
                part.extend(piece.tolist())
        if min(map(len, parts)) >= 5:
            return [np.array(part) for part in parts]


def _train(
    start: list[FloatArray], x: FloatArray, y: NDArray[np.int64], rng: np.random.Generator
) -> list[FloatArray]:
    w1, b1, w2, b2 = (a.copy() for a in start)
    for _ in range(3):
        order = rng.permutation(len(x))
        for first in range(0, len(x), 32):
            batch = order[first : first + 32]
            hidden = np.maximum(x[batch] @ w1 + b1, 0)
            logits = hidden @ w2 + b2
            slope = np.exp(logits - logits.max(axis=1, keepdims=True))
            slope /= slope.sum(axis=1, keepdims=True)
            slope[np.arange(len(batch)), y[batch]] -= 1
            slope *= 0.1 / len(batch)
            back = (slope @ w2.T) * (hidden > 0)
            w2 -= hidden.T @ slope
            b2 -= slope.sum(axis=0)
            w1 -= x[batch].T @ back
            b1 -= back.sum(axis=0)
    return [w1, b1, w2, b2]


def _flatten(model: list[FloatArray]) -> FloatArray:
    return np.concatenate([a.ravel() for a in model])


def _record(alpha: float, member_count: int, round_count: int, seed: int) -> list[RecordedRound]:
    rng = np.random.default_rng(seed)
    x, y = _load_digits()
    shapes = [(64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)]
    model = [rng.uniform(-1, 1, shape) / 8 for shape in shapes]
    parts = _split(y, member_count, alpha, rng)
    previous: FloatArray | None = None
    rounds = []
    for _ in range(round_count):
        updates = np.array(
            [_flatten(_train(model, x[p], y[p], rng)) - _flatten(model) for p in parts]
        )
        rounds.append(
            RecordedRound(
                np.rint(updates * SCALE).astype(np.int32),
                None if previous is None else np.rint(previous * SCALE).astype(np.int32),
            )
        )
        previous = updates.mean(axis=0)
        pieces = np.split(previous, np.cumsum([a.size for a in model])[:-1])
        model = [a + piece.reshape(a.shape) for a, piece in zip(model, pieces, strict=True)]
    return rounds


@pytest.fixture(scope="session")
def digits_rounds() -> dict[float, list[RecordedRound]]:
    """Eight rounds of eight members each, by the Dirichlet concentration of their labels."""
    return {alpha: _record(alpha, 8, 8, seed=11) for alpha in (0.1, 0.3, 0.5, 100.0)}
