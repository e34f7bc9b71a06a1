"""The run machine: one record in, the next state and its effects out.

`step` is the fold over the log that everybody computes: validators, the offline verifier, the
report. It is pure and total. The record's signature has been checked where it entered (the order's
door, or the verifier); here identity is the key that signed and the content's shape is checked
before anything.

After an accepted event `_advance` closes every phase that is complete or whose deadline has passed,
so a phase ends as soon as nobody is left to wait for. TICK carries no content: it only lets time
pass, and anyone may cause it through the orderer; a second one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kumiai.base.log import Record
from kumiai.rounds import (
    audits,
    certificate,
    control,
    enrol,
    final,
    jury,
    masks,
    rechecks,
    scoring,
    widths,
)
from kumiai.rounds import round as training
from kumiai.rounds.buffering import compute_close_ms
from kumiai.rounds.effects import Effect, Outcome, refuse
from kumiai.rounds.kinds import Kind, parse_content
from kumiai.rounds.phases import advance
from kumiai.rounds.state import RunPhase, RunState

Handler = Callable[[RunState, Record, Mapping[str, Any]], Outcome]

HANDLERS: Mapping[Kind, Handler] = {
    Kind.TASK: enrol.on_task,
    Kind.ESCROW: enrol.on_escrow,
    Kind.ENROL: enrol.on_enrol,
    Kind.START: enrol.on_start,
    Kind.READY: enrol.on_ready,
    Kind.DEAL: masks.on_deal,
    Kind.UNMASK: masks.on_unmask,
    Kind.ACCEPT: training.on_accept,
    Kind.DECLINE: training.on_decline,
    Kind.COMMIT: training.on_commit,
    Kind.REVEAL: training.on_reveal,
    Kind.BEACON: training.on_beacon,
    Kind.OPEN_TRACE: audits.on_open_trace,
    Kind.SCORE_COMMIT: scoring.on_score_commit,
    Kind.SCORE_REVEAL: scoring.on_score_reveal,
    Kind.JURY_COMMIT: jury.on_jury_commit,
    Kind.JURY_REVEAL: jury.on_jury_reveal,
    Kind.RECHECKED: rechecks.on_rechecked,
    Kind.RECHECK_VOTE: rechecks.on_recheck_vote,
    Kind.CERTIFY: certificate.on_certify,
    Kind.FINAL_REVEAL: final.on_final_reveal,
    Kind.CURVE: widths.on_curve,
    Kind.CANARY_OPEN: final.on_canary_open,
    Kind.HOLDOUT_OPEN: final.on_holdout_open,
    Kind.WITHDRAW: control.on_withdraw,
    Kind.REJOIN: control.on_rejoin,
    Kind.EVIDENCE: control.on_evidence,
    Kind.ORDER_PROOF: control.on_order_proof,
    Kind.STOP: control.on_stop,
}

_WHILE_PAUSED = frozenset(
    {Kind.STOP, Kind.TICK, Kind.WITHDRAW, Kind.REJOIN, Kind.EVIDENCE, Kind.ORDER_PROOF}
)


def step(state: RunState, record: Record) -> Outcome:
    """Fold one record into the state; a refused event leaves the state exactly as it was."""
    if record.height != state.height + 1:
        raise ValueError(f"record {record.height} does not follow height {state.height}")
    try:
        kind, content = parse_content(record.event)
    except ValueError as error:
        return refuse(state, "malformed", str(error))
    problem = _check_sender(state, kind, content, record)
    if problem is not None:
        return problem
    if kind is Kind.TICK:
        handled = Outcome(state)
    else:
        handled = HANDLERS[kind](state, record, content)
    if handled.reject is not None:
        return handled
    ordered = replace(handled.state, height=record.height, time_ms=record.time_ms, head=record.head)
    advanced, effects = advance(ordered, record.time_ms)
    return Outcome(advanced, (*handled.effects, *effects))


def next_deadline_ms(state: RunState) -> int | None:
    """Return when a TICK is due at the latest, or None when nothing waits."""
    if state.phase in control.ENDED or state.phase in (RunPhase.PAUSED, RunPhase.DRAFT):
        return None
    return compute_close_ms(state, state.round) if state.round is not None else state.deadline_ms


def _check_sender(
    state: RunState, kind: Kind, content: Mapping[str, Any], record: Record
) -> Outcome | None:
    """What holds for every kind: the right task, a run that is alive, the orderer's own clock."""
    if kind is Kind.TASK:
        return None
    if state.task is None:
        return refuse(state, "no-task", "the first record of a log is its task")
    if content["task"] != state.task_id:
        return refuse(state, "wrong-task", "the event belongs to another task")
    if state.phase in control.ENDED:
        return refuse(state, "run-ended", f"the run is {state.phase}")
    if state.phase is RunPhase.PAUSED and kind not in _WHILE_PAUSED:
        return refuse(state, "paused", "the run is paused")
    if kind is Kind.TICK and record.event.pubkey != state.orderer:
        return refuse(state, "not-orderer", "only the orderer tells the time")
    return None


__all__ = ["Effect", "Outcome", "next_deadline_ms", "step"]
