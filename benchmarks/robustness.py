"""What each aggregator withstands: test accuracy for every attack, the clean run beside it.

    python benchmarks/robustness.py [--partition iid] [--hostile 3] [--members 10] [--rounds 10]
                                    [--seeds 3] [--aggregators ...] [--attacks ...]

Digits (8 x 8), a net of 64-32-10, one local epoch a round. The members train as in a run and the
aggregate is all that defends: no scores, no committee. clean: nobody attacks. backdoor's second
column is the share of test samples with the trigger that the model takes for the attacker's class
(clean models: a few per cent). Each cell is the mean over the seeds; ! marks what lies more than
three points below the plain mean's clean run. buckets of 2: see `bucketing`.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from kumiai.adapters.data.sources import load_digits
from kumiai.adapters.sim.attacks import ATTACKS
from kumiai.adapters.sim.federation import Federation, play
from kumiai.learning.aggregation import AGGREGATORS, Settings

TOLERANCE = 0.03
BUCKETED = ("median", "geometric_median", "centered_clip")


def list_rows(names: list[str], hostile: int, members: int) -> list[tuple[str, str, Settings]]:
    """Return (label, aggregator, settings), the rules' own settings for that many hostile."""
    settings = Settings(
        byzantine_count=hostile, trim_ppm=min(499_999, -(-hostile * 1_000_000 // members))
    )
    rows = [(name, name, settings) for name in names]
    rows += [
        (f"{name}, buckets of 2", name, replace(settings, bucket_size=2))
        for name in BUCKETED
        if name in names
    ]
    return rows


def main() -> None:
    """Print one row an aggregator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--partition", default="iid", choices=("iid", "dirichlet", "quantity"))
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--hostile", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--aggregators", nargs="+", default=list(AGGREGATORS))
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    base = Federation(
        digits.features,
        digits.labels,
        digits.class_count,
        member_count=given.members,
        hostile_count=given.hostile,
        rounds=given.rounds,
        kind=given.partition,
        alpha=given.alpha,
    )
    federations = [replace(base, seed=seed) for seed in range(1, given.seeds + 1)]
    clean = statistics.mean(play(f, "mean", None, Settings()).accuracy for f in federations)
    table = Table(
        title=f"{given.hostile} of {given.members} hostile, {given.partition}, "
        f"{given.rounds} rounds; the mean without attack: {clean:.3f}"
    )
    for column in ("aggregator", "clean", *given.attacks, "triggered"):
        table.add_column(column, justify="left" if column == "aggregator" else "right")
    console = Console(width=140)
    for label, name, settings in list_rows(given.aggregators, given.hostile, given.members):
        cells, triggered = [], float("nan")
        for attack in (None, *given.attacks):
            outcomes = [play(f, name, attack, settings) for f in federations]
            accuracy = statistics.mean(outcome.accuracy for outcome in outcomes)
            cells.append(f"{accuracy:.3f}{'!' if accuracy < clean - TOLERANCE else ' '}")
            if attack == "backdoor":
                triggered = statistics.mean(outcome.triggered for outcome in outcomes)
        table.add_row(label, *cells, f"{triggered:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
