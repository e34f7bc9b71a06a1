"""What was found: is honesty the best response, what does it depend on, what would mend it.

A margin is (what an agent earns honestly) - (what the same agent earns deviating), with the same
luck and the same others, in mean pays of a round. Places share nothing, so each place of each seed
is one observation (the mean over its seasons); the interval is Student's t at 95 %.

    yes        the interval lies above 0
    no         it lies below 0
    undecided  it holds 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from kumiai.adapters.pools import open_pool
from kumiai.adapters.sim.economy.conduct import NAMES, WORLDS
from kumiai.adapters.sim.economy.parameters import Parameters, change
from kumiai.adapters.sim.economy.play import Played, play_seed

Verdict = Literal["yes", "no", "undecided"]
_T = TypeVar("_T")
STRATEGIES = NAMES[1:]
Tell = Callable[[int, int], None]  # (done, of)

# two-sided 95 % of Student's t: the freedom from which on the quantile holds (it errs upward)
_T_95 = (
    (1, 12.71), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306),
    (9, 2.262), (10, 2.228), (12, 2.179), (15, 2.131), (20, 2.086), (30, 2.042), (60, 2.0),
    (120, 1.98), (1000, 1.962),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Margin:
    """One strategy's row."""

    strategy: str
    role: str
    honest: float
    deviating: float
    margin: float
    interval: float  # half of its width
    better_off: float  # share of agents for whom deviating paid
    loss: float  # nat above the floor at the end, if one in each task does it

    @property
    def verdict(self) -> Verdict:
        """Is being honest the best response?"""
        if self.margin - self.interval > 0:
            return "yes"
        return "no" if self.margin + self.interval < 0 else "undecided"


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One parameter at one value: every strategy's margin and half interval."""

    name: str
    value: float
    margins: dict[str, tuple[float, float]]
    loss: float
    stake_gini: float


@dataclass(frozen=True, slots=True)
class Remedy:
    """The least change of one parameter that makes honesty the best response, if any does."""

    strategy: str
    name: str
    value: float | None  # None: nowhere within the bounds that were tried
    tried: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is played."""

    tasks: int
    seasons: int
    seeds: int
    seed: int


def find_t_95(freedom: int) -> float:
    """The t quantile for so many degrees of freedom; infinite for none."""
    return min((q for least, q in _T_95 if least <= freedom), default=math.inf)


def play_all(
    parameters: Parameters, size: Size, workers: int, tell: Tell | None = None
) -> list[Played]:
    """Play all seeds, in `workers` processes, and return them in order."""
    play = partial(play_seed, parameters, size.tasks, size.seasons)
    seeds = range(size.seed, size.seed + size.seeds)
    return list(_run([partial(play, seed) for seed in seeds], workers, tell))


def compute_margins(played: Sequence[Played]) -> list[Margin]:
    """Return one row a strategy."""
    honest_XW = np.concatenate([each.honest_SWK.mean(axis=0).T for each in played])
    deviating_XW = np.concatenate([each.deviating_SWK.mean(axis=0).T for each in played])
    rows = []
    for place, world in enumerate(WORLDS[1:], start=1):
        gaps = honest_XW[:, place] - deviating_XW[:, place]
        count = len(gaps)
        error = float(gaps.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
        rows.append(
            Margin(
                strategy=world.name,
                role=world.role,
                honest=float(honest_XW[:, place].mean()),
                deviating=float(deviating_XW[:, place].mean()),
                margin=float(gaps.mean()),
                interval=error * find_t_95(count - 1) if count > 1 else math.inf,
                better_off=float((gaps < 0).mean()),
                loss=float(np.mean([each.loss_W[place] for each in played])),
            )
        )
    return rows


def sweep(
    parameters: Parameters,
    grid: Sequence[tuple[str, Sequence[float]]],
    size: Size,
    workers: int,
    tell: Tell | None = None,
) -> list[SweepPoint]:
    """Play every value of every parameter of `grid`, the others at theirs."""
    jobs = []
    for name, values in grid:
        for value in values:
            changed = change(parameters, name, value)
            jobs.append(partial(_play_point, name, value, changed, size))
    return list(_run(jobs, workers, tell))


def list_settled(
    margins: Sequence[Margin], points: Sequence[SweepPoint], parameters: Parameters
) -> list[str]:
    """Return the strategies that the sweep, unlike `margins`, finds beaten with today's values.

    The sweep is shorter and draws other luck; what it does not see ailing, it cannot see mended.
    """
    today = [p.margins for p in points if p.value == float(getattr(parameters, p.name))]
    open_ones = (row.strategy for row in margins if row.verdict != "yes")
    return [name for name in open_ones if any(name in m and m[name][0] > m[name][1] for m in today)]


def find_remedies(
    margins: Sequence[Margin], points: Sequence[SweepPoint], parameters: Parameters
) -> list[Remedy]:
    """For strategies where honesty is not best: which swept values make it so.

    The value nearest to today's whose interval lies above 0; the bounds that were tried otherwise.
    None for `list_settled`'s: every value would seem to help.
    """
    settled = list_settled(margins, points, parameters)
    names = list(dict.fromkeys(point.name for point in points))
    remedies = []
    for row in margins:
        if row.verdict == "yes" or not points or row.strategy not in points[0].margins:
            continue
        if row.strategy in settled:
            continue
        for name in names:
            mine = [point for point in points if point.name == name]
            now = float(getattr(parameters, name))
            gaps = [(point.value, point.margins[row.strategy]) for point in mine]
            good = [value for value, (gap, half) in gaps if gap > half and value != now]
            values = [point.value for point in mine]
            nearest = min(good, key=lambda value: abs(value - now), default=None)
            remedies.append(Remedy(row.strategy, name, nearest, (min(values), max(values))))
    return remedies


def refine_all(
    remedies: Sequence[Remedy],
    parameters: Parameters,
    size: Size,
    steps: int,
    workers: int,
    tell: Tell | None = None,
) -> list[Remedy]:
    """Halve each remedy towards today's value as long as it still helps."""
    jobs = [partial(_refine, remedy, parameters, size, steps) for remedy in remedies]
    return list(_run(jobs, workers, tell))


