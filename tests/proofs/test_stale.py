"""Copies of what earlier rounds showed are found; old honest work is not taken for a replay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kumiai.proofs.flags import DUPLICATE, REPLAY
from kumiai.proofs.similarity import SimilarityLimits, find_flags
from kumiai.proofs.stale import find_copies_by_base, find_excused

LIMIT_PPM = 990_000
SIZE = 4_000


def make_members(
    count: int, own: float, seed: int, size: int = SIZE
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Updates that share a direction; `own` is the length of what each has for itself."""
    draw = np.random.default_rng(seed)
    common_P = draw.normal(size=size)
    rows = common_P + own * draw.normal(size=(count, size))
    return np.rint(rows * 10_000).astype(np.int64), common_P


def find(
    now: NDArray[np.int64], bases: list[int], shown: NDArray[np.int64], shown_bases: list[int]
) -> list[bool]:
    """Tell of each update whether it copies any of those shown."""
    found = find_copies_by_base(now, bases, shown, shown_bases, LIMIT_PPM)
    return [bool(row.any()) for row in found[:, len(now) :]]


@pytest.mark.parametrize("shake", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("factor", [1, 3, -1])
@pytest.mark.parametrize("named", [3, 4, 5])
def test_who_commits_what_another_showed_before_is_found(
    shake: float, factor: int, named: int
) -> None:
    """Scaled, turned round or shaken; whatever base the copier names."""
    shown, _ = make_members(5, own=0.8, seed=1)
    now, _ = make_members(5, own=0.8, seed=8)
    noise = shake * np.random.default_rng(2).normal(size=SIZE) * np.sqrt(np.square(shown[3]).mean())
    now[2] = factor * np.rint(shown[3] + noise)
    found = find(now, [5, 5, named, 5, 5], shown, [4] * 5)
    assert found == [False, False, True, False, False]


@pytest.mark.parametrize("own", [0.01, 0.03, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_honest_members_who_began_at_one_model_are_no_copies_however_alike(
    own: float, seed: int
) -> None:
    """In one round, or one of them rounds later beside new work that goes another way."""
    rows, _ = make_members(6, own=own, seed=seed)
    new, _ = make_members(3, own=own, seed=seed + 100)
    now, shown = np.vstack([rows[4:], new]), rows[:4]
    found = find_copies_by_base(now, [2, 2, 5, 5, 5], shown, [2] * 4, LIMIT_PPM)
    assert not (found & ~np.eye(5, 9, dtype=bool)).any()
    if own <= 0.03:  # by what all have in common they would be taken for copies, and pay for it
        flags = [f.flags for f in find_flags(now, range(5), None, SimilarityLimits())]
        assert any(flag & DUPLICATE for flag in flags)


def test_a_copy_within_a_round_of_mixed_bases_is_found_and_honest_ones_are_not() -> None:
    old, _ = make_members(4, own=0.03, seed=3)
    new, _ = make_members(3, own=0.03, seed=4)
    now = np.vstack([old[3:], new])
    copied = now.copy()
    copied[3] = now[0] + np.random.default_rng(5).integers(-64, 65, SIZE)
    found = find_copies_by_base(copied, [2, 5, 5, 5], old[:3], [2] * 3, LIMIT_PPM)
    assert found[3, 0]
    # the copier named the others' base, and its direction is none of theirs
    assert not found[1, 2] and not found[2, 1] and not found[0, 4:].any()


def test_of_a_base_of_two_only_exact_copies_are_found() -> None:
    """Nobody can tell what the two have in common with others, so nobody is blamed for it."""
    rows, _ = make_members(2, own=0.03, seed=6)
    new, _ = make_members(4, own=0.5, seed=7)
    now = np.vstack([rows[:1], new])
    assert find(now, [2, 5, 5, 5, 5], rows[1:], [2]) == [False] * 5
    now[1] = rows[1]
    assert find(now, [2, 5, 5, 5, 5], rows[1:], [2]) == [False, True, False, False, False]


@pytest.mark.parametrize("own", [0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("count", [2, 4, 9])
def test_old_honest_work_is_blamed_by_the_plain_test_alone(
    own: float, seed: int, count: int
) -> None:
    """Same base, same direction: cos with their mean is beyond 0.98, and less than their own."""
    rows, _ = make_members(count + 1, own=own, seed=seed)
    old, shown = rows[:1], rows[1:]
    step_P = np.rint(shown.mean(axis=0)).astype(np.int64)
    limits = SimilarityLimits()
    assert own > 0.1 or find_flags(old, [1], step_P, limits)[0].flags & REPLAY
    assert find_excused(old, shown, step_P).all()


@pytest.mark.parametrize("own", [0.3, 0.05])
@pytest.mark.parametrize("shake", [0.0, 0.1])
def test_a_replay_stays_blamed_whatever_base_it_names(own: float, shake: float) -> None:
    """With less noise than the members' own differences over the root of their number."""
    rows, _ = make_members(4, own=own, seed=5)
    step_P = np.rint(rows.mean(axis=0)).astype(np.int64)
    noise = shake * own * np.random.default_rng(6).normal(size=SIZE) * 10_000
    replay = np.rint(step_P + noise).astype(np.int64)[None]
    assert not find_excused(replay, rows, step_P).any()
    assert find_flags(replay, [1], step_P, SimilarityLimits())[0].flags & REPLAY


def test_the_mean_is_further_from_an_outsider_than_from_its_parts() -> None:
    """The docstring's cosines: K = 5 unit vectors, any two with cosine c, and one more such."""
    c, count = 0.9, 5
    gram = np.full((count + 1, count + 1), c) + (1 - c) * np.eye(count + 1)
    rows = np.linalg.cholesky(gram)
    step = rows[:count].mean(axis=0)
    cosines = (rows @ step) / np.linalg.norm(step)
    assert np.allclose(cosines[:count] ** 2, (1 + (count - 1) * c) / count)
    assert np.isclose(cosines[count] ** 2, count * c * c / (1 + (count - 1) * c))
    assert cosines[count] < cosines[:count].min()


def test_nothing_shown_and_one_base_is_the_plain_test() -> None:
    rows, _ = make_members(6, own=0.1, seed=7)
    rows[4] = rows[1] + 3
    found = find_copies_by_base(rows, [3] * 6, rows[:0], [], LIMIT_PPM)
    plain = find_flags(rows, range(6), None, SimilarityLimits())
    given = find_flags(rows, range(6), None, SimilarityLimits(), found)
    assert plain == given and given[4].duplicate_of == 1
