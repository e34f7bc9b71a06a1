"""Rounds of training, attack and aggregation without the protocol: what an aggregator withstands.

The members train as in a run, some are hostile (`attacks`), and the aggregate is added to the model
as it is. No signatures, scores or committee: those would catch most of these attacks before the
aggregator sees them. For the comparison of aggregators alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.sim import attacks
from kumiai.base.amounts import PPM
from kumiai.learning.aggregation import Settings, aggregate
from kumiai.learning.client import TrainSettings
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, dequantise, quantise
from kumiai.learning.layout import flatten
from kumiai.learning.partition import partition
from kumiai.learning.recipe import build_recipe, build_seeded

Shard = tuple[NDArray[np.float32], NDArray[np.int64]]

TEST_SHARE = 5  # one sample in five is for the test
ROOT_SIZE = 100  # samples of the trust root, taken from nobody's shard


@dataclass(frozen=True)
class Federation:
    """Members, their data and their work; `hostile_count` of `member_count` attack."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_count: int
    member_count: int = 10
    hostile_count: int = 3
    rounds: int = 10
    kind: str = "iid"
    alpha: float = 1.0
    hidden: int = 32
    training: TrainSettings = field(
        default_factory=lambda: TrainSettings(learning_rate=0.2, batch_size=16)
    )
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """accuracy on the test part; triggered: share of other classes' samples with the backdoor's
    trigger that the model takes for the backdoor's class.
    """

    accuracy: float
    triggered: float


def play(
    federation: Federation, aggregator: str, attack: str | None, settings: Settings
) -> Outcome:
    """Train for all rounds under `attack` (None: all members are honest) and test the model.

    Raises ValueError for an unknown attack or aggregator.
    """
    if attack is not None and attack not in attacks.ATTACKS:
        raise ValueError(f"attack {attack!r} is unknown: use one of {', '.join(attacks.ATTACKS)}")
    generator = np.random.Generator(np.random.PCG64(federation.seed))
    order = generator.permutation(len(federation.labels))
    tests = len(order) // TEST_SHARE
    test, root, rest = np.split(order, [tests, tests + ROOT_SIZE])
    root_shard = (federation.features[root], federation.labels[root])
    shards = [*_deal(federation, rest, attack, generator), root_shard]
    shape = federation.features.shape[1:]
    options = {"hidden": federation.hidden}
    recipe = build_recipe("mlp", options, (PPM,), shape, federation.class_count)
    with Engine(recipe, federation.training, "vectorised", tier="eager") as engine:
        start = flatten(engine.layout, build_seeded(recipe, 1.0, federation.seed).state_dict())
        model_P = quantise(start.numpy())
        for number in range(federation.rounds):
            seeds = [federation.seed + 1000 * number + i for i in range(len(shards))]
            updates_NP = _train(engine, model_P, shards, seeds)
            updates_NP, root_P = updates_NP[:-1], updates_NP[-1]
            _attack(updates_NP, federation.hostile_count, attack, generator)
            reference_P = root_P if aggregator == "trust_root" else None
            delta_P = aggregate(
                aggregator, updates_NP, [1] * len(updates_NP), settings, reference_P=reference_P
            )
            model_P = _move(model_P, delta_P)
        return _test(engine, model_P, federation.features[test], federation.labels[test])


def _train(
    engine: Engine, model_P: IntVector, shards: Sequence[Shard], seeds: Sequence[int]
) -> IntVector:
    tensors = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in shards]
    trained = engine.train(torch.from_numpy(dequantise(model_P)), tensors, seeds)
    return np.stack([quantise(row_P) for row_P in trained.updates_NP.numpy()])


def _attack(
    updates_NP: IntVector, count: int, attack: str | None, generator: np.random.Generator
) -> None:
    """Put what the first `count` members send in the place of what they trained."""
    send = attacks.UPDATE_ATTACKS.get(attack or "")
    if send is not None:
        updates_NP[:count] = send(updates_NP[count:], count, generator)


def _move(model_P: IntVector, delta_P: IntVector) -> IntVector:
    """Return the model a step further; what would leave the fixed point stays at its end."""
    moved_P = model_P.astype(np.int64) + delta_P
    clipped_P: IntVector = np.clip(moved_P, -INTEGER_ABS_MAX, INTEGER_ABS_MAX).astype(np.int32)
    return clipped_P


def _deal(
    federation: Federation,
    rest: NDArray[np.int64],
    attack: str | None,
    generator: np.random.Generator,
) -> list[Shard]:
    """Return the members' data, the hostile ones first."""
    parts = partition(
        federation.labels[rest],
        None,
        federation.member_count,
        federation.kind,
        alpha=federation.alpha,
        seed=federation.seed,
    )
    shards = [(federation.features[rest[p]], federation.labels[rest[p]]) for p in parts]
    change = attacks.DATA_ATTACKS.get(attack or "")
    if change is not None:
        for index in range(federation.hostile_count):
            shards[index] = change(*shards[index], federation.class_count, generator)
    return shards


def _test(
    engine: Engine,
    model_P: IntVector,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> Outcome:
    others = labels != attacks.BACKDOOR_LABEL
    stamped = attacks.stamp_trigger(features[others])
    model = torch.from_numpy(dequantise(model_P))[None]
    target = torch.full((int(others.sum()),), attacks.BACKDOOR_LABEL)
    _, accuracy = engine.evaluate(model, torch.from_numpy(features), torch.from_numpy(labels))
    _, triggered = engine.evaluate(model, torch.from_numpy(stamped), target)
    return Outcome(float(accuracy[0]), float(triggered[0]))
