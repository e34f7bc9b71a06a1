"""A run that lacks members waits for them: DEGRADED, until they are back or its time is over."""

from __future__ import annotations

from dataclasses import replace

from kumiai.rounds.effects import Effect, PhaseEntered
from kumiai.rounds.state import (
    RUN_TABLE,
    NodeState,
    RoundState,
    RunPhase,
    RunState,
    check_transition,
)


def degrade(
    state: RunState, current: RoundState, now_ms: int, reason: str, silent: frozenset[str]
) -> tuple[RunState, tuple[Effect, ...]]:
    """Wait for members to come back; the silent ones count as gone until they say so."""
    assert state.task is not None
    check_transition(RUN_TABLE, state.phase, RunPhase.DEGRADED)
    deadline_ms = now_ms + state.task.deadlines.enrol_ms
    gone = {
        k: replace(state.members[k], state=NodeState.DROPPED)
        for k in silent
        if state.members[k].state is NodeState.ACTIVE
    }
    degraded = replace(
        state,
        phase=RunPhase.DEGRADED,
        round=None,
        members={k: gone.get(k, m) for k, m in state.members.items()},
        attempts_used=current.attempt,
        reason=reason,
        deadline_ms=deadline_ms,
    )
    return degraded, (PhaseEntered(RunPhase.DEGRADED, current.index, 0, None, deadline_ms),)
