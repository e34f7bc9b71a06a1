"""How fast robust aggregation is, and what memory it takes beside the updates.

    python benchmarks/aggregation.py [--sizes 100x1e6 50x1e7] [--threads 2] [--seconds 10]
                                     [--libraries kumiai byzfl flower] [--save docs/results]

Every library runs in its own process and environment (benchmarks/peers/setup.sh byzfl flower) on
the same rows; a library that is not installed is left out with a message. best: the best of up to
five calls. ratio: the best of the peers' times over Kumiai's, for Kumiai's rows. bandwidth: bytes
of the rows over the time, against reading them once (the best of torch's and numpy's sum). extra:
resident memory above the rows while the rule runs, as a share of the rows. check: norm of the first
thousand numbers, which must agree between libraries (int32: to the 24 bits of the fixed point).
With --save the goals and the machine's load before and after are kept too: times on a busy machine
are good for ratios of one run only.

Kumiai's float32 rules are those of its int32 rules; only int32 results are certified. Goals: median
and trimmed mean 20 times the better peer, Krum 3 times, geometric median 6 times, mean at 55 % of
the bandwidth, extra memory below a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from saved_tables import Printout, add_save_option

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
VENVS = HERE / ".venvs"
Row = dict[str, float | str]
COLUMNS = ("library", "rule", "best s", "median s", "ratio", "bandwidth", "extra", "check")
RATIO_GOALS = {"median": 20, "trimmed_mean": 20, "krum": 3, "multi_krum": 3, "geometric_median": 6}
BANDWIDTH_GOAL = 0.55  # of the mean
EXTRA_MAX = 0.1


def find_python(library: str, venvs: Path) -> str | None:
    """Return the interpreter that has the library, None where there is none."""
    if library == "kumiai":
        return sys.executable
    path = venvs / library / "bin" / "python"
    return str(path) if path.exists() else None


def run_library(
    library: str, python: str, size: tuple[int, int], threads: int, seconds: float
) -> list[Row]:
    """Return the rows that one library's process prints."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    if library == "kumiai":
        environment["PYTHONPATH"] = str(SOURCE)
    script = HERE / "peers" / "aggregators.py"
    command = [python, str(script), library, str(size[0]), str(size[1]), str(threads), str(seconds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        print(f"{library}: stopped with {done.returncode}: {lines[-1]}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def compare(size: tuple[int, int], threads: int, rows: Sequence[Row]) -> dict[str, object]:
    """Return one size's rows with ratio, bandwidth and extra as shares, and the goals met."""
    size_bytes = 4 * size[0] * size[1]
    bandwidth = next((float(row["bandwidth"]) for row in rows if "bandwidth" in row), float("nan"))
    rows = [row for row in rows if "rule" in row]
    peers: dict[str, float] = {}
    for row in rows:
        if row["library"] != "kumiai":
            rule = str(row["rule"]).split()[0]
            peers[rule] = min(peers.get(rule, float("inf")), float(row["best"]))
    lines: list[dict[str, object]] = []
    for row in rows:
        best, rule = float(row["best"]), str(row["rule"]).split()[0]
        has_ratio = row["library"] == "kumiai" and rule in peers
        ratio = peers[rule] / best if has_ratio else None
        shares = {
            "ratio": ratio,
            "bandwidth": size_bytes / best / bandwidth,
            "extra": float(row["extra"]) / size_bytes,
        }
        lines.append({**row, **shares, "goals": judge(row, rule, **shares)})
    return {
        "members": size[0],
        "numbers": size[1],
        "threads": threads,
        "bytes_per_second": bandwidth,
        "rows": lines,
    }


def judge(
    row: Row, rule: str, ratio: float | None, bandwidth: float, extra: float
) -> dict[str, bool]:
    """Return the goals that a row of Kumiai's compiled loops has, each met or not."""
    if row["library"] != "kumiai" or "alone" in str(row["rule"]):
        return {}
    goals = {"extra": extra < EXTRA_MAX}
    if rule == "mean":
        goals["bandwidth"] = bandwidth >= BANDWIDTH_GOAL
    if rule in RATIO_GOALS and ratio is not None:
        goals["ratio"] = ratio >= RATIO_GOALS[rule]
    return goals


def format_line(line: dict[str, object]) -> list[str]:
    """Return a row's cells; a goal that is missed is marked."""
    goals = dict(line["goals"])
    numbers = {name: line[name] for name in ("ratio", "bandwidth", "extra")}
    cells = {
        name: "" if number is None else f"{number:.1f}" if name == "ratio" else f"{number:.1%}"
        for name, number in numbers.items()
    }
    marked = [cells[name] + ("" if goals.get(name, True) else " missed") for name in cells]
    times = [f"{line['best']:.4f}", f"{line['median']:.4f}"]
    return [str(line["library"]), str(line["rule"]), *times, *marked, f"{line['check']:.5f}"]


def describe(found: dict[str, object]) -> str:
    """Return a table's title."""
    members, numbers = int(str(found["members"])), int(str(found["numbers"]))
    return (
        f"{members} members x {numbers:,} numbers ({4 * members * numbers / 1e9:.1f} GB), "
        f"{found['threads']} threads, reading once: {found['bytes_per_second'] / 1e9:.1f} GB/s"
    )


def show_table(printout: Printout, found: dict[str, object]) -> None:
    """Print one size's table."""
    table = Table(title=describe(found))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("library", "rule") else "right")
    for line in found["rows"]:
        table.add_row(*format_line(line))
    printout.show(table)


def main() -> None:
    """Print one table a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["100x1e6", "50x1e7"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of repeats, a rule")
    parser.add_argument("--libraries", nargs="+", default=["kumiai", "byzfl", "flower"])
    parser.add_argument("--venvs", type=Path, default=VENVS, help="where the peers are installed")
    add_save_option(parser, "aggregation")
    given = parser.parse_args()
    printout, tables = Printout("aggregation", given.save, 120), []
    for text in given.sizes:
        members, numbers = (int(float(part)) for part in text.split("x"))
        rows: list[Row] = []
        for library in given.libraries:
            python = find_python(library, given.venvs)
            if python is None:
                printout.say(f"{library} is not installed: benchmarks/peers/setup.sh {library}")
                continue
            size = (members, numbers)
            rows += run_library(library, python, size, given.threads, given.seconds)
        tables.append(compare((members, numbers), given.threads, rows))
        show_table(printout, tables[-1])
    goals = {"ratio": RATIO_GOALS, "bandwidth": BANDWIDTH_GOAL, "extra": EXTRA_MAX}
    printout.save({"goals": goals, "tables": tables})


if __name__ == "__main__":
    main()
