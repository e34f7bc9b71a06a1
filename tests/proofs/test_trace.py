"""What a trace binds: its member, its place, its length and every digest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.canonical import sha256_hex
from kumiai.proofs.trace import (
    LEAVES_MAX,
    Trace,
    TracePlace,
    check_opened,
    count_segments,
    find_iteration,
    list_opened,
    list_states,
)

PLACE = TracePlace("t" * 64, 3, 1, "m" * 64)


def make(iterations: int, every: int, place: TracePlace = PLACE) -> Trace:
    count = count_segments(iterations, every) + 1
    return Trace(place, every, iterations, tuple(sha256_hex(b"%d" % i) for i in range(count)))


@given(st.integers(1, 200), st.integers(1, 50))
def test_every_leaf_opens_and_nothing_else_does(iterations: int, every: int) -> None:
    trace = make(iterations, every)
    leaves = trace.open(range(len(trace.digests)))
    for leaf in leaves:
        assert check_opened(PLACE, trace.root, iterations, every, leaf) is None
        for wrong in (replace(leaf, digest=sha256_hex(b"x")), replace(leaf, index=leaf.index + 1)):
            assert check_opened(PLACE, trace.root, iterations, every, wrong) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, member="n" * 64),
        replace(PLACE, round=4),
        replace(PLACE, attempt=2),
        replace(PLACE, task="u" * 64),
    ],
)
def test_a_leaf_is_of_one_member_and_place(other: TracePlace) -> None:
    trace = make(20, 4)
    (leaf,) = trace.open([2])
    assert check_opened(other, trace.root, 20, 4, leaf) is not None
    assert make(20, 4, other).root != trace.root


@given(st.integers(2, 100), st.integers(1, 20), st.integers(1, 100))
def test_another_length_does_not_open(iterations: int, every: int, other: int) -> None:
    """The last leaf's iteration is the work's length: a claim of another one fails there."""
    trace = make(iterations, every)
    (leaf,) = trace.open([len(trace.digests) - 1])
    fault = check_opened(PLACE, trace.root, other, every, leaf)
    assert (fault is None) == (other == iterations)


def test_numbers_that_make_no_trace_are_refused_with_the_fix() -> None:
    for iterations, every in ((0, 1), (1, 0), (-1, 3)):
        with pytest.raises(ValueError, match="must be positive"):
            count_segments(iterations, every)
    with pytest.raises(ValueError, match="raise checkpoint_every to 16 or more"):
        count_segments(1_000_000, 1)
    assert count_segments(1_000_000, 16) < LEAVES_MAX
    with pytest.raises(ValueError, match="2 digests, but 20 iterations"):
        Trace(PLACE, 4, 20, ("a" * 64, "b" * 64))


def test_segments_cover_all_iterations_once() -> None:
    ends = [find_iteration(i, 23, 5) for i in range(count_segments(23, 5) + 1)]
    assert ends == [0, 5, 10, 15, 20, 23]


@given(st.integers(1, 60), st.data())
def test_both_ends_of_what_is_replayed_are_opened(count: int, data: st.DataObject) -> None:
    segments = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    opened, states = list_opened(sorted(segments), count), list_states(sorted(segments), count)
    assert {0, count} <= set(opened)
    assert all({s, s + 1} <= set(opened) for s in segments)
    assert set(states) == (segments | {count}) - {0}
    assert set(states) <= set(opened)
