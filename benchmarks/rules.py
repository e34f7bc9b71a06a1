"""Which learning rule for which data: accuracy, speed and bytes of each, on the same shards.

    python benchmarks/rules.py [--data digits] [--rounds 25] [--seeds 3] [--save docs/results]

Ten members, no protocol around them: training, codec and aggregation as a run does them. Every rule
gets the best of three learning rates, chosen on a seed of its own (seed 100) that is not reported.
`to 85 %`: the first round from which the mean accuracy on the skewed split stays at 85 % or above.
`bytes`: of one member's update. `time`: processor time of a round's training and aggregation, as a
multiple of fedavg's in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from kumiai.adapters.compute.engine import EngineCompute
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.apps.workload import load_workload
from kumiai.learning import fixed_point
from kumiai.nodes.ports import AggregateJob, TrainJob
from kumiai.tasks.document import TaskDocument, task_from_mapping
from saved_tables import Printout, add_save_option

MEMBERS = 10
TUNING_SEED = 100
REACHED = 0.85
SGD_RATES, ADAM_RATES, MUON_RATES = (0.2, 0.5, 1.0), (0.003, 0.01, 0.03), (0.01, 0.03, 0.1)
SPLITS: Mapping[str, dict[str, object]] = {
    "iid": {"partition": "iid"},
    "skewed": {"partition": "dirichlet", "alpha": 0.3},
}
RULES: Mapping[str, tuple[dict[str, object], tuple[float, ...]]] = {
    "fedavg": ({}, SGD_RATES),
    "fedavg, cosine": ({"lr_schedule": "cosine"}, SGD_RATES),
    "fedprox": ({"algorithm": "fedprox", "prox_mu": 0.1}, SGD_RATES),
    "fednova": ({"algorithm": "fednova"}, SGD_RATES),
    "scaffold": ({"algorithm": "scaffold"}, SGD_RATES),
    "fedavgm": ({"server_momentum": 0.5}, SGD_RATES),
    "fedadam": ({"server_optimizer": "adam", "server_learning_rate": 0.03}, SGD_RATES),
    "fedyogi": ({"server_optimizer": "yogi", "server_learning_rate": 0.03}, SGD_RATES),
    "diloco": ({"algorithm": "diloco", "optimizer": "adamw"}, ADAM_RATES),
    "muloco": ({"algorithm": "diloco", "optimizer": "muon"}, MUON_RATES),
    "sparse (ef, topk 5 %, int2)": ({"codec": "ef|topk:density=0.05|int2"}, SGD_RATES),
    "demo's codec (ef, dct, topk)": (
        {"codec": "ef:decay=0.999|dct:chunk=64|topk:density=0.05|int8"},
        SGD_RATES,
    ),
    "powersgd, rank 4": ({"codec": "ef|powersgd:rank=4"}, SGD_RATES),
}


def make_task(
    data: str, split: str, rule: Mapping[str, object], rate: float, rounds: int, seed: int
) -> TaskDocument:
    """Return the task of one run."""
    return task_from_mapping(
        {
            "name": "rules",
            "seed": seed,
            "data": {"source": data, "trainers": MEMBERS, **SPLITS[split]},
            "model": {"recipe": "mlp", "options": {"hidden": 64}},
            "training": {
                "rounds": rounds,
                "local_epochs": 2,
                "weighting": "samples",
                "slim": False,
                "backend": "vectorised",
                "learning_rate": rate,
                **rule,
            },
        }
    )


def play(task: TaskDocument) -> tuple[list[float], int, float]:
    """Return test accuracies after each round, the bytes of an update, and seconds a round."""
    workload = load_workload(task, Path.cwd())
    members = [f"m{i}" for i in range(MEMBERS)]
    shards = dict(zip(members, workload.data.shards, strict=True))
    engine = workload.engine
    blobs = MemoryBlobs()
    compute = EngineCompute(task, workload.recipe, engine, blobs, shards, {})
    model, server_state = compute.init_model(), ""
    states = dict.fromkeys(members, "")
    accuracies, sizes, seconds = [], [], []
    for number in range(1, task.training.rounds + 1):
        started = time.process_time()
        jobs = [
            TrainJob(number, m, model, 1000 * task.seed + i, states[m], server_state)
            for i, m in enumerate(members)
        ]
        results = compute.train(jobs)
        included = tuple((r.member, r.update, r.sample_count) for r in results if r.update)
        job = AggregateJob(number, model, server_state or None, included)
        done = compute.aggregate(job)
        seconds.append(time.process_time() - started)
        states |= {r.member: r.codec_state for r in results if r.update}
        model, server_state = done.model, done.server_state or ""
        sizes += [r.size_bytes for r in results if r.update]
        size = engine.layout.size
        data = blobs.get(model, fixed_point.compute_size_bytes_max(size))
        vector_P = fixed_point.dequantise(fixed_point.decode_vector("model", data, size))
        found = engine.evaluate(torch.from_numpy(vector_P)[None], *workload.data.test)
        accuracies.append(float(found[1][0]))
    engine.close()
    return accuracies, round(statistics.mean(sizes)), statistics.median(seconds[1:])


def measure(data: str, name: str, rounds: int, seeds: int) -> dict[str, object]:
    """Tune one rule for each split, then play it; return its row."""
    rule, rates = RULES[name]
    row: dict[str, object] = {"rule": name}
    for split in SPLITS:
        tuned = {
            rate: play(make_task(data, split, rule, rate, rounds, TUNING_SEED))[0][-1]
            for rate in rates
        }
        rate = max(tuned, key=lambda each: tuned[each])
        runs = [play(make_task(data, split, rule, rate, rounds, s)) for s in range(1, seeds + 1)]
        finals = [accuracies[-1] for accuracies, _, _ in runs]
        curve = [statistics.mean(at) for at in zip(*(a for a, _, _ in runs), strict=True)]
        row[split] = {
            "rate": rate,
            "accuracy": statistics.mean(finals),
            "deviation": statistics.stdev(finals) if seeds > 1 else 0.0,
            "reached": find_reached(curve),
            "bytes": runs[0][1],
            "seconds": statistics.median(s for _, _, s in runs),
        }
    return row


def find_reached(curve: list[float]) -> int | None:
    """Return the round from which the curve stays at REACHED or above."""
    below = [i for i, accuracy in enumerate(curve, start=1) if accuracy < REACHED]
    first = below[-1] + 1 if below else 1
    return first if first <= len(curve) else None


def build_table(rows: list[dict], title: str) -> Table:  # type: ignore[type-arg]
    """Return the rows as they are printed."""
    table = Table(title=title)
    table.add_column("rule")
    for name in ("iid", "skewed", "to 85 %", "bytes", "time", "rates"):
        table.add_column(name, justify="right")
    for row in rows:
        even, skewed, base = row["iid"], row["skewed"], rows[0]["skewed"]
        table.add_row(
            row["rule"],
            f"{even['accuracy']:.1%} ± {even['deviation']:.1%}",
            f"{skewed['accuracy']:.1%} ± {skewed['deviation']:.1%}",
            "–" if skewed["reached"] is None else str(skewed["reached"]),
            f"{skewed['bytes']:,}",
            f"{skewed['seconds'] / base['seconds']:.1f}",
            f"{even['rate']:g}, {skewed['rate']:g}",
        )
    return table


def main() -> None:
    """Print the table; save it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    add_save_option(parser, "rules")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict] = []  # type: ignore[type-arg]
    screen = Console(width=110)
    with screen.status("") as status:
        for name in given.rules:
            status.update(name)
            rows.append(measure(given.data, name, given.rounds, given.seeds))
    title = f"{given.data}, {MEMBERS} members, {given.rounds} rounds, {given.seeds} seeds"
    printout = Printout("rules", given.save)
    printout.show(build_table(rows, title))
    printout.save()


if __name__ == "__main__":
    main()
