"""Copies of what earlier rounds showed are found; old honest work is not taken for a replay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kumiai.proofs.flags import REPLAY
from kumiai.proofs.similarity import SimilarityLimits, find_flags
from kumiai.proofs.stale import find_excused, find_shown

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


def nobody(count: int, shown: int) -> NDArray[np.bool_]:
    return np.zeros((count, shown), dtype=bool)


@pytest.mark.parametrize("shake", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("factor", [1, 3, -1])
def test_who_commits_what_another_showed_before_is_found(shake: float, factor: int) -> None:
    rows, _ = make_members(10, own=0.8, seed=1)
    shown, now = rows[:5], rows[5:].copy()
    draw = np.random.default_rng(2)
    noise = shake * draw.normal(size=SIZE) * np.sqrt(np.square(shown[3]).mean())
    now[2] = factor * np.rint(shown[3] + noise)
    found = find_shown(now, shown, nobody(5, 5), LIMIT_PPM)
    assert found.tolist() == [False, False, True, False, False]


def test_ones_own_earlier_work_is_no_theft() -> None:
    rows, _ = make_members(6, own=0.8, seed=3)
    is_own = nobody(3, 3)
    is_own[1, 2] = True
    now = rows[:3].copy()
    now[1] = rows[5]
    assert not find_shown(now, rows[3:], is_own, LIMIT_PPM).any()
    assert find_shown(now, rows[3:], nobody(3, 3), LIMIT_PPM).tolist() == [False, True, False]


@pytest.mark.parametrize("own", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_honest_members_alike_in_everything_but_a_little_are_not_copies(
    own: float, seed: int
) -> None:
    rows, _ = make_members(12, own=own, seed=seed)
    assert not find_shown(rows[:6], rows[6:], nobody(6, 6), LIMIT_PPM).any()


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


def test_nothing_shown_finds_nobody() -> None:
    rows, _ = make_members(3, own=0.5, seed=7)
    assert not find_shown(rows, rows[:0], nobody(3, 0), LIMIT_PPM).any()
    assert not find_shown(rows[:0], rows, nobody(0, 3), LIMIT_PPM).any()
