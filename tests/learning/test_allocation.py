"""Aequa's allocation: every rule keeps the laws, and the exact solutions beat the search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kumiai.learning.allocation import AllocationSettings, allocate_widths
from kumiai.learning.annealing import anneal_targets, compute_worth
from kumiai.learning.curve import Curve
from kumiai.learning.targets import compute_targets, convert_scores, solve_targets

WIDTHS = (0.25, 0.5, 0.75, 1.0)
RULES = ("fair", "clip", "trade", "score")
CURVE = Curve(WIDTHS, (0.6, 0.7, 0.8, 0.9), (0.01,) * 4)
FINE = Curve(
    tuple(p / 100 for p in range(25, 101)),
    tuple(0.5 + 0.4 * p / 75 for p in range(76)),
    (0.01,) * 76,
)


def thousandths(low, high):
    return st.integers(low, high).map(lambda x: x / 1000)


member = st.floats(-0.5, 1.5, width=32)
groups = st.lists(member, min_size=1, max_size=8).map(np.array)
curves = st.lists(st.integers(0, 100), min_size=4, max_size=4).map(
    lambda a: Curve(WIDTHS, tuple(x / 100 for x in a), (0.02,) * 4)
)
choices = st.builds(
    AllocationSettings,
    rule=st.sampled_from(RULES),
    width_least=st.sampled_from([0.0, 0.3, 1.0]),
    rounding=st.sampled_from(["down", "nearest"]),
    caution=st.sampled_from([0.0, 1.0]),
)


@settings(max_examples=150, deadline=None)
@example(
    np.array([0.0, 0.75]),
    Curve(WIDTHS, (0.18, 0.16, 0.94, 0.7), (0.02,) * 4),
    AllocationSettings(rule="fair"),
)
@example(
    np.array([0.5]),
    Curve(WIDTHS, (0.18, 0.16, 0.94, 0.7), (0.02,) * 4),
    AllocationSettings(rule="score"),
)
@given(groups, curves, choices)
def test_laws_of_every_rule(c_N, curve, chosen):
    """Widths of the grid above the floor, in the order of contributions, whoever is named first."""
    given_ = allocate_widths(c_N, curve, c_N, chosen)
    assert set(given_.widths) <= {w for w in WIDTHS if w >= chosen.width_least}
    order = np.argsort(c_N, kind="stable")
    assert (np.diff(np.array(given_.widths)[order]) >= 0).all()
    assert all(
        given_.widths[i] == given_.widths[j] for i in order for j in order if c_N[i] == c_N[j]
    )
    turned = allocate_widths(c_N[::-1], curve, c_N[::-1], chosen)
    assert turned.widths == given_.widths[::-1]
    assert {s.member for s in turned.shortfalls} == {
        len(c_N) - 1 - s.member for s in given_.shortfalls
    }
    if chosen.rule != "score" or c_N.max() > 0:
        is_first = c_N == c_N.max()
        if chosen.rule in ("fair", "score"):
            assert all(w == 1.0 for w in np.array(given_.widths)[is_first])


@settings(max_examples=150, deadline=None)
@given(groups, curves, choices)
def test_nobody_is_below_what_it_reaches_alone_unless_listed(c_N, curve, chosen):
    alone_N = np.clip(c_N[::-1], 0, 1)  # another order than the contributions
    given_ = allocate_widths(c_N, curve, alone_N, chosen)
    promised = np.array(given_.predicted) - 0.02 * chosen.caution
    short = {s.member: s for s in given_.shortfalls}
    for n, alone in enumerate(alone_N):
        assert (promised[n] < alone) == (n in short)
        if n in short:
            assert given_.widths[n] == 1.0
            assert short[n].lacking == pytest.approx(alone - promised[n])
            assert f"{alone:.4f}" in short[n].reason


@settings(max_examples=80, deadline=None)
@given(st.lists(thousandths(300, 600), min_size=2, max_size=8))
def test_where_the_range_suffices_all_gain_the_same(contributions):
    """Closed form: spread at most u - l, so every gain is u - max c and the correlation is 1."""
    targets = compute_targets(contributions, 0.5, 0.9)
    gains = targets.accuracies_N - contributions
    np.testing.assert_allclose(gains, 0.9 - max(contributions), atol=1e-12)
    assert targets.rule == "shift"
    assert targets.nu == pytest.approx(0.9 - max(contributions))
    exact = solve_targets(contributions, 0.5, 0.9)
    np.testing.assert_allclose(exact.accuracies_N, targets.accuracies_N, atol=1e-9)


def test_where_the_range_is_too_small_the_affine_rule_keeps_the_order_and_the_correlation():
    targets = compute_targets([0.1, 0.3, 0.9], 0.6, 0.8)
    np.testing.assert_allclose(targets.accuracies_N, [0.6, 0.65, 0.8])
    assert (targets.rule, targets.nu) == ("affine", None)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("seed", range(3))
def test_one_number_is_as_good_as_annealing(seed, penalty):
    c_N = np.random.default_rng(seed).uniform(0.2, 0.8, 5)
    exact = solve_targets(c_N, 0.6, 0.9, penalty)
    searched_N = anneal_targets(c_N, 0.6, 0.9, penalty=penalty, iterations=4000, seed=seed)
    won = compute_worth(exact.accuracies_N, c_N, penalty) - compute_worth(searched_N, c_N, penalty)
    assert -1e-9 <= won < 0.02


@settings(max_examples=80, deadline=None)
@given(
    st.lists(thousandths(-200, 1200), min_size=1, max_size=7),
    st.floats(0.2, 0.6),
    st.floats(0.0, 0.4),
    st.sampled_from([0.3, 1.0, 2.0, 5.0, math.inf]),
)
def test_no_number_on_a_fine_grid_is_better(contributions, low, extent, penalty):
    """The dumb twin: try 301 values of nu."""
    c_N, high = np.array(contributions), low + extent
    exact = solve_targets(c_N, low, high, penalty)

    def judge(accuracies_N):
        gains_N = accuracies_N - c_N
        return -gains_N.std() if math.isinf(penalty) else compute_worth(accuracies_N, c_N, penalty)

    grid = np.linspace(low - c_N.max(), high - c_N.min(), 301)
    best = max(judge(np.clip(c_N + nu, low, high)) for nu in grid)
    assert judge(exact.accuracies_N) >= best - 1e-7 * max(1.0, min(penalty, 10.0))


def test_of_equally_fair_solutions_the_most_generous():
    exact = solve_targets([0.4, 0.5, 0.6], 0.5, 0.9)
    np.testing.assert_allclose(exact.accuracies_N, [0.7, 0.8, 0.9])


def test_a_small_penalty_gives_everybody_the_full_model():
    """Why the default is not a penalty: mean - 0.5 spread is won by giving all of it to all."""
    c_N = np.array([0.35, 0.5, 0.55, 0.7])
    assert (solve_targets(c_N, 0.6, 0.9, 0.5).accuracies_N == 0.9).all()
    assert np.corrcoef(c_N, solve_targets(c_N, 0.6, 0.9, 4.0).accuracies_N)[0, 1] > 0.98


def test_annealing_is_seeded():
    arguments = {"penalty": 2.0, "iterations": 200}
    runs = [anneal_targets([0.3, 0.6], 0.5, 0.9, seed=s, **arguments) for s in (1, 1, 2)]
    assert (runs[0] == runs[1]).all()
    assert (runs[0] != runs[2]).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(thousandths(300, 650), min_size=3, max_size=10, unique=True))
def test_on_a_fine_grid_contribution_and_accuracy_correlate_as_claimed(contributions):
    """Tastan et al. report a Pearson correlation of 0.98 to 0.99. A grid of 76 widths keeps it."""
    assume(max(contributions) - min(contributions) > 0.1)
    given_ = allocate_widths(contributions, FINE, contributions)
    assert given_.rule == "shift"
    assert given_.pearson > 0.98
    assert min(np.array(given_.predicted) - contributions) > 0


def test_rounding_goes_down_or_to_the_nearest_and_never_below_the_floor():
    c_N = [0.4, 0.52, 0.58, 0.7]  # owed 0.6, 0.72, 0.78, 0.9
    assert allocate_widths(c_N, CURVE).widths == (0.25, 0.5, 0.5, 1.0)
    near = AllocationSettings(rounding="nearest")
    assert allocate_widths(c_N, CURVE, settings=near).widths == (0.25, 0.5, 0.75, 1.0)
    floor = AllocationSettings(width_least=0.4)
    assert allocate_widths(c_N, CURVE, settings=floor).widths == (0.5, 0.5, 0.5, 1.0)


def test_an_accuracy_of_the_grid_gets_its_width_whatever_the_rounding_of_floats():
    for tenths in range(60):
        c_N = np.array([0.6, 0.7, 0.8, 0.9]) - 0.0137 * tenths
        assert allocate_widths(c_N, CURVE).widths == WIDTHS


def test_rounding_down_does_not_break_the_promise():
    """Owed 0.78 and alone at 0.75: width 0.5 (0.7) would do worse than alone, 0.75 holds."""
    given_ = allocate_widths([0.58, 0.7], CURVE, [0.75, 0.0])
    assert given_.widths == (0.75, 1.0)
    assert given_.shortfalls == ()
    careful = AllocationSettings(caution=6.0)
    assert allocate_widths([0.58, 0.7], CURVE, [0.75, 0.0], careful).widths == (1.0, 1.0)


def test_who_is_better_alone_is_listed_with_what_it_lacks():
    given_ = allocate_widths([0.95, 0.7], CURVE, [0.95, 0.7])
    assert given_.widths == (1.0, 0.5)  # nu is below 0: the second keeps its 0.7 all the same
    assert given_.owed == pytest.approx((0.9, 0.7))
    (short,) = given_.shortfalls
    assert (short.member, short.standalone, short.promised) == (0, 0.95, 0.9)
    assert short.lacking == pytest.approx(0.05)
    assert short.reason == "alone it reaches 0.9500, the full model 0.9000"
    doubt = allocate_widths([0.9], CURVE, [0.9], AllocationSettings(caution=2.0))
    assert "less 2 standard errors of 0.0100" in doubt.shortfalls[0].reason


@pytest.mark.parametrize("rule", RULES)
def test_one_member_and_equal_members_get_the_full_model(rule):
    chosen = AllocationSettings(rule=rule)
    assert allocate_widths([0.3], CURVE, settings=chosen).widths == (1.0,)
    same = allocate_widths([0.1] * 7, CURVE, settings=chosen)
    assert same.widths == (1.0,) * 7
    assert same.pearson is None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "curve", [Curve((1.0,), (0.8,), (0.0,)), Curve(WIDTHS, (0.8,) * 4, (0.01,) * 4)]
)
def test_a_flat_curve_holds_nothing_back(rule, curve):
    given_ = allocate_widths([0.2, 0.9], curve, settings=AllocationSettings(rule=rule))
    assert given_.widths == (1.0, 1.0)
    assert given_.rule == "flat"
    assert given_.pearson is None


def test_a_curve_that_falls_is_flat_once_it_is_fitted():
    falling = Curve(WIDTHS, (0.9, 0.8, 0.7, 0.6), (0.01,) * 4)
    assert allocate_widths([0.2, 0.9], falling).rule == "flat"


def test_scores_are_shares_of_the_best_and_nothing_earns_the_least():
    scores = [-3.0, 0.0, 5.0, 10.0]
    np.testing.assert_allclose(convert_scores(scores, 0.6, 0.9), [0.6, 0.6, 0.75, 0.9])
    np.testing.assert_allclose(convert_scores(scores, 0.6, 0.9, 2.0), [0.6, 0.6, 0.675, 0.9])
    chosen = AllocationSettings(rule="score")
    assert allocate_widths(scores, CURVE, settings=chosen).widths == (0.25, 0.25, 0.5, 1.0)
    assert allocate_widths([-1.0, 0.0], CURVE, settings=chosen).widths == (0.25, 0.25)
    flat = Curve(WIDTHS, (0.8,) * 4, (0.01,) * 4)
    assert allocate_widths(scores, flat, settings=chosen).widths == (0.25, 0.25, 1.0, 1.0)


def test_negative_contributions_are_numbers_like_others():
    given_ = allocate_widths([-0.5, 0.2, 0.7], CURVE)
    assert given_.rule == "affine"
    assert given_.widths == (0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    ("contributions", "standalone", "message"),
    [
        ([0.1, float("nan")], None, "contribution of member 1 is nan"),
        ([float("-inf")], None, "contribution of member 0 is -inf"),
        ([0.1, 0.2], [0.1, float("nan")], "standalone of member 1 is nan"),
        ([0.1, 0.2], [0.1], "standalone of 1 members"),
        ([], None, r"shape \(0,\)"),
    ],
)
def test_bad_numbers_name_the_member(contributions, standalone, message):
    with pytest.raises(ValueError, match=message):
        allocate_widths(contributions, CURVE, standalone)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rule": "aequa"}, "rule 'aequa'"),
        ({"rounding": "up"}, "rounding 'up'"),
        ({"width_least": 1.5}, r"width_least 1\.5"),
        ({"caution": -1.0}, r"caution -1\.0"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        AllocationSettings(**wrong)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"ends at width 0\.5"):
        allocate_widths([0.1], Curve((0.5,), (0.7,), (0.1,)))
    with pytest.raises(ValueError, match=r"penalty 0"):
        solve_targets([0.1], 0.5, 0.9, 0.0)
    with pytest.raises(ValueError, match=r"exponent -1"):
        convert_scores([0.1], 0.5, 0.9, -1.0)
    with pytest.raises(ValueError, match=r"low 0\.9 and high 0\.5"):
        compute_targets([0.1], 0.9, 0.5)
    with pytest.raises(ValueError, match="iterations 0"):
        anneal_targets([0.1], 0.5, 0.9, penalty=1.0, iterations=0, seed=1)
