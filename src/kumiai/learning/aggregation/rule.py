"""What every rule takes: the members' rows and weights, the settings, the kernels to compute with.

A rule is a function of `Members` alone. It returns one vector [P] of the rows' type and never
depends on the order of the members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kumiai.learning.aggregation.kernels import Kernels
from kumiai.learning.aggregation.rows import Rows, Vector

WEIGHT_SUM_MAX = 2**31  # with |u| < 2**31 every weighted sum fits 63 bits


@dataclass(frozen=True)
class Settings:
    """What the rules can be told; each reads only its own.

    trim_ppm: trimmed_mean, share of members dropped at each end. byzantine_count: f that Krum
    tolerates. iterations: of geometric_median and centered_clip, 0 for the rule's own number.
    clip_ppm: norm_clip and centered_clip, the bound as a share of the members' median norm (or
    distance to the centre). clip_norm: an absolute bound instead, in units of the rows (2**-24 for
    fixed point), 0 for none. bucket_size: members averaged before any rule sees them, 1 for none;
    seed: of the draw of buckets.
    """

    trim_ppm: int = 200_000
    byzantine_count: int = 0
    iterations: int = 0
    clip_ppm: int = 1_000_000
    clip_norm: int = 0
    bucket_size: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Members:
    """The members of positive weight; reference_P: the root's update or a centre, if any."""

    rows: Rows
    weights_N: Sequence[int]
    reference_P: Vector | None
    settings: Settings
    kernels: Kernels


Rule = Callable[[Members], Vector]


def fit_weights(weights: Sequence[int]) -> list[int]:
    """Return weights that sum to less than WEIGHT_SUM_MAX: smaller in proportion if need be.

    Each keeps at least 1: members are 10,000 at most.
    """
    total = sum(weights)
    if total < WEIGHT_SUM_MAX:
        return list(weights)
    return [max(1, weight * (WEIGHT_SUM_MAX // 2) // total) for weight in weights]
