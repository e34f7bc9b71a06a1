"""Shapley values by coalition sizes: the identity, the design, and what the fit brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.valuation import GtgLimits, StrataLimits, assess
from kumiai.valuation.game import Utility, run_plans
from kumiai.valuation.strata import count_strata, draw_layers, plan_strata


def look_up(table: np.ndarray) -> Utility:
    return lambda masks: table[list(masks)]


def make_members(count: int) -> np.ndarray:
    return np.arange(2**count)[:, None] >> np.arange(count) & 1


def log_union(seed: int, count: int = 10) -> np.ndarray:
    """Owners of random overlapping items: gains fade steeply, and everybody's value is close."""
    rng = np.random.default_rng(seed)
    held = rng.random((count, 300)) < rng.uniform(0.03, 0.27, count)[:, None]
    return np.log1p((make_members(count) @ held > 0).sum(axis=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10**6))
def test_the_identity_by_sizes(count, seed):
    """The module's formula over all coalitions is Shapley's value."""
    table = np.random.default_rng(seed).standard_normal(2**count)
    gains = table - table[::-1]  # the complement's mask counts from the other end
    members, sizes = make_members(count), make_members(count).sum(axis=1)
    values = np.full(count, (table[-1] - table[0]) / count)
    for size in range(1, count // 2 + 1):
        rows = sizes == size
        weight = 0.5 if 2 * size == count else 1.0
        for i in range(count):
            inside = gains[rows & (members[:, i] == 1)].mean()
            values[i] += weight * (inside - gains[rows].mean()) / (count - size)
    np.testing.assert_allclose(values, assess("exact", count, look_up(table)).values_N, atol=1e-12)


@pytest.mark.parametrize(("count", "layers"), [(7, 1), (10, 2), (13, 1)])
def test_everybody_is_equally_often_in_every_size(count, layers):
    rows = np.vstack(draw_layers(np.random.PCG64(3), count, layers))
    sizes = rows.sum(axis=1)
    assert sorted(set(sizes.tolist())) == list(range(2, count // 2 + 1))
    for size in range(2, count // 2 + 1):
        of_size = rows[sizes == size]
        assert len(of_size) == layers * count
        assert of_size.sum(axis=0).tolist() == [layers * size] * count
    halves = {tuple(row) for row in rows[2 * sizes == count].tolist()}
    assert halves == {tuple(1 - bit for bit in row) for row in halves}
    measured = {tuple(row) for row in [*rows.tolist(), *(1 - rows).tolist()]}
    assert len(measured) + 2 + 2 * count <= count_strata(count, StrataLimits(layers))


@pytest.mark.parametrize("count", [7, 10])
def test_any_game_of_singles_and_pairs_is_exact(count):
    rng = np.random.default_rng(count)
    members, pairs = make_members(count), rng.standard_normal((count, count))
    table = np.einsum("mi,ij,mj->m", members, pairs, members)
    found = assess("strata", count, look_up(table), seed=1)
    expected = (pairs.sum(axis=0) + pairs.sum(axis=1)) / 2
    np.testing.assert_allclose(found.values_N, expected, atol=1e-9)
    assert found.evaluation_count < 2**count
    assert found.errors_N.max() < 1e-9


def test_what_is_additive_or_fades_with_size_is_exact():
    """v = f(|S|) + sum of b_i + c_i (1/s + 1/(n-s)): nothing is left for chance."""
    rng = np.random.default_rng(1)
    members = make_members(9)
    sizes = members.sum(axis=1)
    steady, fading = rng.standard_normal((2, 9))
    fades = 1 / np.maximum(sizes, 1) + 1 / np.maximum(9 - sizes, 1)
    table = np.sin(sizes) + members @ steady + (members @ fading) * fades
    found = assess("strata", 9, look_up(table), seed=2)
    np.testing.assert_allclose(
        found.values_N, assess("exact", 9, look_up(table)).values_N, atol=1e-9
    )
    assert found.errors_N.max() < 1e-9
    assert found.evaluation_count < 80


@pytest.mark.parametrize("game", [1, 2, 3])
def test_ten_times_fewer_coalitions_same_ranking(game):
    """Ten players: at most 92 coalitions of 1,024; rank correlation 0.95 where gtg has less."""
    table = log_union(game)
    exact = assess("exact", 10, look_up(table)).values_N

    def correlate(values: np.ndarray) -> float:
        ranks = [np.argsort(np.argsort(one)) for one in (values, exact)]
        return float(np.corrcoef(*ranks)[0, 1])

    found = [assess("strata", 10, look_up(table), seed) for seed in range(10)]
    assert max(one.evaluation_count for one in found) <= 92 < 1024 / 11
    mean = np.mean([correlate(one.values_N) for one in found])
    by_orders = [assess("gtg", 10, look_up(table), seed, GtgLimits(20)) for seed in range(10)]
    assert mean >= 0.95
    assert mean > np.mean([correlate(one.values_N) for one in by_orders])


def make_table_by_size(count: int) -> np.ndarray:
    """Who helps depends on the size, in no way that the fit knows."""
    members = make_members(count)
    sizes = members.sum(axis=1)
    helps_SN = np.random.default_rng(6).standard_normal((count + 1, count))
    return (members * helps_SN[sizes]).sum(axis=1)


@pytest.mark.parametrize(
    "table",
    [np.random.default_rng(4).standard_normal(2**10), make_table_by_size(10)],
    ids=["random", "by size"],
)
def test_over_many_seeds_the_mean_is_exact(table):
    """Bias is small against the spread of one run, also of games that no fit describes."""
    exact = assess("exact", 10, look_up(table)).values_N
    found = np.array(
        [assess("strata", 10, look_up(table), s, StrataLimits(3)).values_N for s in range(400)]
    )
    assert (np.abs(found.mean(axis=0) - exact) <= 4 * found.std(axis=0) / 20).all()


def test_error_shrinks_with_the_root_of_the_layers():
    table = np.random.default_rng(5).standard_normal(2**12)
    few, many = (
        assess("strata", 12, look_up(table), 1, StrataLimits(layers)).errors_N.mean()
        for layers in (1, 16)
    )
    assert few / many == pytest.approx(4, rel=0.25)


def test_small_games_are_measured_whole():
    for count in (1, 2, 3, 6):
        table = np.random.default_rng(count).standard_normal(2**count)
        (found,) = run_plans(
            [plan_strata(count, 1, StrataLimits())], lambda masks, t=table: t[list(masks)][:, None]
        )
        expected = assess("exact", count, look_up(table))
        np.testing.assert_array_equal(found.values_N, expected.values_N)
        assert found.evaluation_count == 2**count == count_strata(count, StrataLimits())


def test_one_request_and_many_players():
    """70 players, masks beyond 64 bits: an additive game, exact from one request."""
    weights = np.linspace(-1.0, 1.0, 70)
    requests: list[int] = []

    def additive(masks: Sequence[int]) -> np.ndarray:
        requests.append(len(masks))
        return np.array([sum(w for i, w in enumerate(weights) if mask >> i & 1) for mask in masks])

    found = assess("strata", 70, additive, seed=1)
    np.testing.assert_allclose(found.values_N, weights, atol=1e-8)
    assert requests == [found.evaluation_count]


def test_no_layer_is_misuse():
    with pytest.raises(ValueError, match="layers 0"):
        assess("strata", 9, look_up(np.zeros(2**9)), limits=StrataLimits(0))
