"""Trainers that claim work they did not do: what they put into their traces instead of it.

Each is a stand-in for `execution.traced.run_trace`, run on the real engine, and each sends an
update that follows from its last state, so that only a replay can tell. Every lie is drawn from
the work's own seed: same seed, same lie. FAKERS names them; the catalogue with what becomes of each
is tests/adapters/test_audit_attacks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.traced import State, TracedWork

Keep = Callable[[int, State], None]
Run = tuple[State, tuple[str, ...], float]
Tracer = Callable[[TracedWork, int, Keep | None], Run]
Segment = Callable[[TracedWork, State, int, torch.Generator], tuple[State, float, int]]

CLAIMED_LOSS = 0.4
NUDGE = 1e-3  # standard deviation of a fabricated step of a parameter
GRIND_TRIES = 4


def fake_segments(share_ppm: int, fake: Segment) -> Tracer:
    """Return a tracer that fakes this share of its segments, drawn by lot, and does the others."""

    def trace(traced: TracedWork, every: int, keep: Keep | None = None) -> Run:
        generator = torch.Generator().manual_seed(traced.seed % 2**63)
        ends = [min(n + every, traced.iteration_count) for n in _starts(traced, every)]
        count = max(1, -(-len(ends) * share_ppm // 1_000_000))
        faked = set(torch.randperm(len(ends), generator=generator)[:count].tolist())
        state, loss_sum, seen = traced.init(), 0.0, 0
        digests = [traced.compute_digest(state)]
        for place, end in enumerate(ends):
            if place in faked:
                state, loss, samples = fake(traced, state, end, generator)
            else:
                state, loss, samples = traced.run(state, end)
            loss_sum, seen = loss_sum + loss, seen + samples
            digests.append(traced.compute_digest(state))
            if keep is not None:
                keep(place + 1, state)
        return state, tuple(digests), loss_sum / seen if seen else CLAIMED_LOSS

    return trace


def fabricate(
    traced: TracedWork, state: State, end: int, generator: torch.Generator
) -> tuple[State, float, int]:
    """Move the parameters a little, at random, and call it training."""

    def nudge(tensor: Tensor) -> Tensor:
        return tensor + NUDGE * torch.randn(tensor.shape, generator=generator)

    params = {name: nudge(t) for name, t in state.carry.params.items()}
    return replace(state, iteration=end, carry=state.carry._replace(params=params)), 0.0, 0


def skip(
    traced: TracedWork, state: State, end: int, generator: torch.Generator
) -> tuple[State, float, int]:
    """Do half of the iterations and claim all of them."""
    reached, loss, seen = traced.run(state, state.iteration + (end - state.iteration) // 2)
    return replace(reached, iteration=end), loss, seen


def begin_elsewhere(traced: TracedWork, every: int, keep: Keep | None = None) -> Run:
    """Train honestly, but from another model than the round's: an older one, say."""
    state = traced.init()
    params = {name: t + NUDGE for name, t in state.carry.params.items()}
    state = replace(state, carry=state.carry._replace(params=params))
    return _train_from(traced, traced, state, every, keep)


def precompute(traced: TracedWork, every: int, keep: Keep | None = None) -> Run:
    """Take a finished model and lay a smooth path to it (the spoof of Fang et al., 2022).

    A reconstruction of its idea: the checkpoints look like training that converged.
    """
    first = traced.init()
    goal, _, _ = traced.run(first, min(every, traced.iteration_count))
    starts = _starts(traced, every)
    digests, state = [traced.compute_digest(first)], first
    for place, start in enumerate(starts):
        part = (place + 1) / len(starts)
        params = {
            name: (1 - part) * t + part * goal.carry.params[name]
            for name, t in first.carry.params.items()
        }
        end = min(start + every, traced.iteration_count)
        state = State(end, goal.carry._replace(params=params), goal.random)
        digests.append(traced.compute_digest(state))
        if keep is not None:
            keep(place + 1, state)
    return state, tuple(digests), CLAIMED_LOSS


def grind(traced: TracedWork, every: int, keep: Keep | None = None) -> Run:
    """Try seeds of one's own and keep the luckiest; claim that it was the one that was given."""
    runs = []
    for turn in range(1, GRIND_TRIES + 1):
        other = traced.with_seed(traced.seed + turn)
        _, _, loss = _train_from(other, other, other.init(), every, None)
        runs.append((loss, turn))
    _, turn = min(runs)
    other = traced.with_seed(traced.seed + turn)
    state = replace(other.init(), random=traced.init().random)
    return _train_from(other, traced, state, every, keep)


FAKERS: Mapping[str, Tracer] = {
    "faker": fake_segments(500_000, fabricate),
    "fabricator": fake_segments(1_000_000, fabricate),
    "skipper": fake_segments(1_000_000, skip),
    "stale": begin_elsewhere,
    "spoofer": precompute,
    "grinder": grind,
}


def _train_from(
    worker: TracedWork, signer: TracedWork, state: State, every: int, keep: Keep | None
) -> Run:
    """Train by `worker`, write the states down as `signer` would."""
    digests, loss_sum, seen = [signer.compute_digest(state)], 0.0, 0
    for place, start in enumerate(_starts(worker, every)):
        state, loss, count = worker.run(state, min(start + every, worker.iteration_count))
        loss_sum, seen = loss_sum + loss, seen + count
        digests.append(signer.compute_digest(state))
        if keep is not None:
            keep(place + 1, state)
    return state, tuple(digests), loss_sum / seen


def _starts(traced: TracedWork, every: int) -> range:
    return range(0, traced.iteration_count, every)
