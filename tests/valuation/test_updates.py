"""Values from updates alone: the laws of the three cosines, and each one's own formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.valuation import (
    Valuation,
    apply_cgsv,
    apply_class_cosine,
    compute_class_cosines,
    init_cgsv,
    join_heads,
    value_by_cgsv,
    value_by_class_cosine,
    value_by_cosine,
)

CLASSES = 5


@dataclass(frozen=True)
class Member:
    """A method on updates [N, P]; P is a multiple of `CLASSES`."""

    name: str
    value: Callable[[np.ndarray], Valuation]


FAMILY = [
    Member("cosine", value_by_cosine),
    Member("cgsv", value_by_cgsv),
    Member("class_cosine", lambda rows: value_by_class_cosine(as_heads(rows))),
]
every_member = pytest.mark.parametrize("member", FAMILY, ids=lambda member: member.name)


def as_heads(rows_NP: np.ndarray) -> np.ndarray:
    return rows_NP.reshape(len(rows_NP), CLASSES, rows_NP.shape[1] // CLASSES)


def make_updates(seed: int = 0) -> np.ndarray:
    """Six that share a direction, then noise, the opposite, and nothing."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(2_000)
    rows = [shared + rng.standard_normal(2_000) for _ in range(6)]
    return np.array([*rows, rng.standard_normal(2_000), -shared, np.zeros(2_000)])


# --- laws ---


@every_member
def test_workers_noise_opposition_and_nothing(member):
    found = member.value(make_updates())
    assert (found.values_N[:6] > 0.4).all()
    assert abs(found.values_N[6]) < 0.3  # noise agrees with itself, where it is in the sum
    assert found.values_N[7] < -0.5
    assert found.values_N[8] == 0.0
    assert found.errors_N.tolist() == [0.0] * 9
    assert found.evaluation_count == 0


@every_member
def test_same_update_same_value(member):
    rows = make_updates()
    values = member.value(np.vstack([rows, rows[2], rows[2]])).values_N
    np.testing.assert_allclose(values[[9, 10]], values[2], atol=1e-12)


@every_member
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(9)), scale=st.floats(1e-3, 1e6))
def test_order_and_length_change_nothing(member, order, scale):
    found = member.value(make_updates()[order] * scale).values_N
    np.testing.assert_allclose(found, member.value(make_updates()).values_N[order], atol=1e-12)


@every_member
def test_a_scaled_update_does_not_turn_the_others(member):
    """One member cannot raise its value, or lower another's, by sending its update larger."""
    rows = make_updates()
    expected = member.value(rows).values_N
    rows[7] *= 1e6
    np.testing.assert_allclose(member.value(rows).values_N, expected, atol=1e-9)


@every_member
def test_all_the_same_all_zero_and_none(member):
    row = np.linspace(-1.0, 1.0, 10)
    np.testing.assert_allclose(member.value(np.tile(row, (4, 1))).values_N, 1.0)
    assert member.value(np.zeros((3, 10))).values_N.tolist() == [0.0] * 3
    assert member.value(np.zeros((0, 10))).values_N.tolist() == []
    opposed = member.value(np.array([row, -row])).values_N
    assert opposed[0] == opposed[1]
    assert opposed[0] in {0.0, -1.0} or opposed[0] == pytest.approx(-1.0)


@every_member
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(member, bad):
    rows = make_updates()
    rows[4, 77] = bad
    with pytest.raises(ValueError, match="update 4 is not finite"):
        member.value(rows)


# --- CGSV ---


def test_cgsv_by_hand():
    """(3, 0) with importance 3 of 4, (0, 5) with 1 of 4: the sum points to (3, 1) / 4."""
    values = value_by_cgsv(np.array([[3, 0], [0, 5]]), [3.0, 1.0]).values_N
    np.testing.assert_allclose(values, [3 / 10**0.5, 1 / 10**0.5])


def test_cgsv_moving_importance_by_hand():
    """r = .95 * (3, 1) / 4 + .05 * psi, divided by its sum."""
    valuation, importance = apply_cgsv([3.0, 1.0], np.array([[3, 0], [0, 5]]))
    raw = 0.95 * np.array([0.75, 0.25]) + 0.05 * np.array([3, 1]) / 10**0.5
    np.testing.assert_allclose(importance, raw / raw.sum())
    np.testing.assert_allclose(valuation.values_N, np.array([3, 1]) / 10**0.5)


