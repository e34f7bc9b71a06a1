"""Who took part in AIArena's deployment, as far as it is known, and what is made up here.

Known (Z. Wang et al., arXiv 2412.14566, as summarised where its text could be read): 603 training
nodes, 1,051 validators, 63,265 delegators, 16 tasks, about seven months. From the documentation
and the contracts that reuse its notation: an emission of 1,074 tokens a day over all tasks, 10 % of
a trainer's pay at once and 90 % at the end, tasks of at most 30 days, stakes of at least 10
(trainers) and 50 (validators), a share sigma that a node keeps.

Not known, and drawn here from a seed, so not a fact about that deployment:
- stakes and what delegators lend: Pareto with shape 1.16 (a fifth own four fifths), from the least
  stake up, to a thousandth of a token; lent from 1 token up; at most 10,000 times the least
- who works where: one task each, by chance; a delegator backs one node, chosen with probability in
  proportion to the node's own stake, so that few nodes have most delegators
- sigma: 40 to 90 %, in steps of 5
- the daily emission is divided among tasks by their direct stake (beta = 1)
- skill: a value a trainer, with noise each day; 5 % of submissions are not VALID; the second
  hold-out ranks by the same skill with other noise. A validator answers on 98 % of the days
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from chain_lab import COIN, Wallet

PPM = 1_000_000
SHAPE = 1.16
SPREAD_MAX = 10_000  # times the least stake
GRAIN = COIN // 1_000
STAKE_MIN = {"trainer": 10 * COIN, "validator": 50 * COIN, "delegator": COIN}
EMISSION = 1_074 * COIN  # a day, all tasks
VALID_SHARE, ANSWER_SHARE = 0.95, 0.98
SKILL = (200_000, 60_000)  # ppm of a nat: mean and spread
NOISE = 20_000


@dataclass(frozen=True)
class Counts:
    """How many of each. The default is the deployment."""

    trainers: int = 603
    validators: int = 1_051
    delegators: int = 63_265
    tasks: int = 16
    rounds: int = 30

    def scale(self, share: float, tasks: int, rounds: int) -> Counts:
        """Return fewer: `share` of everybody, at least four of each role a task."""
        sizes = (self.trainers, self.validators, self.delegators)
        return Counts(*(max(4 * tasks, round(share * size)) for size in sizes), tasks, rounds)


@dataclass(frozen=True, slots=True)
class Backer:
    """A delegator: what it lends to the node at place `node` of the task's nodes."""

    wallet: Wallet
    node: str
    amount: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A trainer or validator. skill: ppm; sigma: what it keeps of what delegation adds."""

    wallet: Wallet
    stake: int
    sigma_ppm: int
    skill: int


@dataclass(frozen=True)
class Crew:
    """The people of one task, and its emission a day, wei."""

    index: int
    emission: int
    trainers: tuple[Worker, ...]
    validators: tuple[Worker, ...]
    backers: tuple[Backer, ...]


@dataclass(frozen=True, slots=True)
class Day:
    """What one round is settled on: by trainer None or a value, by validator F."""

    values: tuple[int | None, ...]
    scores: tuple[int, ...]


def draw_crews(counts: Counts, seed: int) -> list[Crew]:
    """Return everybody, by task; the same seed gives the same people."""
    draw = random.Random(f"people {seed}")
    trainers = _deal(draw, counts.trainers, counts.tasks, "trainer")
    validators = _deal(draw, counts.validators, counts.tasks, "validator")
    nodes = [(task, worker) for task in range(counts.tasks)
             for worker in trainers[task] + validators[task]]  # fmt: skip
    chosen = draw.choices(nodes, [worker.stake for _, worker in nodes], k=counts.delegators)
    backers: list[list[Backer]] = [[] for _ in range(counts.tasks)]
    for number, (task, worker) in enumerate(chosen):
        wallet = Wallet(f"delegator {number}")
        amount = _draw_stake(draw, "delegator")
        backers[task].append(Backer(wallet, worker.wallet.address, amount))
    sums = [sum(worker.stake for worker in trainers[task] + validators[task])
            for task in range(counts.tasks)]  # fmt: skip
    return [
        Crew(
            task,
            EMISSION * sums[task] // sum(sums),
            tuple(trainers[task]),
            tuple(validators[task]),
            tuple(backers[task]),
        )
        for task in range(counts.tasks)
    ]


def draw_days(crew: Crew, rounds: int, seed: int) -> list[Day]:
    """Return the days of a task and, last, the final ranking on the second hold-out."""
    draw = random.Random(f"days {seed} {crew.index}")
    return [
        Day(
            tuple(_draw_value(draw, each.skill) for each in crew.trainers),
            tuple(
                draw.randrange(PPM // 2, PPM + 1) if draw.random() < ANSWER_SHARE else 0
                for _ in crew.validators
            ),
        )
        for _ in range(rounds + 1)
    ]


def _deal(draw: random.Random, count: int, tasks: int, role: str) -> list[list[Worker]]:
    """Deal workers to tasks as evenly as cards, in an order by chance."""
    dealt: list[list[Worker]] = [[] for _ in range(tasks)]
    for number in range(count):
        worker = Worker(
            Wallet(f"{role} {number}"),
            _draw_stake(draw, role),
            50_000 * draw.randrange(8, 19),
            max(1, round(draw.gauss(*SKILL))),
        )
        dealt[number % tasks].append(worker)
    return dealt


def _draw_stake(draw: random.Random, role: str) -> int:
    least = STAKE_MIN[role]
    drawn = min(draw.paretovariate(SHAPE), SPREAD_MAX)
    return int(drawn * (least // GRAIN)) * GRAIN


def _draw_value(draw: random.Random, skill: int) -> int | None:
    value = skill + round(draw.gauss(0, NOISE))
    return value if draw.random() < VALID_SHARE else None
