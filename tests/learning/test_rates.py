"""The learning rate over the rounds: against floats, at its ends, never rising once warm."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kumiai.base.amounts import PPM
from kumiai.learning.rates import KINDS, SCALE, RateSchedule, compute_cosine, compute_rate_ppm

SCHEDULES = st.builds(
    RateSchedule,
    kind=st.sampled_from(KINDS),
    warmup_rounds=st.integers(0, 8),
    final_ppm=st.integers(0, PPM),
    step_rounds=st.integers(1, 9),
    step_ppm=st.integers(1, PPM),
)


def twin(schedule: RateSchedule, round_number: int, rounds: int) -> float:
    """The docstring's formulas in floats."""
    warmup, end = schedule.warmup_rounds, schedule.final_ppm / PPM
    if round_number <= warmup:
        return round_number / warmup
    done = round_number - warmup - 1
    t = done / max(1, rounds - warmup - 1)
    return {
        "constant": 1.0,
        "linear": 1 - (1 - end) * t,
        "cosine": end + (1 - end) * (1 + math.cos(math.pi * t)) / 2,
        "step": (schedule.step_ppm / PPM) ** (done // schedule.step_rounds),
    }[schedule.kind]


@given(SCHEDULES, st.integers(9, 40))
@example(schedule=RateSchedule("linear", warmup_rounds=8), rounds=9)
@settings(max_examples=60, deadline=None)
def test_rates_follow_the_float_twin_and_never_rise_after_the_warm_up(
    schedule: RateSchedule, rounds: int
) -> None:
    rates = [compute_rate_ppm(schedule, r, rounds) for r in range(1, rounds + 1)]
    for r, rate in enumerate(rates, start=1):
        assert 1 <= rate <= PPM
        assert abs(rate - max(1.0, PPM * twin(schedule, r, rounds))) <= 1
    after = rates[schedule.warmup_rounds :]
    assert after[0] == PPM
    assert all(a >= b for a, b in pairwise(after))
    if schedule.kind in ("linear", "cosine") and len(after) > 1:  # the only one is the first
        assert rates[-1] == max(1, schedule.final_ppm)


def test_the_cosine_is_exact_to_many_digits() -> None:
    assert compute_cosine(0, 7) == SCALE
    for numerator, expected in ((1, SCALE // 2), (3, -SCALE), (2, -SCALE // 2)):
        assert abs(compute_cosine(numerator, 3) - expected) < 10**5
    for numerator in range(1000):
        wanted = math.cos(math.pi * numerator / 999)
        assert compute_cosine(numerator, 999) / SCALE == pytest.approx(wanted, abs=1e-15)


def test_the_first_and_the_only_round() -> None:
    for kind in KINDS:
        assert compute_rate_ppm(RateSchedule(kind), 1, 1) == PPM
    warm = RateSchedule("cosine", warmup_rounds=4)
    assert [compute_rate_ppm(warm, r, 9) for r in (1, 2, 4, 5)] == [250_000, 500_000, PPM, PPM]
    assert compute_rate_ppm(warm, 12, 9) == compute_rate_ppm(warm, 9, 9) == 1
    assert not warm.is_constant
    assert RateSchedule().is_constant
    assert not RateSchedule(warmup_rounds=1).is_constant


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "square"},
        {"warmup_rounds": -3},
        {"step_rounds": 0},
        {"final_ppm": PPM + 1},
        {"step_ppm": 0},
    ],
    ids=str,
)
def test_schedules_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        RateSchedule(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rounds count from 1"):
        compute_rate_ppm(RateSchedule(), 0, 5)
