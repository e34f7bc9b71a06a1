"""What the protocol costs: the share of a round that is neither training nor evaluation.

    python benchmarks/overhead.py [--trainers 10 100] [--rounds 12] [--data mnist5k digits]

A plain local run with the demo's settings (one local epoch, four widths) and everything on: four
validators, signatures, commitments, beacon, scores, certificates, receipts, settlement, SQLite log.
overhead = 1 - (training + evaluation) / round, by wall clock, the median over rounds 2 and later.
The goals: <= 5 % with 10, <= 10 % with 100, on the demo's data. `verify` is the time of
`kumiai verify` over the time of the run it verifies: the goal is <= 20 %. On digits the table also
gives seconds a round of the whole protocol, to set beside Flower's simulation without any protocol
(benchmarks/engine.py --peers flower).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.table import Table

from kumiai.apps.scenarios import SCENARIOS
from kumiai.apps.verify import verify_path
from kumiai.apps.wiring import cast_locally, run_local
from kumiai.tasks.document import TaskDocument, task_from_mapping
from saved_tables import Printout, add_save_option


def make_task(data: str, trainers: int, rounds: int) -> TaskDocument:
    """The demo's work with more members; on digits the reference work of `engine.py`."""
    is_demo = data == "mnist5k"
    training = dict(SCENARIOS["cooperative"].settings["training"]) if is_demo else {"slim": False}
    return task_from_mapping(
        {
            "name": f"overhead-{data}-{trainers}",
            "data": {"source": data, "trainers": trainers, "partition": "iid"},
            "model": {"recipe": "mlp", "options": {"hidden": 128 if is_demo else 64}},
            "training": {**training, "rounds": rounds},
            "rewards": {"budget": 100_000_000},
        }
    )


def measure(data: str, trainers: int, rounds: int) -> dict[str, float]:
    """Run once; return medians a round and the cost of verifying."""
    task = make_task(data, trainers, rounds)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        started = time.perf_counter()
        run_local(
            task, cast_locally(task), out, lambda event: None, resume=False, base_dir=Path.cwd()
        )
        run_seconds = time.perf_counter() - started
        measured = json.loads((out / "telemetry.json").read_text())
        report = verify_path(out)
    assert report.is_ok, report.findings
    totals, works, shares = [], [], []
    for index in range(2, rounds + 1):
        total = measured["round_seconds"][str(index)]
        phases = measured["phase_seconds"][str(index)]
        work = phases.get("train", 0.0) + phases.get("score", 0.0)
        totals.append(total)
        works.append(work)
        shares.append(1 - work / total)
    return {
        "round": statistics.median(totals),
        "work": statistics.median(works),
        "overhead": statistics.median(shares),
        "run": run_seconds,
        "verify": report.seconds / run_seconds,
    }


def main() -> None:
    """Print one row a setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trainers", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--data", nargs="+", default=["mnist5k", "digits"])
    add_save_option(parser, "overhead")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="cost of the protocol")
    for name in ("data", "trainers", "round s", "work s", "overhead", "run s", "verify"):
        table.add_column(name, justify="right")
    for data in given.data:
        for trainers in given.trainers:
            row = measure(data, trainers, given.rounds)
            table.add_row(
                data,
                str(trainers),
                f"{row['round']:.3f}",
                f"{row['work']:.3f}",
                f"{row['overhead']:.1%}",
                f"{row['run']:.1f}",
                f"{row['verify']:.1%}",
            )
    printout = Printout("overhead", given.save, 100)
    printout.show(table)
    printout.save()


if __name__ == "__main__":
    main()
