"""Aggregation: every rule against a naive twin, and the laws that all of them keep.

The twins know nothing of blocks, matrices or numpy: integers, fractions and lists.
"""

from __future__ import annotations

import functools
import math
import operator
import statistics
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import settings as settings_of_tests
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kumiai.base import amounts
from kumiai.learning.aggregation import (
    AGGREGATORS,
    Members,
    Settings,
    aggregate,
    divide_half_even,
    gram,
    kernels,
    krum,
    linear,
    rounding,
    rows,
)
from kumiai.learning.aggregation.rows import PlainRows, compute_fingerprint
from kumiai.learning.fixed_point import INTEGER_ABS_MAX

INTS = st.one_of(
    st.integers(-50, 50),
    st.integers(-(2**20), 2**20),
    st.integers(-INTEGER_ABS_MAX, INTEGER_ABS_MAX),
)


def make_members(updates, byzantine_count):
    settings = Settings(byzantine_count=byzantine_count)
    return Members(PlainRows(updates), [1] * len(updates), None, settings, NUMPY)


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


def krum_order_twin(updates, f):
    """Indices from the best score to the worst; equal scores by what the rows say."""
    distances, count = distances_twin(updates), len(updates)
    prints = [compute_fingerprint(PlainRows(updates), i) for i in range(count)]
    scores = [
        sum(sorted(row[:i] + row[i + 1 :])[: count - f - 2]) for i, row in enumerate(distances)
    ]
    return sorted(range(count), key=lambda i: (scores[i], prints[i]))


def krum_twin(updates, weights, settings):
    return updates[krum_order_twin(updates, settings.byzantine_count)[0]].tolist()


def multi_krum_twin(updates, weights, settings):
    f = settings.byzantine_count
    chosen = range(len(updates))
    if f:
        prints = [compute_fingerprint(PlainRows(updates), i) for i in chosen]
        order = krum_order_twin(updates, f)
        distances = distances_twin(updates)
        count = len(updates)
        scores = [sum(sorted(r[:i] + r[i + 1 :])[: count - f - 2]) for i, r in enumerate(distances)]
        order.sort(key=lambda i: (scores[i], prints[i], weights[i]))
        chosen = order[: count - f]
    return mean_twin(updates[list(chosen)], [weights[i] for i in chosen], settings)


