"""How fast robust aggregation is, and what memory it takes beside the updates.

    python benchmarks/aggregation.py [--sizes 100x1e6 50x1e7] [--threads 2] [--seconds 10]
                                     [--libraries kumiai byzfl flower]

Every library runs in its own process and environment (benchmarks/peers/setup.sh byzfl flower) on
the same rows; a library that is not installed is left out with a message. best: the best of up to
five calls. ratio: the best of the peers' times over Kumiai's, for Kumiai's rows. bandwidth: bytes
of the rows over the time, against reading them once (the best of torch's and numpy's sum). extra:
resident memory above the rows while the rule runs, as a share of the rows. check: norm of the first
thousand numbers, which must agree between libraries (int32: to the 24 bits of the fixed point).

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
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
VENVS = HERE / ".venvs"


def find_python(library: str, venvs: Path) -> str | None:
    """Return the interpreter that has the library, None where there is none."""
    if library == "kumiai":
        return sys.executable
    path = venvs / library / "bin" / "python"
    return str(path) if path.exists() else None


def run_library(
    library: str, python: str, size: tuple[int, int], threads: int, seconds: float
) -> list[dict[str, float | str]]:
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


def print_table(
    console: Console, size: tuple[int, int], threads: int, rows: list[dict[str, float | str]]
) -> None:
    """Print one size's table."""
    size_bytes = 4 * size[0] * size[1]
    bandwidth = next((float(row["bandwidth"]) for row in rows if "bandwidth" in row), float("nan"))
    rows = [row for row in rows if "rule" in row]
    table = Table(
        title=f"{size[0]} members x {size[1]:,} numbers ({size_bytes / 1e9:.1f} GB), "
        f"{threads} threads, reading once: {bandwidth / 1e9:.1f} GB/s"
    )
    for column in ("library", "rule", "best s", "median s", "ratio", "bandwidth", "extra", "check"):
        table.add_column(column, justify="left" if column in ("library", "rule") else "right")
    peers: dict[str, float] = {}
    for row in rows:
        if row["library"] != "kumiai":
            rule = str(row["rule"]).split()[0]
            peers[rule] = min(peers.get(rule, float("inf")), float(row["best"]))
    for row in rows:
        best, rule = float(row["best"]), str(row["rule"]).split()[0]
        has_ratio = row["library"] == "kumiai" and rule in peers
        table.add_row(
            str(row["library"]),
            str(row["rule"]),
            f"{best:.4f}",
            f"{float(row['median']):.4f}",
            f"{peers[rule] / best:.1f}" if has_ratio else "",
            f"{size_bytes / best / bandwidth:.1%}",
            f"{float(row['extra']) / size_bytes:.1%}",
            f"{float(row['check']):.5f}",
        )
    console.print(table)


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
    given = parser.parse_args()
    console = Console(width=120)
    for text in given.sizes:
        members, numbers = (int(float(part)) for part in text.split("x"))
        rows: list[dict[str, float | str]] = []
        for library in given.libraries:
            python = find_python(library, given.venvs)
            if python is None:
                console.print(f"{library} is not installed: benchmarks/peers/setup.sh {library}")
                continue
            size = (members, numbers)
            rows += run_library(library, python, size, given.threads, given.seconds)
        print_table(console, (members, numbers), given.threads, rows)


if __name__ == "__main__":
    main()
