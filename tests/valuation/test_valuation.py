"""Closed-form games, the laws of the Shapley value, and GTG against the exact answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.valuation import (
    METHODS,
    BanzhafLimits,
    GtgLimits,
    PermutationLimits,
    TmcLimits,
    Valuation,
    assess,
    assess_games,
    assess_group,
)
from kumiai.valuation.banzhaf import draw_members
from kumiai.valuation.game import Utility, name_coalition, run_plans
from kumiai.valuation.gtg import _draw_circle, plan_gtg
from kumiai.valuation.permutation import count_orders
from kumiai.valuation.tmc import has_settled

SHAPLEY = ("exact", "gtg")


def members(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def game(worth: Callable[[list[int]], float]) -> Utility:
    return lambda masks: np.array([worth(members(mask)) for mask in masks])


def additive(weights: Sequence[float]) -> Utility:
    return game(lambda team: 3.0 + sum(weights[i] for i in team))


def diminishing(weights: Sequence[float]) -> Utility:
    """Like a loss: log(1 + help), so the fifth good update adds less than the first."""
    return game(lambda team: float(np.log1p(sum(weights[i] for i in team))))


def random_game(count: int, seed: int) -> Utility:
    table = np.random.default_rng(seed).standard_normal(2**count)
    return lambda masks: table[list(masks)]


def sample(count: int, utility: Utility, seed: int, limits: GtgLimits) -> Valuation:
    """GTG, also where `assess` would rather measure all coalitions."""
    return run_plans([plan_gtg(count, seed, limits)], lambda m: utility(m)[:, None])[0]


def dumb_shapley(count: int, utility: Utility) -> np.ndarray:
    """The definition: the mean gain over all orders."""
    values = np.zeros(count)
    for order in permutations(range(count)):
        mask = 0
        for player in order:
            before, after = utility([mask, mask | 1 << player])
            values[player] += after - before
            mask |= 1 << player
    return values / factorial(count)


# --- closed forms ---


@pytest.mark.parametrize("method", ["gtg", "loo", "standalone", "exact", "permutation"])
@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_additive_game_pays_each_its_weight(method, count):
    weights = np.linspace(-1.0, 2.0, count)
    found = assess(method, count, additive(weights), seed=1)
    np.testing.assert_allclose(found.values_N, weights, atol=1e-3 if method == "gtg" else 1e-12)


def test_voting_game():
    """Majority of weights 4, 2, 1, 1, quota 5: values 2/3 - ... as counted by hand.

    Player 0 is pivotal unless first or last with nobody able to complete: 0 needs any other, so it
    is pivotal in positions 2, 3 and 4 of 4: 3/4. The others share the rest equally: 1/12 each.
    """
    weights = [4, 2, 1, 1]
    found = assess("exact", 4, game(lambda team: float(sum(weights[i] for i in team) >= 5)))
    np.testing.assert_allclose(found.values_N, [3 / 4, 1 / 12, 1 / 12, 1 / 12])


def test_airport_game():
    """Littlechild and Owen: each stretch of the runway is shared by those who need it."""
    costs = [1.0, 2.0, 4.0, 7.0, 7.0, 9.0, 12.0, 20.0]
    expected, paid = [], 0.0
    for i, cost in enumerate(costs):
        paid += (cost - (costs[i - 1] if i else 0.0)) / (len(costs) - i)
        expected.append(paid)
    airport = game(lambda team: max((costs[i] for i in team), default=0.0))
    np.testing.assert_allclose(assess("exact", len(costs), airport).values_N, expected)
    found = sample(len(costs), airport, 2, GtgLimits(800, truncation=0.0, convergence=0.0))
    assert (np.abs(found.values_N - expected) <= 4 * found.errors_N).all()


def test_standalone_and_leave_one_out_by_hand():
    """v = 0, 1, 2, 10 for nobody, {0}, {1}, both."""
    table = np.array([0.0, 1.0, 2.0, 10.0])
    pair: Utility = lambda masks: table[list(masks)]  # noqa: E731
    assert assess("standalone", 2, pair).values_N.tolist() == [1.0, 2.0]
    assert assess("loo", 2, pair).values_N.tolist() == [8.0, 9.0]
    assert assess("exact", 2, pair).values_N.tolist() == [4.5, 5.5]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_exact_is_the_mean_over_all_orders(count):
    utility = random_game(count, seed=count)
    found = assess("exact", count, utility)
    np.testing.assert_allclose(found.values_N, dumb_shapley(count, utility), atol=1e-12)
    assert found.errors_N.tolist() == [0.0] * count
    assert found.evaluation_count == 2**count


# --- laws ---


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6))
def test_efficiency(count, seed):
    """Everything that the members win together is shared out, no more and no less."""
    utility = random_game(count, seed)
    nobody, everybody = utility([0, 2**count - 1])
    for method in SHAPLEY:
        found = assess(method, count, utility, seed=seed, limits=GtgLimits(20, truncation=0.0))
        assert found.values_N.sum() == pytest.approx(everybody - nobody, abs=1e-9)


def test_truncation_costs_at_most_itself():
    utility = diminishing(np.linspace(0.1, 2.0, 10))
    nobody, everybody = utility([0, 2**10 - 1])
    sharp = assess("gtg", 10, utility, seed=1, limits=GtgLimits(40, truncation=0.0))
    rough = assess("gtg", 10, utility, seed=1, limits=GtgLimits(40, truncation=0.2))
    assert rough.evaluation_count < sharp.evaluation_count
    assert 0 < everybody - nobody - rough.values_N.sum() < 0.2


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 10**6))
def test_permutation_of_players(order, seed):
    """Exact methods follow the players wherever they sit."""
    utility = random_game(6, seed)

    def shuffled(masks: Sequence[int]) -> np.ndarray:
        return utility([sum(1 << order[i] for i in members(mask)) for mask in masks])

    for method in ("exact", "loo", "standalone"):
        expected = assess(method, 6, utility).values_N[list(order)]
        np.testing.assert_allclose(assess(method, 6, shuffled).values_N, expected, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_null_player_gets_nothing(method):
    weights = [1.0, 0.0, 0.5, 0.0, 2.0, 1.5, 0.3, 0.0, 0.9]
    found = assess(method, 9, diminishing(weights), seed=4)
    allowed = 4 * found.errors_N[[1, 3, 7]] if method in {"banzhaf", "strata"} else 0.0
    assert (np.abs(found.values_N[[1, 3, 7]]) <= allowed).all()
    assert (found.values_N[[0, 2, 4, 5, 6, 8]] > 0).all()


@pytest.mark.parametrize("method", ["exact", "loo", "standalone"])
def test_symmetric_players_get_the_same(method):
    values = assess(method, 9, diminishing([0.7] * 9)).values_N
    np.testing.assert_allclose(values, values[0])
    assert values[0] > 0


def test_all_identical_players_share_equally_in_gtg():
    """Everybody stands equally often at every place, so sampling leaves no difference."""
    found = assess("gtg", 9, diminishing([0.7] * 9), seed=3, limits=GtgLimits(truncation=0.0))
    np.testing.assert_allclose(found.values_N, float(np.log1p(6.3)) / 9)


@pytest.mark.parametrize("method", SHAPLEY)
def test_linearity(method):
    """Orders do not depend on utilities, so sampled values add up as exact ones do."""
    one, two = random_game(8, 1), random_game(8, 2)
    limits = GtgLimits(24, truncation=0.0)

    def both(masks: Sequence[int]) -> np.ndarray:
        return 2 * one(masks) + two(masks)

    first, second, total = (
        assess(method, 8, utility, seed=5, limits=limits).values_N for utility in (one, two, both)
    )
    np.testing.assert_allclose(total, 2 * first + second, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_lone_player_gets_everything(method):
    found = assess(method, 1, additive([0.25]), seed=9)
    assert found.values_N.tolist() == [0.25]
    assert found.errors_N.tolist() == [0.0]
    assert found.evaluation_count == 2


# --- GTG ---


def rank(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values))


@pytest.mark.parametrize("count", [8, 10, 12])
def test_gtg_is_near_exact(count):
    """With the default 40 orders: rank correlation at least 0.97, total error at most 5 %."""
    weights = np.random.default_rng(count).uniform(0.0, 1.0, count)
    weights[1] = -0.2  # a poisoner
    utility = diminishing(weights)
    exact = assess("exact", count, utility).values_N
    found = assess("gtg", count, utility, seed=7)
    assert np.corrcoef(rank(exact), rank(found.values_N))[0, 1] >= 0.97
    assert np.abs(found.values_N - exact).sum() <= 0.05 * np.abs(exact).sum()
    assert found.values_N.argmin() == 1
    assert found.values_N[1] < 0
    assert found.evaluation_count < min(2**count, 40 * count)


def test_gtg_is_unbiased_and_its_error_is_honest():
    """Over 60 seeds the mean error is nothing, and its spread is what errors_N says or less."""
    utility = diminishing(np.random.default_rng(0).uniform(0.0, 1.0, 9))
    exact = assess("exact", 9, utility).values_N
    table = utility(range(2**9))
    limits = GtgLimits(36, truncation=0.0)
    found = [sample(9, lambda m: table[list(m)], seed, limits) for seed in range(60)]
    misses = np.array([one.values_N - exact for one in found])
    claimed = np.array([one.errors_N for one in found])
    spread = misses.std(axis=0)
    assert (np.abs(misses.mean(axis=0)) <= 4 * spread / 60**0.5).all()
    assert (spread <= 1.2 * claimed.mean(axis=0)).all()
    assert (claimed.mean(axis=0) <= 4 * spread).all()


def test_gtg_error_shrinks_with_the_root_of_the_orders():
    utility = diminishing(np.linspace(0.2, 1.0, 9))
    few, many = (
        sample(9, utility, 1, GtgLimits(count, 0.0, 0.0)).errors_N.mean() for count in (90, 1_440)
    )
    assert few / many == pytest.approx(4, rel=0.2)


def test_gtg_every_player_leads_equally_often():
    """A game that pays the first to arrive, whoever it is, pays all the same."""
    first_takes_all = game(lambda team: float(len(team) > 0))
    found = assess("gtg", 9, first_takes_all, seed=1, limits=GtgLimits(40, truncation=0.0))
    np.testing.assert_allclose(found.values_N, 1 / 9)


def test_gtg_stops_when_settled_and_not_before_thirty():
    """An additive game is settled at once: two sweeps of 18 orders are the first beyond 30."""
    asked: list[int] = []

    def counted(masks: Sequence[int]) -> np.ndarray:
        asked.append(len(masks))
        return additive(np.arange(1.0, 10.0))(masks)

    settled = sample(9, counted, 1, GtgLimits(180, truncation=0.0)).evaluation_count
    assert len(asked) == 1 + 7  # the ends and leaders, then a request a place; the last is known
    # the same two sweeps of another game: convergence decides, not the number of orders alone
    easy, strict = (
        sample(9, random_game(9, 3), 1, GtgLimits(180, 0.0, convergence)).evaluation_count
        for convergence in (1e9, 0.05)
    )
    assert settled == easy
    assert strict > 2 * easy


def test_gtg_asks_for_a_wave_at_once_and_never_twice():
    seen: list[int] = []
    sizes: list[int] = []

    def recorded(masks: Sequence[int]) -> np.ndarray:
        seen.extend(masks)
        sizes.append(len(masks))
        return random_game(10, 1)(masks)

    found = assess("gtg", 10, recorded, seed=1)
    assert len(seen) == len(set(seen)) == found.evaluation_count
    assert max(sizes) >= 16


def test_gtg_is_not_fooled_when_help_and_harm_cancel():
    """vN = v0 here, so cutting orders near vN would hide the helper and the poisoner alike."""
    weights = [1.0, -1.0, *[0.0] * 8]
    found = assess("gtg", 10, additive(weights), seed=1)
    np.testing.assert_allclose(found.values_N, weights, atol=1e-12)


def test_gtg_with_more_players_than_orders_stays_unbiased():
    first_takes_all = game(lambda team: float(len(team) > 0))
    total = np.zeros(12)
    for seed in range(100):
        limits = GtgLimits(4, truncation=0.0)
        total += assess("gtg", 12, first_takes_all, seed=seed, limits=limits).values_N
    assert total.sum() == pytest.approx(100)
    assert total.max() < 20  # 100 / 12 each, give or take
    assert total.min() > 2


def test_small_games_are_measured_whole():
    found = assess("gtg", 7, random_game(7, 1), seed=1)
    np.testing.assert_array_equal(found.values_N, assess("exact", 7, random_game(7, 1)).values_N)
    assert found.evaluation_count == 128


def test_same_seed_same_values_other_seed_other_values():
    utility = diminishing(np.linspace(0.1, 1.0, 10))
    one, same, other = (assess("gtg", 10, utility, seed=s).values_N for s in (2**62, 2**62, 3))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_orders_are_the_same_in_every_numpy():
    """Pinned, since receipts rest on them: a circle of five players, walked both ways."""
    orders = _draw_circle(np.random.PCG64(5), 5, 5).tolist()
    assert orders[0] == PINNED
    assert orders[2] == [*PINNED[1:], PINNED[0]]
    assert orders[1::2] == [order[::-1] for order in orders[0::2]]


PINNED = [4, 3, 2, 0, 1]


# --- plain and truncated permutations, Banzhaf draws ---


def test_how_many_orders_hoeffding_asks_for():
    """10 players, eps 0.02, d 0.05, range 1: 7,490 orders, as the bound says."""
    assert count_orders(10, error=0.02, risk=0.05) == 7_490
    assert 4 * 7_489 < count_orders(10, 0.02, 0.05, gain_range=2.0) <= 4 * 7_490
    for error, risk, gain_range in ((0.0, 0.5, 1.0), (0.1, 1.0, 1.0), (0.1, 0.5, 0.0)):
        with pytest.raises(ValueError, match="no bound"):
            count_orders(10, error, risk, gain_range)


def test_permutation_error_shrinks_with_the_root_of_the_orders():
    utility = diminishing(np.linspace(0.2, 1.0, 9))
    few, many = (
        assess("permutation", 9, utility, 1, PermutationLimits(count)).errors_N.mean()
        for count in (100, 1_600)
    )
    assert few / many == pytest.approx(4, rel=0.2)


def test_tmc_truncates_relative_to_what_is_won():
    """Of diminishing gains the last joins are cut; the sum misses at most the share allowed."""
    utility = diminishing(np.linspace(0.1, 2.0, 10))
    won = float(np.diff(utility([0, 2**10 - 1]))[0])
    counts = []
    for truncation in (0.0, 0.1, 0.3):
        found = assess("tmc", 10, utility, 1, TmcLimits(60, truncation, deviation=0.0))
        counts.append(found.evaluation_count)
        assert 0 <= won - found.values_N.sum() + 1e-9 < truncation * won + 2e-9
    assert counts[0] > counts[1] > counts[2]


def test_tmc_is_fooled_when_help_and_harm_cancel_and_gtg_is_not():
    """As published: past the helper and its poisoner every order stands at v(N)."""
    weights = [1.0, -1.0, *[0.1] * 8]
    found = assess("tmc", 10, additive(weights), 1, TmcLimits(200, 0.3, deviation=0.0))
    assert np.abs(found.values_N - weights).max() > 0.05
    careful = assess("gtg", 10, additive(weights), 1, GtgLimits(truncation=0.24))
    np.testing.assert_allclose(careful.values_N[:2], weights[:2], atol=0.03)


def test_tmc_stops_when_its_means_have_settled():
    """After history + 1 orders at the earliest, in whole waves of 20; never with deviation 0."""
    utility = random_game(12, 3)
    asked: list[int] = []

    def counted(masks: Sequence[int]) -> np.ndarray:
        asked.extend(masks)
        return utility(masks)

    def count_evaluations(limits: TmcLimits) -> int:
        return assess("tmc", 12, counted, 1, limits).evaluation_count

    longest = count_evaluations(TmcLimits(200, 0.0, history=30, deviation=0.0))
    soonest = count_evaluations(TmcLimits(200, 0.0, history=30, deviation=1e9))
    forty = count_evaluations(TmcLimits(40, 0.0, history=30, deviation=0.0))
    assert soonest == forty < longest


def test_tmc_has_settled_by_hand():
    """Means 1 then 1.5, a change of a third: settled for a deviation above that."""
    gains_RN = np.array([[1.0], [2.0]])
    assert has_settled(gains_RN, TmcLimits(history=1, deviation=0.34))
    assert not has_settled(gains_RN, TmcLimits(history=1, deviation=0.33))
    assert not has_settled(gains_RN, TmcLimits(history=2, deviation=1.0))


@pytest.mark.parametrize(("count", "half"), [(1, 2), (9, 50), (100, 8)])
def test_banzhaf_draws_put_everybody_in_half_of_the_coalitions(count, half):
    members_MN = draw_members(np.random.PCG64(1), count, half)
    assert members_MN.shape == (2 * half, count)
    assert members_MN.sum(axis=0).tolist() == [half] * count
    assert set(members_MN.ravel().tolist()) <= {0, 1}


def test_banzhaf_of_a_hundred_players():
    """Masks beyond 64 bits: an additive game of a hundred, 400 models."""
    weights = np.linspace(-1.0, 1.0, 100)
    found = assess("banzhaf", 100, additive(weights), 1, BanzhafLimits(400))
    assert (np.abs(found.values_N - weights) <= 4.5 * found.errors_N).all()
    assert found.errors_N.max() < 0.4
    assert found.evaluation_count == 400


def test_banzhaf_error_shrinks_with_the_root_of_the_draws():
    utility = diminishing(np.linspace(0.2, 1.0, 12))
    few, many = (
        assess("banzhaf", 12, utility, 1, BanzhafLimits(count)).errors_N.mean()
        for count in (100, 1_600)
    )
    assert few / many == pytest.approx(4, rel=0.2)


def test_banzhaf_measures_everything_where_that_is_cheaper():
    found = assess("banzhaf", 7, random_game(7, 1), seed=1)
    expected = assess("banzhaf_exact", 7, random_game(7, 1))
    assert found.values_N.tolist() == expected.values_N.tolist()
    assert found.evaluation_count == 128
    assert assess("banzhaf", 8, random_game(8, 1), seed=1).errors_N.min() > 0


# --- several games at once ---


def test_games_side_by_side_get_what_they_would_get_alone():
    games = [diminishing(np.random.default_rng(k).uniform(-0.1, 1, 9)) for k in range(4)]
    measured: list[int] = []

    def stacked(masks: Sequence[int]) -> np.ndarray:
        measured.extend(masks)
        return np.stack([one(masks) for one in games], axis=1)

    limits = GtgLimits(90, truncation=0.05)
    together = assess_games("gtg", 9, stacked, 4, seed=6, limits=limits)
    assert len(measured) == len(set(measured))
    for found, utility in zip(together, games, strict=True):
        alone = assess("gtg", 9, utility, seed=6, limits=limits)
        assert found.values_N.tolist() == alone.values_N.tolist()
        assert found.errors_N.tolist() == alone.errors_N.tolist()
        assert found.evaluation_count == alone.evaluation_count


# --- bad input ---


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_utility_that_is_not_finite_names_the_coalition(bad):
    def spoilt(masks: Sequence[int]) -> np.ndarray:
        return np.array([bad if mask == 0b101 else 1.0 for mask in masks])

    with pytest.raises(ValueError, match=r"coalition \{0, 2\} is \[(nan|inf|-inf)\]"):
        assess("exact", 3, spoilt)


def test_names_of_coalitions():
    assert [name_coalition(mask) for mask in (0, 1, 0b1010)] == ["{}", "{0}", "{1, 3}"]


@pytest.mark.parametrize(
    ("method", "count", "limits", "said"),
    [
        ("owen", 3, None, "'owen' is unknown"),
        ("loo", 0, None, "0 players"),
        ("exact", 13, None, "at most 12"),
        ("banzhaf_exact", 13, None, "at most 12"),
        ("gtg", 9, GtgLimits(3), "permutations_max 3"),
        ("gtg", 9, TmcLimits(), "gtg takes GtgLimits, not TmcLimits"),
        ("permutation", 9, PermutationLimits(1), "permutations_max 1"),
        ("permutation", 9, GtgLimits(), "permutation takes PermutationLimits, not GtgLimits"),
        ("tmc", 9, TmcLimits(1), "permutations_max 1"),
        ("tmc", 9, TmcLimits(history=0), "history=0"),
        ("tmc", 9, TmcLimits(truncation=-0.1), "truncation=-0.1"),
        ("banzhaf", 9, BanzhafLimits(3), "coalitions_max 3"),
    ],
)
def test_misuse_is_a_value_error(method, count, limits, said):
    with pytest.raises(ValueError, match=said):
        assess(method, count, additive([1.0] * 20), limits=limits)


def test_a_utility_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 1\), expected \(4, 1\)"):
        assess("exact", 2, lambda masks: np.zeros(1))


@pytest.mark.parametrize("players", [[0, 0], [1, 0], [3], [-1]])
def test_a_group_is_different_members(players):
    with pytest.raises(ValueError, match="expected different members below 3"):
        assess_group("exact", players, 3, additive([1.0] * 3))
