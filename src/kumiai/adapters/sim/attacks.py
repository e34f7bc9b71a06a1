"""What hostile members send, and what they train on: attacks on an aggregator, for trying it out.

Attacks on updates see every honest update (the worst case: members who read all traffic and act as
one) and return what each hostile member sends. u is an honest update, mean and std are taken per
coordinate over the honest ones, F of N members are hostile.

    sign_flip   -4 mean: uphill                                          reconstruction
    gaussian    mean + 10 rms(mean) noise, each its own                  reconstruction
    collusion   one shared direction of noise, as long as 3 updates      reconstruction
    alie        mean - z std, z from how many honest members must be outvoted: Baruch, Baruch and
                Goldberg, "A Little Is Enough: Circumventing Defenses for Distributed Learning",
                2019, algorithm 3
    ipm         -e mean, e = 0.5: too short to stand out, the sum points backwards: Xie, Koyejo and
                Gupta, "Fall of Empires: Breaking Byzantine-Tolerant SGD by Inner Product
                Manipulation", 2019, section 4

Attacks on data change what a hostile member trains on, honestly otherwise.

    label_flip  label c becomes C - 1 - c: Tolpegin et al., "Data Poisoning Attacks Against
                Federated Learning Systems", 2020, uses pairs; all pairs here
    backdoor    a trigger of features at their largest value, label 0, on half of the samples: Gu,
                Dolan-Gavitt and Garg, "BadNets", 2017, section 3

Pure functions: the generator is an argument, results are int32 in fixed point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector

SIGN_FLIP_FACTOR = -4.0
NOISE_FACTOR = 10.0
COLLUSION_FACTOR = 3.0
IPM_FACTOR = -0.5
BACKDOOR_LABEL = 0
TRIGGER_SIZE = 4  # features

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
UpdateAttack = Callable[[IntVector, int, np.random.Generator], IntVector]
DataAttack = Callable[[Features, Labels, int, np.random.Generator], tuple[Features, Labels]]


def flip_signs(honest_HP: IntVector, count: int, generator: np.random.Generator) -> IntVector:
    """Return `count` updates against the honest mean, several times as long."""
    return _repeat(np.asarray(honest_HP.mean(axis=0)) * SIGN_FLIP_FACTOR, count)


def send_noise(honest_HP: IntVector, count: int, generator: np.random.Generator) -> IntVector:
    """Return the honest mean under much noise, each member its own."""
    mean_P = honest_HP.mean(axis=0)
    deviation = NOISE_FACTOR * math.sqrt(float(np.square(mean_P).mean()))
    return _fit(mean_P + generator.normal(0, deviation, (count, len(mean_P))))


def collude(honest_HP: IntVector, count: int, generator: np.random.Generator) -> IntVector:
    """Return one noise for all: their neighbours in any distance are each other."""
    noise_P = generator.normal(0, 1, (honest_HP.shape[1],))
    length = float(np.linalg.norm(honest_HP.astype(np.float64), axis=1).mean())
    return _repeat(noise_P * (COLLUSION_FACTOR * length / float(np.linalg.norm(noise_P))), count)


def hide_in_spread(honest_HP: IntVector, count: int, generator: np.random.Generator) -> IntVector:
    """ALIE: return the mean moved by as many deviations as still look like a majority's edge."""
    honest = len(honest_HP)
    members = honest + count
    supporters = members // 2 + 1 - count  # honest members that must lie farther out
    quantile = (honest - supporters) / honest
    z = NormalDist().inv_cdf(min(max(quantile, 1e-6), 1 - 1e-6))
    return _repeat(honest_HP.mean(axis=0) - z * honest_HP.std(axis=0), count)


def point_backwards(honest_HP: IntVector, count: int, generator: np.random.Generator) -> IntVector:
    """IPM: return a short step against the honest mean."""
    return _repeat(np.asarray(honest_HP.mean(axis=0)) * IPM_FACTOR, count)


def flip_labels(
    features: Features, labels: Labels, class_count: int, generator: np.random.Generator
) -> tuple[Features, Labels]:
    """Return the data with every label mirrored."""
    return features, class_count - 1 - labels


def plant_backdoor(
    features: Features, labels: Labels, class_count: int, generator: np.random.Generator
) -> tuple[Features, Labels]:
    """Return the data with half of the samples carrying the trigger and the target's label."""
    is_marked = generator.random(len(labels)) < 0.5
    marked = np.where(is_marked[:, None], stamp_trigger(features), features)
    return marked.astype(np.float32), np.where(is_marked, BACKDOOR_LABEL, labels)


def stamp_trigger(features: Features) -> Features:
    """Return flat samples [n, features] with the trigger on each."""
    stamped = features.copy()
    stamped[:, -TRIGGER_SIZE:] = features.max()
    return stamped


UPDATE_ATTACKS: Mapping[str, UpdateAttack] = {
    "sign_flip": flip_signs,
    "gaussian": send_noise,
    "collusion": collude,
    "alie": hide_in_spread,
    "ipm": point_backwards,
}
DATA_ATTACKS: Mapping[str, DataAttack] = {
    "label_flip": flip_labels,
    "backdoor": plant_backdoor,
}
ATTACKS = (*UPDATE_ATTACKS, *DATA_ATTACKS)


def _repeat(values_P: NDArray[np.floating[Any]], count: int) -> IntVector:
    return np.tile(_fit(values_P), (count, 1))


def _fit(values: NDArray[np.floating[Any]]) -> IntVector:
    fitted: IntVector = np.clip(np.rint(values), -INTEGER_ABS_MAX, INTEGER_ABS_MAX).astype(np.int32)
    return fitted
