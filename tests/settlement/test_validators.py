import math

import pytest

from kumiai.base.amounts import PPM
from kumiai.settlement.validators import (
    SCORE_SCALE,
    compute_coverage_ppm,
    compute_distance_ppm,
    compute_validator_score,
)


def test_a_perfect_validator_scores_one():
    assert compute_validator_score(PPM, 0, 0, PPM) == SCORE_SCALE


def test_the_formula():
    score = compute_validator_score(800_000, 500_000, 250_000, 2_000_000)
    assert score / SCORE_SCALE == pytest.approx(0.8 * math.exp(-1) * 0.75, rel=1e-12)


def test_the_digits_are_the_same_on_every_machine():
    # floor(exp(-1) * 1e18), from published digits of 1/e = 0.367879441171442321595...
    assert compute_validator_score(PPM, PPM, 0, PPM) == 367_879_441_171_442_321


def test_each_fault_lowers_the_score():
    best = compute_validator_score(PPM, 100_000, 0, PPM)
    assert compute_validator_score(PPM - 1, 100_000, 0, PPM) < best
    assert compute_validator_score(PPM, 100_001, 0, PPM) < best
    assert compute_validator_score(PPM, 100_000, 1, PPM) < best


def test_silence_and_falling_for_every_canary_score_nothing():
    assert compute_validator_score(0, 0, 0, PPM) == 0
    assert compute_validator_score(PPM, 0, PPM, PPM) == 0
    assert compute_validator_score(PPM, 0, 5 * PPM, PPM) == 0


def test_distance_is_clipped_at_one():
    assert compute_validator_score(PPM, 7 * PPM, 0, PPM) == compute_validator_score(
        PPM, PPM, 0, PPM
    )


def test_distance_is_the_mean_over_submissions_in_units_of_three_spreads():
    # |3| / (3 * 10) = 0.1 and far off = 1
    assert compute_distance_ppm([13, 900], [10, 100], [10, 10], 1) == 550_000
    assert compute_distance_ppm([11], [10], [0], 100) == 3_333  # a unanimous committee
    assert compute_distance_ppm([], [], [], 1) == 0


def test_coverage():
    assert compute_coverage_ppm(3, 4) == 750_000
    assert compute_coverage_ppm(0, 0) == PPM


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 0, 0), (PPM + 1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"ppm|negative"):
        compute_validator_score(*arguments)


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="answered"):
        compute_coverage_ppm(5, 4)
    with pytest.raises(ValueError, match="spread_min"):
        compute_distance_ppm([1], [1], [1], 0)
    with pytest.raises(ValueError, match="medians"):
        compute_distance_ppm([1], [], [1], 1)
