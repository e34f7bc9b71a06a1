"""FedSV and ComFedSV: who is worth what over a run in which not everybody is always selected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.valuation import (
    CohortRound,
    ComfedsvLimits,
    CompletionLimits,
    PermutationLimits,
    assess,
    value_comfedsv,
    value_fedsv,
)
from kumiai.valuation.completion import complete_matrix
from kumiai.valuation.fedsv import derive_seed

WEIGHTS = [0.9, 0.9, 0.5, 0.2, 0.0, 1.4, 0.7, 0.3]  # the first two hold the same data
COUNT = len(WEIGHTS)
EVERYBODY = tuple(range(COUNT))


def make_round(selected: Sequence[int], progress: float, shift: float = 0.0) -> CohortRound:
    """A round whose utility is `progress` times one and the same game: a matrix of rank one."""

    def utility(masks: Sequence[int]) -> np.ndarray:
        outside = ~sum(1 << i for i in selected)
        assert all(mask & outside == 0 for mask in masks), "asked for who was not selected"
        helps = [sum(w for i, w in enumerate(WEIGHTS) if mask >> i & 1) for mask in masks]
        return shift + progress * np.log1p(np.array(helps))

    return CohortRound(tuple(selected), utility)


def make_run(seed: int, rounds: int = 12, cohort: int = 4) -> list[CohortRound]:
    """A full round, then cohorts drawn at random, with less and less to be won."""
    rng = np.random.default_rng(seed)
    chosen = [sorted(rng.choice(COUNT, cohort, replace=False).tolist()) for _ in range(rounds)]
    chosen[0] = list(EVERYBODY)
    return [make_round(who, 1.0 / (t + 1), shift=-2.0 + 0.1 * t) for t, who in enumerate(chosen)]


def value_full_run(run: Sequence[CohortRound]) -> np.ndarray:
    """What the values would be had everybody been selected in every round."""
    total = sum(1.0 / (t + 1) for t in range(len(run)))
    return total * assess("exact", COUNT, make_round(EVERYBODY, 1.0).utility).values_N


# --- FedSV ---


def test_fedsv_by_hand():
    """Round 1: {0, 1}, worth 1 and 3 alone and 6 together. Round 2: {1} alone, worth 0.5."""
    table = np.array([0.0, 1.0, 3.0, 6.0])
    rounds = [
        CohortRound((0, 1), lambda masks: table[list(masks)]),
        CohortRound((1,), lambda masks: np.array([0.5 * (mask == 2) for mask in masks])),
    ]
    found = value_fedsv(3, rounds, "exact")
    assert found.values_N.tolist() == [2.0, 4.5, 0.0]
    assert found.errors_N.tolist() == [0.0, 0.0, 0.0]
    assert found.evaluation_count == 4 + 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, COUNT))
def test_fedsv_shares_out_what_every_cohort_won(seed, cohort):
    run = make_run(seed, rounds=4, cohort=cohort)
    won = 0.0
    for now in run:
        ends = now.utility([0, sum(1 << i for i in now.selected)])
        won += ends[1] - ends[0]
    found = value_fedsv(COUNT, run, "exact")
    assert found.values_N.sum() == pytest.approx(won)
    chosen = {i for now in run[1:] for i in now.selected}
    assert all(value >= 0 for value in found.values_N[list(chosen)])


def test_fedsv_is_zero_in_rounds_without():
    run = [make_round([0, 2, 5], 1.0), make_round([2, 3], 0.5)]
    found = value_fedsv(COUNT, run, "exact")
    first = assess("exact", COUNT, make_round([*EVERYBODY], 1.0).utility)
    assert found.values_N[[1, 4, 6, 7]].tolist() == [0.0] * 4
    assert found.values_N[2] > found.values_N[3] > 0
    assert found.values_N[5] > first.values_N[5]  # in small company a member is worth more


def test_fedsv_adds_errors_in_quadrature_and_draws_anew_every_round():
    run = [make_round(EVERYBODY, 1.0)] * 4
    limits = PermutationLimits(100)
    found = value_fedsv(COUNT, run, "permutation", seed=5, limits=limits)
    alone = [
        assess("permutation", COUNT, run[0].utility, derive_seed(5, t), limits) for t in range(4)
    ]
    expected = np.sqrt(sum(one.errors_N**2 for one in alone))
    np.testing.assert_allclose(found.errors_N, expected)
    assert len({tuple(one.values_N) for one in alone}) == 4
    assert found.evaluation_count == sum(one.evaluation_count for one in alone)


def test_nearby_seeds_share_no_round():
    seeds = {derive_seed(seed, index) for seed in range(50) for index in range(50)}
    assert len(seeds) == 2_500


def test_fedsv_of_nothing():
    assert value_fedsv(3, []).values_N.tolist() == [0.0] * 3
    assert value_fedsv(3, [make_round([], 1.0)]).evaluation_count == 0


@pytest.mark.parametrize("selected", [(1, 0), (0, 0), (0, COUNT), (-1,)])
def test_a_cohort_is_different_members(selected):
    rounds = [make_round(EVERYBODY, 1.0), CohortRound(selected, make_round([], 1.0).utility)]
    for value in (value_fedsv, value_comfedsv):
        with pytest.raises(ValueError, match="round 1 selected"):
            value(COUNT, rounds)


def test_fedsv_sums_shapley_values_only():
    with pytest.raises(ValueError, match="'banzhaf' is not in"):
        value_fedsv(COUNT, [], "banzhaf")


def test_a_bad_utility_is_named_with_its_round():
    def spoilt(masks: Sequence[int]) -> np.ndarray:
        return np.array([np.nan if mask == 0b100100 else 0.0 for mask in masks])

    rounds = [make_round(EVERYBODY, 1.0), CohortRound((2, 5), spoilt)]
    for value in (value_fedsv, value_comfedsv):
        with pytest.raises(ValueError, match=r"round 1: utility of coalition \{2, 5\} is \[nan\]"):
            value(COUNT, rounds)


# --- ComFedSV ---


@pytest.mark.parametrize("seed", range(4))
def test_comfedsv_recovers_the_run_in_which_all_were_selected(seed):
    """A rank-one matrix, half of the members a round: within 1 %, where FedSV misses by a third."""
    run = make_run(seed)
    expected = value_full_run(run)
    found = value_comfedsv(COUNT, run)
    assert np.abs(found.values_N - expected).sum() <= 0.01 * expected.sum()
    by_selection = value_fedsv(COUNT, run, "exact").values_N
    assert np.abs(by_selection - expected).sum() >= 0.1 * expected.sum()


def test_same_data_same_value_whoever_was_selected():
    """Members 0 and 1 hold the same; 1 is selected in the full round only."""
    others = [[0, 2, 5], [0, 3, 6], [0, 2, 7], [0, 5, 6], [0, 4, 7]]
    run = [make_round(EVERYBODY, 1.0), *(make_round(who, 0.7) for who in others)]
    unfair = value_fedsv(COUNT, run, "exact").values_N
    fair = value_comfedsv(COUNT, run).values_N
    assert unfair[0] > 3 * unfair[1]
    assert fair[0] == pytest.approx(fair[1], rel=0.01)


def test_comfedsv_with_everybody_always_there_is_shapley():
    run = [make_round(EVERYBODY, 1.0 / (t + 1)) for t in range(5)]
    found = value_comfedsv(COUNT, run)
    np.testing.assert_allclose(found.values_N, value_full_run(run))
    assert found.evaluation_count == 5 * 2**COUNT


def test_comfedsv_over_sampled_orders():
    """Twenty orders of eight members: 160 prefixes at most, the standard error is theirs."""
    run = make_run(3, cohort=6)
    expected = value_full_run(run)
    found = value_comfedsv(COUNT, run, seed=1, limits=ComfedsvLimits(20))
    assert (np.abs(found.values_N - expected) <= 4 * found.errors_N + 0.02).all()
    assert found.errors_N[5] > 0.02
    assert found.values_N[4] == pytest.approx(0.0, abs=0.01)  # the null player
    assert found.evaluation_count < 12 * 160
    more = value_comfedsv(COUNT, run, seed=1, limits=ComfedsvLimits(31))
    assert more.errors_N.mean() < found.errors_N.mean()


def test_comfedsv_follows_the_members_wherever_they_sit():
    run, order = make_run(5), [3, 1, 7, 0, 2, 6, 5, 4]  # place i holds member order[i]

    def reseat(now: CohortRound) -> CohortRound:
        def utility(masks: Sequence[int]) -> np.ndarray:
            old = [sum(1 << order[i] for i in EVERYBODY if mask >> i & 1) for mask in masks]
            return now.utility(old)

        return CohortRound(tuple(i for i in EVERYBODY if order[i] in now.selected), utility)

    expected = value_comfedsv(COUNT, run).values_N[order]
    found = value_comfedsv(COUNT, [reseat(now) for now in run]).values_N
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_comfedsv_counts_what_it_measures():
    counts: list[int] = []

    def count(now: CohortRound) -> CohortRound:
        def utility(masks: Sequence[int]) -> np.ndarray:
            counts.append(len(masks))
            assert len(set(masks)) == len(masks)
            return now.utility(masks)

        return CohortRound(now.selected, utility)

    found = value_comfedsv(COUNT, [count(now) for now in make_run(1)])
    assert found.evaluation_count == sum(counts) == 2**COUNT + 11 * 2**4


def test_comfedsv_needs_a_round_with_everybody():
    with pytest.raises(ValueError, match="no round of 2 selected all 8 members"):
        value_comfedsv(COUNT, [make_round([0, 1], 1.0), make_round(EVERYBODY[1:], 1.0)])
    with pytest.raises(ValueError, match="no round of 0 selected all 8 members"):
        value_comfedsv(COUNT, [])


def test_comfedsv_of_one_member_and_of_rounds_with_nobody():
    run = [make_round([0], 1.0), make_round([], 9.0), make_round([0], 0.5)]
    found = value_comfedsv(1, run)
    assert found.values_N[0] == pytest.approx(1.5 * np.log1p(0.9))
    assert found.evaluation_count == 4


# --- completion ---


def make_low_rank(seed: int, rank: int, shape: tuple[int, int] = (10, 40)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 1.5, (shape[0], rank)) @ rng.uniform(0.5, 1.5, (rank, shape[1]))


def make_holes(seed: int, shape: tuple[int, int], full_rows: int) -> np.ndarray:
    known = np.random.default_rng(seed).random(shape) < 0.5
    known[:full_rows] = True
    return known


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_matrix_of_low_rank_comes_back(rank, seed):
    matrix = make_low_rank(seed, rank)
    known = make_holes(seed, matrix.shape, full_rows=3)
    found = complete_matrix(np.where(known, matrix, np.nan), known, CompletionLimits(rank))
    np.testing.assert_allclose(found, matrix, rtol=0.02)
    np.testing.assert_array_equal(found[known], matrix[known])


def test_too_low_a_rank_is_seen():
    matrix, known = make_low_rank(1, 2), make_holes(1, (10, 40), full_rows=3)
    misses = [
        np.abs(complete_matrix(matrix, known, CompletionLimits(rank)) - matrix).max()
        for rank in (1, 2)
    ]
    assert misses[0] > 5 * misses[1]


def test_a_column_seen_once_allows_one_factor():
    """Else its second number would be made up: any rank asked for gives the fit of rank one."""
    matrix, known = make_low_rank(2, 2), make_holes(2, (10, 40), full_rows=1)
    known[1:, 0] = False
    one, five = (complete_matrix(matrix, known, CompletionLimits(rank)) for rank in (1, 5))
    np.testing.assert_array_equal(one, five)


def test_scale_and_order_of_the_matrix_do_not_matter():
    matrix, known = make_low_rank(3, 2), make_holes(3, (10, 40), full_rows=2)
    rows, columns = np.random.default_rng(0).permutation(10), np.arange(40)[::-1]
    expected = complete_matrix(matrix, known, CompletionLimits())
    moved = complete_matrix(
        1e6 * matrix[rows][:, columns], known[rows][:, columns], CompletionLimits()
    )
    np.testing.assert_allclose(moved, 1e6 * expected[rows][:, columns], rtol=1e-6)


def test_nothing_known_nothing_completed():
    known = np.ones((2, 3), dtype=bool)
    known[:, 1] = False
    with pytest.raises(ValueError, match="column 1 has no known entry"):
        complete_matrix(np.ones((2, 3)), known, CompletionLimits())
    with pytest.raises(ValueError, match="row 1 has no known entry"):
        complete_matrix(np.ones((2, 3)), np.array([[True] * 3, [False] * 3]), CompletionLimits())
    for limits in (CompletionLimits(rank=0), CompletionLimits(ridge=0.0)):
        with pytest.raises(ValueError, match="at least 1"):
            complete_matrix(np.ones((2, 2)), np.ones((2, 2), dtype=bool), limits)


def test_zeros_complete_to_zeros():
    known = make_holes(4, (5, 6), full_rows=1)
    assert not complete_matrix(np.zeros((5, 6)), known, CompletionLimits()).any()
