"""Does an event belong to the open round, in the phase that it is for?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.state import RoundPhase, RoundState, RunState


def find_open(
    state: RunState, content: Mapping[str, Any], phase: RoundPhase
) -> tuple[RoundState, None] | tuple[None, Outcome]:
    """Return the open round in this phase, or the refusal of an event that is not of it."""
    current = state.round
    if current is None or current.phase is not phase:
        where = current.phase if current else state.phase
        return None, refuse(state, "wrong-phase", f"expected during {phase}, now {where}")
    if (content["round"], content["attempt"]) != (current.index, current.attempt):
        detail = f"the open round is {current.index}, attempt {current.attempt}"
        return None, refuse(state, "wrong-round", detail)
    return current, None
