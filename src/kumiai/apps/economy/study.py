"""The whole study: margins of every strategy, sweeps of every lever, and what would mend what.

Sweeps are shorter than the main table (one season, few places): they show where a margin changes
its sign, not its third digit. A remedy is the value nearest to today's, of those tried, with which
the interval lies above 0, then halved towards today's as long as it does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from kumiai.adapters.sim.economy.findings import (
    Margin,
    Remedy,
    Size,
    SweepPoint,
    compute_margins,
    find_remedies,
    list_settled,
    play_all,
    refine_all,
    sweep,
)
from kumiai.adapters.sim.economy.parameters import NAMES, Parameters, describe
from kumiai.adapters.sim.economy.play import Played
from kumiai.base.errors import InputError, InternalError

ROUNDS_MAX, SEEDS_MAX, AGENTS_MAX = 10_000, 1_000, 1_000_000
SWEEP_TASKS_MAX, SWEEP_SEEDS_MAX = 8, 3
REFINE_STEPS = 3

# parameter -> values beside today's; what could be decided (levers) first, then what is found
LEVERS: Mapping[str, tuple[float, ...]] = {
    "audit": (0.05, 0.2, 0.5, 1.0),
    "recheck": (0, 0.02, 0.1, 0.3, 1.0),
    "deviation_lambda_ppm": (0, 3_000_000, 10_000_000, 30_000_000),
    "slash_ppm": (0, 300_000, 1_000_000),
    "rank_ratio_ppm": (1_000_000, 2_000_000, 16_000_000, 100_000_000),
    "locked_ppm": (0, 500_000, 1_000_000),
    "gamma_ppm": (0, 300_000, 500_000),
    "alpha": (2,),
    "canaries": (0, 3),
    "sigma_ppm": (0, 800_000, 1_000_000),
    "delegation_weight_ppm": (0, 500_000),
    "validators": (4, 13, 21),
    "trainers": (10, 20, 80),
    "task_rounds": (8, 40),
}
FACTS: Mapping[str, tuple[float, ...]] = {
    "stake": (1, 3, 30, 100),
    "delegated": (0, 3),
    "cost": (0.1, 0.2, 0.7),
    "cost_score": (0.05, 0.15, 0.6),
    "capital": (0, 0.01, 0.05, 0.1),
    "noise": (18_000, 36_000, 216_000),
    "effort_power": (0.4, 0.9),
    "data_spread": (0, 1),
    "slack": (0.1, 0.5, 0.75),
    "cheats": (0, 0.4, 0.6),
    "lazy": (0, 0.3),
    "collusion": (0.15, 0.45),
    "seen_rider": (0, 0.5),
    "seen_copy": (0, 0.5),
    "bribe": (0.5, 2),
}

CIRCUMSTANCES = ("capital", "stake", "cost_score", "noise")  # no rule, yet a customer's to choose


@dataclass(frozen=True)
class Study:
    """All figures."""

    parameters: Parameters
    size: Size
    margins: list[Margin]
    by_conduct: dict[str, float]  # profit a round, mean pays of a trainer
    loss_T: list[float]  # nat above the floor, by round of the first season
    stake_gini: list[float]  # by season
    income_gini: list[float]
    valid_share: float
    closeness: float
    points: list[SweepPoint]
    remedies: list[Remedy]
    settled: list[str]  # not best in the margins, best in the sweep: no remedy was sought

    @property
    def agents(self) -> int:
        """People of one seed."""
        return self.size.tasks * self.parameters.seats

    @property
    def rounds(self) -> int:
        """Rounds of one seed."""
        return self.size.seasons * self.parameters.task_rounds


def plan_size(parameters: Parameters, agents: int, rounds: int, seeds: int, seed: int) -> Size:
    """Turn what was asked into tasks and seasons.

    InputError if it does not divide, or leaves a single task: one observation has no interval.
    """
    for name, value, most in (
        ("--agents", agents, AGENTS_MAX),
        ("--rounds", rounds, ROUNDS_MAX),
        ("--seeds", seeds, SEEDS_MAX),
    ):
        if not 1 <= value <= most:
            raise InputError(name, value, f"must lie in 1..{most}")
    if seed < 0:
        raise InputError("--seed", seed, "must be 0 or more")
    _check_whole("--agents", agents, parameters.seats, "people of one task")
    _check_whole("--rounds", rounds, parameters.task_rounds, "rounds of one task")
    if agents == parameters.seats and seeds == 1:
        fix = f"one task, played once, shows nothing: use 2 or more, or --agents {2 * agents}"
        raise InputError("--seeds", seeds, fix)
    return Size(agents // parameters.seats, rounds // parameters.task_rounds, seeds, seed)


def _check_whole(name: str, value: int, unit: int, what: str) -> None:
    if value % unit:
        below, above = value // unit * unit, (value // unit + 1) * unit
        choice = f"{below} or {above}" if below else str(above)
        raise InputError(name, value, f"not a multiple of the {unit} {what}: use {choice}")


def run_study(
    parameters: Parameters,
    size: Size,
    workers: int,
    tell: Callable[[str, int, int], None],
    *,
    is_swept: bool = True,
) -> Study:
    """Play everything. tell: (stage, done, of), stages "seeds", "sweep" and "remedies".

    InternalError if a unit of a budget got lost: what is saved says that none was.
    """
    played = play_all(parameters, size, workers, lambda done, of: tell("seeds", done, of))
    if not all(each.is_balanced for each in played):
        raise InternalError("the simulation's payments do not add up to its budgets")
    margins = compute_margins(played)
    points: list[SweepPoint] = []
    remedies: list[Remedy] = []
    if is_swept:
        small = Size(
            min(size.tasks, SWEEP_TASKS_MAX), 1, min(size.seeds, SWEEP_SEEDS_MAX), size.seed
        )
        grid = [
            (name, sorted({float(getattr(parameters, name)), *values}))
            for name, values in (LEVERS | FACTS).items()
        ]
        points = sweep(parameters, grid, small, workers, lambda a, b: tell("sweep", a, b))
        levers = [point for point in points if point.name in LEVERS]
        levers += [point for point in points if point.name in CIRCUMSTANCES]
        found = find_remedies(margins, levers, parameters)
        remedies = refine_all(
            found, parameters, small, REFINE_STEPS, workers, lambda a, b: tell("remedies", a, b)
        )
    return Study(
        parameters=parameters,
        size=size,
        margins=margins,
        by_conduct=_average([each.by_conduct for each in played], parameters.task_rounds),
        loss_T=_mean([each.loss_T[: parameters.task_rounds] for each in played]),
        stake_gini=_mean([each.stake_gini_S for each in played]),
        income_gini=_mean([each.income_gini_S for each in played]),
        valid_share=_mean_of(played, "valid_share"),
        closeness=_mean_of(played, "closeness"),
        points=points,
        remedies=remedies,
        settled=list_settled(margins, points, parameters),
    )


def save_figures(study: Study, path: Path, command: str) -> None:
    """Write all figures as JSON."""
    document = {
        "command": command,
        "agents": study.agents,
        "rounds": study.rounds,
        **asdict(study.size),
        "parameters": {
            name: {
                "value": getattr(study.parameters, name),
                **{key: describe(name)[key] for key in ("unit", "source", "text")},
            }
            for name in NAMES
        },
        "margins": [{**asdict(row), "verdict": row.verdict} for row in study.margins],
        "sweep": [asdict(point) for point in study.points],
        "remedies": [asdict(remedy) for remedy in study.remedies],
        **{
            item.name: getattr(study, item.name)
            for item in fields(study)
            if item.name not in ("parameters", "size", "margins", "points", "remedies")
        },
    }
    text = json.dumps(_round(document), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _mean(rows: Sequence[Any]) -> list[float]:
    return [float(value) for value in np.mean(rows, axis=0)]


def _mean_of(played: Sequence[Played], name: str) -> float:
    return float(np.mean([getattr(each, name) for each in played]))


def _average(parts: Sequence[Mapping[str, float]], rounds: int) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: float(np.mean([part[name] for part in parts if name in part])) / rounds
        for name in names
    }


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _round(part) for name, part in value.items()}
    return [_round(part) for part in value] if isinstance(value, list | tuple) else value
