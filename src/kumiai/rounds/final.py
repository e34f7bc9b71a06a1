"""The end: the second hold-out's scores, the probes and the hold-out itself are opened.

During the run every validator scored each update on a second hold-out too and bound itself to those
values without showing them, so nobody could tune towards them. Now they are opened; their sum over
the rounds in which a member's work was valid is the final ranking, which shares the locked 90 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.amounts import PPM
from kumiai.base.log import Record
from kumiai.rounds.agreement import stake_weighted_median
from kumiai.rounds.commitments import commit_canaries, commit_final
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.holdouts import check_opened
from kumiai.rounds.round import open_round
from kumiai.rounds.scoring import VALUE_MAX
from kumiai.rounds.state import NodeState, RoundPhase, RunPhase, RunState, Tally
from kumiai.rounds.widths import has_all_curves

BLOB_COUNT_MAX = 1_000
VALID_SHARE = 4  # one round in so many must have been VALID


def open_final(state: RunState, now_ms: int) -> RunState:
    """Open the last 'round', in which nobody trains and everything is shown."""
    assert state.task is not None
    index = state.task.training.rounds + 1
    opened = open_round(replace(state, phase=RunPhase.FINALIZING), index, 1, now_ms)
    assert opened.round is not None
    showing = replace(
        opened.round,
        phase=RoundPhase.SCORE_REVEAL,
        trainers=(),
        assignments={},
        deadline_ms=now_ms + state.task.deadlines.score_ms,
    )
    return replace(opened, round=showing)


def on_final_reveal(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator opens its second hold-out's values of one round."""
    problem = _check_phase(state)
    if problem is not None:
        return problem
    validator, part = record.event.pubkey, state.finals.get(content["round"])
    if part is None or validator not in part.commitments:
        return refuse(state, "no-commitment", "nothing was committed to in that round")
    if validator in part.values:
        return refuse(state, "duplicate", "opened already")
    values = content["values"]
    if len(values) != len(part.trainers) or not all(_is_value(value) for value in values):
        return refuse(state, "bad-scores", f"{len(part.trainers)} bounded integers expected")
    opened = commit_final(
        state.task_id, content["round"], content["attempt"], validator, values, content["salt"]
    )
    if opened != part.commitments[validator]:
        return refuse(state, "commitment-mismatch", "the values do not open the commitment")
    salt = canonical.sha256_hex(content["salt"].encode())
    shown = replace(
        part,
        values={**part.values, validator: tuple(values)},
        salts={**part.salts, validator: salt},
    )
    return Outcome(replace(state, finals={**state.finals, content["round"]: shown}))


def on_canary_open(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """The customer shows which members were probes, as it had committed to in the task."""
    problem = _check_phase(state)
    if problem is not None:
        return problem
    if record.event.pubkey != state.customer or state.canaries is not None:
        return refuse(state, "not-customer", "only the customer opens the probes, once")
    members = content["members"]
    if not all(isinstance(m, str) for m in members):
        return refuse(state, "bad-key", "members are keys")
    if commit_canaries(members, content["salt"]) != state.canary_commitment:
        return refuse(state, "commitment-mismatch", "these are not the probes committed to")
    return Outcome(replace(state, canaries=tuple(sorted(members))))


def on_holdout_open(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """The customer publishes the hold-out data, so that anyone can recompute the scores."""
    problem = _check_phase(state)
    if problem is not None:
        return problem
    if record.event.pubkey != state.customer or state.holdout_blobs:
        return refuse(state, "not-customer", "only the customer opens the hold-out, once")
    blobs = content["blobs"]
    if not blobs or len(blobs) > BLOB_COUNT_MAX or not all(canonical.is_hash(b) for b in blobs):
        return refuse(state, "bad-hash", f"1 to {BLOB_COUNT_MAX} sha256 expected")
    fault = check_opened(state, content)
    if fault is not None:
        return refuse(state, "commitment-mismatch", fault)
    owners = replace(state.holdouts, owners=tuple(content.get("owners", ())))
    return Outcome(replace(state, holdout_blobs=tuple(blobs), holdouts=owners))


def is_final_complete(state: RunState) -> bool:
    """Every live validator has opened everything, and so has the customer."""
    assert state.task is not None
    live = {k for k, m in state.members.items() if m.state is NodeState.ACTIVE}
    opened = all(
        key in part.values
        for part in state.finals.values()
        for key in part.commitments
        if key in live
    )
    probes = state.canaries is not None or not state.canary_commitment
    data = bool(state.holdout_blobs) or not state.task.data.open_holdout
    return opened and probes and data and has_all_curves(state)


def compute_final_values(state: RunState) -> dict[str, int]:
    """Return every trainer's summed second hold-out value, in ppm of a nat.

    Rounds in which it did harm count too. A member whose work was VALID in less than a quarter of
    the rounds in which it was judged has no value: one lucky round is no contribution. Nor has one
    whom an audit convicted.
    """
    totals: dict[str, int] = {}
    canaries = frozenset(state.canaries or ())
    for part in state.finals.values():
        opened = sorted(part.values)
        weights = [state.members[key].stake for key in opened]
        for index, unit in enumerate(part.trainers):
            column = [part.values[key][index] for key in opened]
            members = part.groups.get(unit, (unit,))
            for member in members:
                totals.setdefault(member, 0)
                if member in canaries or state.members[member].is_convicted:
                    continue
                if opened and is_established(state.tallies.get(member)):
                    totals[member] += stake_weighted_median(column, weights) // len(members)
    return totals


def is_established(tally: Tally | None) -> bool:
    """Tell whether enough of a member's rounds were VALID to take part in the final ranking."""
    return tally is not None and VALID_SHARE * tally.rounds_valid >= max(1, tally.rounds_judged)


def compute_canary_errors(state: RunState) -> dict[str, int]:
    """Return, per validator, the share of probes it took for good work, in ppm."""
    canaries = frozenset(state.canaries or ())
    asked: dict[str, int] = {}
    wrong: dict[str, int] = {}
    for part in state.finals.values():
        for index, member in enumerate(part.trainers):
            if member not in canaries:
                continue
            for validator, flagged in part.flagged.items():
                asked[validator] = asked.get(validator, 0) + 1
                wrong[validator] = wrong.get(validator, 0) + (not flagged[index])
    return {key: PPM * wrong[key] // asked[key] for key in asked}


def _check_phase(state: RunState) -> Outcome | None:
    current = state.round
    if (
        state.phase is RunPhase.FINALIZING
        and current is not None
        and current.phase is RoundPhase.SCORE_REVEAL
    ):
        return None
    return refuse(state, "wrong-phase", "this is opened when the last round is certified")


def _is_value(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= VALUE_MAX