def gram_twin(updates):
    """Inner products of the rows, each rounded to 15 bits at its own scale."""
    rounded = []
    for row in updates:
        unit = 2 ** max(0, max(abs(int(v)) for v in row).bit_length() - 15)
        limit = min(32767 * unit, INTEGER_ABS_MAX - unit // 2)
        rounded.append(
            [unit * ((max(-limit, min(limit, int(v))) + unit // 2) // unit) for v in row]
        )
    return [[float(sum(map(operator.mul, a, b))) for b in rounded] for a in rounded]


def to_center_twin(g, shares):
    projected = [math.fsum(x * c for x, c in zip(row, shares, strict=True)) for row in g]
    square = math.fsum(map(operator.mul, projected, shares))
    return [
        math.sqrt(max(0.0, (g[i][i] - projected[i]) + (square - projected[i])))
        for i in range(len(g))
    ]


def combine_twin(updates, shares, bits, divisor=None):
    weights = [round(math.ldexp(share, bits)) for share in shares]
    divisor = divisor or sum(weights)
    return [
        max(
            -INTEGER_ABS_MAX,
            min(
                INTEGER_ABS_MAX,
                round(Fraction(sum(map(operator.mul, weights, map(int, c))), divisor)),
            ),
        )
        for c in updates.T
    ]


def geometric_twin(updates, weights, settings):
    g = gram_twin(updates)
    count = len(g)
    floor = 1e-6 * statistics.median(math.sqrt(g[i][i]) for i in range(count))
    shares = [1.0 / count] * count
    for _ in range(settings.iterations or 32):
        distances = [max(floor, d) for d in to_center_twin(g, shares)]
        if min(distances) == 0.0:
            pulls = [float(d == 0.0) for d in distances]
        else:
            pulls = [min(distances) / d for d in distances]
        shares = [pull / math.fsum(pulls) for pull in pulls]
        if min(distances) == 0.0:
            break
    return combine_twin(updates, shares, 30)


def clip_twin(lengths, settings):
    bound = float(settings.clip_norm)
    if not settings.clip_norm:
        bound = statistics.median(lengths) * (settings.clip_ppm / 10**6)
    return [bound / length if length > bound else 1.0 for length in lengths]


def norm_clip_twin(updates, weights, settings):
    g = gram_twin(updates)
    factors = clip_twin([math.sqrt(g[i][i]) for i in range(len(g))], settings)
    weights = [weight // math.gcd(*weights) for weight in weights]
    bits = next(b for b in range(30, -1, -1) if sum(weights) << b <= 2**31)
    clipped = [w * math.floor(k * 2**bits) for w, k in zip(weights, factors, strict=True)]
    total = sum(weights) << bits
    return [round(Fraction(sum(map(operator.mul, clipped, map(int, c))), total)) for c in updates.T]


def centered_clip_twin(updates, weights, settings, reference=None):
    count = len(updates)
    start = np.zeros(updates.shape[1], dtype=np.int32) if reference is None else reference
    rows_ = np.concatenate([updates, start[None]])
    g = gram_twin(rows_)
    shares = [0.0] * count + [1.0]
    for _ in range(settings.iterations or 3):
        factors = clip_twin(to_center_twin(g, shares)[:count], settings)
        steps = [k / count for k in factors]
        kept = max(0.0, math.fsum([1.0] + [-step for step in steps]))
        shares = [kept * c + step for c, step in zip(shares, [*steps, 0.0], strict=True)]
    return combine_twin(rows_, shares, 30)


def trust_root_twin(updates, weights, settings, reference=None):
    g = gram_twin(np.concatenate([updates, reference[None]]))
    root = math.sqrt(g[-1][-1])
    lengths = [math.sqrt(g[i][i]) for i in range(len(updates))]
    trust = [max(0.0, g[-1][i] / a / root) if a else 0.0 for i, a in enumerate(lengths)]
    total = math.fsum(trust)
    shares = [t / total if total else 0.0 for t in trust]
    scaled = [c * min(root / a, 16.0) if a else 0.0 for c, a in zip(shares, lengths, strict=True)]
    return combine_twin(updates, scaled, 26, max(1, sum(round(c * 2**26) for c in shares)))


def bucket_twin(updates, weights, settings):
    prints = [
        compute_fingerprint(PlainRows(updates), i, settings.seed) for i in range(len(updates))
    ]
    order = sorted(range(len(updates)), key=lambda i: (prints[i], weights[i]))
    size = settings.bucket_size
    buckets = [order[k : k + size] for k in range(0, len(order), size)]
    means = [mean_twin(updates[b], [weights[i] for i in b], settings) for b in buckets]
    return np.array(means, dtype=np.int32), [sum(weights[i] for i in b) for b in buckets]


TWINS = {
    "mean": mean_twin,
    "median": median_twin,
    "trimmed_mean": trimmed_twin,
    "krum": krum_twin,
    "multi_krum": multi_krum_twin,
    "geometric_median": geometric_twin,
    "centered_clip": centered_clip_twin,
    "norm_clip": norm_clip_twin,
    "trust_root": trust_root_twin,
}
NUMPY = kernels.NumpyKernels()
WITH_REFERENCE = ("centered_clip", "trust_root")


def run(name, updates, weights, settings, reference=None):
    """Aggregate; the trust root, where it is needed, is the reference or a row of ones."""
    if name == "trust_root" and reference is None:
        reference = np.ones(len(updates[0]), dtype=np.int32)
    return aggregate(name, updates, weights, settings, reference_P=reference)


def test_every_rule_has_a_twin():
    assert set(TWINS) == set(AGGREGATORS)


@pytest.mark.parametrize("name", list(AGGREGATORS))
@settings_of_tests(deadline=None)
@given(case=cases(members_min=5), f=st.integers(0, 1), trim=st.integers(0, 450_000))
def test_equals_the_naive_twin(name, case, f, trim):
    updates, weights = case
    settings = Settings(trim_ppm=trim, byzantine_count=f)
    twin = TWINS[name]
    if name == "trust_root":
        assume(updates[-1].any())
        twin = functools.partial(twin, reference=updates[-1])
    result = run(name, list(updates), weights, settings, updates[-1] if "root" in name else None)
    assert result.dtype == np.int32
    assert result.tolist() == twin(updates, weights, settings)


@settings_of_tests(max_examples=40, deadline=None)
@given(
    case=cases(members_min=2),
    iterations=st.integers(0, 6),
    clip_ppm=st.integers(1, 3_000_000),
    clip_norm=st.sampled_from([0, 0, 1, 1000, 2**31]),
)
@pytest.mark.parametrize("name", ["geometric_median", "norm_clip", "centered_clip"])
def test_iterative_rules_equal_their_twins_whatever_the_settings(
    name, case, iterations, clip_ppm, clip_norm
):
    updates, weights = case
    settings = Settings(iterations=iterations, clip_ppm=clip_ppm, clip_norm=clip_norm)
    assert run(name, updates, weights, settings).tolist() == TWINS[name](updates, weights, settings)
    if name == "centered_clip":
        given_center = run(name, updates[1:], weights[1:], settings, updates[0])
        twin = centered_clip_twin(updates[1:], weights[1:], settings, updates[0])
        assert given_center.tolist() == twin


@settings_of_tests(max_examples=40, deadline=None)
@given(case=cases(members_min=5), size=st.integers(1, 4), seed=st.integers(-(2**300), 2**300))
@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_buckets_are_averaged_before_the_rule(name, case, size, seed):
    updates, weights = case
    settings = Settings(bucket_size=size, seed=seed, trim_ppm=300_000)
    means, sums = (updates, weights) if size == 1 else bucket_twin(updates, weights, settings)
    expected = run(name, means, sums, replace(settings, bucket_size=1))
    assert run(name, updates, weights, settings).tolist() == expected.tolist()


@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=INTS))
@example(np.full((2, 2), INTEGER_ABS_MAX, dtype=np.int32))
def test_krum_distances_are_exact_integers(updates):
    assert gram.compute_distances(PlainRows(updates), NUMPY).tolist() == distances_twin(updates)


def test_krum_sums_over_the_nearest_n_minus_f_minus_two():
    # Three nearest: the colluders at -20 score 0 + 400 + 400, the member at 17 3 * 289. A fourth
    # neighbour would turn the order round.
    updates = [np.array([x], dtype=np.int32) for x in (0, 0, 0, 0, 17, -20, -20)]
    assert krum.select_krum(make_members(updates, 2), 5) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("name", list(AGGREGATORS))
@pytest.mark.parametrize("bucket_size", [1, 2])
@settings_of_tests(max_examples=40, deadline=None)
@given(case=cases(members_min=5), f=st.integers(0, 1), data=st.data())
def test_order_of_members_does_not_matter(name, bucket_size, case, f, data):
    updates, weights = case
    updates[0] = updates[1]  # equal rows, maybe of different weight, tie
    settings = Settings(byzantine_count=f if bucket_size == 1 else 0, bucket_size=bucket_size)
    order = data.draw(st.permutations(range(len(updates))))
    straight = run(name, updates, weights, settings)
    shuffled = run(name, updates[order], [weights[i] for i in order], settings)
    assert np.array_equal(straight, shuffled)


def test_equal_krum_scores_keep_the_earlier_commitments():
    updates = np.zeros((5, 3), dtype=np.int32)
    assert krum.select_krum(make_members(updates, 1), 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", list(AGGREGATORS))
@pytest.mark.parametrize("bucket_size", [1, 2])
def test_blocks_leave_no_seam(name, bucket_size, monkeypatch):
    generator = np.random.default_rng(1)
    updates = generator.integers(-(2**30), 2**30, (7, 23), dtype=np.int32)
    settings = Settings(byzantine_count=2 if bucket_size == 1 else 0, bucket_size=bucket_size)
    whole = run(name, updates, [3] * 7, settings, updates[3])
    for module, block in (
        (kernels, "MEAN_BLOCK"),
        (kernels, "SORT_BLOCK"),
        (gram, "GRAM_BLOCK"),
        (krum, "COPY_BLOCK"),
        (linear, "FLOAT_BLOCK"),
        (rows, "FINGERPRINT_BLOCK"),
        (rounding, "BLOCK"),
    ):
        monkeypatch.setattr(module, block, 5)
    assert np.array_equal(run(name, updates, [3] * 7, settings, updates[3]), whole)


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "krum", "multi_krum"])
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
    with_extra = run(name, updates, [2, 2, 0, 2, 2, 2], settings)
    without = run(name, np.delete(updates, 2, axis=0), [2] * 5, settings)
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
        ("krum", [[1]] * 6, [1] * 6, Settings(byzantine_count=2), "at least 7 members, got 6"),
        (
            "krum",
            [[1]] * 6,
            [1] * 6,
            Settings(byzantine_count=1, bucket_size=2),
            "5 members, got 3",
        ),
        ("geometric_median", [[1]], [1], Settings(iterations=-1), "iterations -1"),
        ("centered_clip", [[1]], [1], Settings(iterations=-1), "iterations -1"),
        ("centered_clip", [[1]], [1], Settings(clip_ppm=0), "clip_ppm 0"),
        ("norm_clip", [[1]], [1], Settings(clip_norm=-5), "clip_norm -5"),
        ("median", [[1]], [1], Settings(bucket_size=0), "bucket_size 0"),
        ("trust_root", [[1]], [1], None, "root's own update"),
    ],
)
def test_misuse_is_named(name, updates, weights, settings, message):
    rows = [np.array(row, dtype=np.int32) for row in updates]
    with pytest.raises(ValueError, match=message):
        aggregate(name, rows, weights, settings)


def test_floats_are_refused():
    with pytest.raises(ValueError, match="float32"):
        aggregate("mean", [np.zeros(2, dtype=np.float32)], [1])  # type: ignore[list-item]


def test_a_reference_must_fit_the_rows():
    rows_ = np.ones((3, 4), dtype=np.int32)
    with pytest.raises(ValueError, match=r"reference is int32 of shape \(3,\)"):
        aggregate("trust_root", rows_, [1, 1, 1], reference_P=np.ones(3, dtype=np.int32))
    with pytest.raises(ValueError, match="not zero"):
        aggregate("trust_root", rows_, [1, 1, 1], reference_P=np.zeros(4, dtype=np.int32))
