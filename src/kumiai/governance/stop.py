"""The stop: a run obeys when k of its n guardians have signed the same order.

An order names the action (pause, resume, halt) and a reason. Guardians sign one event each; votes
are counted per action, and a guardian counts once. Keys that are no guardians of the run count for
nothing. The state is a mapping action -> the guardians who asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping

ACTIONS = ("pause", "resume", "halt")

Votes = Mapping[str, tuple[str, ...]]


def add_vote(votes: Votes, action: str, guardian: str, guardians: tuple[str, ...]) -> Votes:
    """Return `votes` with this guardian's; raises ValueError for a stranger or unknown action."""
    if action not in ACTIONS:
        raise ValueError(f"action {action!r} is none of {ACTIONS}")
    if guardian not in guardians:
        raise ValueError(f"{guardian[:12]} is no guardian of this run")
    voters = votes.get(action, ())
    if guardian in voters:
        return votes
    return {**votes, action: (*voters, guardian)}


def has_decided(votes: Votes, action: str, guardians_required: int) -> bool:
    """Tell whether enough guardians have asked for `action`."""
    return len(votes.get(action, ())) >= guardians_required
