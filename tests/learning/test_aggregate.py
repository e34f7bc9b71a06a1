"""Aggregation: equal to a naive twin in Python integers, whatever the order and the block size."""

from __future__ import annotations

import operator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.base import amounts
from kumiai.learning import aggregate as rules
from kumiai.learning.aggregate import AGGREGATORS, Settings, aggregate, divide_half_even
from kumiai.learning.fixed_point import INTEGER_ABS_MAX

INTS = st.one_of(
    st.integers(-50, 50),
    st.integers(-(2**20), 2**20),
    st.integers(-INTEGER_ABS_MAX, INTEGER_ABS_MAX),
)


@st.composite
def cases(draw, members_min=1):
    members = draw(st.integers(members_min, 9))
    updates = draw(hnp.arrays(np.int32, (members, draw(st.integers(1, 6))), elements=INTS))
    weights = draw(st.lists(st.integers(1, 10**6), min_size=members, max_size=members))
    return updates, weights


def mean_twin(updates, weights, settings):
    total = sum(weights)
    return [
        amounts.divide_half_even(sum(map(operator.mul, weights, map(int, column))), total)
        for column in updates.T
    ]


def sorted_mean_twin(updates, start, stop):
    return [
        round(Fraction(sum(sorted(map(int, column))[start:stop]), stop - start))
        for column in updates.T
    ]


