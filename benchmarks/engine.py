"""The learning engine against the bare loop and named peers, on the reference work.

    python benchmarks/engine.py [--work digits|cnn|all] [--clients 10|100] [--peers auto|none|LIST]

Every contender trains the same rounds in turn, one round each before anybody's next one, so that a
busy machine hurts all alike; the ratio is to the bare loop (one process, one thread) of the same
run. Peers run in their own environments (`benchmarks/peers/setup.sh`), each beside its own bare
loop; absent ones are skipped with a message. Same weights at the end: the norm is the check.
"4 widths": the same work with slimmable training on, which no peer does; its cost is stated as a
ratio to one width in the same tier.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.table import Table

from saved_tables import Printout, add_save_option

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
sys.path[:0] = [str(HERE.parent / "src"), str(PEERS)]

from reference_work import (  # noqa: E402
    BATCH_SIZE,
    LEARNING_RATE,
    ROUNDS,
    Shard,
    build_net,
    clone_state,
    compute_norm,
    load_shards,
    run_bare_round,
)

from kumiai.adapters.compute.execution.engine import Engine  # noqa: E402
from kumiai.adapters.data.user_file import load_user_recipe  # noqa: E402
from kumiai.learning.client import TrainSettings  # noqa: E402
from kumiai.learning.layout import flatten, unflatten  # noqa: E402

GOALS = {("digits", 10): 0.12, ("digits", 100): 0.05, ("cnn", 10): 0.30, ("cnn", 100): 0.35}
NORM_TOLERANCE = 2e-5  # relative: five to six digits
PEER_NAMES = ("pfl", "flower")
PEER_SECONDS_MAX = 900
TIERS = {
    "digits": [("vectorised", "eager"), ("vectorised", "traced"), ("vectorised", "compiled")],
    "cnn": [("inline", "eager"), ("inline", "compiled"), ("ray", "eager"), ("process", "eager"),
            ("process", "compiled")],
}  # fmt: skip
SLIM_TIER = {"digits": ("vectorised", "compiled"), "cnn": ("process", "compiled")}
WIDTHS_PPM = (250_000, 500_000, 750_000, 1_000_000)
RAY_WORKERS = 2  # as many as Flower's simulation gets on the reference machine
RAY_GOAL = 1.0  # of the time of Flower's Ray simulation, both as ratios to their own bare loop


@dataclass
class Timing:
    """Seconds of each round, the first apart; the norm of the weights at the end."""

    name: str
    seconds: list[float] = field(default_factory=list)
    norm: float = float("nan")
    bare: list[float] = field(default_factory=list)
    is_other: bool = False  # ends at other weights by its nature

    @property
    def tail(self) -> list[float]:
        """All rounds but the first, which warms up."""
        return self.seconds[1:] or self.seconds


class BareLoop:
    """The yardstick as a contender."""

    def __init__(self, work: str, shards: list[Shard]) -> None:
        self.timing = Timing("bare loop")
        self._net = build_net(work)
        self._state = clone_state(self._net)
        self._shards = shards

    def step(self) -> None:
        start = time.perf_counter()
        self._state = run_bare_round(self._net, self._state, self._shards)
        self.timing.seconds.append(time.perf_counter() - start)

    def finish(self) -> None:
        self.timing.norm = compute_norm(self._state)


class KumiaiRounds:
    """Our engine as a contender: train, then the mean weighted by samples."""

    def __init__(
        self,
        work: str,
        shards: list[Shard],
        backend: str,
        tier: str,
        cache_dir: str,
        widths_ppm: Sequence[int],
    ) -> None:
        self.timing = Timing(_name(backend, tier, widths_ppm), is_other=len(widths_ppm) > 1)
        self._start = time.perf_counter()
        self._engine = make_engine(work, backend, tier, cache_dir, widths_ppm)
        self._global_P = flatten(self._engine.layout, build_net(work).state_dict()).detach()
        self._shards = shards

    def step(self) -> None:
        is_first = not self.timing.seconds
        start = self._start if is_first else time.perf_counter()
        self._global_P = run_engine_round(self._engine, self._global_P, self._shards)
        self.timing.seconds.append(time.perf_counter() - start)
        choice = self._engine.choice
        if is_first and choice is not None and not self.timing.name.endswith(choice.tier):
            self.timing.name += f" (ran {choice.backend}, {choice.tier})"

    def finish(self) -> None:
        self.timing.norm = compute_norm(unflatten(self._engine.layout, self._global_P))
        self._engine.close()


def _name(backend: str, tier: str, widths_ppm: Sequence[int]) -> str:
    widths = f"{len(widths_ppm)} widths, " if len(widths_ppm) > 1 else ""
    return f"kumiai {backend}, {widths}{tier}"


def make_engine(
    work: str,
    backend: str,
    tier: str,
    cache_dir: str | None,
    widths_ppm: Sequence[int] = (1_000_000,),
) -> Engine:
    settings = TrainSettings(
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        shuffle=False,
        is_filled=False,  # as the peers cut their batches
        slim_widths=tuple(width / 1_000_000 for width in widths_ppm[:-1]),
    )
    # from a file, as a user's recipe: that is how it reaches Ray's workers
    recipe = load_user_recipe(
        "reference_work.py:build_recipe_net", {"work": work}, widths_ppm, PEERS
    )
    workers = RAY_WORKERS if backend == "ray" else None
    return Engine(recipe, settings, backend, cache_dir, tier=tier, worker_count=workers)


def run_engine_round(engine: Engine, global_P: torch.Tensor, shards: list[Shard]) -> torch.Tensor:
    result = engine.train(global_P, shards, range(len(shards)))
    weights_N = torch.tensor(result.samples_N, dtype=torch.float32)
    return global_P + (weights_N / weights_N.sum()) @ result.updates_NP


def run_contenders(work: str, clients: int, rounds: int, cache_dir: str) -> list[Timing]:
    """Let all contenders take their rounds in turn."""
    shards = load_shards(work, clients, find_digits())
    contenders: list[BareLoop | KumiaiRounds] = [BareLoop(work, shards)]
    kinds = [(*tier, (1_000_000,)) for tier in TIERS[work]]
    for backend, tier, widths_ppm in [*kinds, (*SLIM_TIER[work], WIDTHS_PPM)]:
        if backend == "ray" and importlib.util.find_spec("ray") is None:
            say("kumiai ray: skipped, Ray is not installed (pip install 'kumiai[ray]')")
            continue
        contenders.append(KumiaiRounds(work, shards, backend, tier, cache_dir, widths_ppm))
        contenders[-1].step()  # the first round on its own: it measures and compiles
        timing = contenders[-1].timing
        say(f"{work}, {clients} clients: {timing.name}: first round {timing.seconds[0]:.1f} s")
    contenders[0].step()
    for _ in range(rounds - 1):
        for contender in contenders:
            contender.step()
    for contender in contenders:
        contender.finish()
    return [contender.timing for contender in contenders]


def say(line: str) -> None:
    """Print progress where it does not mix with the tables."""
    print(line, file=sys.stderr, flush=True)


def run_peer(name: str, work: str, clients: int, rounds: int) -> Timing | str:
    """Run a peer in its own environment; returns why not, if it cannot."""
    python = HERE / ".venvs" / name / "bin" / "python"
    if not python.exists():
        return f"{name}: skipped, no environment (make it with benchmarks/peers/setup.sh {name})"
    command = [python, PEERS / f"{name}_round.py", work, str(clients), str(rounds), find_digits()]
    path = os.pathsep.join(filter(None, [str(PEERS), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=PEER_SECONDS_MAX,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{name}: no result within {PEER_SECONDS_MAX} s"
    lines = [line for line in done.stdout.splitlines() if "RESULT {" in line]
    if not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return f"{name}: failed ({last[:160]})"
    result = json.loads(lines[-1].partition("RESULT ")[2])
    return Timing(name, result["seconds"], result["norm"], result["bare"])


def compare_ray(timings: list[Timing]) -> str | None:
    """Say how our Ray compares with Flower's, each measured against its own bare loop."""
    ratios = {}
    for timing in timings:
        bare = statistics.median(timing.bare or timings[0].tail)
        ratios[timing.name] = statistics.median(timing.tail) / bare
    if "kumiai ray, eager" not in ratios or "flower" not in ratios:
        return None
    ratio = ratios["kumiai ray, eager"] / ratios["flower"]
    return (
        f"kumiai ray, {RAY_WORKERS} workers: {ratio:.2f} of Flower's Ray simulation's time a round "
        f"(goal: <= {RAY_GOAL:.1f})"
    )


