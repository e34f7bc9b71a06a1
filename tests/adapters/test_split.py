"""The split of a round: everybody once, chunks within their budget, and no worker left waiting."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.compute.execution.split import CHUNK_SECONDS_MIN, Pace, take_chunk

iterations = st.lists(st.integers(1, 50), min_size=1, max_size=40)
speeds = st.lists(st.floats(10.0, 1000.0), min_size=1, max_size=5)


def simulate(iterations_N, speeds_W, pace):
    """Workers of known speed in virtual time: chunks as they are handed out, and the end."""
    names = [f"w{i}" for i in range(len(speeds_W))]
    waiting = sorted(range(len(iterations_N)), key=lambda n: iterations_N[n])
    free = [(0.0, i) for i in range(len(names))]
    chunks, end = [], 0.0
    while waiting:
        now, i = heapq.heappop(free)
        left = sum(iterations_N[n] for n in waiting)
        budget = pace.compute_budget(names[i], names, left)
        chunk = take_chunk(waiting, iterations_N, budget)
        count = sum(iterations_N[n] for n in chunk)
        chunks.append((i, chunk, budget))
        pace.note(names[i], count, count / speeds_W[i])
        end = max(end, now + count / speeds_W[i])
        heapq.heappush(free, (now + count / speeds_W[i], i))
    return chunks, end


@given(iterations, speeds)
@settings(max_examples=60, deadline=None)
def test_everybody_is_trained_once_and_chunks_fit_their_budget(iterations_N, speeds_W):
    chunks, _ = simulate(iterations_N, speeds_W, Pace())
    trained = [n for _, chunk, _ in chunks for n in chunk]
    assert sorted(trained) == list(range(len(iterations_N)))
    for _, chunk, budget in chunks:
        assert len(chunk) == 1 or sum(iterations_N[n] for n in chunk) <= budget


@given(iterations, speeds)
@settings(max_examples=60, deadline=None)
def test_with_known_speeds_the_round_is_near_the_shortest_possible(iterations_N, speeds_W):
    """At most one member, or one smallest chunk, of the slowest worker above the ideal."""
    pace = Pace({f"w{i}": 1 / speed for i, speed in enumerate(speeds_W)})
    _, end = simulate(iterations_N, speeds_W, pace)
    ideal = sum(iterations_N) / sum(speeds_W)
    slack = max(max(iterations_N) / min(speeds_W), CHUNK_SECONDS_MIN)
    assert end <= ideal + slack + 1e-9


def test_a_faster_worker_is_handed_more():
    pace = Pace({"slow": 0.02, "fast": 0.01})
    slow = pace.compute_budget("slow", ["slow", "fast"], 600)
    fast = pace.compute_budget("fast", ["slow", "fast"], 600)
    assert (slow, fast) == (100.0, 200.0)  # half of 600, by 50 and 100 iterations a second


def test_an_unknown_worker_counts_as_the_mean_and_learns():
    pace = Pace({"a": 0.1})
    assert pace.compute_budget("new", ["a", "new"], 40) == 10.0
    pace.note("new", 10, 0.5)
    assert pace.seconds["new"] == 0.05
    pace.note("new", 10, 1.5)
    assert pace.seconds["new"] == pytest.approx(0.10)
    pace.forget("new")
    assert list(pace.seconds) == ["a"]


def test_tiny_members_are_not_handed_out_one_by_one():
    pace = Pace({"a": 0.0001})
    assert pace.compute_budget("a", ["a"], 2) == CHUNK_SECONDS_MIN / 0.0001


def test_nobody_waiting_is_misuse():
    with pytest.raises(ValueError, match="0 members"):
        take_chunk([], [], 1.0)
