"""Slow members: rounds that wait for all, against rounds that close with a buffer of commitments.

    python benchmarks/asynchrony.py [--rounds 10] [--seeds 3] [--slow 2] [--slowness 5]

Whole runs on digits (eight members, Dirichlet 1.0, four validators) in the simulated world: every
message signed, every round scored and certified. The last `--slow` members need `--slowness` times
as long to train. Waiting runs `--rounds` rounds; with `training.buffer` K (FedBuff) a run gets as
many rounds as fit into the same virtual time. Times are the protocol's clock, on which training
takes about 2 seconds and all else about 1; accuracy is on data that nobody trained on, mean and
standard deviation over the seeds. "Deadline": a round waits 4 seconds at most; what is not ready
then is lost, as without a buffer it always is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.table import Table

from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from kumiai.adapters.sim.world import NetworkModel
from kumiai.apps.population import Casting, Person
from kumiai.apps.view import RunView
from kumiai.apps.wiring import run_local
from kumiai.tasks.document import task_from_mapping

MEMBERS = 8
VALIDATORS = 4
ROUNDS_MORE = 5  # a buffered run's rounds for each one that waits: more than fit
STALENESS_MAX = 12
DEADLINE_MS = 4_000
TARGETS_PPM = (800_000, 900_000)


@dataclass(frozen=True)
class Mode:
    """How rounds close: with `buffer` commitments, 0 for all; at the deadline in any case."""

    name: str
    buffer: int
    train_ms_max: int = 600_000

    @property
    def is_waiting(self) -> bool:
        """Tell whether the slowest member decides how long a round takes."""
        return not self.buffer and self.train_ms_max > DEADLINE_MS


@dataclass(frozen=True)
class World:
    """Which members are slow, how much, and how long the run that waits is."""

    rounds: int
    slow_count: int
    slowness: float


@dataclass(frozen=True)
class Course:
    """A run on the protocol's clock: (milliseconds, accuracy in ppm) after every round."""

    points: list[tuple[int, int]]
    ages: list[int]  # of the slow members' updates that entered the model
    slow_reward_ppm: int

    def cut(self, most_ms: int) -> list[tuple[int, int]]:
        """Return what there was of it at that time."""
        return [point for point in self.points if point[0] <= most_ms] or self.points[:1]


def play(mode: Mode, world: World, seed: int) -> Course:
    """Run to the end; a buffered run goes on for longer than it will be compared."""
    names = [f"m{i}" for i in range(MEMBERS)]
    slow = names[MEMBERS - world.slow_count :]
    factor = 1 if mode.is_waiting else ROUNDS_MORE
    task = task_from_mapping(
        {
            "name": "asynchrony",
            "seed": seed,
            "data": {
                "source": "digits",
                "partition": "dirichlet",
                "alpha_ppm": 1_000_000,
                "trainers": MEMBERS,
                "open_holdout": False,
            },
            "model": {"recipe": "mlp", "options": {"hidden": 32}},
            "training": {
                "rounds": world.rounds * factor,
                "local_epochs": 2,
                "learning_rate_ppm": 200_000,
                "slim": False,
                "buffer": mode.buffer,
                "staleness_max": STALENESS_MAX if mode.buffer else 0,
            },
            "validation": {"validators": VALIDATORS, "canaries": 0, "valuation": "loo"},
            "deadlines": {"train_ms_max": mode.train_ms_max},
        }
    )
    people = [Person(name, "trainer") for name in names]
    people += [Person(f"v{i}", "validator") for i in range(VALIDATORS)]
    slowness = dict.fromkeys(slow, round(1_000_000 * world.slowness))
    network = NetworkModel(seed=seed, slowness_ppm=slowness)
    with tempfile.TemporaryDirectory() as folder:
        view = run_local(
            task,
            Casting("", tuple(people), {}, network),
            Path(folder) / "run",
            lambda event: None,
            resume=False,
            base_dir=Path.cwd(),
        )
    return read_course(view, slow)


