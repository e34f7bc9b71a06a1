"""Agreement of updates as a value, and the merging of copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.valuation import Valuation, merge_duplicates, spread, value_by_cosine


def make_updates(seed: int = 0) -> np.ndarray:
    """Six that share a direction, then noise, the opposite, and nothing."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(3_000)
    rows = [shared + rng.standard_normal(3_000) for _ in range(6)]
    return np.array([*rows, rng.standard_normal(3_000), -shared, np.zeros(3_000)])


def test_workers_noise_and_opposition():
    values = value_by_cosine(make_updates()).values_N
    assert (values[:6] > 0.4).all()
    assert abs(values[6]) < 0.1
    assert values[7] < -0.5
    assert values[8] == 0.0


def test_by_hand():
    """(1, 0) against (0, 1) + (1, 1)/sqrt 2: cosine (1/sqrt 2) / sqrt(2 + sqrt 2)."""
    values = value_by_cosine(np.array([[1, 0], [0, 5], [2, 2]])).values_N
    expected = (1 / 2**0.5) / (2 + 2**0.5) ** 0.5
    np.testing.assert_allclose(values, [expected, expected, 1.0])


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(9)), st.floats(0.01, 1e6))
def test_order_and_length_change_nothing(order, scale):
    updates = make_updates()
    found = value_by_cosine(updates[order] * scale).values_N
    np.testing.assert_allclose(found, value_by_cosine(updates).values_N[order], atol=1e-12)


def test_one_alone_two_opposed_and_none():
    assert value_by_cosine(np.ones((1, 4))).values_N.tolist() == [0.0]
    assert value_by_cosine(np.array([[1.0, 2.0], [-1.0, -2.0]])).values_N.tolist() == [-1.0, -1.0]
    assert value_by_cosine(np.zeros((0, 4))).values_N.tolist() == []


def test_bad_updates():
    with pytest.raises(ValueError, match="update 1 is not finite"):
        value_by_cosine(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"expected \[N, P\]"):
        value_by_cosine(np.zeros(3))


def test_copies_are_one_player_and_get_nothing():
    players = merge_duplicates([None, 3, None, None, 3])
    assert players == [0, 2, 3]
    played = Valuation(np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.4]), 7)
    found = spread(played, players, 5)
    assert found.values_N.tolist() == [1.0, 0.0, 2.0, 4.0, 0.0]
    assert found.errors_N.tolist() == [0.1, 0.0, 0.2, 0.4, 0.0]
    assert found.evaluation_count == 7


def test_all_copies_of_one():
    assert merge_duplicates([2, 2, None, 2]) == [2]
    assert merge_duplicates([]) == []


@pytest.mark.parametrize(
    ("given_N", "said"),
    [
        ([0], "member 0 cannot be a copy of 0"),
        ([5, None], "member 0 cannot be a copy of 5"),
        ([-1, None], "member 0 cannot be a copy of -1"),
        ([1, 2, None], "member 0 copies 1, which is itself a copy"),
    ],
)
def test_impossible_copies(given_N, said):
    with pytest.raises(ValueError, match=said):
        merge_duplicates(given_N)


def test_spread_needs_a_value_for_each_player():
    with pytest.raises(ValueError, match="2 players, 1 values"):
        spread(Valuation(np.zeros(1), np.zeros(1), 0), [0, 1], 3)
