import pytest

from kumiai.base.amounts import PPM
from kumiai.settlement.pools import (
    budget_of_round,
    compute_effective_stake,
    share_pool,
    split_pools,
)


@pytest.mark.parametrize(("budget", "rounds"), [(1_000_000, 8), (7, 3), (2, 5), (10**24 + 1, 7)])
def test_the_rounds_parts_sum_to_the_budget(budget, rounds):
    parts = [budget_of_round(budget, rounds, index) for index in range(1, rounds + 1)]
    assert sum(parts) == budget
    assert max(parts) - min(parts) <= 1


def test_a_round_outside_the_run_is_refused():
    for index in (0, 9, -1):
        with pytest.raises(ValueError, match="of 8"):
            budget_of_round(100, 8, index)


def test_gamma_is_what_each_role_has_for_certain():
    assert split_pools(1000, 100_000, 0, 500) == (100, 900)
    assert split_pools(1000, 100_000, 500, 0) == (900, 100)
    assert split_pools(1000, 500_000, 1, 999) == (500, 500)
    assert split_pools(1000, 0, 250, 750) == (250, 750)
    assert split_pools(7, 100_000, 0, 0) == (4, 3)


def test_bad_shares_are_refused():
    with pytest.raises(ValueError, match="gamma"):
        split_pools(1000, 500_001, 1, 1)
    with pytest.raises(ValueError, match="negative"):
        split_pools(1000, 0, -1, 1)
    with pytest.raises(ValueError, match="delegation weight"):
        compute_effective_stake(1, 1, PPM + 1)


def test_delegation_counts_for_its_weight_rounded_down():
    assert compute_effective_stake(10, 9, 500_000) == 14
    assert compute_effective_stake(10, 9, 0) == 10
    assert compute_effective_stake(10, 9, PPM) == 19


def test_alpha_is_the_power_of_the_stake():
    assert share_pool(100, [1, 1], [1, 3], alpha=1) == ([25, 75], 0)
    assert share_pool(100, [1, 1], [1, 3], alpha=2) == ([10, 90], 0)


def test_alpha_below_one_is_refused_because_splitting_would_pay():
    with pytest.raises(ValueError, match="splitting"):
        share_pool(100, [1], [1], alpha=0)


def test_the_remainder_is_what_nobody_earned():
    assert share_pool(100, [1, 1, 1], [1, 1, 1]) == ([33, 33, 33], 1)
    assert share_pool(100, [0, 0], [5, 5]) == ([0, 0], 100)
