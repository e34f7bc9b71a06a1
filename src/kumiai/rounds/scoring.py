"""A round's second half: validators commit to scores, then show them, and the fold judges.

Nobody sees another's scores before its own are bound, so copying is pointless. What is revealed
must open the commitment and have the exact shape, or it is refused and counts as silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kumiai.base import canonical
from kumiai.base.amounts import PPM
from kumiai.base.log import Record
from kumiai.learning.aggregation import fit_weights
from kumiai.learning.staleness import discount_weights
from kumiai.proofs import flags as flag
from kumiai.rounds.agreement import NOISE_FLOOR, judge, share_equally
from kumiai.rounds.audit_forms import list_sheet_parts
from kumiai.rounds.audits import apply_audits, judge_audits, read_sheet
from kumiai.rounds.commitments import commit_scores
from kumiai.rounds.current import find_open
from kumiai.rounds.effects import Outcome, refuse
from kumiai.rounds.opened import FinalPart
from kumiai.rounds.state import (
    AssignmentState,
    Judgement,
    NodeState,
    RoundPhase,
    RoundState,
    RunState,
    ScoreSheet,
    Tally,
)
from kumiai.tasks.aggregators import has_root

VALUE_MAX = 10**9  # ppm of a nat: a thousand nats; anything beyond is nonsense
EVIDENCE_REASONS = frozenset({"copy", "old-copy", "replay", "empty", "no-work", "fabricated"})
INVALID_UNTIL_EJECTED = 3
CREDIT_AT_RISK = 4  # a round that costs a quarter of a member's balance or more is left out


def on_score_commit(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator binds itself to its scores."""
    current, problem = _find(state, record, content, RoundPhase.SCORE)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    validator = record.event.pubkey
    if not canonical.is_hash(content["commitment"]):
        return refuse(state, "bad-hash", "commitment is not a sha256")
    if validator in current.score_commits:
        known, event_id = current.score_commits[validator]
        if known == content["commitment"]:
            return refuse(state, "duplicate", "committed already")
        detail = "two different score commitments in one round"
        return refuse(state, "equivocation", detail, first=event_id, second=record.event.id)
    commits = {**current.score_commits, validator: (content["commitment"], record.event.id)}
    return Outcome(replace(state, round=replace(current, score_commits=commits)))


def on_score_reveal(state: RunState, record: Record, content: Mapping[str, Any]) -> Outcome:
    """A validator shows its scores."""
    current, problem = _find(state, record, content, RoundPhase.SCORE_REVEAL)
    if problem is not None or current is None:
        return problem or refuse(state, "wrong-phase", "no round is open")
    validator = record.event.pubkey
    if validator in current.score_sheets:
        return refuse(state, "duplicate", "revealed already")
    if validator not in current.score_commits:
        return refuse(state, "no-commitment", "nothing was committed to")
    problem = _check_root(state, content)
    if problem is not None:
        return problem
    sheet = [
        content["lines"],
        content["loss_ppm"],
        content["accuracy_ppm"],
        content["final_commitment"],
    ]
    if "root" in content:
        sheet.append(content["root"])
    sheet += list_sheet_parts(content)
    opened = commit_scores(
        state.task_id, current.index, current.attempt, validator, sheet, content["salt"]
    )
    committed, event_id = current.score_commits[validator]
    if opened != committed:
        detail = "the scores do not open the commitment"
        return refuse(state, "commitment-mismatch", detail, commit_event=event_id)
    reason = check_lines(content["lines"], len(current.units))
    if reason is not None or content["accuracy_ppm"] > PPM:
        return refuse(state, "bad-scores", reason or "accuracy above 1")
    try:
        machine, audits = read_sheet(current, validator, content)
    except ValueError as error:
        return refuse(state, "bad-audits", str(error))
    sheets = {
        **current.score_sheets,
        validator: ScoreSheet(
            validator=validator,
            lines=tuple(tuple(line) for line in content["lines"]),
            loss_ppm=content["loss_ppm"],
            accuracy_ppm=content["accuracy_ppm"],
            final_commitment=content["final_commitment"],
            root=content.get("root", ""),
            machine=machine,
            audits=audits,
        ),
    }
    return Outcome(replace(state, round=replace(current, score_sheets=sheets)))


def _check_root(state: RunState, content: Mapping[str, Any]) -> Outcome | None:
    """A root is shown where the task has one, and nowhere else; "" says that there is none."""
    assert state.task is not None
    if ("root" in content) != has_root(state.task):
        return refuse(state, "bad-root", "a root is shown with aggregator trust_root, and only so")
    if content.get("root") and not canonical.is_hash(content["root"]):
        return refuse(state, "bad-hash", "root is not a sha256")
    return None


def check_lines(lines: Sequence[Any], count: int) -> str | None:
    """Return what is wrong with revealed score lines, or None."""
    if len(lines) != count:
        return f"{len(lines)} lines for {count} updates"
    for index, line in enumerate(lines):
        if not isinstance(line, list) or len(line) != 5:
            return f"line {index} does not have five numbers"
        if not all(isinstance(x, int) and not isinstance(x, bool) for x in line):
            return f"line {index} has something that is no integer"
        value, error, standalone, flags, original = line
        if abs(value) > VALUE_MAX or abs(standalone) > VALUE_MAX or not 0 <= error <= VALUE_MAX:
            return f"line {index} is out of range"
        if flags & ~flag.ALL or not -1 <= original < index:
            return f"line {index} has an unknown flag or copies a later update"
    return None


def close_scores(state: RunState, now_ms: int) -> RunState:
    """All have committed: now they show."""
    assert state.round is not None and state.task is not None
    shown = replace(
        state.round,
        phase=RoundPhase.SCORE_REVEAL,
        phase_started_ms=now_ms,
        deadline_ms=now_ms + state.task.deadlines.score_ms,
        is_extended=False,
    )
    return replace(state, round=shown)


