"""A round's audits: who is drawn, what they open, what the committee concludes from replays.

    REVEAL        every trace's root is opened with its update
    (draw)        from the beacon elements alone: trainers by `policy.compute_chance_ppm`, their
                  segments, their auditors
    CHALLENGE     the drawn trainers show leaves; who does not has NO_REPLY: no pay, no penalty
    SCORE         the drawn auditors replay; what they found is bound and shown with their scores
    JURY          only where an auditor found anything but VALID, or none spoke: everybody else in
                  the committee replays too, bound (JURY) and then shown (JURY_REVEAL)
    (judgement)   a quorum of INVALID: the assignment is INVALID, "fabricated", its commitment is
                  evidence that burns stake, and the member has no part in the final ranking: that
                  is the pay held back; no quorum: INCONCLUSIVE, "unproven", unpaid

What a verdict is: `proofs.verdict`. Blame is laid by `apply_audits`, with the certificate, so that
an attempt that is replayed blames nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.log import Record
from kumiai.consensus.quorum import compute_quorum
from kumiai.proofs import policy
from kumiai.proofs.trace import (
    TracePlace,
    check_opened,
    count_segments,
    list_opened,
)
from kumiai.proofs.verdict import (
    AuditLine,
    Opinion,
    Verdict,
    conclude,
    find_liars,
    needs_jury,
)
from kumiai.rounds.audit_forms import parse_leaves, parse_lines
from kumiai.rounds.current import find_open
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.opened import Audits, Challenge
from kumiai.rounds.state import (
    Assignment,
    AssignmentState,
    Judgement,
    Member,
    NodeState,
    RoundPhase,
    RoundState,
    RunState,
    ScoreSheet,
)
from kumiai.tasks.audit import is_audited

_OPINION_STATES = (AssignmentState.VALID, AssignmentState.INCONCLUSIVE)


def draw_challenges(state: RunState, current: RoundState) -> tuple[Challenge, ...]:
    """Return who of those that revealed is audited, in the order of their keys."""
    assert state.task is not None
    if not is_audited(state.task):
        return ()
    terms = state.task.audit
    elements = [current.beacon_shares[key] for key in sorted(current.beacon_shares)]
    seed = policy.compute_seed(state.task_id, current.index, current.attempt, elements)
    challenges = []
    for member in sorted(current.revealed):
        valid = state.members[member].audited_valid
        chance_ppm = policy.compute_chance_ppm(valid, terms.new_rounds, terms.p_min_ppm)
        if not policy.is_drawn(seed, "trainer", member, chance_ppm):
            continue
        iterations = current.assignments[member].iterations
        count = count_segments(iterations, terms.checkpoint_every)
        again = policy.is_drawn(seed, "again", member, terms.reaudit_ppm)
        challenges.append(
            Challenge(
                member,
                policy.draw_segments(seed, member, count, terms.segments),
                policy.draw_auditors(seed, member, current.committee, terms.auditors + again),
            )
        )
    return tuple(challenges)


def find_challenge(current: RoundState, member: str) -> Challenge | None:
    """Return this member's challenge of the open round, if it was drawn."""
    return next((c for c in current.audits.challenges if c.member == member), None)


def list_tasks(current: RoundState, validator: str) -> tuple[Challenge, ...]:
    """Return the opened traces that this validator was drawn to replay, in order."""
    opened = current.audits.opened
    return tuple(
        c for c in current.audits.challenges if c.member in opened and validator in c.auditors
    )


def list_accused(current: RoundState, juror: str) -> tuple[Challenge, ...]:
    """Return the accused whom this member of the committee has not replayed yet, in order."""
    spoken = {c.member for c in list_tasks(current, juror)} if _has_spoken(current, juror) else ()
    accused = (c for c in current.audits.challenges if c.member in current.audits.accused)
    return tuple(c for c in accused if c.member not in spoken)


