"""When a phase ends and what follows: the only place that moves a run or a round on.

A training round closes TRAIN -> REVEAL -> SCORE -> SCORE_REVEAL -> CERTIFY, in a secure run with
DEAL in front and UNMASK before SCORE (`masks`); the final one SCORE_REVEAL -> CERTIFY, between them
RECHECK and perhaps RECHECK_JURY (`rechecks`). A phase that lacks its quorum at the deadline is
extended once by half; if that does not help, the round is replayed (nobody is blamed); after
`round.ATTEMPTS_MAX` the run is DEGRADED and waits for members to come back, and then FAILED, with
what is left refunded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kumiai.consensus.quorum import compute_quorum
from kumiai.rounds import audits, final, jury, masks, rechecks, scoring, settle
from kumiai.rounds import round as training
from kumiai.rounds.buffering import compute_close_ms
from kumiai.rounds.certificate import draft_body, find_certificate
from kumiai.rounds.control import ENDED, end_run
from kumiai.rounds.deadlines import remember
from kumiai.rounds.degraded import degrade
from kumiai.rounds.effects import Certified, Effect, PhaseEntered, RunEnded
from kumiai.rounds.enrol import find_agreed_model
from kumiai.rounds.epochs import list_committee
from kumiai.rounds.onchain import follow_committee, seal
from kumiai.rounds.receipt import advance_heads
from kumiai.rounds.state import (
    ROUND_TABLE,
    RUN_TABLE,
    AssignmentState,
    Judged,
    NodeState,
    RoundPhase,
    RoundState,
    RunPhase,
    RunState,
    check_transition,
)
from kumiai.tasks.secure import is_secure

Effects = tuple[Effect, ...]


def advance(state: RunState, now_ms: int) -> tuple[RunState, Effects]:
    """Close every phase that is over at `now_ms`; return the state and the effects in order."""
    effects: list[Effect] = []
    while True:
        moved = _advance_once(state, now_ms)
        if moved is None:
            return state, tuple(effects)
        state, new = moved
        effects.extend(new)
        if state.phase in ENDED:
            return state, tuple(effects)


def _advance_once(state: RunState, now_ms: int) -> tuple[RunState, Effects] | None:
    if state.phase is RunPhase.WARMUP:
        return _leave_warmup(state, now_ms)
    if state.phase is RunPhase.ENROLLING and now_ms >= state.deadline_ms:
        return _fail(state, "enrolment was not closed before its deadline")
    if state.phase is RunPhase.DEGRADED:
        return _leave_degraded(state, now_ms)
    if state.phase in (RunPhase.TRAINING, RunPhase.FINALIZING) and state.round is not None:
        moved = _CLOSERS[state.round.phase](state, state.round, now_ms)
        if moved is not None:
            _check_order(state.round, moved[0].round)
        return moved
    return None


def _check_order(old: RoundState, new: RoundState | None) -> None:
    """Raise what `check_transition` does where an attempt at a round skips a phase."""
    if new is None or (old.index, old.attempt) != (new.index, new.attempt):
        return
    if old.phase is not new.phase:
        check_transition(ROUND_TABLE, old.phase, new.phase)


def _leave_warmup(state: RunState, now_ms: int) -> tuple[RunState, Effects] | None:
    model = find_agreed_model(state)
    if model is not None:
        check_transition(RUN_TABLE, state.phase, RunPhase.TRAINING)
        begun = replace(state, phase=RunPhase.TRAINING, model=model, model_previous="")
        return _entered(training.open_round(begun, 1, 1, now_ms))
    if now_ms >= state.deadline_ms:
        return _fail(state, "the committee did not agree on the initial model")
    return None


def _close_deal(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    if not masks.is_deal_complete(current) and now_ms < current.deadline_ms:
        return None
    closed = masks.close_deal(state)
    assert closed.round is not None
    states = {key: a.state for key, a in closed.round.assignments.items()}
    silent = frozenset(k for k, found in states.items() if found is AssignmentState.NO_REPLY)
    counted = _count_misses(closed, silent)
    if AssignmentState.OFFERED not in states.values():
        return _replay(counted, current, now_ms, "too few trainers dealt shares", frozenset())
    return _enter(counted, closed.round, RoundPhase.TRAIN, now_ms)


def _close_train(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    if not training.is_train_complete(current) and now_ms < compute_close_ms(state, current):
        return None
    closed = training.close_train(state, now_ms)
    durations = remember(
        state.durations_ms.get(RoundPhase.TRAIN, ()), now_ms - current.phase_started_ms
    )
    return _entered(
        replace(closed, durations_ms={**state.durations_ms, RoundPhase.TRAIN: durations})
    )


def _close_reveal(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    is_due = now_ms >= current.deadline_ms
    if not training.is_reveal_complete(current, _live_committee(state, current)) and not is_due:
        return None
    if not current.beacon_shares:
        return _extend_or_replay(state, current, now_ms, "no validator gave its beacon element")
    closed = training.close_reveal(state, now_ms)
    assert closed.round is not None
    if not closed.round.revealed:
        return _replay(closed, closed.round, now_ms, "no trainer revealed an update", frozenset())
    if closed.round.audits.challenges:
        return _enter(closed, closed.round, RoundPhase.CHALLENGE, now_ms)
    if not closed.round.groups:
        return _entered(closed)
    masked = masks.close_masked_reveal(closed.round)
    if not masked.revealed:
        reason = "too few of every group revealed an update"
        return _replay(closed, masked, now_ms, reason, frozenset())
    return _enter(closed, replace(masked, phase=current.phase), RoundPhase.UNMASK, now_ms)


def _close_unmask(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    live = frozenset(k for k, m in state.members.items() if m.state is NodeState.ACTIVE)
    if not masks.is_unmask_complete(current, live) and now_ms < current.deadline_ms:
        return None
    opened, blamed = masks.open_groups(current)
    counted = _count_misses(state, blamed)
    if not opened.opened:
        reason = "no group's sum could be opened"
        return _replay(counted, current, now_ms, reason, frozenset())
    return _enter(counted, opened, RoundPhase.SCORE, now_ms)


def _close_challenge(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    if not audits.is_challenge_complete(state, current) and now_ms < current.deadline_ms:
        return None
    opened = audits.close_challenge(current)
    if not opened.revealed:
        return _replay(state, current, now_ms, "no drawn trainer opened its trace", frozenset())
    return _enter(state, opened, RoundPhase.SCORE, now_ms)


def _close_score(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    is_due = now_ms >= current.deadline_ms
    if not _live_committee(state, current) <= current.score_commits.keys() and not is_due:
        return None
    if len(current.score_commits) < compute_quorum(len(current.committee)):
        return _extend_or_replay(state, current, now_ms, "no quorum of validators scored")
    return _entered(scoring.close_scores(state, now_ms))


def _close_score_reveal(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    is_due = now_ms >= current.deadline_ms
    if state.phase is RunPhase.FINALIZING:
        if not final.is_final_complete(state) and not is_due:
            return None
        drawn = rechecks.open_rechecks(state, current)
        if drawn.rechecks.drawn:
            return _enter(state, drawn, RoundPhase.RECHECK, now_ms)
        return _enter_certify(settle.settle_final(state), now_ms)
    waiting = (current.score_commits.keys() & _live_committee(state, current)) - (
        current.score_sheets.keys()
    )
    if waiting and not is_due:
        return None
    if len(current.score_sheets) < compute_quorum(len(current.committee)):
        return _extend_or_replay(state, current, now_ms, "no quorum of validators revealed")
    silent = set(current.committee) - set(current.score_sheets)
    members = {k: training.count_miss(m) if k in silent else m for k, m in state.members.items()}
    heard = {
        k: replace(m, missed_count=0) if k in current.score_sheets and m.missed_count else m
        for k, m in members.items()
    }
    accused = audits.accuse(current)
    following = replace(state, members=heard, round=accused)
    if jury.find_jurors(following, accused):
        return _enter(following, accused, RoundPhase.JURY, now_ms)
    return _judge(following, now_ms)


def _close_jury(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    """Bound first, shown then. Who is silent has no word; without a quorum nobody is guilty."""
    if jury.find_awaited(state, current) and now_ms < current.deadline_ms:
        return None
    if current.phase is RoundPhase.JURY and current.audits.commits:
        return _enter(state, current, RoundPhase.JURY_REVEAL, now_ms)
    return _judge(state, now_ms)


def _close_recheck(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    """Who is silent accuses nobody, and loses the held pay of a round (`rechecks`)."""
    if rechecks.find_awaited(state, current) and now_ms < current.deadline_ms:
        return None
    accused = rechecks.accuse(current)
    if current.phase is RoundPhase.RECHECK and accused.rechecks.accused:
        return _enter(state, accused, RoundPhase.RECHECK_JURY, now_ms)
    return _enter_certify(settle.settle_final(state), now_ms)


def _judge(state: RunState, now_ms: int) -> tuple[RunState, Effects]:
    return _enter_certify(settle.settle_round(scoring.judge_round(state)), now_ms)


def _close_certify(
    state: RunState, current: RoundState, now_ms: int
) -> tuple[RunState, Effects] | None:
    found = find_certificate(current)
    if found is None:
        if now_ms < current.deadline_ms:
            return None
        return _extend_or_replay(state, current, now_ms, "no quorum signed the certificate")
    certificate, vote = found
    certified = advance_heads(
        replace(
            state,
            certificates=(*state.certificates, certificate),
            model_previous=state.model,
            model=vote.model,
            server_state=vote.server_state,
            judged=Judged(current, state.model, state.model_previous),
            beacon=current.beacon or state.beacon,
            chain=follow_committee(state, certificate.body),
        ),
        current.receipts,
    )
    moved, money = settle.apply_payments(scoring.apply_verdicts(certified))
    effects: Effects = (Certified(certificate, current.receipts), *seal(certificate), *money)
    following, more = _after_certificate(moved, current.index, now_ms)
    return following, (*effects, *more)


def _after_certificate(state: RunState, index: int, now_ms: int) -> tuple[RunState, Effects]:
    assert state.task is not None
    if state.phase is RunPhase.FINALIZING:
        check_transition(RUN_TABLE, state.phase, RunPhase.FINISHED)
        finished = end_run(state, RunPhase.FINISHED)
        return finished, (RunEnded(RunPhase.FINISHED, ""),)
    if index >= state.task.training.rounds:
        check_transition(RUN_TABLE, state.phase, RunPhase.FINALIZING)
        return _entered(final.open_final(state, now_ms))
    return _entered(training.open_round(state, index + 1, 1, now_ms))


def _enter(
    state: RunState, current: RoundState, phase: RoundPhase, now_ms: int
) -> tuple[RunState, Effects]:
    """Begin a phase that a secure, audited or rechecked run has more, or the one after it."""
    length_ms = training.compute_phase_ms(state, current, phase)
    begun = replace(current, phase=phase, phase_started_ms=now_ms, deadline_ms=now_ms + length_ms)
    return _entered(replace(state, round=begun))


def _count_misses(state: RunState, silent: frozenset[str]) -> RunState:
    members = {k: training.count_miss(m) if k in silent else m for k, m in state.members.items()}
    return replace(state, members=members)


def _enter_certify(state: RunState, now_ms: int) -> tuple[RunState, Effects]:
    assert state.round is not None and state.task is not None
    current = replace(
        state.round,
        phase=RoundPhase.CERTIFY,
        phase_started_ms=now_ms,
        deadline_ms=now_ms + state.task.deadlines.certify_ms,
        is_extended=False,
    )
    drafted = replace(state, round=current)
    draft = draft_body(drafted, state.height, state.head)
    return _entered(replace(drafted, round=replace(current, draft=draft)))


def _extend_or_replay(
    state: RunState, current: RoundState, now_ms: int, reason: str
) -> tuple[RunState, Effects]:
    if not current.is_extended:
        length = current.deadline_ms - current.phase_started_ms
        extended = replace(current, is_extended=True, deadline_ms=now_ms + length // 2)
        return _entered(replace(state, round=extended))
    return _replay(state, current, now_ms, reason, training.find_silent(current))


def _replay(
    state: RunState, current: RoundState, now_ms: int, reason: str, silent: frozenset[str]
) -> tuple[RunState, Effects]:
    """Start the round again, with a new seed and no blame; degrade when that keeps failing."""
    finals = {index: part for index, part in state.finals.items() if index != current.index}
    members = {k: training.count_miss(m) if k in silent else m for k, m in state.members.items()}
    cleared = replace(state, finals=finals, members=members)
    if state.phase is RunPhase.FINALIZING or current.attempt >= training.ATTEMPTS_PER_ROUND_MAX:
        return _fail(cleared, reason)
    if current.attempt % training.ATTEMPTS_MAX:
        return _entered(training.open_round(cleared, current.index, current.attempt + 1, now_ms))
    return degrade(cleared, current, now_ms, reason, silent)


def _leave_degraded(state: RunState, now_ms: int) -> tuple[RunState, Effects] | None:
    present = [
        m for m in state.members.values() if m.state in (NodeState.ACTIVE, NodeState.SYNCING)
    ]
    committee = list_committee(state)
    assert state.task is not None
    least = state.task.privacy.group_size if is_secure(state.task) else 1
    is_able = bool(committee) and (
        sum(m.pubkey in committee for m in present) >= compute_quorum(len(committee))
        and sum(m.role == "trainer" for m in present) >= least
    )
    back = any(m.state is NodeState.SYNCING for m in present)
    if is_able and back:
        check_transition(RUN_TABLE, state.phase, RunPhase.TRAINING)
        resumed = replace(state, phase=RunPhase.TRAINING, reason="")
        # No attempt's number comes twice: a member's messages of two attempts must not look like
        # two different messages of one.
        index, attempt = len(state.certificates) + 1, state.attempts_used + 1
        return _entered(training.open_round(resumed, index, attempt, now_ms))
    if now_ms >= state.deadline_ms:
        return _fail(state, state.reason)
    return None


def _fail(state: RunState, reason: str) -> tuple[RunState, Effects]:
    check_transition(RUN_TABLE, state.phase, RunPhase.FAILED)
    failed = end_run(replace(state, reason=reason), RunPhase.FAILED)
    return failed, (*settle.close_unfinished(failed), RunEnded(RunPhase.FAILED, reason))


def _live_committee(state: RunState, current: RoundState) -> frozenset[str]:
    return frozenset(k for k in current.committee if state.members[k].state is NodeState.ACTIVE)


def _entered(state: RunState) -> tuple[RunState, Effects]:
    assert state.round is not None
    current = state.round
    effect = PhaseEntered(
        state.phase, current.index, current.attempt, current.phase, current.deadline_ms
    )
    return state, (effect,)


_CLOSERS: dict[
    RoundPhase, Callable[[RunState, RoundState, int], tuple[RunState, Effects] | None]
] = {
    RoundPhase.DEAL: _close_deal,
    RoundPhase.TRAIN: _close_train,
    RoundPhase.REVEAL: _close_reveal,
    RoundPhase.UNMASK: _close_unmask,
    RoundPhase.CHALLENGE: _close_challenge,
    RoundPhase.JURY: _close_jury,
    RoundPhase.JURY_REVEAL: _close_jury,
    RoundPhase.SCORE: _close_score,
    RoundPhase.SCORE_REVEAL: _close_score_reveal,
    RoundPhase.RECHECK: _close_recheck,
    RoundPhase.RECHECK_JURY: _close_recheck,
    RoundPhase.CERTIFY: _close_certify,
}
