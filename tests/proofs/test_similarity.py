"""Verdicts that follow from the bytes of updates: each rule, its edges and its innocents."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kumiai.proofs.flags import DUPLICATE, NO_WORK, REPLAY, ZERO
from kumiai.proofs.similarity import (
    BLOCK_COLUMNS,
    PPM,
    Finding,
    SimilarityLimits,
    compute_gram,
    find_flags,
    reaches,
)

LIMITS = SimilarityLimits()
INNOCENT = Finding(0, None)
IntArray = NDArray[np.int32]


def make_noise(size: int, seed: int, norm: float = 3e6) -> IntArray:
    rng = np.random.default_rng(seed)
    return np.rint(rng.standard_normal(size) * norm / size**0.5).astype(np.int32)


def make_workers(count: int, size: int = 2_000, seed: int = 0) -> IntArray:
    """Updates with a shared direction: cosines about 0.5 with each other."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(size)
    own = rng.standard_normal((count, size))
    return np.rint((shared + own) * 1e5).astype(np.int32)


def flags_of(findings: list[Finding]) -> list[int]:
    return [finding.flags for finding in findings]


# --- honest updates ---


def test_honest_updates_of_skewed_shards_raise_no_flag(digits_rounds):
    for alpha, rounds in digits_rounds.items():
        for number, recorded in enumerate(rounds, start=1):
            found = find_flags(recorded.updates_NP, range(8), recorded.previous_P, LIMITS)
            assert found == [INNOCENT] * 8, f"alpha {alpha}, round {number}"


@pytest.mark.parametrize("unlike", [1, 2])
def test_who_is_unlike_all_does_not_make_the_others_look_like_copies(unlike: int) -> None:
    """Shards so alike that updates agree to 0.999, and rows of noise or of poison among them."""
    rng = np.random.default_rng(4)
    shared = rng.standard_normal(2_000)
    own = 0.03 * rng.standard_normal((6, 2_000))
    honest = np.rint((shared + own) * 1e5).astype(np.int32)
    noise = np.stack([make_noise(2_000, seed) for seed in range(unlike)])
    rows = np.vstack([noise, honest])

    found = find_flags(rows, range(len(rows)), None, LIMITS)

    assert not any(finding.flags & DUPLICATE for finding in found)
    copied = np.vstack([rows, honest[2:3] + make_noise(2_000, 9, 1e4)])
    assert find_flags(copied, range(len(copied)), None, LIMITS)[-1] == Finding(
        DUPLICATE, 2 + unlike
    )


def test_mean_of_the_others_alone_would_condemn_honest_updates(digits_rounds):
    """Why the test of work asks for resemblance with anyone: the simple rule is unjust."""
    worst = np.inf
    for recorded in digits_rounds[0.1]:
        unit = recorded.updates_NP / np.linalg.norm(recorded.updates_NP, axis=1, keepdims=True)
        for i in range(8):
            others = unit.sum(axis=0) - unit[i]
            z = unit[i] @ others / np.linalg.norm(others) * unit.shape[1] ** 0.5
            worst = min(worst, abs(float(z)))
    assert worst < 1.0


# --- noise ---


def test_noise_of_honest_length_is_no_work_in_every_real_round(digits_rounds):
    for alpha, rounds in digits_rounds.items():
        for number, recorded in enumerate(rounds):
            size = recorded.updates_NP.shape[1]
            norm = float(np.median(np.linalg.norm(recorded.updates_NP, axis=1)))
            noise = make_noise(size, seed=number, norm=norm)
            updates = np.vstack([recorded.updates_NP[:3], noise, recorded.updates_NP[3:]])
            found = find_flags(updates, range(9), recorded.previous_P, LIMITS)
            assert flags_of(found) == [0, 0, 0, NO_WORK, 0, 0, 0, 0, 0], (alpha, number)


def test_opposite_sign_is_not_no_work():
    updates = make_workers(6)
    updates[2] = make_workers(7)[6] * -1
    assert flags_of(find_flags(updates, range(6), None, LIMITS)) == [0] * 6


