"""Which backend and tier a run gets: by the recipe, a short measurement, and the run's cost.

Measured: one iteration of one member, and one of all members stacked, both uncompiled. Estimated
from that: a round inline, in processes and stacked; then what tracing or compiling would save over
the expected rounds against what it costs. A decision is kept in the cache folder, so that a
repeated run of the same task on the same machine decides the same and gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from kumiai.adapters.compute.execution.counting import WorkCounter
from kumiai.adapters.compute.execution.devices import synchronise
from kumiai.adapters.compute.execution.inline import convert_format
from kumiai.adapters.compute.execution.lowering import TIERS, Tier, describe_machine, has_compiler
from kumiai.adapters.compute.execution.probe import Traits
from kumiai.adapters.compute.execution.shards import CPU, JoinedShards, count_member_iterations
from kumiai.adapters.cores import count_cores
from kumiai.learning.client import LocalWork, expand
from kumiai.learning.layout import unflatten

# Seen on benchmarks/engine.py and the demos, rounded to the careful side. What tracing saves and
# lowering costs grows with the operations that one iteration dispatches, not with their size.
OP_SECONDS = 26e-6  # an operation of a stacked iteration before it computes anything
OP_SECONDS_TRACED = 14e-6
TRACE_SECONDS = 3.2e-3  # an operation
COMPILE_SECONDS = 50e-3  # an operation
COMPUTE_COMPILED = 0.6  # of the time that is left without the operations' own
SINGLE_COMPILED = 0.8  # of a single member's iteration
PROCESS_SLOWDOWN = 1.0  # seen 0.9 to 1.1: cores share memory, but less passes through each cache
PROCESS_START_SECONDS = 0.2
PROCESS_MEMBER_SECONDS = 0.002  # to hand a member over and take it back

DECISION_VERSION = 2  # decisions of another are taken anew
MEASURE_REPEATS = 3
MEASURE_SECONDS_MAX = 0.5  # a longer iteration is timed once


@dataclass(frozen=True)
class Choice:
    """A backend, its tier and the reason in one sentence. device_type: of its processes' own."""

    backend: str
    tier: Tier
    reason: str
    device_type: str = "cpu"


@dataclass(frozen=True)
class Costs:
    """Seconds of one uncompiled round on each backend; None where it cannot run there.

    iteration_count: stacked iterations a round; op_count: operations that each of them dispatches;
    graph_count: graphs to make for the stacked round.
    """

    inline: float
    process: float | None
    vectorised: float | None
    iteration_count: int
    op_count: int
    graph_count: int


@dataclass(frozen=True)
class Wish:
    """What the caller asked for ("auto": choose) and how many rounds the choice must repay in."""

    backend: str
    tier: str
    rounds_expected: int


def choose(
    work: LocalWork, traits: Traits, global_P: torch.Tensor, data: JoinedShards, wish: Wish
) -> Choice:
    """Return backend and tier for this work; measures only what is not asked for outright."""
    if wish.backend in ("inline", "process", "ray") and wish.tier != "auto":
        return Choice(wish.backend, as_tier(wish.tier), f"{wish.backend}, {wish.tier}: asked for")
    costs = measure(work, traits, global_P, data)
    if wish.backend == "vectorised" and costs.vectorised is None:
        return Choice("inline", "eager", f"inline: {explain_unstackable(traits)}")
    if data.device.type != CPU.type:
        return choose_on_gpu(costs, wish)
    backend = wish.backend if wish.backend != "auto" else pick_backend(costs, wish)
    tier = pick_tier(backend, traits, costs, wish)
    return Choice(backend, tier, describe(backend, tier, costs, wish))


def choose_on_gpu(costs: Costs, wish: Wish) -> Choice:
    """Return the faster of the two backends that work there, eager.

    What lowering saves was measured on CPUs, and its kernels are made for them.
    """
    is_faster = costs.vectorised is not None and costs.vectorised < costs.inline
    backend = wish.backend
    if backend == "auto":
        backend = "vectorised" if is_faster else "inline"
    return Choice(backend, "eager", describe(backend, "eager", costs, wish))


def pick_backend(costs: Costs, wish: Wish) -> str:
    """Return the backend with the shortest expected run, each in its best tier."""
    rounds = wish.rounds_expected
    options = {"inline": costs.inline * rounds}
    if costs.process is not None:
        options["process"] = costs.process * rounds + PROCESS_START_SECONDS
    if costs.vectorised is not None:
        totals = list_stacked_totals(costs, rounds)
        options["vectorised"] = min(totals.values())
    return min(options, key=lambda name: options[name])


def pick_tier(backend: str, traits: Traits, costs: Costs, wish: Wish) -> Tier:
    """Return the tier asked for if it can be had, else the one with the shortest expected run."""
    if backend == "vectorised" and not traits.is_separable:
        return "eager"
    if wish.tier != "auto":
        return as_tier(wish.tier)
    if backend == "vectorised":
        totals = list_stacked_totals(costs, wish.rounds_expected)
        return min(totals, key=lambda tier: totals[tier])
    cost = costs.inline if backend == "inline" else costs.process or costs.inline
    saved = cost * wish.rounds_expected * (1 - SINGLE_COMPILED)
    compiling = COMPILE_SECONDS * costs.op_count
    return "compiled" if saved > 2 * compiling and has_compiler() else "eager"


