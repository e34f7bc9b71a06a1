"""One round's first half: trainers commit and reveal, the beacon is drawn.

TRAIN ends when every live trainer has committed, or `buffer` of them (see `buffering`); REVEAL when
every commitment is opened and every validator has given its beacon element; or both at their
deadlines. Lateness is not fraud: it costs the round's pay and never stake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.log import Record
from kumiai.consensus import beacon
from kumiai.rounds import buffering, masks
from kumiai.rounds.audit_forms import check_trace
from kumiai.rounds.audits import draw_challenges
from kumiai.rounds.commitments import commit_update
from kumiai.rounds.current import find_open
from kumiai.rounds.deadlines import compute_allowance_ms
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.epochs import list_committee, open_epoch
from kumiai.rounds.kinds import parse_amount
from kumiai.rounds.opened import Audits
from kumiai.rounds.state import (
    ASSIGNMENT_TABLE,
    Assignment,
    AssignmentState,
    Member,
    NodeState,
    RoundPhase,
    RoundState,
    RunPhase,
    RunState,
    check_transition,
)
from kumiai.rounds.widths import compute_live_widths
from kumiai.tasks.secure import is_secure

MISSES_UNTIL_DROPPED = 2
ATTEMPTS_MAX = 3  # until the run is DEGRADED
ATTEMPTS_PER_ROUND_MAX = 2 * ATTEMPTS_MAX  # one recovery a round; beacon chains are that long
OPEN_STATES = frozenset({AssignmentState.OFFERED, AssignmentState.ACCEPTED})


def open_round(state: RunState, index: int, attempt: int, now_ms: int) -> RunState:
    """Take the snapshot of trainers and committee and offer every trainer its work."""
    members = {key: _activate(member) for key, member in state.members.items()}
    state = open_epoch(replace(state, members=members), index)
    assert state.task is not None
    trainers = tuple(sorted(k for k, m in members.items() if _works(m, "trainer")))
    widths = compute_live_widths(state, trainers)
    is_dealt = is_secure(state.task) and state.phase is not RunPhase.FINALIZING
    first = RoundPhase.DEAL if is_dealt else RoundPhase.TRAIN
    opened = RoundState(
        index=index,
        attempt=attempt,
        phase=first,
        phase_started_ms=now_ms,
        deadline_ms=now_ms + compute_trainers_time_ms(state, first),
        trainers=trainers,
        committee=list_committee(state),
        assignments={
            key: Assignment(key, AssignmentState.OFFERED, width_ppm=widths[key]) for key in trainers
        },
        groups=masks.draw_round_groups(state, index, attempt, trainers) if is_dealt else (),
        shown=state.shown,
    )
    return replace(state, round=opened)


def compute_trainers_time_ms(state: RunState, phase: RoundPhase) -> int:
    """Return how long a phase may take in which trainers are waited for."""
    assert state.task is not None
    limits = state.task.deadlines
    if phase is not RoundPhase.TRAIN:
        return limits.reveal_ms + limits.grace_ms
    return compute_allowance_ms(
        state.durations_ms.get(RoundPhase.TRAIN, ()), limits.train_ms_min, limits.train_ms_max
    )


def compute_phase_ms(state: RunState, current: RoundState, phase: RoundPhase) -> int:
    """Return how long a phase may take that is not in every round, or that follows such a one.

    Rechecking takes as long as scoring, a sheet: a rechecker is drawn for one a round in the mean.
    """
    assert state.task is not None
    limits, terms = state.task.deadlines, state.task.audit
    lengths_ms = {
        RoundPhase.SCORE: limits.score_ms,
        RoundPhase.CHALLENGE: terms.open_ms,
        RoundPhase.JURY: terms.jury_ms,
        RoundPhase.JURY_REVEAL: terms.jury_ms,
        RoundPhase.RECHECK: limits.score_ms * state.task.training.rounds,
        RoundPhase.RECHECK_JURY: limits.score_ms * max(1, len(current.rechecks.accused)),
    }
    return lengths_ms.get(phase) or compute_trainers_time_ms(state, phase)


def compute_beacon_index(index: int, attempt: int) -> int:
    """Return which element of its chain a validator shows in this attempt at a round."""
    return (index - 1) * ATTEMPTS_PER_ROUND_MAX + attempt


def on_accept(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A trainer says that it will do this round's work."""
    return _move(state, record, content, AssignmentState.ACCEPTED)


