"""Rules per coordinate: the middle of the members' values, whatever the ends are.

    median        the middle value, or the mean of the two middle ones
    trimmed_mean  the mean of what is left when the floor(N * trim) lowest and highest are dropped

Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", 2018, definitions 1 and 2. Weights are ignored on purpose: a weight is a claim
that a hostile member could inflate. With fewer hostile members than are dropped at each end (for
the median: fewer than half) every coordinate lies within the honest members' values.
"""

from __future__ import annotations

import numpy as np

from kumiai.base.amounts import PPM
from kumiai.learning.aggregation.rows import Vector, iterate_blocks
from kumiai.learning.aggregation.rule import Members


def compute_median(members: Members) -> Vector:
    """Return each coordinate's median; for even N the two middle ones' mean, half to even."""
    count = len(members.rows)
    return _reduce(members, (count - 1) // 2, count // 2 + 1)


def compute_trimmed_mean(members: Members) -> Vector:
    """Return each coordinate's mean without its floor(N * trim) lowest and highest values."""
    trim_ppm = members.settings.trim_ppm
    if not 0 <= trim_ppm < PPM // 2:
        raise ValueError(f"trim_ppm {trim_ppm} is outside 0..{PPM // 2 - 1}")
    count = len(members.rows)
    trimmed = count * trim_ppm // PPM
    return _reduce(members, trimmed, count - trimmed)


def _reduce(members: Members, start: int, stop: int) -> Vector:
    """Return per coordinate the mean of the sorted values start..stop-1, integers half to even."""
    rows, kernels = members.rows, members.kernels
    delta_P = np.empty(rows.size, dtype=rows.dtype)
    for block in iterate_blocks(rows.size, kernels.sort_block):
        sums_B = kernels.reduce_sorted(rows.take(block), start, stop)
        if rows.dtype.kind == "f":
            delta_P[block] = sums_B / (stop - start)
        else:
            kernels.divide_into(delta_P[block], sums_B, stop - start)
    return delta_P
