"""What binds the customer to the hold-outs: named by hash at the start, opened by blob at the end.

A customer who could open other data than it had handed out would have honest validators convicted,
and keep their pay. So START names a salted hash of each validator's hold-out, each validator
compares it with what it was handed before it says READY, and HOLDOUT_OPEN must open every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumiai.base import canonical
from kumiai.rounds.commitments import commit_holdout
from kumiai.rounds.state import RunState
from kumiai.tasks.rechecks import is_rechecked


def check_bound(state: RunState, content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with how START binds the hold-outs, or None."""
    assert state.task is not None
    if ("holdouts" in content) != is_rechecked(state.task):
        return "holdouts are bound where validation.recheck_ppm asks for rechecks, and only so"
    bound = content.get("holdouts", {})
    validators = {key for key, member in state.members.items() if member.role == "validator"}
    if is_rechecked(state.task) and set(bound) != validators:
        return "holdouts name every enrolled validator and nobody else"
    if not all(canonical.is_hash(commitment) for commitment in bound.values()):
        return "a hold-out is bound by a sha256"
    return None


def check_opened(state: RunState, content: Mapping[str, Any]) -> str | None:
    """Return why this HOLDOUT_OPEN is not what START bound the customer to, or None."""
    assert state.task is not None
    shown = "owners" in content, "salt" in content
    if shown != (is_rechecked(state.task),) * 2:
        return "owners and salt are shown where sheets are rechecked, and only so"
    if not is_rechecked(state.task):
        return None
    bound, owners, blobs = state.holdouts.commitments, content["owners"], content["blobs"]
    if len(owners) != len(blobs) or not all(isinstance(key, str) for key in owners):
        return f"{len(blobs)} blobs need as many owners, which are keys"
    if len(set(owners)) != len(owners) or set(owners) != set(bound):
        return "owners are every validator whose hold-out was bound, each once"
    for owner, blob in zip(owners, blobs, strict=True):
        if commit_holdout(state.task_id, owner, blob, content["salt"]) != bound[owner]:
            return f"the blob of {owner[:12]} is not the hold-out that was bound"
    return None