def judge_round(state: RunState) -> RunState:
    """Combine the revealed sheets into verdicts and choose what is aggregated."""
    assert state.round is not None and state.task is not None
    current = state.round
    sheets = [current.score_sheets[key] for key in sorted(current.score_sheets)]
    stakes = {sheet.validator: state.members[sheet.validator].stake for sheet in sheets}
    balances = {key: tally.balance for key, tally in state.tallies.items()}
    groups = {group.name: group.members for group in current.opened}
    balances |= {name: sum(balances.get(m, 0) for m in group) for name, group in groups.items()}
    by_unit = judge(current.units, sheets, stakes, state.task.validation.harm_floor_ppm, balances)
    judgements = share_equally(by_unit, groups) if groups else by_unit
    judgements, audited = judge_audits(current, judgements)
    assignments = dict(audited)
    for judgement in judgements:
        key = judgement.member
        assignments[key] = replace(assignments[key], state=judgement.verdict)
    judged = replace(
        current,
        judgements=judgements,
        assignments=assignments,
        included=_choose_groups(current, by_unit, balances)
        if groups
        else _choose_included(state, judgements, assignments),
    )
    finals = {**state.finals, current.index: _final_part(current)}
    return replace(state, round=judged, finals=finals)


def apply_verdicts(state: RunState) -> RunState:
    """Blame for what a quorum has certified; a replayed round's verdicts count for nothing."""
    assert state.round is not None
    members, evidence = dict(state.members), dict(state.evidence)
    for judgement in state.round.judgements:
        key = judgement.member
        if judgement.reason in EVIDENCE_REASONS:
            commitment = state.round.assignments[key].commitment
            evidence[key] = (*evidence.get(key, ()), commitment)
        if judgement.verdict is AssignmentState.INVALID:
            count = members[key].invalid_count + 1
            ejected = count >= INVALID_UNTIL_EJECTED and members[key].state is NodeState.ACTIVE
            node_state = NodeState.EJECTED if ejected else members[key].state
            members[key] = replace(members[key], invalid_count=count, state=node_state)
    return apply_audits(replace(state, members=members, evidence=evidence))


def _is_carried(judgement: Judgement, balance: int) -> bool:
    """Tell whether credit covers a round without gain; who has none is left out."""
    is_covered = balance > 0 and balance + CREDIT_AT_RISK * judgement.value > 0
    is_gainless = judgement.verdict is AssignmentState.INCONCLUSIVE
    return is_gainless and is_covered and judgement.reason != "unproven"


def _choose_included(
    state: RunState, judgements: Sequence[Judgement], assignments: Mapping[str, Any]
) -> tuple[tuple[str, str, int], ...]:
    """(member, blob, weight) of what enters the next model, in order of commitment.

    An update without gain still enters when its member has helped before and it costs less than
    a quarter of that credit (the balance): near the end of training everybody's gains are within
    the noise around zero, and leaving useful members out would lose their data. It is not paid.
    """
    assert state.task is not None
    valid = [
        j
        for j in judgements
        if j.verdict is AssignmentState.VALID
        or (
            state.task.mode == "federate"
            and _is_carried(j, state.tallies.get(j.member, Tally()).balance)
        )
    ]
    if state.task.mode == "compete" and valid:
        best = max(valid, key=lambda j: (j.value, -j.group))
        return ((best.member, assignments[best.member].blob, 1),)
    weights = [1] * len(valid)
    if state.task.training.weighting == "samples":
        weights = limit_claims([assignments[j.member].samples for j in valid])
    weights = discount_weights(weights, [assignments[j.member].staleness for j in valid])
    return tuple(
        (j.member, assignments[j.member].blob, weight)
        for j, weight in zip(valid, weights, strict=True)
    )


def _choose_groups(
    current: RoundState, by_unit: Sequence[Judgement], balances: Mapping[str, int]
) -> tuple[tuple[str, str, int], ...]:
    """As `_choose_included`, of whole groups: a sum enters undivided or not at all."""
    chosen = {
        judgement.member
        for judgement in by_unit
        if judgement.verdict is AssignmentState.VALID
        or _is_carried(judgement, balances.get(judgement.member, 0))
    }
    members = {m for group in current.opened if group.name in chosen for m in group.members}
    return tuple((m, current.assignments[m].blob, 1) for m in current.revealed if m in members)


def limit_claims(samples: Sequence[int]) -> list[int]:
    """Return a weight of at least 1 for each claimed number of samples, summing below 2**31.

    A claim counts as four times the median at most (of two middle ones the smaller: one of two
    members cannot raise it). What would still be too much for the aggregation's integers shrinks in
    proportion: no claim can stop the round.
    """
    if not samples:
        return []
    cap = 4 * sorted(samples)[(len(samples) - 1) // 2]
    return fit_weights([max(1, min(cap, claim)) for claim in samples])


def _final_part(current: RoundState) -> FinalPart:
    return FinalPart(
        trainers=current.units,
        groups={group.name: group.members for group in current.opened},
        commitments={key: sheet.final_commitment for key, sheet in current.score_sheets.items()},
        flagged={
            key: tuple(bool(line[3]) or line[0] <= NOISE_FLOOR for line in sheet.lines)
            for key, sheet in current.score_sheets.items()
        },
    )


def _find(
    state: RunState, record: Record, content: Mapping[str, Any], phase: RoundPhase
) -> tuple[RoundState | None, Outcome | None]:
    current, problem = find_open(state, content, phase)
    if current is None:
        return None, problem
    if record.event.pubkey not in current.committee:
        return None, refuse(state, "not-committee", "not a member of this round's committee")
    return current, None
