"""One cell of the table: all methods on one data set, split, number of members and seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.sim.rewards.averaging import play_fedavg, play_finetuned
from kumiai.adapters.sim.rewards.capacity import play_fjord, play_heterofl
from kumiai.adapters.sim.rewards.cgsv import play_cgsv
from kumiai.adapters.sim.rewards.federation import Federation, Received, make_federation
from kumiai.adapters.sim.rewards.iafl import play_iafl
from kumiai.adapters.sim.rewards.members import MemberTrainer
from kumiai.adapters.sim.rewards.shapfed import play_shapfed
from kumiai.adapters.sim.rewards.slim import play_aequa
from kumiai.adapters.sim.rewards.splits import deal
from kumiai.base.amounts import PPM
from kumiai.learning.client import TrainSettings
from kumiai.learning.fairness import compute_fairness
from kumiai.learning.recipe import Recipe, build_recipe

METHODS: Mapping[str, Callable[[Federation], Received]] = {
    "aequa": play_aequa,
    "fedavg": play_fedavg,
    "fedavg-ft": play_finetuned,
    "cgsv": play_cgsv,
    "shapfed-wa": play_shapfed,
    "iafl": play_iafl,
    "fjord": play_fjord,
    "heterofl": play_heterofl,
}

HIDDEN = (64, 61)
WIDTH_LEAST = 0.02
TRAINING = TrainSettings(learning_rate=0.2, batch_size=16, local_iterations=8)


@dataclass(frozen=True)
class Cell:
    """What is compared: source, split, members, seed."""

    source: str
    split: str
    members: int
    seed: int


@dataclass(frozen=True)
class Score:
    """What one method gave in one cell; accuracies on the test, by member.

    pearson: of the contributions (validation) and the received accuracies (test), None where one of
    them does not vary. gain_*: see `learning/fairness.py`.
    """

    method: str
    contributions: tuple[float, ...]
    standalone: tuple[float, ...]
    received: tuple[float, ...]
    widths: tuple[float, ...]
    pearson: float | None
    gain_mean: float
    gain_spread: float
    gain_least: float

    @property
    def mean(self) -> float:
        """Mean accuracy of the members."""
        return sum(self.received) / len(self.received)

    @property
    def best(self) -> float:
        """Accuracy of the member with the best model."""
        return max(self.received)


def make_recipe(dataset: Dataset) -> Recipe:
    """Return a net of two hidden layers, in all widths that differ by one hidden unit.

    Sizes without a common divisor: from one width to the next one of the layers grows by one unit,
    so that accuracies lie close together. A step of both would be too coarse for rewards.
    """
    edges = {(2 * k - 1) / (2 * size) for size in HIDDEN for k in range(1, size + 1)}
    widths = [math.ceil(edge * PPM) for edge in sorted(edges) if edge >= WIDTH_LEAST]
    hidden = ",".join(map(str, HIDDEN))
    shape, classes = dataset.input_shape, dataset.class_count
    return build_recipe("mlp", {"hidden": hidden}, [*widths, PPM], shape, classes)


def play_cell(
    dataset: Dataset,
    cell: Cell,
    rounds: int,
    trainer: MemberTrainer,
) -> list[Score]:
    """Return one score a method. trainer: kept between cells, so iterations are traced once."""
    split = deal(dataset, cell.split, cell.members, cell.seed)
    federation = make_federation(trainer, split, rounds, cell.seed)
    return [score(federation, name, play(federation)) for name, play in METHODS.items()]


def score(federation: Federation, name: str, received: Received) -> Score:
    """Judge what the members received on the test."""
    accuracies_N = torch.zeros(federation.size, dtype=torch.float64)
    for width in sorted(set(received.widths_N)):
        members = [n for n, own in enumerate(received.widths_N) if own == width]
        accuracies_N[members] = federation.trainer.evaluate(
            received.models_NP[members], federation.split.test, width
        )
    a_N = accuracies_N.tolist()
    fairness = compute_fairness(federation.contributions_N, a_N, federation.standalone_N)
    return Score(
        method=name,
        contributions=federation.contributions_N,
        standalone=federation.standalone_N,
        received=tuple(a_N),
        widths=received.widths_N,
        pearson=fairness.pearson,
        gain_mean=fairness.gain_mean,
        gain_spread=fairness.gain_spread,
        gain_least=fairness.gain_least,
    )