def median_twin(updates, weights, settings):
    count = len(updates)
    return sorted_mean_twin(updates, (count - 1) // 2, count // 2 + 1)


def trimmed_twin(updates, weights, settings):
    cut = len(updates) * settings.trim_ppm // 10**6
    return sorted_mean_twin(updates, cut, len(updates) - cut)


def distances_twin(updates):
    peak = sorted(max(abs(int(v)) for v in row) for row in updates)[len(updates) // 2]
    unit = 2 ** max(0, peak.bit_length() - 14)
    limit = min(32767 * unit, INTEGER_ABS_MAX - unit // 2)
    shifted = [
        [(max(-limit, min(limit, int(v))) + unit // 2) // unit for v in row] for row in updates
    ]
    return [
        [sum((a - b) ** 2 for a, b in zip(row, other, strict=True)) for other in shifted]
        for row in shifted
    ]


def krum_choice_twin(updates, f):
    distances, count = distances_twin(updates), len(updates)
    scores = [
        (sum(sorted(row[:i] + row[i + 1 :])[: count - f - 2]), i) for i, row in enumerate(distances)
    ]
    return sorted(i for _, i in sorted(scores)[: count - f])


def krum_twin(updates, weights, settings):
    chosen = krum_choice_twin(updates, settings.byzantine_count)
    return mean_twin(updates[chosen], [weights[i] for i in chosen], settings)


TWINS = {
    "mean": mean_twin,
    "median": median_twin,
    "trimmed_mean": trimmed_twin,
    "multi_krum": krum_twin,
}


def test_every_rule_has_a_twin():
    assert set(TWINS) == set(AGGREGATORS)


@pytest.mark.parametrize("name", list(AGGREGATORS))
@given(case=cases(members_min=5), f=st.integers(0, 1), trim=st.integers(0, 450_000))
def test_equals_the_naive_twin(name, case, f, trim):
    updates, weights = case
    settings = Settings(trim_ppm=trim, byzantine_count=f)
    result = aggregate(name, list(updates), weights, settings)
    assert result.dtype == np.int32
    assert result.tolist() == TWINS[name](updates, weights, settings)


@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=INTS))
@example(np.full((2, 2), INTEGER_ABS_MAX, dtype=np.int32))
def test_krum_distances_are_exact_integers(updates):
    assert rules.compute_distances(list(updates)).tolist() == distances_twin(updates)


def test_krum_sums_over_the_nearest_n_minus_f_minus_two():
    # Three nearest: the colluders at -20 score 0 + 400 + 400, the member at 17 3 * 289. A fourth
    # neighbour would turn the order round.
    updates = [np.array([x], dtype=np.int32) for x in (0, 0, 0, 0, 17, -20, -20)]
    assert rules.select_krum(updates, 2) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("name", list(AGGREGATORS))
@given(case=cases(members_min=5), data=st.data())
def test_order_of_members_does_not_matter(name, case, data):
    updates, weights = case
    settings = Settings(byzantine_count=1)
    if name == "multi_krum":  # equal scores go by the order of commitments: see the next test
        scores = krum_scores(updates)
        assume(len(set(scores)) == len(scores))
    order = data.draw(st.permutations(range(len(updates))))
    straight = aggregate(name, updates, weights, settings)
    shuffled = aggregate(name, updates[order], [weights[i] for i in order], settings)
    assert np.array_equal(straight, shuffled)


def krum_scores(updates):
    distances = rules.compute_distances(list(updates))
    count = len(updates)
    return [int(np.sort(np.delete(distances[i], i))[: count - 3].sum()) for i in range(count)]


def test_equal_krum_scores_keep_the_earlier_commitments():
    updates = np.zeros((5, 3), dtype=np.int32)
    assert rules.select_krum(list(updates), 1) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_blocks_leave_no_seam(name, monkeypatch):
    generator = np.random.default_rng(1)
    updates = generator.integers(-(2**30), 2**30, (7, 23), dtype=np.int32)
    settings = Settings(byzantine_count=2)
    whole = aggregate(name, updates, [3] * 7, settings)
    for block in ("MEAN_BLOCK", "SORT_BLOCK", "GRAM_BLOCK"):
        monkeypatch.setattr(rules, block, 5)
    assert np.array_equal(aggregate(name, updates, [3] * 7, settings), whole)


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "multi_krum"])
@given(
    seed=st.integers(0, 999),
    attack=st.sampled_from(["giant", "flip", "moderate", "coordinated"]),
    f=st.integers(1, 2),
)
def test_outliers_do_not_move_the_robust_rules(name, seed, attack, f):
    generator = np.random.default_rng(seed)
    honest = (50_000 + generator.normal(0, 3_000, (9 - f, 40))).astype(np.int32)
    hostile = {
        "giant": np.full((f, 40), INTEGER_ABS_MAX, dtype=np.int32),
        "flip": -4 * honest[:f],
        "moderate": honest[:f] + 40_000,
        "coordinated": np.full((f, 40), 200_000, dtype=np.int32),
    }[attack]
    if f == 2 and attack == "giant":
        hostile[1] = honest[0] + 40_000  # hides behind a giant that would coarsen the scale
    updates = np.concatenate([hostile, honest])
    settings = Settings(trim_ppm=250_000, byzantine_count=f)
    result = aggregate(name, updates, [1] * 9, settings)
    assert (result >= honest.min(axis=0)).all()
    assert (result <= honest.max(axis=0)).all()
    plain = aggregate("mean", updates, [1] * 9, settings)
    spoilt = (plain < honest.min(axis=0)) | (plain > honest.max(axis=0))
    assert spoilt.any() or attack == "moderate"


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_weight_zero_leaves_a_member_out(name):
    generator = np.random.default_rng(2)
    updates = generator.integers(-1000, 1000, (6, 8), dtype=np.int32)
    settings = Settings(byzantine_count=1)
    with_extra = aggregate(name, updates, [2, 2, 0, 2, 2, 2], settings)
    without = aggregate(name, np.delete(updates, 2, axis=0), [2] * 5, settings)
    assert np.array_equal(with_extra, without)


def test_mean_at_the_edges_of_32_bits():
    peak = np.full(3, INTEGER_ABS_MAX, dtype=np.int32)
    for weights in ([1, 1], [2**30, 2**30 - 1], [1, 2**31 - 2]):
        assert np.array_equal(aggregate("mean", [peak, peak], weights), peak)
        assert np.array_equal(aggregate("mean", [-peak, -peak], weights), -peak)


@given(hnp.arrays(np.int64, 10, elements=st.integers(-(2**61), 2**61)), st.integers(1, 2**40))
def test_division_equals_the_amounts_twin(numerators, denominator):
    expected = [amounts.divide_half_even(int(n), denominator) for n in numerators]
    assert divide_half_even(numerators, denominator).tolist() == expected


@given(st.integers(-1000, 1000), st.integers(1, 20))
def test_division_ties_go_to_even(half_units, factor):
    numerators = np.array([half_units * factor], dtype=np.int64)
    assert divide_half_even(numerators, 2 * factor)[0] == round(Fraction(half_units, 2))


@pytest.mark.parametrize(
    ("name", "updates", "weights", "settings", "message"),
    [
        ("best", [[1]], [1], None, "unknown"),
        ("mean", [], [], None, "weights"),
        ("mean", [[1], [2]], [1], None, "2 updates and 1 weights"),
        ("mean", [[1], [2]], [0, 0], None, "weights"),
        ("mean", [[1], [2]], [2, -1], None, "weights"),
        ("mean", [[1], [2]], [2**30, 2**30], None, "weights"),
        ("mean", [[1], [2, 3]], [1, 1], None, r"update 1 is int32 of shape \(2,\)"),
        ("trimmed_mean", [[1], [2]], [1, 1], Settings(trim_ppm=500_000), "trim_ppm"),
        ("multi_krum", [[1]] * 4, [1] * 4, Settings(byzantine_count=1), "at least 5 members"),
        ("multi_krum", [[1]] * 4, [1] * 4, Settings(byzantine_count=-1), "multi_krum"),
    ],
)
def test_misuse_is_named(name, updates, weights, settings, message):
    rows = [np.array(row, dtype=np.int32) for row in updates]
    with pytest.raises(ValueError, match=message):
        aggregate(name, rows, weights, settings)


def test_floats_are_refused():
    with pytest.raises(ValueError, match="float32"):
        aggregate("mean", [np.zeros(2, dtype=np.float32)], [1])  # type: ignore[list-item]
