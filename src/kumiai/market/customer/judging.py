"""The end of a round: judge what was opened, say verdicts, combine, go on or try again."""

from __future__ import annotations

from dataclasses import replace

from kumiai.market.customer import offers, paying
from kumiai.market.customer.rounds import reject
from kumiai.market.customer.state import Phase, RoundDone, Stage, Work
from kumiai.market.customer.turn import Turn
from kumiai.market.effects import Combine, Combined, Judge, Judged, Store
from kumiai.market.kinds import Ruling
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
    """Decide, say so, and combine what was accepted."""
    works = {w.provider: w for w in list_current(turn) if w.stage is Stage.OPENED}
    accepted: list[Work] = []
    for line, ruling, code in judge_lines(judged.lines, turn.terms.validation):
        work = works.get(line.provider)
        if work is None:
            continue
        work = replace(work, gain_ppm=line.gain)
        turn.put_work(work)
        if ruling is Ruling.ACCEPTED:
            paying.accept(turn, work)
            accepted.append(work)
        else:
            reject(turn, work, code)
    done = RoundDone(
        turn.s.round,
        judged.loss_ppm,
        judged.accuracy_ppm,
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
