"""The beacon: what counts as the next element of a chain, and what the drawn number depends on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.consensus.beacon import combine, compute_element, is_next_element

SECRET, LENGTH = b"\x07" * 32, 1_100
CHAIN = [compute_element(SECRET, LENGTH, index) for index in range(LENGTH + 1)]

shares = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=8), st.sampled_from(CHAIN)
)


def test_each_element_leads_to_the_one_before() -> None:
    assert all(is_next_element(CHAIN[i], CHAIN[i + 1], 1) for i in range(LENGTH))


@pytest.mark.parametrize("skipped", [2, 17, LENGTH])
def test_a_member_that_missed_rounds_skips_their_elements(skipped: int) -> None:
    assert is_next_element(CHAIN[0], CHAIN[skipped], skipped)


@pytest.mark.parametrize("shown", [1, 2, 4, 5, 17])
def test_nobody_chooses_among_its_own_elements(shown: int) -> None:
    assert not is_next_element(CHAIN[0], CHAIN[shown], 3)


@pytest.mark.parametrize("steps", [0, -1])
def test_an_element_of_the_past_leads_nowhere(steps: int) -> None:
    assert not is_next_element(CHAIN[5], CHAIN[5], steps)


@pytest.mark.parametrize(
    "candidate",
    [
        CHAIN[5],  # the same element again
        CHAIN[4],  # an element that was shown before
        compute_element(b"\x08" * 32, LENGTH, 6),  # somebody else's chain
        CHAIN[6][:-2],
        CHAIN[6] + "00",
        "zz" * 32,
        "",
    ],
)
def test_what_does_not_lead_back_is_refused(candidate: str) -> None:
    assert not is_next_element(CHAIN[5], candidate, 1)


@pytest.mark.parametrize("index", [-1, LENGTH + 1])
def test_elements_outside_the_chain_are_our_own_error(index: int) -> None:
    with pytest.raises(ValueError, match="outside a chain"):
        compute_element(SECRET, LENGTH, index)


@given(shares, st.integers(1, 10**6), st.randoms())
def test_the_beacon_does_not_depend_on_the_order_of_arrival(
    given_shares: dict[str, str], round_index: int, rng: random.Random
) -> None:
    items = list(given_shares.items())
    rng.shuffle(items)
    head = "ab" * 32
    assert combine(dict(items), round_index, head) == combine(given_shares, round_index, head)


def test_every_share_the_round_and_the_log_head_change_the_beacon() -> None:
    base = {"a": CHAIN[1], "b": CHAIN[2]}
    drawn = [
        combine(base, 3, "00" * 32),
        combine({**base, "b": CHAIN[3]}, 3, "00" * 32),
        combine({"a": CHAIN[1]}, 3, "00" * 32),
        combine({"a": CHAIN[2], "b": CHAIN[1]}, 3, "00" * 32),
        combine(base, 4, "00" * 32),
        combine(base, 3, "01" * 32),
    ]
    assert len(set(drawn)) == len(drawn)