def test_similarity_outside_the_previous_step_is_work():
    """Two groups that agree with one another only once the old direction is taken out."""
    size = 2_000
    old = make_noise(size, 1, 4e6).astype(np.int64)
    fresh = make_noise(size, 2, 2e6).astype(np.int64)
    own = [make_noise(size, 10 + i, 2e6).astype(np.int64) for i in range(5)]
    # u = old * a + fresh * b with a_i a_j |old|^2 + b_i b_j |fresh|^2 = 0 in the worst pair
    updates = np.array([old + 2 * fresh + own[0]] + [old - 2 * fresh + o for o in own[1:]])
    lonely = updates[[0, 1, 2, 3, 4]]
    unit = lonely / np.linalg.norm(lonely, axis=1, keepdims=True)
    assert max(abs(unit[0] @ unit[j]) for j in range(1, 5)) * size**0.5 < 4
    assert flags_of(find_flags(lonely, range(5), None, LIMITS)) == [NO_WORK, 0, 0, 0, 0]
    assert flags_of(find_flags(lonely, range(5), old, LIMITS)) == [0] * 5


def test_one_long_update_does_not_make_the_others_look_idle():
    updates = make_workers(6).astype(np.int64)
    updates[5] = make_noise(2_000, 5, 3e6).astype(np.int64) * 900
    assert flags_of(find_flags(updates, range(6), None, LIMITS)) == [0] * 5 + [NO_WORK]


def test_sparse_updates_with_nothing_in_common_are_not_called_idle():
    """A codec that keeps one number in a hundred leaves honest members apart."""
    updates = np.zeros((8, 4_000), dtype=np.int32)
    for i, dense in enumerate(make_workers(8, 4_000)[:, :40]):
        updates[i, 40 * i : 40 * i + 40] = dense
    updates[:7, :20] = updates[0, :20]  # all but one agree in something
    assert flags_of(find_flags(updates, range(8), None, LIMITS)) == [0] * 8


def test_many_faint_resemblances_add_up_to_work():
    """Cosine 0.05 with each of 39 others is z = 2.3 a pair and 8.3 with their mean.

    The mean is one of directions: noise with 15 times as many entries does not drown it.
    """
    honest = np.zeros((40, 2_050), dtype=np.int32)
    honest[:, :50] = round(2e4 * 0.05**0.5)
    for i in range(40):
        honest[i, 50 + 50 * i : 100 + 50 * i] = round(2e4 * 0.95**0.5)
    honest[honest == 0] = 1  # updates that are mostly 0 say too little to be called idle
    noise = np.array([make_noise(2_050, 50 + i) for i in range(15)])
    found = find_flags(np.vstack([honest, noise]), range(55), None, LIMITS)
    assert flags_of(found) == [0] * 40 + [NO_WORK] * 15


def test_copies_do_not_vouch_for_noise():
    updates = np.vstack([make_workers(6), make_noise(2_000, 5), make_noise(2_000, 5)])
    found = find_flags(updates, range(8), None, LIMITS)
    assert found[6] == Finding(NO_WORK, None)
    assert found[7] == Finding(DUPLICATE, 6)


@pytest.mark.parametrize("honest_count", [0, 1, 2, 3])
def test_no_verdict_on_work_with_fewer_than_five(honest_count):
    updates = np.vstack([make_workers(3)[:honest_count], make_noise(2_000, 9)])
    assert flags_of(find_flags(updates, range(len(updates)), None, LIMITS)) == [0] * len(updates)


def test_no_verdict_on_work_without_a_majority_that_passes():
    noise = [make_noise(2_000, seed) for seed in range(20, 24)]
    updates = np.vstack([make_workers(4), *noise])
    assert flags_of(find_flags(updates, range(8), None, LIMITS)) == [0] * 8
    assert flags_of(find_flags(updates[:7], range(7), None, LIMITS)) == [0] * 4 + [NO_WORK] * 3


def test_no_verdict_on_work_for_short_updates():
    # 64 * 4^2 = 1024 parameters are the least
    for size, expected in ((1_023, 0), (1_024, NO_WORK)):
        updates = np.vstack([make_workers(6, size), make_noise(size, 3)])
        assert find_flags(updates, range(7), None, LIMITS)[6].flags == expected


def test_threshold_of_work_is_the_limit_given():
    updates = np.vstack([make_workers(6), make_noise(2_000, 5)])
    lenient = SimilarityLimits(work_z_milli=1)
    assert flags_of(find_flags(updates, range(7), None, lenient)) == [0] * 7


# --- copies ---


