"""The training behind traffic.py: one language model, trained with and without exchanges.

Everything that could differ by chance is the same in each row: the first model, the order of the
batches, the rate's decay (linear, to a tenth). Members are stepped together on one graph, compiled
where the machine has a compiler and traced elsewhere; the two differ by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from kumiai.adapters.compute.execution.lowering import (
    Flat,
    compile_graph,
    has_compiler,
    trace,
)
from kumiai.adapters.data import FederatedData, load_source, split
from kumiai.base.amounts import PPM
from kumiai.learning import fixed_point
from kumiai.learning.aggregation import aggregate
from kumiai.learning.client import Carry, LocalWork, TrainSettings, build_local_work, expand
from kumiai.learning.codecs import build_codec
from kumiai.learning.layout import flatten, unflatten
from kumiai.learning.local_rules.wrappers import RATE
from kumiai.learning.pairing import PairStep, draw_pairs
from kumiai.learning.recipe import build_recipe, build_seeded
from kumiai.learning.server import build_server
from kumiai.learning.server.build import ServerSettings

MEMBERS, BATCH_SIZE, LENGTH = 4, 8, 32
RECIPE_OPTIONS = {"layers": 1, "heads": 2, "head_size": 16}
BASE_RATE = 0.01  # the graph's own; the schedule's factor makes it the row's
RATE_END = 0.1  # of the first
MEASUREMENTS = 20  # over the whole of a row, as far as it exchanges that often
COMPARED, PRETRAINING = 0, 1  # streams of random batches, so that no row sees the first model's
PAIRED = "noloco"
HELD_OUT_PPM = 40_000  # of all samples: half for validation, half for the test

Server = tuple[str, int, int]  # rule, learning rate and momentum in ppm


@dataclass(frozen=True)
class Row:
    """One way of training: iterations between two exchanges (0: per step), servers tried, codec."""

    name: str
    iterations: int
    servers: tuple[Server, ...]
    codec: str = "dense"


@dataclass(frozen=True)
class Job:
    """One row with one of its settings."""

    row: Row
    server: Server
    rate: float
    iterations: int
    pretrained: int = 0  # iterations of one member alone before anything is exchanged


@dataclass(frozen=True)
class Point:
    """After so many iterations and bytes of one member: bits a character on the two parts."""

    iteration: int
    bytes: int
    validation: float
    test: float


class Bench:
    """The corpus dealt out, the recipe, and the first model, the same in every process."""

    def __init__(self) -> None:
        dataset = load_source("sotu", {"length": LENGTH}, seed=0)
        self.data: FederatedData = split(
            dataset,
            trainers=MEMBERS,
            partition="owner",
            alpha_ppm=1,
            holdout_ppm=1_000,
            test_ppm=HELD_OUT_PPM,
            validators=1,
            seed=0,
        )
        recipe = build_recipe(
            "transformer", RECIPE_OPTIONS, [1_000_000], dataset.input_shape, dataset.class_count
        )
        settings = TrainSettings(
            "fedavg", "adamw", BASE_RATE, batch_size=BATCH_SIZE, is_scheduled=True
        )
        self.work: LocalWork = build_local_work(recipe, settings)
        self.first_P = flatten(self.work.layout, build_seeded(recipe, 1.0, seed=0).state_dict())
        self.size = self.work.layout.size
        self._graphs: dict[tuple[int, ...], Flat] = {}
        self._begun: dict[int, Tensor] = {0: self.first_P}
        _, self._spec = pytree.tree_flatten(self.start(self.first_P, is_stacked=False))

    def start(self, model_P: Tensor, *, is_stacked: bool) -> Carry:
        """Return the carry of one member or of all, at this model, its optimiser new."""
        shared = self.work.init(unflatten(self.work.layout, model_P))
        return expand(shared, MEMBERS) if is_stacked else shared

    def start_apart(self, models_NP: Tensor) -> Carry:
        """Return the carry of all members, each at its own model."""
        carry = self.start(models_NP[0], is_stacked=True)
        own = unflatten(self.work.layout, models_NP)
        return carry._replace(params={name: own[name].contiguous() for name in carry.params})

    def begin(self, pretrained: int) -> Tensor:
        """Return the model [P] from which every row starts: the first member's work alone."""
        if pretrained not in self._begun:
            carry = self.start(self.first_P, is_stacked=False)
            rates = [BASE_RATE * (1 - (1 - RATE_END) * k / pretrained) for k in range(pretrained)]
            turns = range(1, pretrained + 1)
            carry = self.train(carry, turns, rates, members=1, stream=PRETRAINING)
            self._begun[pretrained] = self.join(carry)
        return self._begun[pretrained]

    def draw(self, iteration: int, stream: int = COMPARED) -> tuple[Tensor, Tensor]:
        """Return every member's batch of this iteration, [members, batch, length]."""
        generator = np.random.default_rng((stream, iteration))
        picked = [
            torch.from_numpy(generator.integers(0, len(x), BATCH_SIZE)) for x, _ in self.data.shards
        ]
        pairs = [(x[rows], y[rows]) for (x, y), rows in zip(self.data.shards, picked, strict=True)]
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    def train(
        self,
        carry: Carry,
        iterations: range,
        rates: Sequence[float],
        members: int = MEMBERS,
        stream: int = COMPARED,
    ) -> Carry:
        """Run these iterations: each member on its own batch, or one model on all of them.

        members: on how many members' batches one model is trained. stream: which batches are drawn.
        """
        is_stacked = next(iter(carry.params.values())).dim() > len(self.work.layout.shapes[0])
        leaves = [leaf.contiguous() for leaf in pytree.tree_leaves(carry)]
        where = find_rate(self._spec, carry)
        for iteration, rate in zip(iterations, rates, strict=True):
            x, y = self.draw(iteration, stream)
            if not is_stacked:
                x, y = x[:members].flatten(0, 1), y[:members].flatten(0, 1)
            leaves[where] = torch.full_like(leaves[where], rate / BASE_RATE)
            leaves = list(self.lower(is_stacked, [*leaves, x, y])(*leaves, x, y))
        moved: Carry = pytree.tree_unflatten(leaves, self._spec)
        return moved

    def lower(self, is_stacked: bool, leaves: list[Tensor]) -> Flat:
        """Return the iteration's graph, made when it is first needed.

        Not `lowering.lower`: its check compares every tensor of the result, and the gradient of a
        key's bias is 0 but for rounding, which Adam blows up to a step of its own.
        """

        def step(*flat: Tensor) -> list[Tensor]:
            *state, x, y = flat
            carry = pytree.tree_unflatten(state, self._spec)
            run = self.work.step_stacked if is_stacked else self.work.step
            moved, _ = run(carry, carry.params, x, y, None)
            return [leaf.contiguous() for leaf in pytree.tree_leaves(moved)]

        shape = tuple(leaves[-1].shape)
        if shape not in self._graphs:
            graph = trace(step, leaves)
            # one model's iteration is but a third of the members': not worth a minute's compiling
            is_compiled = is_stacked and has_compiler()
            self._graphs[shape] = compile_graph(graph, leaves, None, 1) if is_compiled else graph
        return self._graphs[shape]

    def measure(self, model_P: Tensor) -> tuple[float, float]:
        """Return bits a character on the validation and the test part."""
        x, y = self.data.test
        state = unflatten(self.work.layout, model_P)
        module, half = self.work.modules[0][0].eval(), len(x) // 2
        with torch.no_grad():
            halves = [
                float(
                    self.work.recipe.compute_loss(
                        torch.func.functional_call(module, state, (x[part],)), y[part]
                    )
                )
                / math.log(2)
                for part in (slice(0, half), slice(half, None))
            ]
        return halves[0], halves[1]

    def join(self, carry: Carry) -> Tensor:
        """Return the models of a carry, [P] or [members, P]."""
        pairs = zip(self.work.layout.names, self.work.layout.shapes, strict=True)
        return torch.cat([carry.params[name].flatten(-len(shape)) for name, shape in pairs], -1)


