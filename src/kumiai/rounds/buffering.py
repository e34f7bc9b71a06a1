"""Rounds that do not wait for everybody: what a late trainer may still do, and what is kept for it.

Buffered asynchronous aggregation (FedBuff: Nguyen et al., "Federated Learning with Buffered
Asynchronous Aggregation", 2022), put into certified rounds: docs/adr/0019. A trainer that is not
ready when TRAIN closes goes on, and commits in the round in which it is ready, bound like everybody
else in that round before anything of it is shown. Its COMMIT names `base`, the round whose model it
started from; staleness = round - base. The base is its own word: it decides the discount alone.

TRAIN closes with `buffer` commitments, but not before `train_ms_min`: who answers at once cannot
shut the others out. Who is not among them is BUSY, for `staleness_max` rounds in a row; after that
its silence counts as anybody's, for what it worked on is too old.

What was revealed in the last `staleness_max` rounds stays known (`RunState.shown`): a copy of it
that poses as old work is a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.rounds.state import (
    AssignmentState,
    Member,
    RoundPhase,
    RoundState,
    RunState,
)


def read_staleness(
    current: RoundState, staleness_max: int, content: Mapping[str, Any]
) -> tuple[int, str]:
    """Return (staleness, what is wrong with the base that a COMMIT names or "").

    Members join before round 1, so no base from round 1 on is older than a membership.
    """
    base = content.get("base", current.index)
    staleness = current.index - base
    if "base" in content and not staleness_max:
        return 0, "the task takes no update that is older than its round"
    if base < 1 or staleness < 0 or ("base" in content and staleness == 0):
        return 0, f"base {base} is no round before this one, {current.index}; its own is left out"
    if staleness > staleness_max:
        return 0, f"{staleness} rounds old, the task takes {staleness_max} at most"
    return staleness, ""


def is_full(current: RoundState, buffer: int) -> bool:
    """Tell whether as many have committed as the task waits for; never so for 0, all."""
    committed = sum(a.state is AssignmentState.COMMITTED for a in current.assignments.values())
    return 0 < buffer <= committed


def compute_close_ms(state: RunState, current: RoundState) -> int:
    """Return when the open phase closes at the latest, as far as is known now."""
    assert state.task is not None
    if current.phase is RoundPhase.TRAIN and is_full(current, state.task.training.buffer):
        earliest_ms = current.phase_started_ms + state.task.deadlines.train_ms_min
        return min(current.deadline_ms, earliest_ms)
    return current.deadline_ms


def is_busy(member: Member, staleness_max: int) -> bool:
    """Tell whether a member that has not committed may still be at work on something usable."""
    return member.busy_count < staleness_max


def note_committed(member: Member, current: RoundState) -> Member:
    """Remember the commitment by which the member's last piece of work is spent."""
    place = (current.index, current.attempt)
    return replace(member, busy_count=0, missed_count=0, committed=place)


def remember_shown(state: RunState, current: RoundState, staleness_max: int) -> RunState:
    """Keep what this attempt revealed, and of the rounds before as many as an update may be old."""
    if not staleness_max:
        return state
    kept = [entry for entry in state.shown if entry[0] > current.index - staleness_max]
    revealed = [current.assignments[key] for key in current.revealed]
    new = [(current.index, a.member, a.blob, current.index - a.staleness) for a in revealed]
    return replace(state, shown=(*kept, *new))
