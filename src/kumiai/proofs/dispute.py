"""A dispute: two traces of one piece of work, searched for the iteration where they part.

A customer's view: two parties say different things about one piece of training. Instead of doing
all of it again, a referee asks both for a few hashes in between, finds the first where they
differ, asks again between that one and the last where they agreed, and so on, until one iteration
is left. That one the committee computes; whoever has another hash there has lied.

    level SEGMENTS    over the leaves of the traces that both are bound to
    level ITERATIONS  over one segment, of which each party binds itself to a finer trace first:
                      a state every iteration, beginning in the hash that both agree on and ending
                      in the one that it had claimed
    asked             k - 1 places between low (where they agree) and high (where they differ)
    rounds            at most ceil(log_k S) + ceil(log_k every), whatever the parties do

A party that is silent past its deadline has lost, and an answer after it is refused; if both are
silent, nothing is shown. Where the committee's own machine is of another class nothing is shown
either: INCONCLUSIVE, never a slash. The replay has no deadline: who runs the dispute asks for it,
and says "" where it cannot be had.

Sources: R. Canetti, B. Riva and G. Rothblum, "Practical Delegation of Computation Using Multiple
Servers" (2011), for the search between two committed traces; A. Arun et al., "Verde: Verification
via Refereed Delegation for Machine Learning Programs" (2025), for its use on training. A
reconstruction; Verde goes on to single operators, this stops at one iteration.

`step(state, event, now_ms)` is pure; a fault of a party's is a `Reject` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kumiai.base import canonical
from kumiai.base.errors import Reject
from kumiai.proofs.trace import OpenedLeaf, TracePlace, check_opened, count_segments

ARITY_MIN, ARITY_MAX = 2, 64
SIDES = 2


class Level(StrEnum):
    """What the search is over, and its ends."""

    SEGMENTS = "SEGMENTS"
    REFINING = "REFINING"  # both bind themselves to finer traces of the first differing segment
    ITERATIONS = "ITERATIONS"
    REPLAY = "REPLAY"  # the committee computes one iteration
    DECIDED = "DECIDED"


@dataclass(frozen=True, slots=True)
class Terms:
    """The dispute's rules. arity: k; answer_ms: time for an answer; cost: what the loser pays."""

    arity: int = 8
    answer_ms: int = 30_000
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """What a party is bound to: a tree's root."""

    party: str
    root: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """One dispute. low, high: leaves of the open level; digests: what each party has at `high`.

    agreed: the digest that both have at `low`. segment: the first differing one, once known.
    """

    place: TracePlace
    iterations: int
    every: int
    terms: Terms
    roots: Mapping[str, str]
    level: Level
    low: int
    high: int
    agreed: str
    digests: Mapping[str, str]
    deadline_ms: int
    answers: Mapping[str, tuple[OpenedLeaf, ...]] = field(default_factory=dict)
    segment: int = -1
    round_count: int = 0
    losers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A party showed the leaves that it was asked for, in their order."""

    party: str
    leaves: tuple[OpenedLeaf, ...]


@dataclass(frozen=True, slots=True)
class Refined:
    """A party bound itself to a finer trace of the segment, and showed its first and last leaf."""

    party: str
    root: str
    ends: tuple[OpenedLeaf, OpenedLeaf]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The committee computed the iteration. digest "": its machines are of another class."""

    digest: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The clock was looked at."""


Event = Answered | Refined | Replayed | TimePassed


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask both parties for these leaves; with none, for a finer trace of the segment."""

    indices: tuple[int, ...]
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Ask the committee to train one iteration from the state with this digest."""

    iteration: int
    digest: str


@dataclass(frozen=True, slots=True)
class Decide:
    """It is over: who lied (nobody, where nothing was shown), and what each of them pays."""

    losers: tuple[str, ...]
    cost: int


Effect = Ask | Replay | Decide
Result = tuple[Dispute, tuple[Effect, ...]] | Reject


def open_dispute(
    place: TracePlace,
    iterations: int,
    every: int,
    bound: tuple[Bound, Bound],
    ends: Mapping[str, tuple[OpenedLeaf, OpenedLeaf]],
    terms: Terms,
    now_ms: int,
) -> Result:
    """Begin a dispute of two bound traces; `ends`: each party's first and last leaf.

    Reject unless they are of two parties, agree at the first leaf and differ at the last.
    ValueError for terms of our own that make no sense.
    """
    if not ARITY_MIN <= terms.arity <= ARITY_MAX or terms.answer_ms < 1 or terms.cost < 0:
        fix = f"arity within {ARITY_MIN}..{ARITY_MAX}, answer_ms at least 1, cost at least 0"
        raise ValueError(f"{terms}: {fix}")
    roots = {one.party: one.root for one in bound}
    if len(roots) != SIDES or set(ends) != set(roots):
        return Reject("bad-parties", f"a dispute has {SIDES} parties, each with its own ends")
    try:
        last = count_segments(iterations, every)
    except ValueError as error:
        return Reject("bad-length", str(error))
    for party, (first, final) in ends.items():
        fault = _check(place, roots[party], iterations, every, (0, last), (first, final))
        if fault is not None:
            return Reject("bad-leaf", f"{party[:12]}: {fault}")
    starts, finals = ({pair[i].digest for pair in ends.values()} for i in range(SIDES))
    if len(starts) != 1 or len(finals) != SIDES:
        detail = "the traces must agree at their first leaf and differ at their last"
        return Reject("no-dispute", detail)
    opened = Dispute(
        place=place,
        iterations=iterations,
        every=every,
        terms=terms,
        roots=roots,
        level=Level.SEGMENTS,
        low=0,
        high=last,
        agreed=starts.pop(),
        digests={party: pair[1].digest for party, pair in ends.items()},
        deadline_ms=now_ms + terms.answer_ms,
    )
    return _go_on(opened, now_ms)


def step(state: Dispute, event: Event, now_ms: int) -> Result:
    """Take one event; see the module."""
    if state.level is Level.DECIDED:
        return Reject("decided", "the dispute is over")
    if isinstance(event, TimePassed):
        return _on_time(state, now_ms)
    if isinstance(event, Replayed):
        return _on_replayed(state, event)
    if event.party not in state.roots:
        return Reject("not-a-party", f"{event.party[:12]} has no part in this dispute")
    if event.party in state.answers:
        return Reject("duplicate", "answered already")
    if now_ms >= state.deadline_ms:
        return Reject("too-late", f"answers were taken before {state.deadline_ms} ms")
    if isinstance(event, Refined):
        return _on_refined(state, event, now_ms)
    return _on_answered(state, event, now_ms)


def list_asked(state: Dispute) -> tuple[int, ...]:
    """Return the leaves between low and high that both are asked for, ascending."""
    gap = state.high - state.low
    parts = min(state.terms.arity, gap)
    return tuple(state.low + gap * i // parts for i in range(1, parts))


def find_iteration(state: Dispute) -> int:
    """Return after how many iterations the last agreed state is, once it is known to one."""
    return state.segment * state.every + state.low


def _on_answered(state: Dispute, event: Answered, now_ms: int) -> Result:
    if state.level not in (Level.SEGMENTS, Level.ITERATIONS):
        return Reject("wrong-level", f"no leaves are asked for at level {state.level}")
    fault = _check(
        state.place, state.roots[event.party], *_find_size(state), list_asked(state), event.leaves
    )
    if fault is not None:
        return Reject("bad-leaf", fault)
    answers = {**state.answers, event.party: event.leaves}
    answered = replace(state, answers=answers)
    if len(answers) < SIDES:
        return answered, ()
    one, other = answers.values()
    low, high, agreed, digests = state.low, state.high, state.agreed, state.digests
    for mine, theirs in zip(one, other, strict=True):
        if mine.digest != theirs.digest:
            high = mine.index
            digests = {
                party: next(leaf.digest for leaf in leaves if leaf.index == high)
                for party, leaves in answers.items()
            }
            break
        low, agreed = mine.index, mine.digest
    narrowed = replace(answered, low=low, high=high, agreed=agreed, digests=digests, answers={})
    return _go_on(replace(narrowed, round_count=state.round_count + 1), now_ms)


def _on_refined(state: Dispute, event: Refined, now_ms: int) -> Result:
    if state.level is not Level.REFINING:
        return Reject("wrong-level", f"no finer trace is asked for at level {state.level}")
    if not canonical.is_hash(event.root):
        return Reject("bad-hash", "root is not a sha256")
    length = _count_segment(state)
    fault = _check(state.place, event.root, length, 1, (0, length), event.ends)
    if fault is not None:
        return Reject("bad-leaf", fault)
    first, last = event.ends
    if (first.digest, last.digest) != (state.agreed, state.digests[event.party]):
        detail = "a finer trace begins where both agree and ends in what its party had claimed"
        return Reject("wrong-ends", detail)
    answers = {**state.answers, event.party: event.ends}
    refined = replace(state, answers=answers, roots={**state.roots, event.party: event.root})
    if len(answers) < SIDES:
        return refined, ()
    return _go_on(replace(refined, answers={}, level=Level.ITERATIONS, low=0, high=length), now_ms)


def _on_replayed(state: Dispute, event: Replayed) -> Result:
    """Who has another hash than the committee has lied: one of the two, or both."""
    if state.level is not Level.REPLAY:
        return Reject("wrong-level", f"nothing is replayed at level {state.level}")
    if event.digest and not canonical.is_hash(event.digest):
        return Reject("bad-hash", "digest is neither empty nor a sha256")
    wrong = (party for party, digest in state.digests.items() if digest != event.digest)
    return _decide(state, tuple(sorted(wrong)) if event.digest else ())


def _on_time(state: Dispute, now_ms: int) -> Result:
    if state.level is Level.REPLAY or now_ms < state.deadline_ms:
        return state, ()
    silent = tuple(sorted(state.roots.keys() - state.answers.keys()))
    return _decide(state, silent if len(silent) == 1 else ())


def _go_on(state: Dispute, now_ms: int) -> tuple[Dispute, tuple[Effect, ...]]:
    """Ask for what the level needs next, or go down a level where nothing is between."""
    deadline_ms = now_ms + state.terms.answer_ms
    waiting = replace(state, deadline_ms=deadline_ms)
    if state.high - state.low > 1:
        return waiting, (Ask(list_asked(state), deadline_ms),)
    if state.level is Level.SEGMENTS:
        refining = replace(waiting, level=Level.REFINING, segment=state.low)
        if _count_segment(refining) > 1:
            return refining, (Ask((), deadline_ms),)
        waiting = replace(refining, low=0, high=1)
    found = replace(waiting, level=Level.REPLAY)
    return found, (Replay(find_iteration(found), found.agreed),)


def _decide(state: Dispute, losers: tuple[str, ...]) -> tuple[Dispute, tuple[Effect, ...]]:
    decided = replace(state, level=Level.DECIDED, losers=losers)
    return decided, (Decide(losers, state.terms.cost if losers else 0),)


def _count_segment(state: Dispute) -> int:
    """Return the iterations of the first differing segment: the last may be shorter."""
    return min(state.every, state.iterations - state.segment * state.every)


def _find_size(state: Dispute) -> tuple[int, int]:
    if state.level is Level.SEGMENTS:
        return state.iterations, state.every
    return _count_segment(state), 1


def _check(
    place: TracePlace,
    root: str,
    iterations: int,
    every: int,
    wanted: Sequence[int],
    leaves: Sequence[OpenedLeaf],
) -> str | None:
    if [leaf.index for leaf in leaves] != list(wanted):
        return f"leaves {list(wanted)} are asked for, in this order"
    faults = (check_opened(place, root, iterations, every, leaf) for leaf in leaves)
    return next((fault for fault in faults if fault is not None), None)
