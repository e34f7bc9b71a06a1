"""Rounds of training, attack and aggregation without messages: what an aggregator withstands.

The members train as in a run, some are hostile (`attacks`), and the aggregate is added to the model
as it is. Alone, an aggregator sees every update. With verdicts a committee judges first, by a run's
own rules (`committee`), and the aggregator sees what it lets through, as in a run.

A committee flags equal updates as copies, so hostile members that are judged add noise of their
own (`DISGUISE`): the attacks of the papers, in which all send one vector, would be caught too
easily. Who has been expelled takes no part any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.measure import Samples
from kumiai.adapters.sim import attacks
from kumiai.adapters.sim.committee import Committee, split_holdouts
from kumiai.base.amounts import PPM
from kumiai.learning.aggregation import Settings, aggregate
from kumiai.learning.client import TrainSettings
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, dequantise, quantise
from kumiai.learning.layout import flatten
from kumiai.learning.partition import partition
from kumiai.learning.recipe import build_recipe, build_seeded
from kumiai.tasks.aggregators import choose_for_count
from kumiai.tasks.document import TaskDocument

TEST_SHARE = 5  # one sample in five is for the test
ROOT_SIZE = 100  # samples of the trust root, taken from nobody's shard
HOLDOUT_SHARE = 5  # one sample in five is the committee's, where there is one
DISGUISE = 0.2  # of a judged hostile update's length: two of them have a cosine of 0.96


@dataclass(frozen=True)
class Federation:
    """Members, their data and their work; `hostile_count` of `member_count` attack.

    validators: size of the committee, 0 for none; its hold-outs are set aside either way.
    is_without_hostile: the hostile members have left, and their data with them.
    """

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
    validators: int = 0
    is_without_hostile: bool = False


@dataclass(frozen=True)
class Outcome:
    """accuracy on the test part; triggered: share of other classes' samples with the backdoor's
    trigger that the model takes for the backdoor's class.
    """

    accuracy: float
    triggered: float


def play(
    federation: Federation,
    aggregator: str,
    attack: str | None,
    settings: Settings,
    task: TaskDocument | None = None,
) -> Outcome:
    """Train for all rounds under `attack` (None: all members are honest) and test the model.

    task: a committee judges by its terms first; None for the aggregator alone. The trust root is
    the median of the committee's updates where there is a committee, else one of its own data.
    Raises ValueError for an unknown attack or aggregator, or a task without validators.
    """
    if attack is not None and attack not in attacks.ATTACKS:
        raise ValueError(f"attack {attack!r} is unknown: use one of {', '.join(attacks.ATTACKS)}")
    if task is not None and federation.validators < 1:
        raise ValueError("verdicts need a committee, validators is 0")
    generator = np.random.Generator(np.random.PCG64(federation.seed))
    order = generator.permutation(len(federation.labels))
    tests = len(order) // TEST_SHARE
    kept = len(order) // HOLDOUT_SHARE if federation.validators else ROOT_SIZE
    test, root, rest = np.split(order, [tests, tests + kept])
    holdouts = _deal_holdouts(federation, root)
    shards = _deal(federation, rest, attack, generator)
    shards += [_lengthen(a, len(rest) / len(shards)) for a, _ in holdouts]
    members = federation.member_count
    recipe = build_recipe(
        "mlp",
        {"hidden": federation.hidden},
        (PPM,),
        federation.features.shape[1:],
        federation.class_count,
    )
    with Engine(recipe, federation.training, "vectorised", tier="eager") as engine:
        committee = None
        if task is not None:
            committee = Committee(task, recipe, engine.layout, holdouts, members)
        start = flatten(engine.layout, build_seeded(recipe, 1.0, federation.seed).state_dict())
        model_P = quantise(start.numpy())
        for number in range(federation.rounds):
            seeds = [federation.seed + 1000 * number + i for i in range(len(shards))]
            updates_NP = _train(engine, model_P, shards, seeds)
            updates_NP, roots_VP = updates_NP[:members], updates_NP[members:]
            first = federation.hostile_count if federation.is_without_hostile else 0
            active = committee.active if committee is not None else list(range(first, members))
            hostile = [i for i in active if i < federation.hostile_count]
            _attack(updates_NP, hostile, active, attack, generator)
            if committee is not None:
                _disguise(updates_NP, hostile, attack, generator)
                active = committee.judge(number + 1, model_P, updates_NP)
            if active:
                delta_P = _combine(aggregator, updates_NP[active], roots_VP, settings, task)
                model_P = _move(model_P, delta_P)
        return _test(engine, model_P, federation.features[test], federation.labels[test])


def _combine(
    name: str,
    updates_NP: IntVector,
    roots_VP: IntVector,
    settings: Settings,
    task: TaskDocument | None,
) -> IntVector:
    """Aggregate; with a task as a run does where verdicts left few."""
    reference_P = None
    if name == "trust_root":
        reference_P = aggregate("median", roots_VP, [1] * len(roots_VP))
    if task is not None:
        name, bucket_size = choose_for_count(task.training, len(updates_NP))
        settings = replace(settings, bucket_size=bucket_size)
    weights = [1] * len(updates_NP)
    return aggregate(name, updates_NP, weights, settings, reference_P=reference_P)


def _train(
    engine: Engine, model_P: IntVector, shards: Sequence[Samples], seeds: Sequence[int]
) -> IntVector:
    trained = engine.train(torch.from_numpy(dequantise(model_P)), shards, seeds)
    return np.stack([quantise(row_P) for row_P in trained.updates_NP.numpy()])


def _attack(
    updates_NP: IntVector,
    hostile: Sequence[int],
    active: Sequence[int],
    attack: str | None,
    generator: np.random.Generator,
) -> None:
    """Put what the hostile members send in the place of what they trained."""
    send = attacks.UPDATE_ATTACKS.get(attack or "")
    if send is not None and hostile:
        honest = [i for i in active if i not in hostile]
        updates_NP[hostile] = send(updates_NP[honest], len(hostile), generator)


def _disguise(
    updates_NP: IntVector,
    hostile: Sequence[int],
    attack: str | None,
    generator: np.random.Generator,
) -> None:
    """Make hostile updates different enough not to be taken for copies."""
    if attack not in attacks.UPDATE_ATTACKS:
        return
    for index in hostile:
        update_P = updates_NP[index].astype(np.float64)
        spread = DISGUISE * float(np.sqrt(np.square(update_P).mean()))
        noisy_P = np.rint(update_P + generator.normal(0, spread, len(update_P)))
        updates_NP[index] = np.clip(noisy_P, -INTEGER_ABS_MAX, INTEGER_ABS_MAX)


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
) -> list[Samples]:
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
    return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in shards]


def _lengthen(samples: Samples, size: float) -> Samples:
    """Repeat a root's samples until its work is about an average member's, as a run does."""
    repeats = max(1, round(size / len(samples[1])))
    return torch.cat([samples[0]] * repeats), torch.cat([samples[1]] * repeats)


def _deal_holdouts(
    federation: Federation, indices: NDArray[np.int64]
) -> list[tuple[Samples, Samples]]:
    """Return the validators' parts A and B; without a committee one root's data, twice."""
    features = torch.from_numpy(federation.features[indices])
    labels = torch.from_numpy(federation.labels[indices])
    if federation.validators:
        return split_holdouts(features, labels, federation.validators)
    return [((features, labels), (features, labels))]


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
