"""Who may interrupt a run: guardians who stop it, members who leave, anyone with evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.base import canonical, events
from kumiai.base.log import Record
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, Schnorr
from kumiai.consensus.pbft.proofs import Equivocation, is_equivocation
from kumiai.governance.stop import add_vote, has_decided
from kumiai.rounds.effects import Effect, Outcome, PhaseEntered, RunEnded, refuse
from kumiai.rounds.kinds import Kind, parse_content
from kumiai.rounds.settle import close_unfinished
from kumiai.rounds.state import (
    ASSIGNMENT_TABLE,
    AssignmentState,
    NodeState,
    RoundPhase,
    RunPhase,
    RunState,
)

ENDED = frozenset({RunPhase.FINISHED, RunPhase.HALTED, RunPhase.FAILED})
REASON_LENGTH_MAX = 300
FOUNDING = 0  # the epoch before the first round: all validators that the task names order
_ONE_PER_ROUND = frozenset(
    {Kind.DEAL, Kind.COMMIT, Kind.UNMASK, Kind.SCORE_COMMIT, Kind.JURY_COMMIT, Kind.CERTIFY}
)


def on_stop(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A guardian asks to pause, resume or halt; k of n decide."""
    assert state.task is not None
    if not 0 < len(content["reason"]) <= REASON_LENGTH_MAX:
        return refuse(state, "no-reason", f"a reason has 1 to {REASON_LENGTH_MAX} characters")
    action = content["action"]
    if (action == "resume") != (state.phase is RunPhase.PAUSED) and action != "halt":
        return refuse(state, "wrong-phase", f"cannot {action} during {state.phase}")
    try:
        votes = add_vote(state.stop_votes, action, record.event.pubkey, state.guardians)
    except ValueError as error:
        return refuse(state, "not-guardian", str(error))
    voted = replace(state, stop_votes=votes)
    if not has_decided(votes, action, state.task.governance.guardians_required):
        return Outcome(voted)
    decided = replace(voted, stop_votes={}, reason=content["reason"])
    if action == "halt":
        halted = end_run(decided, RunPhase.HALTED)
        money = close_unfinished(halted)
        return Outcome(halted, (*money, RunEnded(RunPhase.HALTED, decided.reason)))
    if action == "pause":
        paused = replace(decided, phase=RunPhase.PAUSED, paused_from=state.phase)
        return Outcome(paused, (PhaseEntered(RunPhase.PAUSED, 0, 0, None, 0),))
    return _resume(decided, record.time_ms)


