"""Seconds a round of one Flower app: under Flower's own engine and under `kumiai flower run`.

    python benchmarks/flower.py [--work digits|cnn] [--clients 10|100] [--repeats 3]

The app (`peers/flower_app`) is the reference work under Flower's FedAvg, the same files for both.
Flower's engine runs in its own environment (`benchmarks/peers/setup.sh flower`), ours in this one.
They take turns, so that a busy machine hurts all alike: Flower's engine with one actor a core, ours
with one process a core, ours in one process. The app itself takes the time; the median is over all
rounds but the first. Flower's workers are up before round 1, ours come in after some rounds, so a
run is long enough for that to be the lesser part; the whole command's seconds stand beside it. The
same norm of the weights at the end is the check.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.table import Table

from saved_tables import Printout, add_save_option

HERE = Path(__file__).resolve().parent
APP = HERE / "peers" / "flower_app"
PEER = HERE / ".venvs" / "flower" / "bin" / "python"
NORM_TOLERANCE = 2e-5  # relative
SECONDS_MAX = 900
ROUNDS = {("digits", 10): 240, ("digits", 100): 60, ("cnn", 10): 12, ("cnn", 100): 6}
GOAL = {"digits": 5.0}
ALONE = "kumiai --workers 1"


def main() -> int:
    """Measure, print the table, return 1 where both do not end at the same weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", choices=["digits", "cnn"], default="digits")
    parser.add_argument("--clients", type=int, choices=[10, 100], action="append")
    parser.add_argument("--repeats", type=int, default=3)
    add_save_option(parser, "flower")
    options = parser.parse_args()
    printout = Printout("flower", options.save, 100)
    reason = find_missing()
    if reason:
        print(f"skipped: {reason}")
        return 0
    is_same = True
    for clients in options.clients or [10, 100]:
        is_same &= compare(printout, options.work, clients, max(1, options.repeats))
    printout.save()
    return 0 if is_same else 1


def find_missing() -> str:
    """Why nothing can be measured here, or ""."""
    if importlib.util.find_spec("flwr") is None:
        return "flwr is not installed beside kumiai: pip install 'kumiai[flower]'"
    if importlib.util.find_spec("sklearn") is None:
        return "the digits come with scikit-learn, which is not installed"
    if not PEER.exists():
        return "Flower's engine has no environment: benchmarks/peers/setup.sh flower"
    return ""


def compare(printout: Printout, work: str, clients: int, repeats: int) -> bool:
    """Run all in turn and print their rows; whether they agree on the weights."""
    ours = [
        sys.executable, "-m", "kumiai", "flower", "run", str(APP),
        "--supernodes", str(clients), "--quiet",
    ]  # fmt: skip
    commands = {
        "flower": [str(PEER), str(HERE / "peers" / "flower_engine.py")],
        "kumiai": ours,
        ALONE: [*ours, "--workers", "1"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    whole: dict[str, list[float]] = {name: [] for name in commands}
    norms: dict[str, float] = {}
    for _ in range(repeats):
        for name, command in commands.items():
            begin = time.perf_counter()
            report = run(command, work, clients)
            whole[name].append(time.perf_counter() - begin)
            rounds = report["seconds"][1:] or report["seconds"]
            seconds[name].append(statistics.median(rounds))
            norms[name] = report["norm"]
    best = {name: min(found) for name, found in seconds.items()}
    ratio, ratio_alone = (best["flower"] / best[name] for name in ("kumiai", ALONE))
    table = Table(title=f"{work}, {clients} clients: seconds a round, best of {repeats} medians")
    for column in ("engine", "s/round", "all medians", "command, s", "weight norm"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for name, found in seconds.items():
        shown = " ".join(f"{value:.4f}" for value in found)
        table.add_row(
            name, f"{best[name]:.4f}", shown, f"{min(whole[name]):.1f}", f"{norms[name]:.6f}"
        )
    printout.show(table)
    goal = GOAL.get(work)
    verdict = "" if goal is None else f" (wanted: {goal:g}, {'yes' if ratio >= goal else 'NO'})"
    printout.say(f"kumiai is {ratio:.2f} times as fast a round{verdict}")
    printout.say(f"in one process it is {ratio_alone:.2f} times as fast")
    is_same = all(abs(norms["flower"] / norm - 1) <= NORM_TOLERANCE for norm in norms.values())
    if not is_same:
        printout.say("the weights differ: not the same work")
    return is_same


def run(command: list[str], work: str, clients: int) -> dict:
    """Run the app once; return what it wrote."""
    spec = importlib.util.find_spec("sklearn")
    place = Path((spec.submodule_search_locations or [""])[0])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        settings = {
            "work": work,
            "clients": clients,
            "rounds": ROUNDS[work, clients],
            "digits_file": str(place / "datasets" / "data" / "digits.csv.gz"),
            "report": str(report),
        }
        paths = [HERE / "peers", APP, HERE.parent / "src"]
        environment = os.environ | {
            "BENCH": json.dumps(settings),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        if done.returncode or not report.exists():
            raise SystemExit(f"{command[0]} failed:\n{done.stderr[-3000:]}")
        return json.loads(report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