def compare_widths(work: str, timings: list[Timing]) -> str | None:
    """Say what slimmable training costs, beside one width in the same tier."""
    found = {timing.name: timing for timing in timings}
    one, many = (found.get(_name(*SLIM_TIER[work], w)) for w in ((1_000_000,), WIDTHS_PPM))
    if one is None or many is None:
        return None
    ratio = statistics.median(many.tail) / statistics.median(one.tail)
    return (
        f"{len(WIDTHS_PPM)} widths cost {ratio:.2f} times one width ({', '.join(SLIM_TIER[work])})"
    )


def time_start(work: str, clients: int) -> float:
    """Return the seconds from a fresh process to the end of its first, uncompiled round."""
    backend = TIERS[work][-1][0]
    command = [sys.executable, __file__, "--first-round", work, str(clients), backend]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def run_first_round(work: str, clients: int, backend: str) -> None:
    torch.set_num_threads(1)
    shards = load_shards(work, clients, find_digits())
    with make_engine(work, backend, "eager", None) as engine:
        global_P = flatten(engine.layout, build_net(work).state_dict()).detach()
        run_engine_round(engine, global_P, shards)


def find_digits() -> str:
    """Return the path of scikit-learn's digits, without importing it."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("scikit-learn's data files are needed: pip install --no-deps scikit-learn")
    return str(Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz")


def print_table(printout: Printout, work: str, clients: int, timings: list[Timing]) -> None:
    """Print one work's table; ratios to the bare loop of the same process."""
    table = Table(title=f"{work}, {clients} clients (goal: ratio <= {GOALS[work, clients]})")
    for heading in ("", "median ms", "min ms", "ratio (medians)", "ratio (minima)",
                    "first round s", "weight norm", "same"):  # fmt: skip
        table.add_column(heading, justify="left" if not heading else "right")
    reference = timings[0]
    for timing in timings:
        bare = timing.bare or reference.tail
        median, least = statistics.median(timing.tail), min(timing.tail)
        is_same = abs(timing.norm - reference.norm) <= NORM_TOLERANCE * reference.norm
        table.add_row(
            timing.name,
            f"{1000 * median:.3f}",
            f"{1000 * least:.3f}",
            f"{median / statistics.median(bare):.3f}",
            f"{least / min(bare):.3f}",
            f"{timing.seconds[0]:.2f}",
            f"{timing.norm:.5f}",
            "–" if timing.is_other else "yes" if is_same else "NO",
        )
    printout.show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", choices=["digits", "cnn", "all"], default="all")
    parser.add_argument("--clients", type=int, choices=[10, 100, 0], default=0, help="0: both")
    parser.add_argument("--rounds", type=int, default=0, help="0: 30 for digits, 4 and 3 for cnn")
    parser.add_argument("--peers", default="auto", help="auto, none or a list like pfl,flower")
    parser.add_argument("--cache", default=None, help="keep compiled artefacts in this folder")
    parser.add_argument("--first-round", nargs=3, help=argparse.SUPPRESS)
    add_save_option(parser, "engine")
    arguments = parser.parse_args()
    if arguments.first_round:
        work, clients, backend = arguments.first_round
        run_first_round(work, int(clients), backend)
        return
    torch.set_num_threads(1)
    printout = Printout("engine", arguments.save, 132)
    peers = {"auto": list(PEER_NAMES), "none": []}.get(arguments.peers, arguments.peers.split(","))
    with tempfile.TemporaryDirectory() as scratch:
        cache_dir = arguments.cache or scratch
        for work, clients in GOALS:
            if arguments.work not in ("all", work) or arguments.clients not in (0, clients):
                continue
            rounds = arguments.rounds or ROUNDS[work, clients]
            timings = run_contenders(work, clients, rounds, cache_dir)
            notes = []
            for name in peers:
                say(f"{work}, {clients} clients: {name}")
                outcome = run_peer(name, work, clients, rounds)
                if isinstance(outcome, str):
                    notes.append(outcome)
                else:
                    timings.append(outcome)
            print_table(printout, work, clients, timings)
            notes += filter(None, [compare_ray(timings), compare_widths(work, timings)])
            start = time_start(work, clients)
            notes.append(f"process start to the end of the first uncompiled round: {start:.1f} s")
            for note in notes:
                printout.say(f"  {note}")
    printout.save()


if __name__ == "__main__":
    main()
