"""The policy's numbers against second versions, and its draws against what they promise."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.amounts import PPM
from kumiai.proofs.policy import (
    compute_chance_ppm,
    compute_detection_ppm,
    count_audits,
    draw_auditors,
    draw_segments,
    is_drawn,
)
from kumiai.tasks.audit import compute_stake_min


def test_new_trainers_are_always_audited_then_less_down_to_the_least() -> None:
    chances = [compute_chance_ppm(n, 10, 100_000) for n in range(12)]
    assert chances[:10] == [PPM] * 10
    assert chances[10:] == [100_000, 100_000]
    assert compute_chance_ppm(12, 10, 20_000) == PPM // 12
    assert compute_chance_ppm(1_000, 10, 20_000) == 20_000
    assert compute_chance_ppm(0, 0, 0) == PPM


@given(st.integers(1, 9), st.data())
def test_detection_is_the_share_of_draws_that_hit(count: int, data: st.DataObject) -> None:
    """A dumb twin: every draw is tried."""
    faked = data.draw(st.integers(0, count))
    audited = data.draw(st.integers(0, count))
    draws = list(combinations(range(count), audited))
    hits = sum(any(segment < faked for segment in draw) for draw in draws)
    assert compute_detection_ppm(count, faked, audited) == PPM * hits // len(draws)


def test_the_table_of_the_sources() -> None:
    """q for 95/99/99.9 % by share: the project's notes on proof of training, section 2.6."""
    share_q = {2: (5, 7, 10), 5: (14, 21, 31), 10: (29, 44, 66), 20: (59, 90, 135)}
    for one_in, expected in share_q.items():
        found = tuple(
            count_audits(10**5, 10**5 // one_in, wanted) for wanted in (950_000, 990_000, 999_000)
        )
        assert found == expected


@given(st.integers(1, 500), st.data())
def test_count_audits_is_the_least(count: int, data: st.DataObject) -> None:
    faked = data.draw(st.integers(1, count))
    wanted = data.draw(st.integers(0, PPM))
    q = count_audits(count, faked, wanted)
    assert compute_detection_ppm(count, faked, q) >= wanted
    assert q == 0 or compute_detection_ppm(count, faked, q - 1) < wanted


@given(st.integers(0, 10**9), st.integers(1, PPM))
def test_with_the_least_stake_cheating_never_pays_and_with_less_it_does(
    reward: int, chance_ppm: int
) -> None:
    chance = Fraction(chance_ppm, PPM)
    stake = compute_stake_min(reward, chance_ppm)
    assert (1 - chance) * reward - chance * stake <= 0
    assert stake == 0 or (1 - chance) * reward - chance * (stake - 1) > 0


@given(st.text(max_size=5), st.integers(1, 300), st.integers(1, 16))
def test_segments_are_different_and_in_range(seed: str, count: int, wanted: int) -> None:
    drawn = draw_segments(seed, "member", count, wanted)
    assert len(set(drawn)) == len(drawn) == min(count, wanted)
    assert sorted(drawn) == list(drawn)
    assert set(drawn) <= set(range(count))


def test_every_pair_of_segments_is_as_likely() -> None:
    found = Counter(draw_segments(str(i), "member", 5, 2) for i in range(10_000))
    assert len(found) == 10
    assert all(abs(n - 1_000) < 5 * 30 for n in found.values())


def test_draws_of_two_members_and_purposes_are_independent() -> None:
    one = [is_drawn(str(i), "trainer", "a", 500_000) for i in range(2_000)]
    for other in (
        [is_drawn(str(i), "trainer", "b", 500_000) for i in range(2_000)],
        [is_drawn(str(i), "again", "a", 500_000) for i in range(2_000)],
    ):
        agreeing = sum(x == y for x, y in zip(one, other, strict=True))
        assert abs(agreeing - 1_000) < 5 * 23


def test_auditors_are_spread_over_the_committee() -> None:
    committee = ["a", "b", "c", "d"]
    found = Counter(draw_auditors(str(i), "m", committee, 1)[0] for i in range(4_000))
    assert all(abs(n - 1_000) < 5 * 28 for n in found.values())
    assert draw_auditors("s", "m", committee, 9) == tuple(committee)


@pytest.mark.parametrize(
    "call",
    [
        lambda: compute_chance_ppm(-1, 10, 0),
        lambda: compute_chance_ppm(1, 10, PPM + 1),
        lambda: compute_detection_ppm(5, 6, 1),
        lambda: compute_detection_ppm(5, 1, -1),
        lambda: count_audits(5, 0, 1),
        lambda: compute_stake_min(1, 0),
        lambda: compute_stake_min(-1, 1),
    ],
)
def test_numbers_out_of_range_are_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"within|negative|must"):
        call()