def list_stacked_totals(costs: Costs, rounds: int) -> dict[Tier, float]:
    """Return the expected seconds of a whole stacked run in each tier that this machine has."""
    assert costs.vectorised is not None
    run = costs.vectorised * rounds
    op_count = costs.op_count * costs.iteration_count * rounds
    graph_ops = costs.op_count * costs.graph_count
    computing = max(0.0, run - op_count * OP_SECONDS)
    totals: dict[Tier, float] = {
        "eager": run,
        "traced": computing + min(run, op_count * OP_SECONDS_TRACED) + TRACE_SECONDS * graph_ops,
    }
    compiled = computing * COMPUTE_COMPILED + COMPILE_SECONDS * graph_ops
    # looking for a compiler takes seconds: only where one would be used
    if compiled < min(totals.values()) and has_compiler():
        totals["compiled"] = compiled
    return totals


def measure(work: LocalWork, traits: Traits, global_P: torch.Tensor, data: JoinedShards) -> Costs:
    """Time one iteration of one member and one of all members stacked."""
    lengths = count_member_iterations(work.settings, data.counts)
    size = min(work.settings.batch_size, max(data.counts))
    members = [n for n, count in enumerate(data.counts) if count >= size]
    rows = torch.stack([torch.arange(data.offsets[n], data.offsets[n] + size) for n in members])
    tensors = convert_format(unflatten(work.layout, global_P), data.is_channels_last)
    carry = work.init(tensors)
    inputs, targets = data.batch(rows[0])
    is_cpu = data.device.type == CPU.type
    single = time_call(lambda: work.step(carry, carry.params, inputs, targets, None), data.device)
    inline = single * sum(lengths)
    workers = min(count_cores(), len(lengths)) if is_cpu else 1
    process = None
    if workers > 1:
        per_core = max(max(lengths) * single, inline / workers)
        process = per_core * PROCESS_SLOWDOWN + PROCESS_MEMBER_SECONDS * len(lengths)
    counter = WorkCounter()
    with counter:
        work.step(carry, carry.params, inputs, targets, None)
    stacked = None
    if not traits.is_random:
        stacked = measure_stacked(work, global_P, data, rows, counter)
    if stacked is not None:
        stacked *= max(lengths) * len(lengths) / len(members)
    return Costs(
        inline, process, stacked, max(lengths), counter.op_count, graph_count=min(2, max(lengths))
    )


def measure_stacked(
    work: LocalWork,
    global_P: torch.Tensor,
    data: JoinedShards,
    rows_MB: torch.Tensor,
    counter: WorkCounter,
) -> float | None:
    """Return the seconds of one stacked iteration, None where the recipe cannot be stacked.

    Leaves its operations in `counter`.
    """
    shared = work.init(unflatten(work.layout, global_P))
    carry = expand(shared, len(rows_MB))
    carry = torch.utils._pytree.tree_map(lambda t: t.contiguous(), carry)
    inputs, targets = data.batch(rows_MB)
    try:
        with counter:
            work.step_stacked(carry, shared.params, inputs, targets, None)
        return time_call(
            lambda: work.step_stacked(carry, shared.params, inputs, targets, None), data.device
        )
    except Exception as error:  # noqa: BLE001 - any user's network: what vmap refuses, inline runs
        del error
        return None


def time_call(call: Callable[[], object], device: torch.device = CPU) -> float:
    """Return the best of a few timings, after a first call that imports and allocates."""
    call()
    synchronise(device)
    best = float("inf")
    for _ in range(MEASURE_REPEATS):
        start = time.perf_counter()
        call()
        synchronise(device)
        best = min(best, time.perf_counter() - start)
        if best > MEASURE_SECONDS_MAX:
            break
    return best


def describe(backend: str, tier: Tier, costs: Costs, wish: Wish) -> str:
    """Say in one sentence what was chosen and from which numbers."""
    seconds = {"inline": costs.inline, "process": costs.process, "vectorised": costs.vectorised}
    shown = ", ".join(
        f"{name} {1000 * cost:.3g} ms" for name, cost in seconds.items() if cost is not None
    )
    asked = "asked for" if wish.backend != "auto" else "chosen"
    return (
        f"{backend}, {tier}: {asked}; an uncompiled round was estimated at {shown}, "
        f"for {wish.rounds_expected} rounds"
    )


def explain_unstackable(traits: Traits) -> str:
    """Say why members of this recipe are not stacked."""
    if traits.is_random:
        return "the recipe draws random numbers, which stacking would mix between members"
    return "the recipe cannot be stacked over members (torch.func.vmap refuses it)"


def as_tier(name: str) -> Tier:
    """Return `name` as a tier; raises ValueError for another word."""
    for tier in TIERS:
        if tier == name:
            return tier
    raise ValueError(f"tier {name!r} is not one of auto, {', '.join(TIERS)}")


def compute_decision_key(work: LocalWork, data: JoinedShards, wish: Wish) -> str:
    """Return a name for what a decision depends on: the work's shapes, the wish, the machine.

    Not who takes part: a run that is resumed in a round with fewer members must decide as it did.
    """
    parts = (
        DECISION_VERSION,
        work.recipe.name,
        work.layout,
        asdict(work.settings),
        tuple(data.inputs.shape[1:]),
        str(data.inputs.dtype),
        wish,
        data.device.type,
        describe_machine(),
        count_cores(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def load_decision(path: Path) -> Choice | None:
    """Return the decision kept at `path`, or None where there is none that can be read."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Choice(str(kept["backend"]), as_tier(kept["tier"]), str(kept["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_decision(path: Path, choice: Choice) -> None:
    """Keep a decision; a folder that cannot be written only means measuring again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(choice), indent=1), encoding="utf-8")
    except OSError:
        return
