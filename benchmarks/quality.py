"""How good is the co-operative's model, and what do cheats earn? One row a seed.

    python benchmarks/quality.py [--scenario cooperative] [--seeds 20] [--first-seed 1]
                                 [--partition iid] [--alpha 0.5] [--honest]

accuracy   of the final full model on the test part (never used for training or scoring)
central    the same recipe trained on the honest members' pooled data, the same passes over it
ratio      accuracy / central: the goal is >= 98 %
hostile    share of the trainers' rewards that went to members who cheat: the goal is <= 1 %
negative   honest trainers with the verdict INVALID in any round: the goal is none

--partition and --alpha deal the same samples otherwise than the scenario does; --honest leaves the
members who cheat out. With iid shares the goal of the ratio is 99.5 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.table import Table

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.apps.population import Casting
from kumiai.apps.scenarios import SCENARIOS, Scenario, has_shard
from kumiai.apps.view import RunView
from kumiai.apps.wiring import run_local
from kumiai.apps.workload import Workload, load_workload, make_settings
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import build_seeded
from kumiai.tasks.document import TaskDocument
from saved_tables import Printout, add_save_option

HOSTILE = ("free-rider", "copier", "poisoner", "sign-flip", "replayer")


def train_centrally(task: TaskDocument, workload: Workload, owners: list[int]) -> float:
    """Return the test accuracy of the recipe trained on the pooled shards of `owners`."""
    x = torch.cat([workload.data.shards[i][0] for i in owners])
    y = torch.cat([workload.data.shards[i][1] for i in owners])
    settings = replace(
        make_settings(task, workload.recipe),
        local_epochs=task.training.local_epochs * task.training.rounds,
    )
    start = flatten(
        workload.engine.layout, build_seeded(workload.recipe, 1.0, task.seed).state_dict()
    )
    with Engine(workload.recipe, settings, "inline") as engine:
        result = engine.train(start, [(x, y)], [task.seed])
        model = start + result.updates_NP[0]
        return float(engine.evaluate(model[None], *workload.data.test)[1][0])


def measure(chosen: Scenario, seed: int) -> tuple[float, float, float, list[str], float, RunView]:
    """Run one seed; return (accuracy, central, hostile share, negatives, seconds, view)."""
    task = chosen.make_task(seed)
    casting = Casting(chosen.name, chosen.people, chosen.victims, chosen.network)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        view = run_local(
            task,
            casting,
            Path(folder) / "run",
            lambda event: None,
            resume=False,
            base_dir=Path.cwd(),
        )
        seconds = time.perf_counter() - started
    workload = load_workload(task, Path.cwd())
    owners = [p for p in chosen.people if p.role == "trainer" and has_shard(p)]
    honest = [i for i, person in enumerate(owners) if not person.behaviour]
    central = train_centrally(task, workload, honest)
    workload.engine.close()
    trainers = [m for m in view.members if m.role == "trainer"]
    total = sum(m.reward for m in trainers)
    hostile = sum(m.reward for m in trainers if m.behaviour in HOSTILE)
    negative = [m.name for m in trainers if not m.behaviour and "INVALID" in m.round_verdicts]
    accuracy = view.rounds[-1].accuracy_ppm / 1e6
    return accuracy, central, hostile / total if total else 0.0, negative, seconds, view


def main() -> None:
    """Print the table and the worst and median row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenario", default="cooperative", choices=sorted(SCENARIOS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--partition", choices=("iid", "dirichlet", "quantity"))
    parser.add_argument("--alpha", type=float, help="of dirichlet and quantity")
    parser.add_argument("--honest", action="store_true")
    add_save_option(parser, "quality")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen, dealt = SCENARIOS[given.scenario], {}
    if given.honest:
        kept = tuple(person for person in chosen.people if person.behaviour not in HOSTILE)
        chosen = replace(chosen, people=kept, victims={})
    if given.partition:
        dealt["partition"] = given.partition
    if given.alpha:
        dealt["alpha_ppm"] = round(given.alpha * 1e6)
    data = {**dict(chosen.settings["data"]), **dealt}
    chosen = replace(chosen, settings={**chosen.settings, "data": data})
    alpha = f"{given.alpha:g}" if given.alpha else ""
    parts = [part for part in (given.partition, alpha, "honest" if given.honest else "") if part]
    printout = Printout("-".join(["quality", *parts]), given.save, 100)
    table = Table(title=f"quality: {' '.join([given.scenario, *parts])}, {given.seeds} seeds")
    for name in ("seed", "accuracy", "central", "ratio", "hostile", "negative", "seconds"):
        table.add_column(name, justify="right")
    rows = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        accuracy, central, hostile, negative, seconds, _ = measure(chosen, seed)
        rows.append((accuracy / central, hostile, len(negative)))
        print(f"seed {seed}: ratio {accuracy / central:.4f}, hostile {hostile:.4%}", flush=True)
        table.add_row(
            str(seed),
            f"{accuracy:.4f}",
            f"{central:.4f}",
            f"{accuracy / central:.4f}",
            f"{hostile:.4%}",
            ", ".join(negative) or "none",
            f"{seconds:.1f}",
        )
    printout.show(table)
    ratios = [row[0] for row in rows]
    printout.say(
        f"ratio: median {statistics.median(ratios):.4f}, least {min(ratios):.4f}; "
        f"hostile: most {max(row[1] for row in rows):.4%}; "
        f"negative verdicts on honest trainers: {sum(row[2] for row in rows)}"
    )
    printout.save()


if __name__ == "__main__":
    main()