@pytest.mark.parametrize("factor", [1.0, 0.25, 3.0, -1.0, -0.5])
def test_scaled_and_flipped_copies_are_duplicates(factor):
    updates = make_workers(6)
    updates[1] = np.rint(updates[4] * factor).astype(np.int32)
    found = find_flags(updates, [10, 60, 30, 40, 50, 20], None, LIMITS)
    assert found[1] == Finding(DUPLICATE, 4)
    assert [f for i, f in enumerate(found) if i != 1] == [INNOCENT] * 5


def test_the_later_commitment_is_the_copy():
    updates = make_workers(6)
    updates[1] = updates[4]
    assert find_flags(updates, [1, 2, 3, 4, 5, 6], None, LIMITS)[4] == Finding(DUPLICATE, 1)
    assert find_flags(updates, [6, 5, 4, 3, 2, 1], None, LIMITS)[1] == Finding(DUPLICATE, 4)


def test_a_chain_of_copies_names_the_first():
    rng = np.random.default_rng(3)
    base = rng.standard_normal(2_000)
    drift = rng.standard_normal(2_000)
    chain = [base + k * 0.12 * drift for k in range(3)]  # neighbours .99+, ends below .98
    others = 0.2 * rng.standard_normal((5, 2_000)) + 0.2 * rng.standard_normal(2_000)
    updates = np.rint(np.vstack([chain, others]) * 1e5).astype(np.int32)
    found = find_flags(updates, range(8), None, LIMITS)
    assert [each.duplicate_of for each in found[:3]] == [None, 0, 0]


def test_honest_members_with_alike_data_on_a_small_model_are_no_copies():
    """Seen with four-column data: every pair of updates above 0.99, by the common way alone."""
    rng = np.random.default_rng(5)
    common = rng.standard_normal(300)
    own = rng.standard_normal((5, 300))
    updates = np.rint((common + 0.08 * own) * 1e5).astype(np.int32)
    assert flags_of(find_flags(updates, range(5), None, LIMITS)) == [0] * 5
    copied = np.vstack([updates, updates[2] + rng.integers(-50, 51, 300)]).astype(np.int32)
    assert find_flags(copied, range(6), None, LIMITS)[5] == Finding(DUPLICATE, 2)


def test_of_two_or_three_only_an_exact_copy_is_called_one():
    """Too few to tell a common way from a copied one: in doubt for the member."""
    rng = np.random.default_rng(6)
    first = rng.standard_normal(300) * 1e5
    near = first + rng.standard_normal(300) * 5e3
    pair = np.rint(np.array([first, near])).astype(np.int32)
    assert flags_of(find_flags(pair, range(2), None, LIMITS)) == [0, 0]
    same = np.array([pair[0], pair[0] + 1]).astype(np.int32)
    assert find_flags(same, range(2), None, LIMITS)[1] == Finding(DUPLICATE, 0)


def test_copy_with_little_noise_is_a_duplicate_and_with_much_is_not():
    updates = make_workers(6).astype(np.float64)
    length = float(np.linalg.norm(updates[0]))
    for cosine, expected in ((0.995, DUPLICATE), (0.985, 0)):
        noise = make_noise(2_000, 7, 1e9).astype(np.float64)
        noise *= length / float(np.linalg.norm(noise)) * (1 - cosine**2) ** 0.5
        updates[5] = updates[0] * cosine + noise
        found = find_flags(np.rint(updates).astype(np.int32), range(6), None, LIMITS)
        assert found[5].flags == expected


def test_threshold_is_exact_at_the_boundary():
    """cos = 16/25 exactly: at 640000 ppm it is reached, one millionth above it is not."""
    gram, _ = compute_gram(np.array([[4, 3, 0], [4, 0, 3]], dtype=np.int32) * 100)
    assert reaches(gram, 640_000**2, PPM**2)[1, 0]
    assert not reaches(gram, 640_001**2, PPM**2)[1, 0]


# --- replays and nothing ---


@pytest.mark.parametrize("factor", [1.0, 0.1, 5.0, -1.0])
def test_previous_step_is_a_replay(factor):
    updates = make_workers(6)
    previous = make_noise(2_000, 8)
    updates[3] = np.rint(previous * factor).astype(np.int32)
    found = find_flags(updates, range(6), previous, LIMITS)
    assert flags_of(found) == [0, 0, 0, REPLAY, 0, 0]


def test_a_previous_step_of_zeros_replays_nothing():
    updates = make_workers(6)
    zero = np.zeros(2_000, dtype=np.int32)
    assert find_flags(updates, range(6), zero, LIMITS) == find_flags(
        updates, range(6), None, LIMITS
    )