def find_time_ms(points: Sequence[tuple[int, int]], target_ppm: int) -> int | None:
    """Return when the target was first reached, None if never."""
    return next((ms for ms, accuracy in points if accuracy >= target_ppm), None)


def read_course(view: RunView, slow: Sequence[str]) -> Course:
    """Return a run's course; slow: the names whose part in it is counted."""
    times = accumulate(row.virtual_ms for row in view.rounds)
    points = [(ms, row.accuracy_ppm) for ms, row in zip(times, view.rounds, strict=True)]
    counted = {(row.round, name) for row in view.rounds for name in row.included if name in slow}
    ages = [r.staleness for r in view.receipts if (r.round, r.member) in counted]
    paid = sum(m.reward for m in view.members if m.role == "trainer")
    of_slow = sum(m.reward for m in view.members if m.name in slow)
    return Course(points, ages, 1_000_000 * of_slow // max(1, paid))


def show(printout: Printout, world: World, seeds: int) -> dict[str, object]:
    """Play every mode on every seed and print its row; return the courses as far as compared."""
    modes = (
        Mode("wait for all", 0),
        Mode(f"buffer {MEMBERS // 2}", MEMBERS // 2),
        Mode(f"buffer {3 * MEMBERS // 4}", 3 * MEMBERS // 4),
        Mode(f"deadline {DEADLINE_MS // 1000} s", 0, DEADLINE_MS),
    )
    title = (
        f"digits: {world.slow_count} of {MEMBERS} members {world.slowness:g} times slower, "
        f"{seeds} seeds"
    )
    table = Table(title=title)
    heads = ["rounds", "s a round"] + [f"s to {ppm // 10_000} %" for ppm in TARGETS_PPM]
    heads += ["accuracy at the end", "slow: counted", "age", "pay"]
    table.add_column("a round closes with")
    for name in heads:
        table.add_column(name, justify="right")
    waited_ms: list[int] = []
    numbers: dict[str, object] = {}
    for mode in modes:
        courses = [play(mode, world, seed) for seed in range(seeds)]
        waited_ms = waited_ms or [course.points[-1][0] for course in courses]
        cuts = [c.cut(most_ms) for c, most_ms in zip(courses, waited_ms, strict=True)]
        table.add_row(mode.name, *describe(courses, cuts))
        numbers[mode.name] = list(cuts)
    printout.show(table)
    printout.say(
        "age: mean rounds between the model that a slow member's counted update began at and the "
        "round it counted in, over the whole run; pay: the slow members' share of what trainers got"
    )
    return numbers


def describe(courses: Sequence[Course], cuts: Sequence[list[tuple[int, int]]]) -> list[str]:
    """Return a row's cells after its name."""
    rounds = statistics.mean(len(cut) for cut in cuts)
    round_s = statistics.mean(cut[-1][0] / len(cut) / 1000 for cut in cuts)
    cells = [f"{rounds:.0f}", f"{round_s:.1f}"]
    for target_ppm in TARGETS_PPM:
        times = [find_time_ms(cut, target_ppm) for cut in cuts]
        reached = [ms / 1000 for ms in times if ms is not None]
        cells.append(f"{statistics.mean(reached):.0f}" if len(reached) == len(times) else "never")
    ends = [cut[-1][1] / 10_000 for cut in cuts]
    spread = statistics.stdev(ends) if len(ends) > 1 else 0.0
    ages = [age for course in courses for age in course.ages]
    return [
        *cells,
        f"{statistics.mean(ends):.1f} ± {spread:.1f} %",
        f"{len(ages) / len(courses):.0f}",
        f"{statistics.mean(ages):.1f}" if ages else "-",
        f"{statistics.mean(c.slow_reward_ppm for c in courses) / 10_000:.0f} %",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slow", type=int, default=2)
    parser.add_argument("--slowness", type=float, default=5.0)
    add_save_option(parser, "asynchrony")
    given = parser.parse_args()
    printout = Printout("asynchrony", given.save, width=120)
    numbers = show(printout, World(given.rounds, given.slow, given.slowness), given.seeds)
    printout.save({"milliseconds, accuracy in ppm after every round": numbers})


if __name__ == "__main__":
    main()
