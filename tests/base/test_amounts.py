"""Laws of money: every split adds up, rounding favours nobody, splitting oneself gains nothing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base import amounts

TOTALS = st.integers(0, 10**24)
WEIGHTS = st.lists(st.integers(0, 10**18), max_size=12)


@given(TOTALS, WEIGHTS)
def test_a_split_adds_up_to_the_unit(total, weights):
    parts, remainder = amounts.split_floor(total, weights)
    assert sum(parts) + remainder == total
    assert len(parts) == len(weights)
    assert all(part >= 0 for part in parts)
    if sum(weights):
        assert 0 <= remainder < len(weights)
    else:
        assert remainder == total


@given(TOTALS, WEIGHTS.filter(sum))
def test_each_part_is_the_exact_share_rounded_down(total, weights):
    parts, _ = amounts.split_floor(total, weights)
    for part, weight in zip(parts, weights, strict=True):
        assert part <= Fraction(total * weight, sum(weights)) < part + 1


@given(TOTALS, st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.data())
def test_splitting_a_weight_never_gains(total, weights, data):
    parts, _ = amounts.split_floor(total, weights)
    index = data.draw(st.integers(0, len(weights) - 1))
    cut = data.draw(st.integers(0, weights[index]))
    halves = [*weights[:index], cut, weights[index] - cut, *weights[index + 1 :]]
    after, _ = amounts.split_floor(total, halves)
    assert after[index] + after[index + 1] <= parts[index]


@given(TOTALS, WEIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_members_changes_nothing(total, weights, random):
    order = list(range(len(weights)))
    random.shuffle(order)
    parts, remainder = amounts.split_floor(total, weights)
    shuffled, remainder_shuffled = amounts.split_floor(total, [weights[i] for i in order])
    assert shuffled == [parts[i] for i in order]
    assert remainder == remainder_shuffled


@given(TOTALS, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_weight_never_earns_less(total, weight, more, others):
    before, _ = amounts.split_floor(total, [weight, others])
    after, _ = amounts.split_floor(total, [weight + more, others])
    assert after[0] >= before[0]


def test_split_refuses_negative_numbers():
    with pytest.raises(ValueError, match="total -1"):
        amounts.split_floor(-1, [1])
    with pytest.raises(ValueError, match="negative"):
        amounts.split_floor(1, [1, -1])


@given(TOTALS, st.integers(0, amounts.PPM))
def test_a_share_and_its_rest_stay_within_the_whole(amount, share):
    part = amounts.multiply_ppm(amount, share)
    rest = amounts.multiply_ppm(amount, amounts.PPM - share)
    assert part <= Fraction(amount * share, amounts.PPM) < part + 1
    assert amount - 1 <= part + rest <= amount


@pytest.mark.parametrize("share", [-1, amounts.PPM + 1])
def test_no_share_outside_0_to_1(share):
    with pytest.raises(ValueError, match="outside"):
        amounts.multiply_ppm(5, share)


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_divide_half_even_is_the_rounding_of_exact_fractions(numerator, denominator):
    assert amounts.divide_half_even(numerator, denominator) == round(
        Fraction(numerator, denominator)
    )


def test_ties_go_to_the_even_number_and_zero_divides_nothing():
    halves = [amounts.divide_half_even(n, 2) for n in (-3, -1, 1, 3, 5)]
    assert halves == [-2, 0, 0, 2, 2]
    for denominator in (0, -2):
        with pytest.raises(ValueError, match="not positive"):
            amounts.divide_half_even(1, denominator)
