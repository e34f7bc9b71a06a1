"""The end of a round: judge what was opened, say verdicts, combine, go on or try again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kumiai.market.customer import committee, offers, paying
from kumiai.market.customer.rounds import reject
from kumiai.market.customer.state import Phase, RoundDone, Stage, Work
from kumiai.market.customer.turn import Turn
from kumiai.market.effects import Combine, Combined, Judge, Judged, Store
from kumiai.market.judging_terms import JudgementLine
from kumiai.market.kinds import Ruling
from kumiai.market.letters import JudgementGiven
from kumiai.market.rules import judge_lines


def is_complete(turn: Turn) -> bool:
    """Tell whether nothing more is expected in this round."""
    return not any(w.is_open for w in list_current(turn))


def list_current(turn: Turn) -> list[Work]:
    """Return the works of this round and attempt."""
    place = (turn.s.round, turn.s.attempt)
    return [work for work in turn.s.works.values() if (work.round, work.attempt) == place]


def judge(turn: Turn) -> None:
    """Measure all updates that could be opened; without any, try the round again."""
    opened = sorted(
        (w for w in list_current(turn) if w.stage is Stage.OPENED), key=lambda work: work.order
    )
    if not opened:
        _again(turn)
        return
    turn.enter(Phase.JUDGING)
    turn.set(votes={})
    committee.ask_judges(turn, opened)
    if turn.terms.committee and turn.plan.pubkey not in turn.terms.committee:
        return
    shards = {name: member.shard for name, member in turn.s.members.items()}
    turn.ask(
        Judge(
            key=f"judge/{turn.s.round}/{turn.s.attempt}",
            round=turn.s.round,
            model=turn.s.model,
            previous_model=turn.s.previous_model,
            candidates=tuple((w.provider, w.update, shards[w.provider]) for w in opened),
            seed=turn.derive(f"beacon/{turn.s.round}/{turn.s.attempt}"),
        )
    )


def on_judged(turn: Turn, judged: Judged) -> None:
    """What we measured ourselves: the whole word without a committee, else one vote of it."""
    decided = judge_lines(judged.lines, turn.terms.validation)
    own = JudgementGiven(
        id="",
        job=turn.job_id,
        judge=turn.plan.pubkey,
        round=turn.s.round,
        attempt=turn.s.attempt,
        loss_ppm=judged.loss_ppm,
        accuracy_ppm=judged.accuracy_ppm,
        lines=tuple(
            JudgementLine(line.provider, ruling, str(code), line.gain)
            for line, ruling, code in decided
        ),
    )
    turn.keep("votes", own.judge, own)
    conclude(turn)


def conclude(turn: Turn) -> None:
    """Decide when enough judges have spoken, or time is up; say so; combine what was accepted."""
    if turn.s.phase is not Phase.JUDGING or not turn.s.votes:
        if turn.s.phase is Phase.JUDGING and committee.is_overdue(turn):
            _decide(turn, {}, 0, 0)
        return
    opened = [w for w in list_current(turn) if w.stage is Stage.OPENED]
    lines = {work.provider: committee.count(turn, work.provider) for work in opened}
    if any(line is None for line in lines.values()) and not committee.is_overdue(turn):
        return
    loss_ppm, accuracy_ppm = committee.find_middle(list(turn.s.votes.values()))
    _decide(turn, lines, loss_ppm, accuracy_ppm)


def _decide(
    turn: Turn, lines: Mapping[str, JudgementLine | None], loss_ppm: int, accuracy_ppm: int
) -> None:
    accepted: list[Work] = []
    for work in [w for w in list_current(turn) if w.stage is Stage.OPENED]:
        line = lines.get(work.provider)
        if line is None:
            paying.leave_undecided(turn, work)
            continue
        judged = replace(work, gain_ppm=line.gain_ppm)
        turn.put_work(judged)
        if line.ruling is Ruling.ACCEPTED:
            paying.accept(turn, judged)
            accepted.append(judged)
        else:
            reject(turn, judged, committee.find_code(line))
    done = RoundDone(
        turn.s.round,
        loss_ppm,
        accuracy_ppm,
        len(accepted),
        len(list_current(turn)) - len(accepted),
        turn.now_s,
    )
    turn.set(history=(*turn.s.history, done))
    if not accepted:
        _again(turn)
        return
    turn.enter(Phase.COMBINING)
    turn.ask(
        Combine(
            key=f"combine/{turn.s.round}/{turn.s.attempt}",
            round=turn.s.round,
            model=turn.s.model,
            server_state=turn.s.server_state,
            previous_model=turn.s.previous_model,
            included=_weigh(turn, accepted),
            seed=turn.derive(f"beacon/{turn.s.round}/{turn.s.attempt}"),
        )
    )


def _weigh(turn: Turn, accepted: list[Work]) -> tuple[tuple[str, str, int], ...]:
    """Each part of the data counts once, by its samples, however many providers worked on it.

    The numbers of samples are the customer's own; the least weight is 1.
    """
    shards = {name: member.shard for name, member in turn.s.members.items()}
    copies: dict[int, int] = {}
    for work in accepted:
        copies[shards[work.provider]] = copies.get(shards[work.provider], 0) + 1
    weighed = []
    for work in sorted(accepted, key=lambda one: one.order):
        shard = shards[work.provider]
        weight = max(1, turn.plan.sample_counts[shard] // copies[shard])
        weighed.append((work.provider, work.update, weight))
    return tuple(weighed)


def on_combined(turn: Turn, combined: Combined) -> None:
    """The next model: put it where providers can fetch it."""
    turn.set(previous_model=turn.s.model, model=combined.model, server_state=combined.server_state)
    turn.ask(Store(f"store/model/{combined.model}", combined.model))


def go_on(turn: Turn) -> None:
    """The round is over and its model is out: the next one, or the end."""
    if turn.s.is_cancelled:
        paying.finish(turn, "cancelled by the customer")
    elif turn.s.round >= turn.terms.rounds:
        paying.finish(turn, "all rounds done")
    else:
        _refill(turn, turn.s.round + 1, 0)


def _again(turn: Turn) -> None:
    if turn.s.is_cancelled:
        paying.finish(turn, "cancelled by the customer")
    elif turn.s.attempt + 1 >= turn.plan.attempts_max:
        paying.finish(turn, f"round {turn.s.round} gave nothing in {turn.s.attempt + 1} attempts")
    else:
        _refill(turn, turn.s.round, turn.s.attempt + 1)


def _refill(turn: Turn, round_number: int, attempt: int) -> None:
    """Contract others for the parts whose providers are gone; the round waits for them."""
    offers.choose(turn)
    turn.set(round=round_number, attempt=attempt)
    turn.enter(Phase.CONTRACTS)
