"""`kumiai bench aequa`: fair model rewards against their peers on the same splits.

Every cell (data, split, members, seed) is played by all methods; the table gives each method's
figures for each (data, split, members), means over the seeds. Saved are every member's numbers
(JSON), the table (Markdown) and a picture (SVG).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import torch

from kumiai.adapters.cores import count_cores
from kumiai.adapters.data.dataset import Dataset
from kumiai.adapters.data.sources import load_source
from kumiai.adapters.pools import open_pool
from kumiai.adapters.sim.rewards.compare import (
    METHODS,
    TRAINING,
    Cell,
    Score,
    make_recipe,
    play_cell,
)
from kumiai.adapters.sim.rewards.members import MemberTrainer
from kumiai.adapters.sim.rewards.splits import SPLITS
from kumiai.base.errors import InputError

SOURCES = ("digits", "mnist5k")
MEMBERS = (5, 10, 50)
SEEDS = 3
OURS = "aequa"
TIE = 0.0005  # half a tenth of a point: nobody is ahead
MEASURES = ("pearson", "best", "mean", "gain_mean", "gain_spread", "gain_least")
SMALLER_IS_BETTER = frozenset({"gain_spread"})


@dataclass(frozen=True)
class Row:
    """One method on one (data, split, members): means over the seeds.

    pearson counts as 0 in a seed where it is undefined (everybody received the same).
    """

    source: str
    split: str
    members: int
    method: str
    pearson: float
    best: float
    mean: float
    gain_mean: float
    gain_spread: float
    gain_least: float


Results = list[tuple[Cell, list[Score]]]


def list_cells(
    sources: Sequence[str], splits: Sequence[str], members: Sequence[int], seeds: int
) -> list[Cell]:
    """Return all cells. InputError for an unknown split or numbers that leave nothing to do."""
    for split in splits:
        if split not in SPLITS:
            raise InputError("--splits", split, f"use some of {', '.join(SPLITS)}")
    for count in members:
        if count < 1:
            raise InputError("--members", count, "at least one member")
    if seeds < 1:
        raise InputError("--seeds", seeds, "at least one seed")
    if not (sources and splits and members):
        raise InputError("--splits", "", "name at least one of each")
    everything = product(sources, members, splits, range(1, seeds + 1))
    return [Cell(source, split, count, seed) for source, count, split, seed in everything]


def play(
    cells: Sequence[Cell],
    rounds: int,
    progress: Callable[[Results], None],
    workers: int = 0,
) -> Results:
    """Play all cells in `workers` processes (0: one a core) and return them in order.

    progress: called after every cell with all that is there, the newest last.
    """
    workers = min(workers or count_cores(), len(cells))
    found: dict[Cell, list[Score]] = {}
    for cell, scores in _play_all(cells, rounds, workers):
        found[cell] = scores
        progress(list(found.items()))
    return [(cell, found[cell]) for cell in cells]


def _play_all(
    cells: Sequence[Cell], rounds: int, workers: int
) -> Iterator[tuple[Cell, list[Score]]]:
    if workers <= 1:
        for cell in cells:
            yield cell, play_one(cell, rounds)
        return
    with open_pool(workers, partial(torch.set_num_threads, 1)) as pool:
        waiting = {pool.submit(play_one, cell, rounds): cell for cell in cells}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def play_one(cell: Cell, rounds: int) -> list[Score]:
    """Play one cell with what this process keeps of the source: its samples and traced steps."""
    dataset, trainer = _prepare(cell.source)
    return play_cell(dataset, cell, rounds, trainer)


@cache
def _prepare(source: str) -> tuple[Dataset, MemberTrainer]:
    dataset = load_source(source, {}, 0)
    return dataset, MemberTrainer(make_recipe(dataset), TRAINING)


def summarise(results: Results) -> list[Row]:
    """Return the means over the seeds, in the order of the cells."""
    groups: dict[tuple[str, str, int, str], list[Score]] = {}
    for cell, scores in results:
        for score in scores:
            key = (cell.source, cell.split, cell.members, score.method)
            groups.setdefault(key, []).append(score)
    return [Row(*key, **_average(scores)) for key, scores in groups.items()]


def _average(scores: Sequence[Score]) -> dict[str, float]:
    return {
        measure: statistics.mean(float(getattr(s, measure) or 0.0) for s in scores)
        for measure in MEASURES
    }


def count_wins(rows: Sequence[Row]) -> dict[str, dict[str, tuple[int, int, int]]]:
    """Return measure -> peer -> (cells in which Aequa is ahead, level, behind)."""
    ours = {(r.source, r.split, r.members): r for r in rows if r.method == OURS}
    wins: dict[str, dict[str, tuple[int, int, int]]] = {}
    for measure in MEASURES:
        sign = -1 if measure in SMALLER_IS_BETTER else 1
        for peer in METHODS:
            if peer == OURS:
                continue
            gaps = [
                sign * (getattr(ours[r.source, r.split, r.members], measure) - getattr(r, measure))
                for r in rows
                if r.method == peer
            ]
            ahead, behind = sum(g > TIE for g in gaps), sum(g < -TIE for g in gaps)
            wins.setdefault(measure, {})[peer] = (ahead, len(gaps) - ahead - behind, behind)
    return wins


def count_won_against_all(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Return measure -> (cells in which Aequa is ahead of every peer, cells)."""
    cells = dict.fromkeys((r.source, r.split, r.members) for r in rows)
    won: dict[str, tuple[int, int]] = {}
    for measure in MEASURES:
        sign = -1 if measure in SMALLER_IS_BETTER else 1
        count = 0
        for cell in cells:
            values = {
                r.method: sign * getattr(r, measure)
                for r in rows
                if (r.source, r.split, r.members) == cell
            }
            mine = values.pop(OURS)
            count += all(mine > value + TIE for value in values.values())
        won[measure] = (count, len(cells))
    return won


def save(results: Results, rounds: int, stem: Path) -> None:
    """Write `stem`.json: every member's numbers, and what they were measured with."""
    document = {
        "rounds": rounds,
        "training": {
            "learning_rate": TRAINING.learning_rate,
            "batch_size": TRAINING.batch_size,
            "local_iterations": TRAINING.local_iterations,
        },
        "cells": [
            {**asdict(cell), "scores": [_round(asdict(score)) for score in scores]}
            for cell, scores in results
        ],
    }
    stem.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, separators=(",", ":"))
    stem.with_suffix(".json").write_text(text.replace('{"source"', '\n{"source"') + "\n")


def _round(fields: dict[str, object]) -> dict[str, object]:
    def cut(value: object) -> object:
        if isinstance(value, float):
            return round(value, 4)
        return [cut(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {name: cut(value) for name, value in fields.items()}
