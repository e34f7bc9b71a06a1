"""The draw of a committee: who sits, with which chances, and that nothing else decides it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.consensus.epochs import choose_seats

stakes = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=6), st.integers(0, 2**63), min_size=1
)
seeds = st.text("0123456789abcdef", max_size=8)


@given(stakes, st.integers(1, 40), seeds)
def test_as_many_sit_as_there_are_seats_and_each_once(stakes, seat_count, seed):
    seats = choose_seats(stakes, seat_count, seed)
    assert len(seats) == len(set(seats)) == min(seat_count, len(stakes))
    assert set(seats) <= stakes.keys()


@given(stakes, st.integers(1, 40), seeds, st.randoms())
def test_the_order_in_which_members_came_does_not_matter(stakes, seat_count, seed, rng):
    mixed = list(stakes.items())
    rng.shuffle(mixed)
    assert choose_seats(dict(mixed), seat_count, seed) == choose_seats(stakes, seat_count, seed)


@given(stakes, seeds)
def test_fewer_seats_are_the_first_of_more(stakes, seed):
    all_of_them = choose_seats(stakes, len(stakes), seed)
    assert choose_seats(stakes, 1, seed) == all_of_them[:1]


def test_without_a_beacon_the_largest_stakes_sit():
    assert choose_seats({"a": 1, "b": 5, "c": 5, "d": 2}, 3, "") == ("b", "c", "d")
    assert choose_seats({"b": 1, "a": 1, "c": 1}, 2, "") == ("a", "b")


def test_chances_follow_stakes():
    """The first seat: 6 of 10, 3 of 10, 1 of 10. The second: what is left decides."""
    stakes = {"a": 6_000, "b": 3_000, "c": 1_000}
    draws = [choose_seats(stakes, 2, str(seed)) for seed in range(4_000)]
    first = Counter(seats[0] for seats in draws)
    for key, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert abs(first[key] / 4_000 - share) < 0.03  # four standard errors
    after_a = Counter(seats[1] for seats in draws if seats[0] == "a")
    assert abs(after_a["b"] / after_a.total() - 0.75) < 0.04


def test_who_has_no_stake_sits_only_where_nobody_else_is_left():
    for seed in range(50):
        assert set(choose_seats({"a": 0, "b": 7, "c": 0, "d": 1}, 2, str(seed))) == {"b", "d"}
    drawn = {choose_seats({"a": 0, "b": 0, "c": 0}, 1, str(seed)) for seed in range(50)}
    assert drawn == {("a",), ("b",), ("c",)}


def test_a_stake_that_is_split_over_two_keys_gets_no_more_seats_of_one():
    rng = random.Random(1)
    whole, split, plays = 0, 0, 3_000
    for _ in range(plays):
        seed = str(rng.random())
        whole += "x" in choose_seats({"a": 100, "b": 100, "x": 100}, 1, seed)
        split += choose_seats({"a": 100, "b": 100, "x": 50, "y": 50}, 1, seed)[0] in "xy"
    assert abs(whole - split) / plays < 0.05


@pytest.mark.parametrize(("stakes", "seat_count"), [({"a": 1}, 0), ({"a": -1}, 1), ({"a": 1}, -3)])
def test_our_own_mistakes_are_told(stakes, seat_count):
    with pytest.raises(ValueError, match="seats, stakes from"):
        choose_seats(stakes, seat_count, "ab")
