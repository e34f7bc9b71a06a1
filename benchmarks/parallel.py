"""One large member in one process and in several: seconds an iteration, memory a process.

    python benchmarks/parallel.py [--layers 4] [--heads 8] [--batch 32] [--processes 2]

A transformer (heads of 64) is trained on random tokens by AdamW: in one worker process, in several
that hold the whole model (ddp), in several that share it out (fsdp). The three take turns as often
as `repeats` says; each row's time is its best round's, divided by its iterations, and the ratio is
to the one process of the same run. CPU seconds are what the busiest process computed meanwhile,
waiting left out: what a round would take on idle cores, but for the exchange. MB is the most that
was seen of a process's own pages (Linux: the private ones of smaps_rollup, looked at all the time),
without shared samples and libraries. Every process computes on one thread. With as many processes
as idle cores the seconds mean something; a busy machine makes them look worse. The last column
compares each update with the single process's.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.table import Table

from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from kumiai.adapters.compute.execution.engine import Engine
from kumiai.learning.client import TrainSettings
from kumiai.learning.layout import flatten
from kumiai.learning.parallel import Parallel
from kumiai.learning.recipe import Recipe, build_recipe, build_seeded

VOCABULARY, LENGTH = 256, 32
LOOK_SECONDS = 0.02


@dataclass
class Row:
    """One way to train, and what was seen of it."""

    name: str
    recipe: Recipe
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    bytes_max: int = 0
    update_P: torch.Tensor | None = None


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    add_save_option(parser, "parallel")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = {"layers": options.layers, "heads": options.heads, "head_size": 64}
    recipe = build_recipe("transformer", sizes, [1_000_000], (LENGTH,), VOCABULARY)
    rows = [
        Row("one process", recipe),
        *(
            Row(mode, replace(recipe, parallel=Parallel(mode, options.processes)))
            for mode in ("ddp", "fsdp")
        ),
    ]
    settings = TrainSettings(
        optimizer="adamw",
        learning_rate=1e-3,
        batch_size=options.batch,
        local_iterations=options.iterations,
    )
    for _ in range(options.repeats):
        for row in rows:
            measure(row, settings)
    printout = Printout("parallel", options.save)
    show(printout, rows, options)
    printout.save(
        {
            row.name: {
                "seconds": row.seconds,
                "cpu_seconds": row.cpu_seconds,
                "bytes": row.bytes_max,
            }
            for row in rows
        }
    )


def measure(row: Row, settings: TrainSettings) -> None:
    """Train one member for two rounds; the second is timed and looked at."""
    generator = torch.Generator().manual_seed(1)
    count = 4 * settings.batch_size
    tokens = torch.randint(VOCABULARY, (count, LENGTH + 1), generator=generator)
    shards = [(tokens[:, :-1].clone(), tokens[:, 1:].clone())]
    with Engine(row.recipe, settings, "process", tier="eager", worker_count=1) as engine:
        state = build_seeded(row.recipe, 1.0, 3).state_dict()
        start_P = flatten(engine.layout, state).detach()
        engine.train(start_P, shards, [1])  # starts the processes
        assert engine._backend is not None
        pids = engine._backend.worker_pids
        with Watch(pids) as watch:
            before, begin = [read_cpu_seconds(pid) for pid in pids], time.perf_counter()
            row.update_P = engine.train(start_P, shards, [1]).updates_NP[0]
            row.seconds.append((time.perf_counter() - begin) / settings.local_iterations)
            used = [read_cpu_seconds(pid) - start for pid, start in zip(pids, before, strict=True)]
            row.cpu_seconds.append(max(used) / settings.local_iterations)
    row.bytes_max = max(row.bytes_max, watch.bytes_max)


class Watch:
    """Looks at processes' private memory all the time, from a thread of its own."""

    def __init__(self, pids: tuple[int, ...]) -> None:
        self._pids, self._is_over = pids, threading.Event()
        self.bytes_max = 0
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            self.bytes_max = max(self.bytes_max, *map(read_private_bytes, self._pids))


def read_cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_private_bytes(pid: int) -> int:
    """Return the memory that a process has for itself; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_")
    )


def show(printout: Printout, rows: list[Row], options: argparse.Namespace) -> None:
    """Print the table and the reservations."""
    first = rows[0]
    assert first.update_P is not None
    title = (
        f"One member, {len(first.update_P):,} numbers, batches of {options.batch} x {LENGTH} "
        f"tokens, AdamW, {options.processes} processes: of each process"
    )
    heads = ("trained in", "s an iteration", "ratio", "CPU s", "ratio", "MB", "ratio", "differs by")
    table = Table(*heads, title=title)
    for row in rows:
        assert row.update_P is not None
        gap = float((row.update_P - first.update_P).norm() / first.update_P.norm())
        table.add_row(
            row.name,
            f"{min(row.seconds):.3f}",
            f"{min(row.seconds) / min(first.seconds):.2f}",
            f"{min(row.cpu_seconds):.3f}",
            f"{min(row.cpu_seconds) / (min(first.cpu_seconds) or 1.0):.2f}",
            f"{row.bytes_max / 1e6:.0f}" if row.bytes_max else "-",
            f"{row.bytes_max / first.bytes_max:.2f}" if first.bytes_max else "-",
            f"{gap:.1e}",
        )
    printout.show(table)
    printout.say(
        f"CPU, gloo, one thread a process, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: "
        "what else the machine does makes several processes look worse. No GPU was used."
    )


if __name__ == "__main__":
    main()