def test_cgsv_over_rounds_tells_workers_from_the_rest():
    importance = init_cgsv(np.ones(9))
    for seed in range(60):
        valuation, importance = apply_cgsv(importance, make_updates(seed))
    assert importance.sum() == pytest.approx(1.0)
    assert importance[:6].min() > 0.14
    assert importance[6] < 0.02
    assert importance[7:].max() < 0.01
    assert 0.0005 < importance[7] <= 0.001  # the floor, divided by a sum above 1
    assert abs(valuation.values_N[6]) < 0.1


def test_cgsv_a_lone_member_agrees_with_itself():
    assert value_by_cgsv(np.array([[1.0, 2.0]])).values_N[0] == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [[1.0, 2.0]]])
def test_cgsv_bad_importance(sizes):
    with pytest.raises(ValueError, match="expected one of 0 or more a member, not all 0"):
        value_by_cgsv(np.ones((len(sizes), 3)), sizes)


def test_cgsv_misuse():
    with pytest.raises(ValueError, match="2 importances for 3 members"):
        value_by_cgsv(np.ones((3, 4)), [1.0, 1.0])
    with pytest.raises(ValueError, match=r"memory 1\.5"):
        apply_cgsv([1.0], np.ones((1, 2)), memory=1.5)
    with pytest.raises(ValueError, match="floor 0"):
        apply_cgsv([1.0], np.ones((1, 2)), floor=0.0)
    with pytest.raises(ValueError, match=r"expected \[N, P\]"):
        value_by_cgsv(np.ones(3))


# --- class by class ---


def test_class_cosines_by_hand():
    """Two members, two classes, two numbers: they agree on class 0, are at right angles on 1."""
    heads = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    expected = [[1.0, 1 / 2**0.5], [1.0, 1 / 2**0.5]]
    np.testing.assert_allclose(compute_class_cosines(heads), expected)
    np.testing.assert_allclose(value_by_class_cosine(heads).values_N, (1 + 1 / 2**0.5) / 2)
    # with all importance on the first, the second's class 1 agrees with nothing
    np.testing.assert_allclose(compute_class_cosines(heads, [1, 0]), [[1, 1], [1, 0]], atol=1e-12)


def test_class_cosines_show_who_knows_which_class():
    """Member 0 has never seen the last class: its row of the head is noise."""
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((CLASSES, 300))
    heads = shared + 0.5 * rng.standard_normal((6, CLASSES, 300))
    heads[0, 4] = rng.standard_normal(300)
    cosines = compute_class_cosines(heads)
    assert cosines[0].argmin() == 4
    assert cosines[0, 4] < 0.3 < 0.8 < cosines[0, :4].min()
    values = value_by_class_cosine(heads).values_N
    assert values.argmin() == 0
    np.testing.assert_allclose(values, cosines.mean(axis=1))


def test_class_cosine_running_scores():
    heads = as_heads(make_updates())
    scores = np.zeros(9)
    for _ in range(3):
        valuation, scores = apply_class_cosine(scores, heads)
    np.testing.assert_allclose(scores, (1 - 0.9**3) * valuation.values_N)


def test_join_heads_puts_the_bias_last():
    heads = join_heads(np.ones((2, 3, 4)), np.full((2, 3), 7.0))
    assert heads.shape == (2, 3, 5)
    assert (heads[:, :, 4] == 7.0).all() and (heads[:, :, :4] == 1.0).all()
    assert join_heads(np.ones((2, 3, 4))).shape == (2, 3, 4)


def test_class_cosine_misuse():
    with pytest.raises(ValueError, match=r"weights have shape \(2, 3, 4\), biases \(2, 2\)"):
        join_heads(np.ones((2, 3, 4)), np.ones((2, 2)))
    for shape in ((3, 4), (2, 0, 4)):
        with pytest.raises(ValueError, match=r"expected \[N, C, D\]"):
            compute_class_cosines(np.ones(shape))
    with pytest.raises(ValueError, match="1 importances for 2 members"):
        compute_class_cosines(np.ones((2, 3, 4)), [1.0])
    with pytest.raises(ValueError, match="3 scores, 2 heads"):
        apply_class_cosine(np.zeros(3), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"memory -0\.1"):
        apply_class_cosine(np.zeros(2), np.ones((2, 3, 4)), memory=-0.1)