@cache
def open_bench() -> Bench:
    """Return this process's bench; its graphs serve all of its jobs."""
    torch.set_num_threads(1)
    return Bench()


def find_rate(spec: pytree.TreeSpec, carry: Carry) -> int:
    """Return the place of the schedule's factor among the carry's leaves."""
    marked = carry._replace(slots={**carry.slots, RATE: None})
    leaves = pytree.tree_leaves(marked, is_leaf=lambda leaf: leaf is None)
    if len(leaves) != spec.num_leaves:
        raise ValueError(f"{len(leaves)} leaves, expected {spec.num_leaves}")
    return next(place for place, leaf in enumerate(leaves) if leaf is None)


def compute_rate(job: Job, iteration: float) -> float:
    """Return the learning rate of an iteration counted from 0."""
    return job.rate * (1 - (1 - RATE_END) * iteration / job.iterations)


def train(job: Job) -> list[Point]:
    """Return the curve of one job."""
    if job.row.iterations == 0:
        return train_per_step(job)
    return train_pairs(job) if job.server[0] == PAIRED else train_rounds(job)


def train_per_step(job: Job) -> list[Point]:
    """One AdamW step an iteration on the mean gradient of all members' batches."""
    bench = open_bench()
    first_P = bench.begin(job.pretrained)
    carry = bench.start(first_P, is_stacked=False)
    points, every = [Point(0, 0, *bench.measure(first_P))], job.iterations // MEASUREMENTS
    for first in range(0, job.iterations, every):
        part = range(first, min(first + every, job.iterations))
        carry = bench.train(carry, part, [compute_rate(job, iteration) for iteration in part])
        bits = bench.measure(bench.join(carry))
        points.append(Point(part.stop, part.stop * 4 * bench.size, *bits))
    return points


