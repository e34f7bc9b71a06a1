"""A dispute over real training: one party forged an iteration, the other trained all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.adapters.traced_work import EVERY, MEMBERS, World

from kumiai.adapters.compute.determinism import reproducible
from kumiai.adapters.compute.execution.devices import CPU
from kumiai.adapters.compute.execution.shards import join_shards
from kumiai.adapters.compute.execution.traced import State, TracedWork
from kumiai.proofs.dispute import (
    Answered,
    Ask,
    Bound,
    Decide,
    Level,
    Refined,
    Replay,
    Replayed,
    Terms,
    find_iteration,
    open_dispute,
    step,
)
from kumiai.proofs.trace import Trace, TracePlace

PLACE = TracePlace("t" * 64, 1, 1, MEMBERS[0])
TRAINER, ACCUSER = MEMBERS[0], "v" * 64


class Side:
    """One party's training; from iteration `forged` on it goes on from made-up parameters."""

    def __init__(self, traced: TracedWork, forged: int | None) -> None:
        self.traced, self.forged = traced, forged
        self.states = [traced.init()]
        for last in range(1, traced.iteration_count + 1):
            state, _, _ = traced.run(self.states[-1], last)
            self.states.append(self._forge(state) if last == forged else state)
        self.digests = [traced.compute_digest(state) for state in self.states]

    def _forge(self, state: State) -> State:
        params = {name: t + 1e-6 for name, t in state.carry.params.items()}
        return replace(state, carry=state.carry._replace(params=params))

    def trace(self) -> Trace:
        last = self.traced.iteration_count
        ends = [*range(0, last, EVERY), last]
        return Trace(PLACE, EVERY, last, tuple(self.digests[i] for i in ends))

    def refine(self, segment: int) -> Trace:
        first = segment * EVERY
        last = min(first + EVERY, self.traced.iteration_count)
        return Trace(PLACE, 1, last - first, tuple(self.digests[first : last + 1]))


@pytest.mark.parametrize("forged", [1, 5, 6, 9, 11])
def test_the_committee_computes_one_iteration_and_finds_the_liar(forged: int) -> None:
    world = World()
    data = join_shards([world.compute._shards[TRAINER]])
    zeros_P = torch.zeros(world.engine.layout.size)
    with reproducible(CPU), torch.no_grad():
        traced = TracedWork(world.engine.work, zeros_P, data, seed=5)
        sides = {TRAINER: Side(traced, forged), ACCUSER: Side(traced, None)}
        traces = {name: side.trace() for name, side in sides.items()}
        last = len(traces[TRAINER].digests) - 1
        ends = {name: trace.open([0, last]) for name, trace in traces.items()}
        bound = tuple(Bound(name, trace.root) for name, trace in traces.items())
        opened = open_dispute(PLACE, 11, EVERY, bound, ends, Terms(arity=2, cost=3), 0)  # type: ignore[arg-type]
        state, effects = opened  # type: ignore[misc]
        while not isinstance(effects[-1], Decide):
            effect = effects[-1]
            if isinstance(effect, Replay):
                # the accuser shows the agreed state; the committee trains one iteration from it
                shown = traced.encode(sides[ACCUSER].states[effect.iteration])
                assert traced.compute_digest(traced.decode(shown, effect.iteration)) == (
                    effect.digest
                )
                after, _, _ = traced.run(
                    traced.decode(shown, effect.iteration), effect.iteration + 1
                )
                state, effects = step(state, Replayed(traced.compute_digest(after)), 0)  # type: ignore[misc]
                continue
            assert isinstance(effect, Ask)
            for name, side in sides.items():
                if not effect.indices:
                    traces[name] = side.refine(state.segment)
                    length = traces[name].iterations
                    ends_of = traces[name].open([0, length])
                    event = Refined(name, traces[name].root, ends_of)  # type: ignore[arg-type]
                else:
                    event = Answered(name, traces[name].open(effect.indices))  # type: ignore[assignment]
                state, effects = step(state, event, 0)  # type: ignore[misc]
    assert effects == (Decide((TRAINER,), 3),)
    assert state.level is Level.DECIDED
    assert find_iteration(state) == forged - 1
