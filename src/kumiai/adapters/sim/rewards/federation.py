"""What every method starts from: the members, their work a round, and what each reaches alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.shards import JoinedShards, join_shards
from kumiai.adapters.sim.rewards.members import MemberTrainer
from kumiai.adapters.sim.rewards.splits import Samples, Split

SEED_STRIDE = 100_003  # between the orders of samples of two rounds


@dataclass(frozen=True)
class Federation:
    """N members under equal work.

    alone_NP: each member's model after training alone for the same rounds, from the same start.
    contributions_N: its accuracy on the validation part, the surrogate that Aequa's authors use;
    every method is judged against it. standalone_N: the same on the test, for the gains.
    """

    trainer: MemberTrainer
    split: Split
    data: JoinedShards
    start_P: Tensor
    rounds: int
    seed: int
    alone_NP: Tensor
    contributions_N: tuple[float, ...]
    standalone_N: tuple[float, ...]

    @property
    def size(self) -> int:
        """N."""
        return len(self.data.counts)

    @property
    def shares_N(self) -> Tensor:
        """Each member's share of the samples: FedAvg's weights."""
        counts_N = torch.tensor(self.data.counts, dtype=torch.float32)
        return counts_N / counts_N.sum()

    def get_seeds(self, number: int) -> list[int]:
        """Return the members' seeds of round `number`."""
        return [self.seed + SEED_STRIDE * (number + 1) + member for member in range(self.size)]

    def copy_start(self) -> Tensor:
        """Return the initial model for each member [N, P]."""
        return self.start_P.expand(self.size, -1).contiguous()

    def validate(self, models_NP: Tensor, width: float = 1.0) -> Tensor:
        """Return the accuracies [N] on the validation part."""
        return self.trainer.evaluate(models_NP, self.split.validation, width)


class LastModels:
    """The mean of the models after each of the last quarter of the rounds.

    Every method ends with it, and training alone too: models of single rounds jump about where
    classes are skewed, and which jump comes last is no merit of a method.
    """

    def __init__(self, rounds: int) -> None:
        self._first = rounds - max(1, rounds // 4)
        self._count = 0
        self._total: Tensor | None = None

    def add(self, number: int, models: Tensor) -> None:
        """Take the models after round `number`, counted from 0."""
        if number >= self._first:
            self._total = models.clone() if self._total is None else self._total + models
            self._count += 1

    def compute_mean(self) -> Tensor:
        """Return the mean; ValueError before the last quarter has begun."""
        if self._total is None:
            raise ValueError(f"no round from {self._first} on was added")
        return self._total / self._count


@dataclass(frozen=True)
class Received:
    """What the members end with: their models [N, P] and the width each may use of it."""

    models_NP: Tensor
    widths_N: tuple[float, ...]


def make_federation(trainer: MemberTrainer, split: Split, rounds: int, seed: int) -> Federation:
    """Train every member alone and return what all methods share."""
    data = join_shards(split.shards)
    start_P = trainer.build_start(seed)
    models_NP = start_P.expand(len(data.counts), -1).contiguous()
    last = LastModels(rounds)
    for number in range(rounds):
        seeds = [seed + SEED_STRIDE * (number + 1) + m for m in range(len(data.counts))]
        models_NP = trainer.train(models_NP, data, seeds)
        last.add(number, models_NP)
    alone_NP = last.compute_mean()

    def judge(samples: Samples) -> tuple[float, ...]:
        return tuple(trainer.evaluate(alone_NP, samples).tolist())

    return Federation(
        trainer=trainer,
        split=split,
        data=data,
        start_P=start_P,
        rounds=rounds,
        seed=seed,
        alone_NP=alone_NP,
        contributions_N=judge(split.validation),
        standalone_N=judge(split.test),
    )


def receive_all(models_NP: Tensor) -> Received:
    """Return full models for everybody."""
    return Received(models_NP, (1.0,) * len(models_NP))