def on_withdraw(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A member leaves with a signed goodbye: nobody waits for it any more."""
    member = state.members.get(record.event.pubkey)
    if member is None or member.state in (NodeState.WITHDRAWN, NodeState.EJECTED):
        return refuse(state, "not-member", "no member that could leave")
    members = {**state.members, member.pubkey: replace(member, state=NodeState.WITHDRAWN)}
    current = state.round
    if current is not None and member.pubkey in current.assignments:
        assignment = current.assignments[member.pubkey]
        if AssignmentState.WITHDRAWN in ASSIGNMENT_TABLE[assignment.state]:
            left = replace(assignment, state=AssignmentState.WITHDRAWN)
            assignments = {**current.assignments, member.pubkey: left}
            current = replace(current, assignments=assignments)
    return Outcome(replace(state, members=members, round=current))


def on_rejoin(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A member that fell silent is back; it counts again from the next round on."""
    member = state.members.get(record.event.pubkey)
    if member is None or member.state is not NodeState.DROPPED:
        return refuse(state, "not-dropped", "only a dropped member can rejoin")
    back = replace(member, state=NodeState.SYNCING, missed_count=0)
    return Outcome(replace(state, members={**state.members, member.pubkey: back}))


def on_evidence(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """Two signatures of one member under different contents of the same round: it is out."""
    parsed = []
    for name in ("first", "second"):
        try:
            event = events.decode_event(canonical.encode_checked(content[name]))
            problem = events.check_event(event)
            kind, body = parse_content(event)
        except ValueError as error:
            return refuse(state, "bad-evidence", f"{name}: {error}")
        if problem is not None:
            return refuse(state, "bad-evidence", f"{name}: {problem}")
        parsed.append((event, kind, body))
    (first, kind, one), (second, other_kind, two) = parsed
    same_slot = (
        first.pubkey == second.pubkey
        and kind == other_kind
        and kind in _ONE_PER_ROUND
        and one["task"] == two["task"] == state.task_id
        and (one["round"], one["attempt"]) == (two["round"], two["attempt"])
    )
    if not same_slot or one == two:
        return refuse(state, "no-contradiction", "the two events do not contradict each other")
    return _eject(state, first.pubkey, canonical.hash_document(sorted((first.id, second.id))))


def on_order_proof(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """Two signatures of one replica where the order allows it one: its validator is out."""
    try:
        committee = make_committee(state, content["epoch"])
        found = Equivocation(*(wire.read_signed(content[name]) for name in ("first", "second")))
    except ValueError as error:
        return refuse(state, "bad-evidence", str(error))
    if not is_equivocation(committee, Schnorr(), found):
        return refuse(state, "no-contradiction", "the two signatures do not contradict each other")
    proof = canonical.hash_document(sorted((found.first.signature, found.second.signature)))
    return _eject(state, committee.replicas[found.first.sender], proof)


def describe_proof(state: RunState, epoch: int, found: Equivocation) -> dict[str, object]:
    """Return the content of an event that shows a proof of the committee of an epoch."""
    return {
        "task": state.task_id,
        "epoch": epoch,
        "first": wire.write_signed(found.first),
        "second": wire.write_signed(found.second),
    }


def is_known(state: RunState, epoch: int, replica: int) -> bool:
    """Tell whether a replica of an epoch's committee is a member of the run by now."""
    try:
        return make_committee(state, epoch).replicas[replica] in state.members
    except (ValueError, IndexError):
        return False


def make_committee(state: RunState, epoch: int) -> Committee:
    """Return the committee that orders a run in an epoch; ValueError where there is none (yet)."""
    if not state.replicas or not FOUNDING <= epoch <= len(state.epochs):
        raise ValueError(f"no committee orders this run in epoch {epoch}")
    seats = state.replicas if epoch == FOUNDING else state.epochs[epoch - 1].seats
    return Committee(state.task_id, epoch, seats, frozenset(seats))


def _eject(state: RunState, pubkey: str, proof: str) -> Outcome:
    member = state.members.get(pubkey)
    if member is None or member.state is NodeState.EJECTED:
        return refuse(state, "not-member", "no member that could be ejected")
    out = replace(member, state=NodeState.EJECTED, invalid_count=member.invalid_count + 1)
    evidence = {
        **state.evidence,
        member.pubkey: (*state.evidence.get(member.pubkey, ()), proof),
    }
    members = {**state.members, member.pubkey: out}
    return Outcome(replace(state, members=members, evidence=evidence))


def end_run(state: RunState, phase: RunPhase) -> RunState:
    """Close the run; an open round is dropped, what was certified stays."""
    return replace(state, phase=phase, round=None)


def _resume(state: RunState, now_ms: int) -> Outcome:
    """Go on where the run was paused; the open phase gets its time again."""
    assert state.paused_from is not None
    resumed = replace(state, phase=state.paused_from, paused_from=None, reason="")
    effects: list[Effect] = []
    if resumed.round is not None:
        length = resumed.round.deadline_ms - resumed.round.phase_started_ms
        current = replace(resumed.round, phase_started_ms=now_ms, deadline_ms=now_ms + length)
        resumed = replace(resumed, round=current)
        phase: RoundPhase | None = current.phase
        effects.append(
            PhaseEntered(resumed.phase, current.index, current.attempt, phase, current.deadline_ms)
        )
    else:
        effects.append(PhaseEntered(resumed.phase, 0, 0, None, resumed.deadline_ms))
    return Outcome(resumed, tuple(effects))
