"""The order in a hostile world: thousands of seeds, and what went wrong in them.

    python benchmarks/order_safety.py [--seeds 10000] [--first 0] [--processes 2] [--save FOLDER]

A seed draws a committee of 4, 7 or 10 validators, f of them traitors or none (silent, two-faced,
lying, hiding what they know), lost, doubled, late and reordered messages, cut networks, crashes in
the midst of writing, clocks that go at different speeds; after 20 s of virtual time all of that is
healed but the traitors. Checked at every message: agreement, validity, at most once, one vote a
view and place, written before it is sent, no loyal member proven guilty, bounded memory. After the
healing everything must get done.

restored   from the healing until all that was asked before it was done by every loyal member, in
           view timeouts (the longest that a loyal member then waits): the goal is <= 3
accused    traitors that a loyal member can prove guilty (only two different votes at one place are
           proof; silence and hiding are not)
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track
from rich.table import Table

from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from kumiai.adapters.sim.ordering.checks import ViolationError
from kumiai.adapters.sim.ordering.plan import SIZES, draw_plan
from kumiai.adapters.sim.ordering.world import World

CHUNK = 20  # seeds that a process takes at a time
GOAL = 3.0


@dataclass(frozen=True)
class Played:
    """One seed; flaw: what was broken, "" for nothing."""

    seed: int
    size: int
    traitors: int
    flaw: str
    executed: int = 0
    messages: int = 0
    views: int = 0
    accused: int = 0
    restored: float = 0.0


def play(seed: int) -> Played:
    """Play one seed."""
    plan = draw_plan(seed)
    try:
        result = World(plan).play()
    except ViolationError as error:
        return Played(seed, plan.size, len(plan.traitors), str(error))
    return Played(
        seed,
        plan.size,
        len(plan.traitors),
        "",
        result.executed,
        result.message_count,
        result.views,
        len(result.accused),
        result.restored_ms / result.timeout_ms,
    )


def make_table(plays: list[Played]) -> Table:
    """Return a row a size of committee, with and without traitors."""
    table = Table(title=f"the order in a hostile world: {len(plays)} seeds")
    for head in (
        "n", "traitors", "seeds", "violations", "batches", "messages", "most views",
        "restored: median", "99 %", "most", "accused",
    ):  # fmt: skip
        table.add_column(head, justify="right")
    for size in SIZES:
        for traitors in sorted({p.traitors for p in plays if p.size == size}):
            rows = [p for p in plays if (p.size, p.traitors) == (size, traitors)]
            table.add_row(str(size), str(traitors), *describe(rows))
    return table


def describe(rows: list[Played]) -> list[str]:
    """Return a row's cells."""
    good = [row for row in rows if not row.flaw]
    waits = sorted(row.restored for row in good) or [0.0]
    return [
        str(len(rows)),
        str(len(rows) - len(good)),
        f"{sum(row.executed for row in good):,}",
        f"{sum(row.messages for row in good):,}",
        str(max((row.views for row in good), default=0)),
        f"{statistics.median(waits):.2f}",
        f"{waits[int(len(waits) * 0.99)]:.2f}",
        f"{waits[-1]:.2f}",
        str(sum(row.accused for row in good)),
    ]


def run_all(seeds: range, processes: int) -> Iterable[Played]:
    """Yield the seeds' plays as they end."""
    if processes == 1:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play, seeds, chunksize=CHUNK)


def main() -> None:
    """Play, print, save; the exit code is 1 where anything was violated."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    add_save_option(parser, "order_safety")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    started = time.perf_counter()
    plays = list(
        track(run_all(seeds, given.processes), "playing", len(seeds), disable=len(seeds) < CHUNK)
    )
    seconds = time.perf_counter() - started
    printout = Printout("order_safety", given.save, 120)
    printout.show(make_table(plays))
    flaws = [row for row in plays if row.flaw]
    late = [row for row in plays if row.restored > GOAL]
    for row in flaws[:10]:
        printout.say(f"seed {row.seed} (make sim SEED={row.seed}): {row.flaw}")
    for row in late[:10]:
        printout.say(f"seed {row.seed}: restored after {row.restored:.2f} timeouts")
    printout.say(
        f"{len(flaws)} violations, {len(late)} of {len(plays)} seeds restored later than {GOAL:g} "
        f"timeouts, {seconds:.0f} s with {given.processes} processes"
    )
    printout.save({"plays": [vars(row) for row in flaws + late]})
    sys.exit(bool(flaws))


if __name__ == "__main__":
    main()
