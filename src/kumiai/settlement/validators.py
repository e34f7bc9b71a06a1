"""What a validator's work was worth: F from how much it scored, how close, how honestly.

Source: AIArena's documentation says that F falls with a validator's "distance of weighted average
score" and grows with "the number of submissions that the validator validated"; the exact map was
not published in what could be read. Reconstruction, with canaries (submissions of known value)
added:

    D_j = mean over the submissions scored of min(1, |r_ji - c_i| / (3 * max(MAD_i, floor)))
    F_j = coverage_j * exp(-lambda * D_j) * (1 - canary_error_j)

r_ji = `scores`, c_i = `consensus`, MAD_i = `spreads` (median absolute deviation of the validators'
scores of submission i), coverage = answered / assigned, lambda = `lambda_ppm` / 1e6.
F is an integer, `SCORE_SCALE` for 1. Decimal's exp rounds correctly by definition, so every
machine finds the same F.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

from kumiai.base.amounts import PPM

SCORE_SCALE = 10**18
LAMBDA_PPM_MAX = 100 * PPM
_SPREADS_WIDE = 3  # a score three MADs off counts as wholly off
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)


def compute_validator_score(
    coverage_ppm: int, distance_ppm: int, canary_error_ppm: int, lambda_ppm: int
) -> int:
    """Return F in 0..SCORE_SCALE; distance and canary error above 1 count as 1."""
    if not 0 <= coverage_ppm <= PPM:
        raise ValueError(f"coverage {coverage_ppm} ppm is outside 0..{PPM}")
    if distance_ppm < 0 or canary_error_ppm < 0:
        raise ValueError(f"distance {distance_ppm} or canary error {canary_error_ppm} is negative")
    if not 0 <= lambda_ppm <= LAMBDA_PPM_MAX:
        raise ValueError(f"lambda {lambda_ppm} ppm is outside 0..{LAMBDA_PPM_MAX}")
    exponent = _CONTEXT.divide(Decimal(-lambda_ppm * min(distance_ppm, PPM)), Decimal(PPM * PPM))
    closeness = int(_CONTEXT.multiply(_CONTEXT.exp(exponent), Decimal(SCORE_SCALE)))
    honesty_ppm = PPM - min(canary_error_ppm, PPM)
    return closeness * coverage_ppm * honesty_ppm // (PPM * PPM)


def compute_coverage_ppm(answered_count: int, assigned_count: int) -> int:
    """Return answered / assigned in ppm; nothing assigned is fully covered."""
    if not 0 <= answered_count <= assigned_count:
        raise ValueError(f"{answered_count} answered of {assigned_count} assigned")
    return answered_count * PPM // assigned_count if assigned_count else PPM


def compute_distance_ppm(
    scores: Sequence[int], consensus: Sequence[int], spreads: Sequence[int], spread_min: int
) -> int:
    """Return D in ppm: the mean clipped distance of `scores` to `consensus`, 0 if none was given.

    `spread_min` (> 0) keeps a unanimous committee from punishing a rounding error.
    """
    if not len(scores) == len(consensus) == len(spreads):
        raise ValueError(f"{len(scores)} scores, {len(consensus)} medians, {len(spreads)} spreads")
    if spread_min <= 0:
        raise ValueError(f"spread_min {spread_min} is not positive")
    if not scores:
        return 0
    distance_sum = 0
    for score, center, spread in zip(scores, consensus, spreads, strict=True):
        width = _SPREADS_WIDE * max(spread, spread_min)
        distance_sum += min(PPM, abs(score - center) * PPM // width)
    return distance_sum // len(scores)
