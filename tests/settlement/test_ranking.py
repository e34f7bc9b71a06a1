from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.settlement import staircase
from kumiai.settlement.ranking import compute_rank_weights
from kumiai.settlement.staircase import build_staircase


def shares_of(values, stakes=None, groups=None, ratio_ppm=4_000_000, rule="rank"):
    stakes = stakes or [100] * len(values)
    groups = groups or [""] * len(values)
    weights = compute_rank_weights(values, groups, stakes, ratio_ppm, rule)
    return [Fraction(weight.weight, weight.total) for weight in weights]


# --- the stake-measured rank ---


@pytest.mark.parametrize("count", [2, 4, 8, 3, 10, 100])
def test_equal_stakes_give_a_geometric_series(count):
    shares = shares_of(list(range(count, 0, -1)))
    ratio = 4 ** (1 / count)
    for better, worse in pairwise(shares):
        assert float(better / worse) == pytest.approx(ratio, rel=1e-6)


def test_two_members_with_ratio_four_get_two_thirds_and_one_third():
    better, worse = shares_of([9, 5])
    assert float(better) == pytest.approx(2 / 3, abs=1e-15)
    assert better + worse == 1


def test_the_adrs_counter_example():
    """Two different submissions of one owner: ordinal .667 -> .75, stake-measured unchanged."""
    whole = ([9, 5], [100, 100])
    split = ([9, 8, 5], [50, 50, 100])
    ordinal = {"ratio_ppm": 2_000_000, "rule": "ordinal"}
    assert float(shares_of(*whole, **ordinal)[0]) == pytest.approx(0.667, abs=5e-4)
    assert float(sum(shares_of(*split, **ordinal)[:2])) == pytest.approx(0.75)
    assert sum(shares_of(*split)[:2]) == shares_of(*whole)[0]


def test_a_tie_group_shares_its_stretch_by_stake():
    shares = shares_of([9, 9, 5], [100, 300, 400])
    whole = shares_of([9, 5], [400, 400])
    assert shares == [whole[0] / 4, whole[0] * 3 / 4, whole[1]]


def test_a_named_group_stands_where_its_best_member_stands():
    assert shares_of([9, 1, 5], groups=["twin", "twin", ""]) == shares_of([9, 9, 5])


def test_equal_values_of_different_groups_tie_too():
    assert shares_of([7, 7, 3], groups=["a", "b", ""]) == shares_of([7, 7, 3])


@pytest.mark.parametrize("rule", ["rank", "ordinal", "value"])
@pytest.mark.parametrize("nothing", [None, 0, -5])
def test_who_is_not_valid_or_helped_nothing_weighs_nothing(rule, nothing):
    shares = shares_of([nothing, 3, 1], rule=rule)
    assert shares[0] == 0
    assert sum(shares) == 1
    assert shares[1:] == shares_of([3, 1], rule=rule)


def test_a_free_rider_is_not_carried_by_its_group():
    assert shares_of([9, 0, None], groups=["g", "g", "g"]) == [1, 0, 0]


def test_nobody_valid_or_nobody_staked_weighs_nothing():
    assert shares_of([None, 0]) == [0, 0]
    assert shares_of([5, 3], [0, 0]) == [0, 0]


def test_ratio_one_pays_by_stake_alone():
    assert shares_of([9, 5], [1, 3], ratio_ppm=1_000_000) == [Fraction(1, 4), Fraction(3, 4)]


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-2, 5),
            st.integers(0, 9) | st.integers(0, 10**24),
            st.sampled_from(["", "", "x"]),
        ),
        min_size=1,
        max_size=7,
    ),
    st.sampled_from([1_000_000, 1_000_001, 4_000_000, 10**9]),
)
@settings(max_examples=60, deadline=None)
def test_against_a_naive_integration_in_fractions(members, ratio_ppm):
    values, stakes, groups = (list(column) for column in zip(*members, strict=True))
    assert shares_of(values, stakes, groups, ratio_ppm) == naive_shares(
        values, stakes, groups, ratio_ppm
    )


