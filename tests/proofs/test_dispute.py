"""Two traces searched for the iteration where they part: the honest party never loses."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import Reject
from kumiai.proofs.dispute import (
    Answered,
    Ask,
    Bound,
    Decide,
    Dispute,
    Level,
    Refined,
    Replay,
    Replayed,
    Terms,
    TimePassed,
    open_dispute,
    step,
)
from kumiai.proofs.trace import Trace, TracePlace

PLACE = TracePlace("t" * 64, 1, 1, "m" * 64)
HONEST, LIAR = "h" * 64, "l" * 64
TERMS = Terms()


class Party:
    """Answers from hashes of every iteration; `state(i)` is what it says of iteration i."""

    def __init__(self, name: str, iterations: int, every: int, parts_at: int) -> None:
        self.name, self.iterations, self.every, self.parts_at = name, iterations, every, parts_at
        ends = [*range(0, iterations, every), iterations]
        self.trace = Trace(PLACE, every, iterations, tuple(self.state(i) for i in ends))

    def state(self, iteration: int) -> str:
        return sha256_hex(f"{iteration}/{self.name if iteration >= self.parts_at else ''}".encode())

    def refine(self, segment: int) -> Trace:
        first = segment * self.every
        last = min(first + self.every, self.iterations)
        digests = tuple(self.state(i) for i in range(first, last + 1))
        return Trace(PLACE, 1, last - first, digests)


def begin(one: Party, other: Party, terms: Terms = TERMS):  # type: ignore[no-untyped-def]
    ends = {p.name: p.trace.open([0, len(p.trace.digests) - 1]) for p in (one, other)}
    bound = (Bound(one.name, one.trace.root), Bound(other.name, other.trace.root))
    return open_dispute(PLACE, one.iterations, one.every, bound, ends, terms, 0)  # type: ignore[arg-type]


def play(one: Party, other: Party, terms: Terms = TERMS) -> tuple[Dispute, int, int]:
    """Both answer everything; the committee computes what `one` has. Return how it ended."""
    state, effects = begin(one, other, terms)
    fine: dict[str, Trace] = {}
    replays = 0
    while True:
        effect = effects[-1]
        if isinstance(effect, Decide):
            return state, replays, len(effect.losers)
        if isinstance(effect, Replay):
            replays += 1
            assert effect.digest == one.state(effect.iteration) == other.state(effect.iteration)
            state, effects = step(state, Replayed(one.state(effect.iteration + 1)), 0)
            continue
        assert isinstance(effect, Ask)
        for party in (one, other):
            if not effect.indices:
                fine[party.name] = party.refine(state.segment)
                length = fine[party.name].iterations
                ends = fine[party.name].open([0, length])
                event = Refined(party.name, fine[party.name].root, ends)  # type: ignore[arg-type]
            else:
                source = party.trace if state.level is Level.SEGMENTS else fine[party.name]
                event = Answered(party.name, source.open(effect.indices))
            state, effects = step(state, event, 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(2, 9), st.data())
def test_the_liar_is_found_at_the_very_iteration(
    iterations: int, every: int, arity: int, data: st.DataObject
) -> None:
    parts_at = data.draw(st.integers(1, iterations))
    honest = Party(HONEST, iterations, every, iterations + 1)
    liar = Party(LIAR, iterations, every, parts_at)
    state, replays, _ = play(honest, liar, Terms(arity, 10, 5))
    assert state.losers == (LIAR,)
    assert replays == 1
    assert state.segment * every + state.low == parts_at - 1
    segments = -(-iterations // every)
    most = sum(ceil(log(max(2, n), arity) + 1e-9) + 1 for n in (segments, min(every, iterations)))
    assert state.round_count <= most


def test_two_liars_both_lose() -> None:
    """The committee's hash is neither's."""
    one, other = Party(LIAR, 12, 3, 5), Party("z" * 64, 12, 3, 5)
    honest = Party(HONEST, 12, 3, 99)
    state, effects = begin(one, other)
    assert isinstance(effects[-1], Ask)
    state = replace(state, level=Level.REPLAY, digests={p.name: p.state(5) for p in (one, other)})
    decided, effects = step(state, Replayed(honest.state(5)), 0)
    assert effects == (Decide((LIAR, "z" * 64), 0),)
    assert decided.level is Level.DECIDED


def test_another_class_shows_nothing_and_costs_nobody() -> None:
    one, other = Party(HONEST, 4, 4, 99), Party(LIAR, 4, 4, 2)
    state, _ = begin(one, other, Terms(2, 10, 7))
    state = replace(state, level=Level.REPLAY)
    _, effects = step(state, Replayed(""), 0)
    assert effects == (Decide((), 0),)


def test_silence_loses_and_the_silence_of_both_shows_nothing() -> None:
    honest, liar = Party(HONEST, 40, 4, 99), Party(LIAR, 40, 4, 9)
    state, effects = begin(honest, liar, Terms(4, 10, 7))
    assert step(state, TimePassed(), 9) == (state, ())
    _, nobody = step(state, TimePassed(), 10)
    assert nobody == (Decide((), 0),)
    answered, _ = step(state, Answered(HONEST, honest.trace.open(effects[0].indices)), 5)  # type: ignore[union-attr]
    _, decided = step(answered, TimePassed(), 10)
    assert decided == (Decide((LIAR,), 7),)


def test_an_answer_after_the_deadline_is_none_whether_or_not_the_clock_was_looked_at() -> None:
    honest, liar = Party(HONEST, 40, 4, 99), Party(LIAR, 40, 4, 9)
    state, effects = begin(honest, liar, Terms(4, 10, 7))
    answer = Answered(HONEST, honest.trace.open(effects[0].indices))  # type: ignore[union-attr]
    assert not isinstance(step(state, answer, 9), Reject)
    late = step(state, answer, 10)
    assert isinstance(late, Reject)
    assert late.reason == "too-late"


def test_faults_are_refused_and_change_nothing() -> None:
    honest, liar = Party(HONEST, 40, 4, 99), Party(LIAR, 40, 4, 9)
    state, effects = begin(honest, liar)
    asked = effects[0].indices  # type: ignore[union-attr]
    good = honest.trace.open(asked)
    cases = {
        "not-a-party": Answered("x" * 64, good),
        "bad-leaf": Answered(LIAR, good),  # another's leaves
        "wrong-level": Replayed("0" * 64),
    }
    for reason, event in cases.items():
        found = step(state, event, 0)
        assert isinstance(found, Reject)
        assert found.reason == reason
    fewer = step(state, Answered(HONEST, good[:-1]), 0)
    assert isinstance(fewer, Reject)
    assert "are asked for, in this order" in fewer.detail
    once, _ = step(state, Answered(HONEST, good), 0)
    twice = step(once, Answered(HONEST, good), 0)
    assert isinstance(twice, Reject)
    assert twice.reason == "duplicate"


def test_a_finer_trace_must_end_in_what_was_claimed() -> None:
    """Or a liar could change its story once the segment is known."""
    honest, liar = Party(HONEST, 8, 8, 99), Party(LIAR, 8, 8, 3)
    state, effects = begin(honest, liar)
    assert effects == (Ask((), 30_000),)
    story = Party(HONEST, 8, 8, 99).refine(0)
    found = step(state, Refined(LIAR, story.root, story.open([0, 8])), 0)  # type: ignore[arg-type]
    assert isinstance(found, Reject)
    assert found.reason == "wrong-ends"


def test_there_is_nothing_to_dispute_between_equal_traces() -> None:
    one, other = Party(HONEST, 8, 2, 99), Party(LIAR, 8, 2, 99)
    found = begin(one, other)
    assert isinstance(found, Reject)
    assert found.reason == "no-dispute"
    with pytest.raises(ValueError, match="arity"):
        begin(one, Party(LIAR, 8, 2, 3), Terms(arity=1))
