"""Proof of Training's table of synchronisation times, played again by this project's replicas.

    python benchmarks/order_pot.py [--rows 0 1] [--rates 0.1 30] [--processes 2] [--save FOLDER]

Their numbers: arXiv 2307.07066, seconds on one machine, for 100 to 10,000 transactions and 10 to 50
nodes, at 0.1, 30 and 125 Mbps. Their program (fpbft of P-HOW/proof-of-training) sends one request
with all transactions to the primary, lets each message wait for a latency drawn from [0.1 t, t] and
through a throttle of its own, and stops the clock at replies of two thirds. t is not told; its
README tries 300 ms, which explains their 1.5 s where bandwidth is no matter: 30 to 300 ms here.

Ours: the real replicas and the bytes of the real wire, in simulated time, each transaction a signed
request of its own; the clock stops when every replica has executed every one.

own lines   a line between each two, as theirs; FIFO, so stricter than a throttle for each message
one uplink  all of a sender's receivers share its line: what a machine at home or in a rack has
limit       no primary that sends the requests on can be faster: `bandwidth.compute_least_us`
bytes       at 0.1 Mbps their rows of 100, 200 and 1,000 grow by 0.072 s a transaction, sent twice
            in turn: 472 bytes each. Ours have operations of 256 bytes, 463 on the wire
5,000       their row fits 500 (8.697 + 400 * 0.072 = 37.5 s); with 5,000 it would be 98 bytes each
            if it were sent once, 49 as it is sent: less than a key and a signature. Both are played

Signatures take no time here: n validators have n machines, and simulated time counts the network
alone (`benchmarks/order_speed.py` measures real processes). Timers are long, as nothing is lost; 64
batches may be under way, where the default is 4, and all places lie within one window.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from rich.table import Table

from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from kumiai.adapters.sim.ordering.bandwidth import SETTINGS, Haul, Hauled, Line

OPERATION_BYTES = 256
RATES = {"0.1": 100, "30": 30_000, "125": 125_000}  # Mbps -> kbit/s
LATENCIES_US = {"1 ms": (1_000, 1_000), "30 to 300 ms": (30_000, 300_000)}
DOUBTED = 5_000  # transactions in their row that fits 500


@dataclass(frozen=True)
class Row:
    """theirs: seconds at 0.1, 30 and 125 Mbps; None: not told."""

    count: int
    nodes: int
    theirs: tuple[float | None, float | None, float | None]
    note: str = ""


ROWS = (
    Row(100, 10, (8.609, 1.494, 1.497)),
    Row(100, 30, (8.707, 1.685, 1.755)),
    Row(1000, 30, (73.536, 1.682, 1.833)),
    Row(100, 50, (8.697, 1.842, 1.752)),
    Row(200, 50, (15.984, 1.908, 1.893)),
    Row(500, 50, (37.532, 1.767, 1.678), "their 5,000"),
    Row(DOUBTED, 50, (37.532, 1.767, 1.678), "fits 500"),
    Row(10_000, 50, (None, 7.215, 2.074)),
)


@dataclass(frozen=True)
class Cell:
    """What is played. latency, rate: keys of the tables above."""

    row: int
    rate: str
    latency: str
    is_shared: bool


def play(cell: Cell) -> tuple[Hauled, float]:
    """Play one cell; return it and the seconds of this process that it took."""
    row = ROWS[cell.row]
    line = Line(RATES[cell.rate], LATENCIES_US[cell.latency], cell.is_shared)
    begun = time.process_time()
    hauled = Haul(row.nodes, row.count, OPERATION_BYTES, line).play()
    return hauled, time.process_time() - begun


def find_theirs(cell: Cell) -> float | None:
    """Return their seconds for a cell."""
    return ROWS[cell.row].theirs[list(RATES).index(cell.rate)]


def judge(cell: Cell, hauled: Hauled) -> str:
    """Tell who is faster."""
    theirs = find_theirs(cell)
    if theirs is None:
        return "-"
    if hauled.us < theirs * 1e6:
        return "yes"
    return "below limit" if theirs * 1e6 < hauled.least_us else "no"


def make_table(latency: str, results: dict[Cell, tuple[Hauled, float]]) -> Table:
    """Return a row a line of their table and a rate."""
    table = Table(title=f"seconds until all have executed all; one-way latency {latency}")
    for head in (
        "transactions", "nodes", "Mbps", "theirs", "own lines", "limit", "faster",
        "one uplink", "limit", "faster", "batches", "MB sent", "CPU s",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for number, rate in product(range(len(ROWS)), RATES):
        cells = [Cell(number, rate, latency, is_shared) for is_shared in (False, True)]
        if cells[0] not in results:
            continue
        row, theirs = ROWS[number], find_theirs(cells[0])
        played = [results[cell][0] for cell in cells]
        shown = [
            text
            for cell, hauled in zip(cells, played, strict=True)
            for text in (
                f"{hauled.us / 1e6:,.3f}",
                f"{hauled.least_us / 1e6:,.3f}",
                judge(cell, hauled),
            )
        ]
        table.add_row(
            f"{row.count:,}" + (f" ({row.note})" if row.note else ""),
            str(row.nodes),
            rate,
            "-" if theirs is None else f"{theirs:.3f}",
            *shown,
            str(played[0].batches),
            f"{played[0].sent_bytes / 1e6:,.1f}",
            f"{sum(results[cell][1] for cell in cells):.1f}",
        )
    return table


def run_all(cells: Sequence[Cell], processes: int) -> dict[Cell, tuple[Hauled, float]]:
    """Play all cells."""
    with ProcessPoolExecutor(processes) as pool:
        return dict(zip(cells, pool.map(play, cells), strict=True))


def describe(results: dict[Cell, tuple[Hauled, float]], is_shared: bool) -> str:
    """Count the cells that are faster than theirs."""
    asked = [
        cell
        for cell in results
        if cell.is_shared == is_shared
        and find_theirs(cell) is not None
        and ROWS[cell.row].count != DOUBTED
    ]
    verdicts = [judge(cell, results[cell][0]) for cell in asked]
    name = "one uplink" if is_shared else "own lines"
    return (
        f"{name}: faster in {verdicts.count('yes')} of {len(asked)} cells; in "
        f"{verdicts.count('below limit')} their number is below the limit of any primary on such "
        f"lines (the row of {DOUBTED:,} as printed not counted)"
    )


def main() -> None:
    """Print a table a latency, and how many cells are faster."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(len(ROWS))))
    parser.add_argument("--rates", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--processes", type=int, default=1)
    add_save_option(parser, "order_pot")
    given = parser.parse_args()
    chosen = [row for row in range(len(ROWS)) if row in given.rows]
    rates = [rate for rate in RATES if rate in given.rates]
    cells = [Cell(*each) for each in product(chosen, rates, LATENCIES_US, (False, True))]
    results = run_all(cells, given.processes)
    printout = Printout("order_pot", given.save, 150)
    for latency in LATENCIES_US:
        printout.show(make_table(latency, results))
    for is_shared in (False, True):
        printout.say(describe(results, is_shared))
    printout.say(f"{OPERATION_BYTES} bytes an operation; {SETTINGS}")
    printout.save(
        {"plays": [{**asdict(c), **asdict(h), "cpu_s": s} for c, (h, s) in results.items()]}
    )


if __name__ == "__main__":
    main()