def test_nothing_is_zero_and_not_a_copy_of_nothing():
    updates = make_workers(6)
    updates[1] = updates[2] = 0
    assert flags_of(find_flags(updates, range(6), None, LIMITS)) == [0, ZERO, ZERO, 0, 0, 0]


def test_zero_is_a_thousandth_of_the_median_length():
    updates = make_workers(7).astype(np.int64) * 100
    norms = np.linalg.norm(updates, axis=1)
    for ratio, expected in ((900, 0), (1_100, ZERO)):
        noise = make_noise(2_000, 4, float(np.median(norms)) / ratio)
        found = find_flags(np.vstack([updates, noise]), range(8), None, LIMITS)
        assert found[7].flags & ZERO == expected


@pytest.mark.parametrize("count", [1, 2])
def test_alone_or_as_a_pair(count):
    assert find_flags(make_workers(2)[:count], range(count), None, LIMITS) == [INNOCENT] * count


def test_all_zero_and_none_at_all():
    assert flags_of(find_flags(np.zeros((3, 4), np.int32), range(3), None, LIMITS)) == [ZERO] * 3
    assert find_flags(np.zeros((0, 4), np.int32), [], None, LIMITS) == []


# --- laws ---


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(9)), st.integers(0, 3))
def test_order_of_members_changes_nothing(order, seed):
    updates = np.vstack([make_workers(7, 1_100, seed), make_noise(1_100, 5), make_noise(1_100, 6)])
    updates[4] = updates[2] * 2
    previous = make_noise(1_100, 6)
    heights = [5, 3, 8, 1, 2, 9, 4, 7, 6]
    expected = find_flags(updates, heights, previous, LIMITS)
    found = find_flags(updates[order], [heights[i] for i in order], previous, LIMITS)
    for place, i in enumerate(order):
        assert found[place].flags == expected[i].flags
        original = found[place].duplicate_of
        assert (None if original is None else order[original]) == expected[i].duplicate_of


def test_gram_is_exact_for_the_greatest_entries_over_many_blocks():
    size = BLOCK_COLUMNS * 2 + 17
    rng = np.random.default_rng(0)
    rows = rng.integers(-(2**15) + 1, 2**15, (3, size)).astype(np.int32)
    rows[0] = 2**15 - 1
    gram, shifts = compute_gram(rows)
    wide = rows.astype(object)
    assert shifts == [0, 0, 0]
    assert (gram == wide @ wide.T).all()


def test_gram_rounds_each_row_to_fifteen_bits():
    rows = np.array([[-(2**31), 2**31 - 1, 2**15], [3, -5, 7]], dtype=np.int32)
    gram, shifts = compute_gram(rows)
    # 2^31 has 32 bits, so the shift is 17; 2^15 / 2^17 = 1/4 rounds to 0
    assert shifts == [17, 0]
    assert gram.tolist() == [[2 * 2**28, -8 * 2**14], [-8 * 2**14, 9 + 25 + 49]]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10_000), st.integers(0, 1_000_000))
def test_agrees_with_fractions(count, seed, cosine_ppm):
    """The fast comparison against a dumb one, on short vectors where cosines are all over."""
    rng = np.random.default_rng(seed)
    updates = rng.integers(-3, 4, (count, 4)).astype(np.int32)
    is_reached = reaches(compute_gram(updates)[0], cosine_ppm**2, PPM**2)
    for later in range(count):
        for earlier in range(later):
            a, b = updates[later].tolist(), updates[earlier].tolist()
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            length = sum(x * x for x in a) * sum(x * x for x in b)
            expected = (
                length > 0 and Fraction(dot * dot, length) >= Fraction(cosine_ppm, 10**6) ** 2
            )
            assert is_reached[later, earlier] == expected


@pytest.mark.parametrize(
    ("updates", "heights", "previous", "said"),
    [
        (np.zeros((2, 3)), [1, 2], None, "float64"),
        (np.zeros(3, np.int32), [1, 2], None, r"\[N, P\]"),
        (np.zeros((2, 3), np.int32), [1], None, "1 heights for 2"),
        (np.zeros((2, 3), np.int32), [4, 4], None, "not all different"),
        (np.zeros((2, 3), np.int32), [1, 2], np.zeros(4, np.int32), r"\(4,\)"),
    ],
)
def test_misuse_is_a_value_error(updates, heights, previous, said):
    with pytest.raises(ValueError, match=said):
        find_flags(updates, heights, previous, LIMITS)
