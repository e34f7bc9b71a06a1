"""Zero msat lost or created: simulated jobs with faults at every step, and the books after each.

    python benchmarks/market_money.py [--jobs 10000] [--first 0] [--processes 2] [--save FOLDER]

Each job is a customer and providers (the real machines, signatures and journals' fold) in virtual
time, from a seed: relays drop, delay, repeat and forget; members crash at any place of any input;
wallets lose requests and answers, fail and are slow; blob servers go away; providers deliver
garbage, lie, vanish, copy, overcharge or send no key. After every input the bank is counted: the
sum of all money is what was put in, a key pays once, nobody is above its budget. At the end whoever
did honest work that was accepted is paid. Ends with an error, and the seeds, if there is a flaw.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 50


def play(seeds: range) -> tuple[int, int, int, list[str]]:
    """Return jobs, crashes, jobs that ended with all rounds done, and flaws."""
    from kumiai.adapters.sim.market.jobs import play_job

    crashes = finished = 0
    flaws = []
    for seed in seeds:
        report = play_job(seed)
        crashes += report.crashes
        finished += report.outcome == "all rounds done"
        flaws += [f"seed {seed}: {flaw}" for flaw in report.flaws]
    return len(seeds), crashes, finished, flaws


def main() -> None:
    """Play all seeds, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    add_save_option(parser, "market_money")
    options = parser.parse_args()
    last = options.first + options.jobs
    chunks = [range(at, min(at + CHUNK, last)) for at in range(options.first, last, CHUNK)]
    began = time.perf_counter()
    jobs = crashes = finished = 0
    flaws: list[str] = []
    with ProcessPoolExecutor(options.processes) as pool:
        for done in pool.map(play, chunks):
            jobs, crashes, finished = jobs + done[0], crashes + done[1], finished + done[2]
            flaws += done[3]
            print(f"{jobs} jobs, {crashes} crashes, {len(flaws)} flaws", end="\r", flush=True)
    out = Printout("market_money", options.save)
    table = Table(title="simulated jobs with faults at every step")
    for head in ("jobs", "all rounds done", "crashes", "msat lost or made", "flaws", "seconds"):
        table.add_column(head, justify="right")
    seconds = f"{time.perf_counter() - began:.0f}"
    wrong = "0" if not flaws else "see flaws"
    table.add_row(f"{jobs:,}", f"{finished:,}", f"{crashes:,}", wrong, str(len(flaws)), seconds)
    out.show(table)
    out.save()
    for flaw in flaws[:20]:
        print(flaw)
    if flaws:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from rich.table import Table

    from saved_tables import Printout, add_save_option

    main()