def _refine(remedy: Remedy, parameters: Parameters, size: Size, steps: int) -> Remedy:
    if remedy.value is None:
        return remedy
    bad, good = float(getattr(parameters, remedy.name)), remedy.value
    is_whole = isinstance(getattr(parameters, remedy.name), int)
    for _ in range(steps):
        middle = (bad + good) / 2
        middle = round(middle) if is_whole else middle
        if middle in (bad, good):
            break
        changed = change(parameters, remedy.name, middle)
        point = _play_point(remedy.name, middle, changed, size)
        margin, interval = point.margins[remedy.strategy]
        bad, good = (bad, middle) if margin > interval else (middle, good)
    return Remedy(remedy.strategy, remedy.name, good, remedy.tried)


def _play_point(name: str, value: float, parameters: Parameters, size: Size) -> SweepPoint:
    played = play_all(parameters, size, workers=1)
    rows = compute_margins(played)
    # whom to back is chosen between tasks: nothing to see in one
    idle = [world.name for world in WORLDS if world.chases and size.seasons == 1]
    return SweepPoint(
        name=name,
        value=value,
        margins={
            row.strategy: (row.margin, row.interval) for row in rows if row.strategy not in idle
        },
        loss=float(np.mean([each.loss_W[0] for each in played])),
        stake_gini=float(np.mean([each.stake_gini_S[-1] for each in played])),
    )


def _run(jobs: Sequence[Callable[[], _T]], workers: int, tell: Tell | None) -> Iterator[_T]:
    """Yield the jobs' results in their order, worked on in processes if there is more than one.

    The first job that fails ends the others.
    """
    told = tell or (lambda done, of: None)
    if min(workers, len(jobs)) <= 1:
        for done, job in enumerate(jobs, start=1):
            result = job()
            told(done, len(jobs))
            yield result
        return
    with open_pool(min(workers, len(jobs))) as pool:
        waiting = [pool.submit(job) for job in jobs]
        for done, each in enumerate(as_completed(waiting), start=1):
            each.result()
            told(done, len(jobs))
        yield from (each.result() for each in waiting)
