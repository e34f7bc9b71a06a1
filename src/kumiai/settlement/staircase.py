"""The density of rank pay: Q^-x over x in [0, 1], as a decreasing staircase of exact integers.

Step k of K = `STEP_COUNT` has height floor(Q^-(k/K) * DENSITY_SCALE). A whole step's exact integral
is that height times a constant, so at the steps' ends the staircase's integral *is* that of Q^-x;
in between it is a straight line. n members of equal stake therefore get a geometric series, within
1e-18 (the heights' rounding) where n divides K, else within a relative 2e-9 * n (measured at Q = 4;
5e-9 * n at Q = 100). As the heights never rise, moving stake back in the ranking never raises its
integral: this holds in integers, without any tolerance.

Decimal's ln and exp round correctly by definition (General Decimal Arithmetic 1.70), so every
machine builds the same staircase. Cost: about 10 ms once a ratio, then a division a member.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

from kumiai.base.amounts import PPM

STEP_COUNT = 2**14  # a power of two, so that 2, 4, 8, ... equal members are exact
DENSITY_SCALE = 10**18  # the height of the first step
_FINE = 10**50
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Staircase:
    """Heights of the steps over [0, 1], and the sum of the heights before each."""

    heights: tuple[int, ...]
    sums: tuple[int, ...]

    def integrate(self, upto: int, total: int) -> int:
        """Integrate over [0, upto / total], in units of 1 / (STEP_COUNT * total); exact."""
        index, rest = divmod(upto * STEP_COUNT, total)
        return self.sums[index] * total + self.heights[index] * rest


@lru_cache(maxsize=16)
def build_staircase(ratio_ppm: int) -> Staircase:
    """Heights Q^-(k/K): at the steps' ends their sums are the exact integral, up to a constant."""
    log_ratio = _CONTEXT.ln(_CONTEXT.divide(Decimal(ratio_ppm), Decimal(PPM)))
    factor = _CONTEXT.exp(_CONTEXT.divide(-log_ratio, Decimal(STEP_COUNT)))
    fine_factor = int(_CONTEXT.multiply(factor, Decimal(_FINE)))
    heights, sums, height_fine, height_sum = [], [], _FINE, 0
    for _ in range(STEP_COUNT):
        height = height_fine * DENSITY_SCALE // _FINE
        heights.append(height)
        sums.append(height_sum)
        height_sum += height
        height_fine = height_fine * fine_factor // _FINE
    return Staircase((*heights, 0), (*sums, height_sum))