def on_open_trace(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A drawn trainer shows the leaves that are asked for; their states are blobs."""
    current, problem = find_open(state, content, RoundPhase.CHALLENGE)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    member = record.event.pubkey
    challenge = find_challenge(current, member)
    if challenge is None:
        return refuse(state, "not-drawn", "this member's trace was not asked for")
    if member in current.audits.opened:
        return refuse(state, "duplicate", "opened already")
    assert state.task is not None
    assignment, every = current.assignments[member], state.task.audit.checkpoint_every
    try:
        leaves = parse_leaves(content["leaves"])
    except ValueError as error:
        return refuse(state, "bad-leaves", str(error))
    wanted = list_opened(challenge.segments, count_segments(assignment.iterations, every))
    if tuple(leaf.index for leaf in leaves) != wanted:
        return refuse(state, "wrong-leaves", f"leaves {list(wanted)} are asked for, in this order")
    place = TracePlace(state.task_id, current.index, current.attempt, member)
    for leaf in leaves:
        fault = check_opened(place, assignment.trace_root, assignment.iterations, every, leaf)
        if fault is not None:
            return refuse(state, "bad-leaf", fault)
    opened = {**current.audits.opened, member: leaves}
    return Outcome(with_audits(state, current, replace(current.audits, opened=opened)))


def is_challenge_complete(state: RunState, current: RoundState) -> bool:
    """Tell whether every drawn trainer that still takes part has opened its trace."""
    waiting = {c.member for c in current.audits.challenges} - current.audits.opened.keys()
    return not any(state.members[key].state is NodeState.ACTIVE for key in waiting)


def close_challenge(current: RoundState) -> RoundState:
    """Who did not open has NO_REPLY, and is scored no more in this round."""
    silent = {c.member for c in current.audits.challenges} - current.audits.opened.keys()
    assignments = {
        key: replace(a, state=AssignmentState.NO_REPLY) if key in silent else a
        for key, a in current.assignments.items()
    }
    kept = tuple(member for member in current.revealed if member not in silent)
    return replace(current, assignments=assignments, revealed=kept)


def read_sheet(
    current: RoundState, validator: str, content: Mapping[str, Any]
) -> tuple[str, tuple[AuditLine, ...]]:
    """Return a sheet's machine and audit lines; ValueError unless exactly what is asked is there.

    They are left out by who was drawn for nothing.
    """
    tasks = list_tasks(current, validator)
    if not tasks:
        if "machine" in content or "audits" in content:
            raise ValueError("audits are shown by who was drawn to replay, and by nobody else")
        return "", ()
    if "machine" not in content or "audits" not in content:
        raise ValueError(f"machine and audits of {len(tasks)} traces are asked for")
    return parse_lines(current, tasks, content)


def accuse(current: RoundState) -> RoundState:
    """Name those about whom the whole committee must speak, once the sheets are shown."""
    accused = tuple(
        c.member
        for c in current.audits.challenges
        if c.member in current.audits.opened and needs_jury(list_opinions(current, c.member))
    )
    return replace(current, audits=replace(current.audits, accused=accused))


def list_opinions(current: RoundState, member: str) -> tuple[Opinion, ...]:
    """Return everything that the committee said about this member's trace, by validator."""
    opinions = []
    for key in sorted(current.committee):
        sheet = current.score_sheets.get(key)
        if sheet is not None and sheet.audits:
            pairs = zip(list_tasks(current, key), sheet.audits, strict=True)
            opinions += [Opinion(key, sheet.machine, a) for c, a in pairs if c.member == member]
        if key in current.audits.words:
            machine, lines = current.audits.words[key]
            pairs = zip(list_accused(current, key), lines, strict=True)
            opinions += [Opinion(key, machine, a) for c, a in pairs if c.member == member]
    return tuple(opinions)


def conclude_audit(current: RoundState, member: str) -> Verdict:
    """Return the committee's verdict about an opened trace."""
    return conclude(list_opinions(current, member), compute_quorum(len(current.committee)))


def judge_audits(
    current: RoundState, judgements: Sequence[Judgement]
) -> tuple[tuple[Judgement, ...], Mapping[str, Assignment]]:
    """Return the judgements with the audits' word in them, and assignments without MISSING ones.

    An audit never makes work better than its scores did: VALID changes nothing.
    """
    assignments, kept = dict(current.assignments), []
    for judgement in judgements:
        member = judgement.member
        if member not in current.audits.opened:
            kept.append(judgement)
            continue
        verdict = conclude_audit(current, member)
        if verdict is Verdict.MISSING:
            missing = replace(assignments[member], state=AssignmentState.NO_REPLY)
            assignments[member] = missing
        elif verdict is Verdict.INVALID:
            kept.append(_override(judgement, AssignmentState.INVALID, "fabricated"))
        elif verdict is Verdict.INCONCLUSIVE and judgement.verdict in _OPINION_STATES:
            kept.append(_override(judgement, AssignmentState.INCONCLUSIVE, "unproven"))
        else:
            kept.append(judgement)
    return tuple(kept), assignments


def apply_audits(state: RunState) -> RunState:
    """Count the certified audits: who is trusted more, who anew, and which auditors lied."""
    assert state.round is not None
    current = state.round
    members, evidence = dict(state.members), dict(state.evidence)
    for challenge in current.audits.challenges:
        key = challenge.member
        if key not in current.audits.opened:
            members[key] = replace(members[key], audited_valid=0)
            continue
        verdict = conclude_audit(current, key)
        members[key] = _count(members[key], verdict)
        assignment = current.assignments[key]
        liars, _ = find_liars(list_opinions(current, key), verdict, assignment.machine)
        for liar in liars:
            proof = canonical.hash_document([assignment.commitment, liar])
            evidence[liar] = (*evidence.get(liar, ()), proof)
    return replace(state, members=members, evidence=evidence)


def list_wrong_auditors(current: RoundState) -> frozenset[str]:
    """Return the validators who said the opposite of what the committee found: unpaid."""
    wrong: set[str] = set()
    for member in current.audits.opened:
        machine = current.assignments[member].machine
        opinions = list_opinions(current, member)
        for part in find_liars(opinions, conclude_audit(current, member), machine):
            wrong.update(part)
    return frozenset(wrong)


def _count(member: Member, verdict: Verdict) -> Member:
    if verdict is Verdict.VALID:
        return replace(member, audited_valid=member.audited_valid + 1)
    if verdict is Verdict.INVALID:
        return replace(member, audited_valid=0, is_convicted=True)
    return member if verdict is Verdict.INCONCLUSIVE else replace(member, audited_valid=0)


def _override(judgement: Judgement, verdict: AssignmentState, reason: str) -> Judgement:
    """What is not proven earns no credit either; harm that the scores saw stays."""
    value = min(0, judgement.value)
    return replace(judgement, verdict=verdict, reason=reason, detail="", value=value)


def _has_spoken(current: RoundState, validator: str) -> bool:
    sheet: ScoreSheet | None = current.score_sheets.get(validator)
    return sheet is not None and bool(sheet.audits)


def with_audits(state: RunState, current: RoundState, audits: Audits) -> RunState:
    """Return the state with the open round's audits changed."""
    return replace(state, round=replace(current, audits=audits))