def train_rounds(job: Job) -> list[Point]:
    """Rounds of H iterations; updates encoded, decoded and aggregated as in a run.

    As in a run the learning rate is one number a round: the schedule's mean over its iterations.
    """
    bench, length = open_bench(), job.row.iterations
    codec = build_codec(job.row.codec, bench.work.layout.shapes)
    algorithm, rate_ppm, momentum_ppm = job.server
    server = build_server(
        algorithm, ServerSettings(learning_rate_ppm=rate_ppm, momentum_ppm=momentum_ppm)
    )
    states = [codec.init(bench.size) for _ in range(MEMBERS)]
    server_state = server.init(bench.size)
    first_P = bench.begin(job.pretrained)
    model_P = fixed_point.quantise(first_P.numpy())
    points, sent = [Point(0, 0, *bench.measure(first_P))], 0
    rounds = job.iterations // length
    for number in range(rounds):
        global_P = torch.from_numpy(fixed_point.dequantise(model_P))
        part = range(number * length, (number + 1) * length)
        rate = compute_rate(job, (part.start + part.stop) / 2)
        carry = bench.train(bench.start(global_P, is_stacked=True), part, [rate] * length)
        updates = []
        for member, update_P in enumerate((bench.join(carry) - global_P).numpy()):
            payload, states[member] = codec.encode(update_P, states[member], number)
            updates.append(codec.decode_fixed(payload, bench.size))
            sent += len(payload)
        delta_P = aggregate("mean", updates, [1] * MEMBERS)
        server_state, model_P = server.apply(server_state, model_P, delta_P)
        if (number + 1) % max(1, rounds // MEASUREMENTS) == 0 or number + 1 == rounds:
            bits = bench.measure(torch.from_numpy(fixed_point.dequantise(model_P)))
            points.append(Point(part.stop, sent // MEMBERS, *bits))
    return points


def train_pairs(job: Job) -> list[Point]:
    """Rounds of H iterations, then pairs meet (NoLoCo); every member keeps a model of its own.

    A member sends its model and what it changed. The losses are the mean over the members' models.
    """
    bench, length = open_bench(), job.row.iterations
    _, rate_ppm, momentum_ppm = job.server
    rule = PairStep(momentum_ppm / PPM, rate_ppm / PPM, rate_ppm / PPM)
    first_P = bench.begin(job.pretrained)
    models_NP = np.tile(first_P.numpy(), (MEMBERS, 1))
    momenta_NP = np.zeros_like(models_NP)
    points, rounds = [Point(0, 0, *bench.measure(first_P))], job.iterations // length
    for number in range(rounds):
        part = range(number * length, (number + 1) * length)
        rate = compute_rate(job, (part.start + part.stop) / 2)
        carry = bench.train(bench.start_apart(torch.from_numpy(models_NP)), part, [rate] * length)
        updates_NP = bench.join(carry).numpy() - models_NP
        groups = draw_pairs(MEMBERS, number)
        models_NP, momenta_NP = rule.apply(models_NP, momenta_NP, updates_NP, groups)
        if (number + 1) % max(1, rounds // MEASUREMENTS) == 0 or number + 1 == rounds:
            bits = np.mean([bench.measure(torch.from_numpy(own_P)) for own_P in models_NP], 0)
            points.append(Point(part.stop, (number + 1) * 2 * 4 * bench.size, *map(float, bits)))
    return points