def naive_shares(values, stakes, groups, ratio_ppm):
    """The slow twin: order the groups, walk along the unit interval, add up the staircase."""
    heights = build_staircase(ratio_ppm).heights

    def area(upto):
        width = Fraction(1, staircase.STEP_COUNT)
        whole = int(upto / width)
        return sum(heights[:whole]) * width + heights[whole] * (upto - whole * width)

    def key_of(index):
        if values[index] is None or values[index] <= 0:
            return None
        mates = [j for j, group in enumerate(groups) if group and group == groups[index]]
        return max(values[j] for j in [index, *mates] if values[j] is not None)

    keys = [key_of(index) for index in range(len(values))]
    total = sum(stake for key, stake in zip(keys, stakes, strict=True) if key is not None)
    shares = [Fraction(0)] * len(values)
    if total == 0:
        return shares
    start = Fraction(0)
    for key in sorted({key for key in keys if key is not None}, reverse=True):
        group = [index for index in range(len(values)) if keys[index] == key]
        stake = sum(stakes[index] for index in group)
        end = start + Fraction(stake, total)
        for index in group:
            if stake:
                part = Fraction(stakes[index], stake)
                shares[index] = (area(end) - area(start)) / area(Fraction(1)) * part
        start = end
    return shares


def test_the_staircase_never_rises_and_is_the_same_everywhere():
    stairs = build_staircase(4_000_000)
    heights = stairs.heights[:-1]
    assert all(left >= right for left, right in pairwise(heights))
    assert heights[0] == 10**18
    # 4**-(4096/16384) = 2**-0.5 = 0.70710678118654752440...; 4**-(8192/16384) = 1/2, reached from
    # below because every product is rounded down
    assert heights[4096] == 707_106_781_186_547_524
    assert heights[8192] == 5 * 10**17 - 1
    assert sum(heights) == stairs.sums[-1]


# --- AIArena's ordinal rank ---


def test_ordinal_is_a_geometric_series_with_ratio_q():
    shares = shares_of([4, 3, 2], ratio_ppm=2_000_000, rule="ordinal")
    assert shares == [Fraction(4, 7), Fraction(2, 7), Fraction(1, 7)]


def test_ordinal_ties_share_a_rank_and_later_ranks_are_not_pushed_down():
    shares = shares_of([4, 4, 2], ratio_ppm=2_000_000, rule="ordinal")
    assert shares == [Fraction(2, 5), Fraction(2, 5), Fraction(1, 5)]


@pytest.mark.parametrize(
    ("ratio_ppm", "printed"),
    [
        (1_100_000, [0.107, 0.112, 0.117, 0.127]),
        (1_250_000, [0.202, 0.222, 0.244, 0.294]),
        (1_500_000, [0.333, 0.385, 0.442, 0.569]),
        (2_000_000, [0.500, 0.600, 0.700, 0.861]),
    ],
)
def test_the_sybil_table_naive_ranks_pay_copies_ties_do_not(ratio_ppm, printed):
    """20 equal stakes, the best splits over k = 1, 2, 3, 5 identities with the same model.

    Naive: the copies take k consecutive ranks, each with a k-th of the stake.
    """
    for copies, expected in zip([1, 2, 3, 5], printed, strict=True):
        others = list(range(19, 0, -1))
        stakes = [60 // copies] * copies + [60] * 19
        naive = shares_of(
            [100 - index for index in range(copies)] + others, stakes, None, ratio_ppm, "ordinal"
        )
        tied = shares_of([100] * copies + others, stakes, None, ratio_ppm, "ordinal")
        measured = shares_of(
            [100 - index for index in range(copies)] + others, stakes, None, ratio_ppm
        )
        assert float(sum(tied[:copies])) == pytest.approx(printed[0], abs=6e-4)
        assert float(sum(naive[:copies])) == pytest.approx(expected, abs=6e-4)
        assert sum(measured[:copies]) == shares_of([100, *others], None, None, ratio_ppm)[0]


def test_value_rule_pays_in_proportion():
    assert shares_of([3, 1, -2], [10, 10, 10], rule="value") == [
        Fraction(3, 4),
        Fraction(1, 4),
        0,
    ]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="ratio"):
        shares_of([1], ratio_ppm=999_999)
    with pytest.raises(ValueError, match="negative"):
        shares_of([1], [-1])
    with pytest.raises(ValueError, match="rule"):
        shares_of([1], rule="best")
    with pytest.raises(ValueError, match="2 values"):
        compute_rank_weights([1, 2], [""], [1, 2], 4_000_000)
