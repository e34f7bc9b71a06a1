"""The compute port as it was in the run, opened anew for checking: a thread for every share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.compute.execution.engine import Engine
from kumiai.adapters.compute.scoring import Holdout
from kumiai.adapters.compute.task_work import make_settings
from kumiai.adapters.cores import count_cores
from kumiai.apps.audit.subject import Subject
from kumiai.apps.workload import load_run_recipe

WORKERS_MAX = 8  # each keeps the decoded updates of a round in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def open_compute(subject: Subject, holdouts: Mapping[str, Holdout]) -> EngineCompute:
    """Return the compute port over the run's blobs, without anybody's training data."""
    task, plan = subject.replay.state.task, subject.run_dir.read_plan()
    assert task is not None
    recipe = load_run_recipe(plan, task)
    engine = Engine(recipe, make_settings(task, recipe), "inline", None)
    return EngineCompute(task, recipe, engine, subject.blobs, {}, holdouts)


def map_rounds(
    subject: Subject,
    items: Sequence[Item],
    holdouts: Mapping[str, Holdout],
    check: Callable[[EngineCompute, Item], Result],
) -> list[Result]:
    """Return what `check` gives for every item, in order; the items are shared among the cores."""
    worker_count = max(1, min(count_cores(), len(items), WORKERS_MAX))

    def check_share(worker: int) -> list[Result]:
        # a network is changed while it runs: every thread has its own
        compute = open_compute(subject, holdouts)
        return [check(compute, item) for item in items[worker::worker_count]]

    # one PyTorch thread each, as the run had: the same sums in the same order (docs/adr/0008)
    with ThreadPoolExecutor(worker_count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        shares = list(pool.map(check_share, range(worker_count)))
    return [shares[place % worker_count][place // worker_count] for place in range(len(items))]
