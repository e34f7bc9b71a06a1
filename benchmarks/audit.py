"""Audits by replay: what they find, beside the formula, and what they cost.

    python benchmarks/audit.py [--rounds 44] [--draws 2000] [--save docs/results]

Real training on digits (six members, an MLP), real traces, real replays; only the beacons are made
up, `--draws` of them. Three tables:

  found      a member fakes a share of its 100 segments, q of them are replayed: how often it is
             found, and P = 1 - C(N - cN, q) / C(N, q)
  over a run `--rounds` rounds by several policies: how often a member that fakes a tenth of its
             work is found (a tenth of every round, or whole rounds at the end), and what all
             replays of all auditors cost, as a share of the training of all members: in iterations,
             and in processor time, with fetching, decoding and hashing
  tracing    how much longer training takes that leaves a trace, and how fast states are hashed
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.table import Table

from charts_svg import Curve, draw_log_chart
from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch

from kumiai.adapters.compute.audited import AuditedCompute
from kumiai.adapters.compute.determinism import reproducible
from kumiai.adapters.compute.execution.devices import CPU
from kumiai.adapters.compute.execution.inline import train_member
from kumiai.adapters.compute.execution.shards import join_shards
from kumiai.adapters.compute.execution.traced import TracedWork, run_trace
from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.sim.fakers import fabricate, fake_segments
from kumiai.apps.workload import Workload, load_workload, make_settings
from kumiai.learning.client import build_local_work
from kumiai.learning.layout import flatten
from kumiai.learning.recipe import build_recipe, build_seeded
from kumiai.nodes import ports
from kumiai.proofs import policy
from kumiai.proofs.trace import count_segments, list_opened, list_states
from kumiai.tasks.document import TaskDocument, task_from_mapping

MEMBERS = tuple(f"{i}" * 64 for i in range(6))
FAKER = MEMBERS[0]
ITERATIONS, EVERY = 300, 3
SEGMENTS = ITERATIONS // EVERY
SHARES_PPM = (20_000, 100_000, 200_000, 500_000)
AUDITED = (1, 2, 4, 8, 16, 32)
FAKES_EACH = 4  # fakers a share
COMMITTEE = tuple(f"{c}" * 64 for c in "abcd")


@dataclass(frozen=True)
class Policy:
    """How often whose work is replayed; see the section [audit] of a task."""

    name: str
    segments: int
    new_rounds: int
    p_min_ppm: int
    reaudit_ppm: int = 200_000


POLICIES = (
    Policy("every round, 1 segment", 1, 1, 1_000_000),
    Policy("every round, 2 segments", 2, 1, 1_000_000),
    Policy("10 rounds, then 1/n >= 0.1; 4 segments", 4, 10, 100_000),
    Policy("10 rounds, then 1/n >= 0.1; 2 segments", 2, 10, 100_000),
)


def make_task() -> TaskDocument:
    """The task of the first two tables."""
    return task_from_mapping(
        {
            "name": "audit-benchmark",
            "data": {"source": "digits", "mode": "assigned", "trainers": len(MEMBERS)},
            "model": {"recipe": "mlp", "options": {"hidden": 64}, "widths_ppm": [1_000_000]},
            "training": {
                "local_iterations": ITERATIONS,
                "batch_size": 32,
                "learning_rate_ppm": 100_000,
                "momentum_ppm": 900_000,
                "slim": False,
            },
            "validation": {"canaries": 0},
            "audit": {"mode": "replay", "checkpoint_every": EVERY},
        }
    )


class Stage:
    """The members' compute, with a faker of any share."""

    def __init__(self, task: TaskDocument, workload: Workload) -> None:
        self.task, self.workload = task, workload
        self.blobs = MemoryBlobs()
        self.assigned = dict(zip(MEMBERS, workload.publish_shards(self.blobs), strict=True))
        self.honest = self.make({})
        self.model = self.honest.init_model()

    def make(self, tracers: dict[str, object]) -> AuditedCompute:
        """A compute port over everybody's shards."""
        shards = dict(zip(MEMBERS, self.workload.data.shards, strict=True))
        recipe, engine = self.workload.recipe, self.workload.engine
        return AuditedCompute(self.task, recipe, engine, self.blobs, shards, {}, tracers=tracers)

    def make_job(self, member: str, number: int, model: str) -> ports.TrainJob:
        """One member's work of one round."""
        seed = 10_000 * number + MEMBERS.index(member)
        return ports.TrainJob(number, member, model, seed, checkpoint_every=EVERY)

    def open(
        self,
        compute: AuditedCompute,
        job: ports.TrainJob,
        result: ports.TrainResult,
        segments: Sequence[int],
    ) -> ports.AuditTarget:
        """What an audit of these segments is given."""
        last = count_segments(result.iteration_count, EVERY)
        compute.open_traces([ports.OpenJob(job.round, job, list_states(segments, last))])
        return ports.AuditTarget(
            job.member, job.seed, self.assigned[job.member], result.update, result.machine,
            result.iteration_count, EVERY, tuple(segments),
            tuple((i, result.trace[i]) for i in list_opened(segments, last)),
        )  # fmt: skip

    def find_faked(self, share_ppm: int, number: int, model: str) -> frozenset[int]:
        """Train a faker's round, replay each of its segments by itself; return the INVALID ones."""
        if share_ppm == 0:
            return frozenset()
        compute = self.make({FAKER: fake_segments(share_ppm, fabricate)})
        job = self.make_job(FAKER, number, model)
        (result,) = compute.train([job])
        found = set()
        for segment in range(SEGMENTS):
            target = self.open(compute, job, result, [segment])
            (verdict, _, _), _ = self.honest.replay(model, number, target)
            if verdict == "INVALID":
                found.add(segment)
        return frozenset(found)