def on_decline(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A trainer says that it will not: better than silence, and no miss is counted."""
    return _move(state, record, content, AssignmentState.DECLINED)


def on_commit(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A trainer publishes the hash of its finished update."""
    current, assignment, problem = _find(state, record, content, RoundPhase.TRAIN)
    if problem is not None or current is None or assignment is None:
        return problem or refuse(state, "no-assignment", "not assigned in this round")
    if not canonical.is_hash(content["commitment"]):
        return refuse(state, "bad-hash", "commitment is not a sha256")
    assert state.task is not None
    staleness, fault = buffering.read_staleness(current, state.task.training.staleness_max, content)
    if fault:
        return refuse(state, "bad-base", fault)
    if assignment.state is AssignmentState.COMMITTED:
        known = (assignment.commitment, assignment.staleness)
        if known == (content["commitment"], staleness):
            return refuse(state, "duplicate", "committed already")
        return refuse(
            state,
            "equivocation",
            "two different commitments in one round",
            first=assignment.commit_event,
            second=record.event.id,
        )
    if assignment.state not in OPEN_STATES:
        return refuse(state, "wrong-state", f"the assignment is {assignment.state}")
    committed = replace(
        assignment,
        state=AssignmentState.COMMITTED,
        commitment=content["commitment"],
        commit_event=record.event.id,
        commit_height=record.height,
        staleness=staleness,
    )
    return Outcome(_with_assignment(state, current, committed))


def on_reveal(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A trainer opens its commitment: the update's hash, size and what it claims of the work."""
    current, assignment, problem = _find(state, record, content, RoundPhase.REVEAL)
    if problem is not None or current is None or assignment is None:
        return problem or refuse(state, "no-assignment", "not assigned in this round")
    if assignment.state is not AssignmentState.COMMITTED:
        return refuse(state, "wrong-state", f"nothing to reveal: {assignment.state}")
    assert state.task is not None
    fault = check_trace(state.task, content)
    if fault is not None:
        return refuse(state, "bad-trace", fault)
    root = content.get("trace_root", "")
    opened = commit_update(
        state.task_id,
        current.index,
        current.attempt,
        assignment.member,
        content["blob"],
        content["salt"],
        (root, content["iterations"]) if root else None,
    )
    if opened != assignment.commitment:
        return refuse(
            state,
            "commitment-mismatch",
            "the reveal does not open the commitment",
            committed=assignment.commitment,
            revealed=opened,
            commit_event=assignment.commit_event,
        )
    if not canonical.is_hash(content["blob"]):
        return refuse(state, "bad-hash", "blob is not a sha256")
    try:
        flop = parse_amount(content["flop"])
    except ValueError as error:
        return refuse(state, "bad-amount", str(error))
    revealed = replace(
        assignment,
        state=AssignmentState.REVEALED,
        blob=content["blob"],
        size_bytes=content["size_bytes"],
        samples=content["samples"],
        iterations=content["iterations"],
        flop=flop,
        loss_ppm=content["loss_ppm"],
        epsilon_milli=content["epsilon_milli"],
        trace_root=root,
        machine=content.get("machine", ""),
    )
    return Outcome(_with_assignment(state, current, revealed))


def on_beacon(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator reveals the next element of its hash chain, now that commitments are closed."""
    current, member = state.round, state.members.get(record.event.pubkey)
    if current is None or current.phase is not RoundPhase.REVEAL:
        return refuse(state, "wrong-phase", "the beacon is drawn while updates are revealed")
    if (content["round"], content["attempt"]) != (current.index, current.attempt):
        return refuse(state, "wrong-round", f"the open round is {current.index}")
    if member is None or member.pubkey not in current.committee:
        return refuse(state, "not-committee", "not a member of this round's committee")
    if member.pubkey in current.beacon_shares:
        return refuse(state, "duplicate", "gave its element already")
    index = compute_beacon_index(current.index, current.attempt)
    steps = index - member.beacon_index
    if not beacon.is_next_element(member.beacon_element, content["element"], steps):
        detail = (
            f"element {index} leads to the one known before in {steps} steps; this one does not"
        )
        return refuse(state, "bad-element", detail)
    shares = {**current.beacon_shares, member.pubkey: content["element"]}
    moved = replace(member, beacon_element=content["element"], beacon_index=index)
    return Outcome(
        replace(
            state,
            members={**state.members, member.pubkey: moved},
            round=replace(current, beacon_shares=shares),
        )
    )


def is_train_complete(current: RoundState) -> bool:
    """Every assignment has been answered."""
    return all(a.state not in OPEN_STATES for a in current.assignments.values())


def is_reveal_complete(current: RoundState, live: frozenset[str]) -> bool:
    """Every commitment is opened and every live validator has given its element."""
    waiting = any(a.state is AssignmentState.COMMITTED for a in current.assignments.values())
    return not waiting and live <= current.beacon_shares.keys()


def close_train(state: RunState, now_ms: int) -> RunState:
    """The silent ones become NO_REPLY; two rounds of silence in a row, and a member is DROPPED.

    Where work may be committed later, a silent one is BUSY as long as its work can be used.
    """
    assert state.round is not None and state.task is not None
    assignments, members = dict(state.round.assignments), dict(state.members)
    staleness_max = state.task.training.staleness_max
    for key, assignment in state.round.assignments.items():
        if assignment.state in OPEN_STATES and buffering.is_busy(members[key], staleness_max):
            assignments[key] = replace(assignment, state=AssignmentState.BUSY)
            members[key] = replace(members[key], busy_count=members[key].busy_count + 1)
        elif assignment.state in OPEN_STATES:
            assignments[key] = replace(assignment, state=AssignmentState.NO_REPLY)
            members[key] = count_miss(members[key])
        elif assignment.state is AssignmentState.COMMITTED and staleness_max:
            members[key] = buffering.note_committed(members[key], state.round)
        elif assignment.state is AssignmentState.COMMITTED and members[key].missed_count:
            members[key] = replace(members[key], missed_count=0)
    closed = replace(
        state.round,
        head_closed=state.head,
        phase=RoundPhase.REVEAL,
        phase_started_ms=now_ms,
        deadline_ms=now_ms + compute_trainers_time_ms(state, RoundPhase.REVEAL),
        assignments=assignments,
        is_extended=False,
    )
    return replace(state, members=members, round=closed)


def close_reveal(state: RunState, now_ms: int) -> RunState:
    """Unopened commitments are LATE; the beacon is drawn; the updates to score are fixed."""
    assert state.round is not None and state.task is not None
    assignments = {
        key: replace(a, state=AssignmentState.LATE) if a.state is AssignmentState.COMMITTED else a
        for key, a in state.round.assignments.items()
    }
    revealed = sorted(
        (a for a in assignments.values() if a.state is AssignmentState.REVEALED),
        key=lambda a: a.commit_height,
    )
    closed = replace(
        state.round,
        phase=RoundPhase.SCORE,
        phase_started_ms=now_ms,
        deadline_ms=now_ms + state.task.deadlines.score_ms,
        assignments=assignments,
        beacon=beacon.combine(
            state.round.beacon_shares, state.round.index, state.round.head_closed
        ),
        revealed=tuple(a.member for a in revealed),
        is_extended=False,
    )
    closed = replace(closed, audits=Audits(draw_challenges(state, closed)))
    kept = buffering.remember_shown(state, closed, state.task.training.staleness_max)
    return replace(kept, round=closed)


def find_silent(current: RoundState) -> frozenset[str]:
    """Return the committee members that have not done what the phase asks of them."""
    heard: Mapping[RoundPhase, Mapping[str, object]] = {
        RoundPhase.REVEAL: current.beacon_shares,
        RoundPhase.SCORE: current.score_commits,
        RoundPhase.SCORE_REVEAL: current.score_sheets,
        RoundPhase.CERTIFY: current.votes,
    }
    return frozenset(current.committee) - heard[current.phase].keys()


def count_miss(member: Member) -> Member:
    """Count one silent round; at the limit the member is no longer waited for."""
    missed = member.missed_count + 1
    if missed >= MISSES_UNTIL_DROPPED and member.state is NodeState.ACTIVE:
        return replace(member, missed_count=missed, state=NodeState.DROPPED)
    return replace(member, missed_count=missed)


def _activate(member: Member) -> Member:
    if member.role != "delegator" and member.state in (NodeState.STANDBY, NodeState.SYNCING):
        return replace(member, state=NodeState.ACTIVE, missed_count=0, busy_count=0)
    return member


def _works(member: Member, role: str) -> bool:
    return member.role == role and member.state is NodeState.ACTIVE


def _move(
    state: RunState, record: Record, content: Mapping[str, Any], new: AssignmentState
) -> Outcome:
    current, assignment, problem = _find(state, record, content, RoundPhase.TRAIN)
    if problem is not None or current is None or assignment is None:
        return problem or refuse(state, "no-assignment", "not assigned in this round")
    if new not in ASSIGNMENT_TABLE[assignment.state]:
        return refuse(state, "wrong-state", f"{assignment.state} cannot become {new}")
    return Outcome(_with_assignment(state, current, replace(assignment, state=new)))


def _find(
    state: RunState, record: Record, content: Mapping[str, Any], phase: RoundPhase
) -> tuple[RoundState | None, Assignment | None, Outcome | None]:
    """The open round and the sender's assignment in it, or the refusal."""
    current, problem = find_open(state, content, phase)
    if current is None:
        return None, None, problem
    return current, current.assignments.get(record.event.pubkey), None


def _with_assignment(state: RunState, current: RoundState, changed: Assignment) -> RunState:
    check_transition(ASSIGNMENT_TABLE, current.assignments[changed.member].state, changed.state)
    assignments = {**current.assignments, changed.member: changed}
    return replace(state, round=replace(current, assignments=assignments))