def measure_found(stage: Stage, draws: int) -> dict[str, dict[int, tuple[float, float]]]:
    """(measured, formula) by share and number of replayed segments."""
    measured: dict[str, dict[int, tuple[float, float]]] = {}
    for share_ppm in SHARES_PPM:
        faked = [stage.find_faked(share_ppm, n, stage.model) for n in range(FAKES_EACH)]
        count = round(SEGMENTS * share_ppm / 1e6)
        assert all(len(found) == count for found in faked), (share_ppm, faked)
        cells = {}
        for q in AUDITED:
            hits = [
                not found.isdisjoint(policy.draw_segments(f"{i}/{d}", FAKER, SEGMENTS, q))
                for i, found in enumerate(faked)
                for d in range(draws // FAKES_EACH)
            ]
            formula = policy.compute_detection_ppm(SEGMENTS, count, q) / 1e6
            cells[q] = (statistics.mean(hits), formula)
        measured[f"{share_ppm / 1e4:g} %"] = cells
    return measured


def show_found(printout: Printout, measured: dict[str, dict[int, tuple[float, float]]]) -> None:
    table = Table(title=f"found (formula), %: a share of {SEGMENTS} segments is faked, q replayed")
    table.add_column("faked")
    for q in AUDITED:
        table.add_column(f"q = {q}", justify="right")
    for name, cells in measured.items():
        table.add_row(name, *(f"{100 * m:.1f} ({100 * f:.1f})" for m, f in cells.values()))
    printout.show(table)


def is_caught(terms: Policy, faked: Sequence[frozenset[int]], draw: int) -> bool:
    """Play one run's draws against what the replays of every round's segments gave."""
    valid = 0
    for number, wrong in enumerate(faked, start=1):
        seed = policy.compute_seed("benchmark", number, 1, [str(draw)])
        chance = policy.compute_chance_ppm(valid, terms.new_rounds, terms.p_min_ppm)
        if not policy.is_drawn(seed, "trainer", FAKER, chance):
            continue
        segments = policy.draw_segments(seed, FAKER, SEGMENTS, terms.segments)
        if not wrong.isdisjoint(segments):
            return True
        valid += 1
    return False


@dataclass
class Cost:
    """Of one honest run: iterations and processor seconds of training and of all replays."""

    trained: int = 0
    replayed: int = 0
    train_s: float = 0.0
    replay_s: float = 0.0
    opened_bytes: int = 0


def measure_costs(stage: Stage, rounds: int) -> tuple[dict[str, Cost], list[str]]:
    """Train honest members over a run, audit their work by every policy, each auditor for itself.

    Return what it cost by policy, and the model that each round began at.
    """
    costs = {terms.name: Cost() for terms in POLICIES}
    valid = {(terms.name, member): 0 for terms in POLICIES for member in MEMBERS}
    models = [stage.model]
    for number in range(1, rounds + 1):
        results = []
        for member in MEMBERS:
            job = stage.make_job(member, number, models[-1])
            started = time.process_time()
            (result,) = stage.honest.train([job])
            train_s = time.process_time() - started
            results.append(result)
            for terms in POLICIES:
                cost = costs[terms.name]
                cost.train_s += train_s
                cost.trained += result.iteration_count
                audit_work(stage, terms, job, result, valid, cost)
        included = tuple((r.member, r.update, 1) for r in results)
        averaged = stage.honest.aggregate(ports.AggregateJob(number, models[-1], None, included))
        models.append(averaged.model)
    return costs, models[:-1]


def audit_work(
    stage: Stage,
    terms: Policy,
    job: ports.TrainJob,
    result: ports.TrainResult,
    valid: dict[tuple[str, str], int],
    cost: Cost,
) -> None:
    """Draw one member's work, replay it if drawn, and book what that took."""
    seed = policy.compute_seed("benchmark", job.round, 1, ["cost"])
    member, place = job.member, (terms.name, job.member)
    chance = policy.compute_chance_ppm(valid[place], terms.new_rounds, terms.p_min_ppm)
    if not policy.is_drawn(seed, "trainer", member, chance):
        return
    valid[place] += 1
    segments = policy.draw_segments(seed, member, SEGMENTS, terms.segments)
    again = policy.is_drawn(seed, "again", member, terms.reaudit_ppm)
    started = time.process_time()
    target = stage.open(stage.honest, job, result, segments)
    names = {digest for i, digest in target.leaves if i in (*segments, SEGMENTS)}
    for auditor in policy.draw_auditors(seed, member, COMMITTEE, 1 + again):
        (found,) = stage.honest.audit([ports.AuditJob(job.round, auditor, job.model, (target,))])
        assert found.lines[0][0] == "VALID", found
        cost.replayed += found.iterations
        sizes = (len(stage.blobs.get(n, 2**30)) for n in names if stage.blobs.has(n))
        cost.opened_bytes += sum(sizes)
    cost.replay_s += time.process_time() - started


def show_run(printout: Printout, stage: Stage, rounds: int, draws: int) -> dict[str, object]:
    """The second table."""
    costs, models = measure_costs(stage, rounds)
    spread = [stage.find_faked(100_000, n, model) for n, model in enumerate(models, start=1)]
    whole = round(rounds / 10)
    late = [frozenset[int]()] * (rounds - whole) + [
        stage.find_faked(1_000_000, rounds - whole + n + 1, models[rounds - whole + n])
        for n in range(whole)
    ]
    table = Table(title=f"{rounds} rounds of {ITERATIONS} iterations, {draws} beacons; %")
    for name in ("audits", "a tenth of each round", f"the last {whole} rounds", "iterations",
                 "processor time", "kB opened a round"):  # fmt: skip
        table.add_column(name, justify="left" if name == "audits" else "right")
    numbers: dict[str, object] = {}
    for terms in POLICIES:
        caught = [
            statistics.mean(is_caught(terms, faked, draw) for draw in range(draws))
            for faked in (spread, late)
        ]
        cost = costs[terms.name]
        shares = cost.replayed / cost.trained, cost.replay_s / cost.train_s
        kilobytes = cost.opened_bytes / 1e3 / rounds / len(MEMBERS)
        table.add_row(
            terms.name,
            *(f"{100 * value:.1f}" for value in (*caught, *shares)),
            f"{kilobytes:.0f}",
        )
        numbers[terms.name] = {
            "caught_spread": caught[0], "caught_late": caught[1], "iterations": shares[0],
            "processor_time": shares[1],
        }  # fmt: skip
    printout.show(table)
    printout.say(
        "columns 2 and 3: how often the faker is found; 4 and 5: all replays of all auditors "
        "(one, and a fifth of the audits twice) as a share of all members' training"
    )
    return numbers


NETWORKS: tuple[tuple[str, str, dict[str, int], tuple[int, ...]], ...] = (
    ("mlp, hidden 64", "mlp", {"hidden": 64}, (64,)),
    ("mlp, hidden 1024", "mlp", {"hidden": 1024}, (784,)),
    ("cnn 28 x 28", "cnn", {}, (1, 28, 28)),
)
TRACING_EVERY = (1, 2, 10, 50)


def show_tracing(printout: Printout, repeats: int) -> dict[str, object]:
    """The third table: medians of interleaved runs."""
    table = Table(title="training that leaves a trace, % more processor time; SGD with momentum")
    table.add_column("network")
    table.add_column("state, kB", justify="right")
    for every in TRACING_EVERY:
        table.add_column(f"every {every}", justify="right")
    numbers: dict[str, object] = {}
    for name, recipe_name, options, shape in NETWORKS:
        recipe = build_recipe(recipe_name, options, (1_000_000,), shape, 10)
        task = make_task()
        settings = make_settings(task, recipe)
        work = build_local_work(recipe, settings)
        data = join_shards([(torch.randn(180, *shape), torch.randint(0, 10, (180,)))],
                           is_channels_last=len(shape) == 3)  # fmt: skip
        start_P = flatten(work.layout, build_seeded(recipe, 1.0, 0).state_dict())
        traced = TracedWork(work, start_P, data, 1)
        with reproducible(CPU), torch.no_grad():
            seconds: dict[int, list[float]] = {every: [] for every in (0, *TRACING_EVERY)}
            for _ in range(repeats):
                for every, found in seconds.items():
                    begun = time.process_time()
                    if every:
                        run_trace(traced, every)
                    else:
                        train_member(work, work.step, start_P, data, member=0, seed=1)
                    found.append(time.process_time() - begun)
            size = traced.count_bytes()
        plain = statistics.median(seconds[0])
        more = {e: statistics.median(seconds[e]) / plain - 1 for e in TRACING_EVERY}
        table.add_row(name, f"{size / 1e3:.0f}", *(f"{100 * m:+.1f}" for m in more.values()))
        numbers[name] = {"bytes": size, "plain_s": plain, **{str(e): m for e, m in more.items()}}
    printout.show(table)
    block = bytearray(os.urandom(2**26))
    rates = {}
    for label, work_on in (
        ("sha256", lambda: hashlib.sha256(block).digest()),
        ("copy", lambda: bytes(block)),
    ):
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            work_on()
            times.append(time.perf_counter() - begun)
        rates[label] = len(block) / min(times) / 1e9
    printout.say(
        f"hashing {rates['sha256']:.2f} GB/s, copying memory {rates['copy']:.1f} GB/s (one thread)"
    )
    return {**numbers, "rates_GB_s": rates}


def main() -> None:
    """Print the tables; save them and the curves where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=44)
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    add_save_option(parser, "audit")
    given = parser.parse_args()
    torch.set_num_threads(1)
    printout = Printout("audit", given.save, width=120)
    task = make_task()
    stage = Stage(task, load_workload(task, Path.cwd()))
    measured = measure_found(stage, given.draws)
    show_found(printout, measured)
    run = show_run(printout, stage, given.rounds, given.draws)
    tracing = show_tracing(printout, given.repeats)
    printout.save({"found": measured, "run": run, "tracing": tracing})
    if given.save is not None:
        curves = [
            Curve(f"{name} {kind}", [(q, cell[place]) for q, cell in cells.items()])
            for name, cells in measured.items()
            for place, kind in ((0, "measured"), (1, "formula"))
        ]
        picture = draw_log_chart(
            curves,
            f"Fakers found by replay: a share of {SEGMENTS} segments was faked",
            "segments replayed",
            "share of draws in which the faker was found",
            level=("99 %", 0.99),
            name_power=lambda power: str(10**power),
        )
        (given.save / "audit-curve.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
