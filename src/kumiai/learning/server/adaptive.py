"""Adaptive server rules: each weight moves by its own rate, small where rounds disagreed.

S. Reddi, Z. Charles, M. Zaheer, Z. Garrett, K. Rush, J. Konecny, S. Kumar and H. B. McMahan,
"Adaptive Federated Optimization" (2021), algorithm 2; written from the formulas as they are
generally known, the text was not at hand (reconstruction):

    m = b1 m + (1 - b1) delta
    adagrad  v = v + delta^2
    yogi     v = v - (1 - b2) delta^2 sign(v - delta^2)
    adam     v = b2 v + (1 - b2) delta^2
    model += lr m / (sqrt(v) + tau)

lr: `learning_rate_ppm`; b1: `beta_mean_ppm`; b2: `beta_square_ppm`; tau: `tau_ppm`; m = 0 and
v = tau^2 at the start. As in the paper there is no bias correction.

Integers: m is in the model's fixed point with 10 bits more (2**-34: its rounding is multiplied by
lr / tau), v in the fixed point's square (2**-48), so that sqrt(v) has the model's unit again and is
the exact integer root, rounded down; all quotients are rounded half to even. Deviation: v saturates
at 2**62, that is a root of 128, where every weight would long have left the fixed point.

Bounds: |delta| < 2**31; |m| < 2**41 and m times a ppm below 2**61; delta^2, v <= 2**62, so that a
sum of two stays below 2**63.
Cost: one integer square root and three divisions a number; two int64 vectors of state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kumiai.base.amounts import PPM
from kumiai.base.amounts import divide_half_even as divide_one
from kumiai.learning.aggregation.rounding import divide_half_even
from kumiai.learning.fixed_point import INTEGER_ABS_MAX, SCALE_BITS, IntVector, LongVector
from kumiai.learning.server.rule import (
    PRODUCT_MAX,
    ServerState,
    check_range,
    check_shapes,
    move,
)

SQUARE_MAX = 2**62
MEAN_BITS = 10  # finer than the model's fixed point
MEAN_MAX = INTEGER_ABS_MAX << MEAN_BITS
BLOCK = 8_192  # numbers at a time: what is needed beside them stays in the cache

Kind = Literal["adagrad", "yogi", "adam"]


@dataclass(frozen=True)
class Adaptive:
    """FedAdagrad, FedYogi or FedAdam over the rounds' deltas."""

    kind: Kind
    learning_rate_ppm: int
    beta_mean_ppm: int = 900_000
    beta_square_ppm: int = 990_000
    tau_ppm: int = 1_000

    def __post_init__(self) -> None:
        """Raise ValueError, with the number, for what cannot be computed in 63 bits."""
        if self.kind not in ("adagrad", "yogi", "adam"):
            raise ValueError(f"kind {self.kind!r} is not adagrad, yogi or adam")
        if not 1 <= self.learning_rate_ppm <= 100 * PPM:
            raise ValueError(f"server learning rate {self.learning_rate_ppm} ppm not in 1..10^8")
        betas = (self.beta_mean_ppm, self.beta_square_ppm)
        if not all(0 <= beta < PPM for beta in betas):
            raise ValueError(f"server betas {betas} ppm must lie within 0..{PPM - 1}")
        if not 1 <= self.tau_ppm <= PPM:
            raise ValueError(f"server tau {self.tau_ppm} ppm must lie within 1..{PPM}")

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("mean", f"{self.kind}-square")

    @property
    def tau(self) -> int:
        """Tau in the model's fixed point."""
        return divide_one(self.tau_ppm << SCALE_BITS, PPM)

    def init(self, size: int) -> ServerState:
        return np.zeros(size, dtype=np.int64), np.full(size, self.tau**2, dtype=np.int64)

    def apply(
        self, state: ServerState, model_P: IntVector, delta_P: IntVector
    ) -> tuple[ServerState, IntVector]:
        check_shapes(self, state, model_P.shape)
        check_range(self.state_names[0], state[0], -MEAN_MAX, MEAN_MAX)
        check_range(self.state_names[1], state[1], 0, SQUARE_MAX)
        mean_P, square_P = state[0].copy(), state[1].copy()
        step_P = np.empty_like(mean_P)
        for start in range(0, len(step_P), BLOCK):
            part = slice(start, start + BLOCK)
            delta_B = delta_P[part].astype(np.int64)
            mean_B = self._update_mean(mean_P[part], delta_B)
            square_B = self._update_square(square_P[part], delta_B * delta_B)
            mean_P[part], square_P[part] = mean_B, square_B
            step_P[part] = self._compute_step(mean_B, compute_root(square_B) + self.tau)
        return (mean_P, square_P), move(model_P, step_P)

    def _update_mean(self, mean_B: LongVector, delta_B: LongVector) -> LongVector:
        beta = self.beta_mean_ppm
        return divide_half_even(mean_B * beta + (delta_B << MEAN_BITS) * (PPM - beta), PPM)

    def _update_square(self, square_B: LongVector, fresh_B: LongVector) -> LongVector:
        if self.kind == "adagrad":
            return saturate(square_B + fresh_B)
        rate = PPM - self.beta_square_ppm
        if self.kind == "adam":
            # b2 v + (1 - b2) delta^2, between the two: never beyond either
            return square_B + multiply(fresh_B - square_B, rate)
        moved_B = square_B - np.sign(square_B - fresh_B) * multiply(fresh_B, rate)
        return saturate(moved_B)

    def _compute_step(self, mean_B: LongVector, root_B: LongVector) -> LongVector:
        ratio_B = divide_by_each(mean_B << (SCALE_BITS - MEAN_BITS), root_B)
        # a ratio cut here still gives a step of 2**62 / PPM, far outside the fixed point: `move`
        # refuses it as it would refuse the whole one
        limit = PRODUCT_MAX // self.learning_rate_ppm
        return divide_half_even(np.clip(ratio_B, -limit, limit) * self.learning_rate_ppm, PPM)


def saturate(square_P: LongVector) -> LongVector:
    """Return the squares, none above 2**62."""
    capped_P: LongVector = np.minimum(square_P, SQUARE_MAX)
    return capped_P


def multiply(values_P: LongVector, rate_ppm: int) -> LongVector:
    """Return values * rate, rounded half to even, for values up to 2**62: nothing wraps."""
    whole_P = values_P // PPM
    product_P = (values_P - whole_P * PPM) * rate_ppm
    part_P = product_P // PPM
    floor_P = whole_P * rate_ppm + part_P
    twice_P = 2 * (product_P - part_P * PPM)
    rounded_P: LongVector = floor_P + ((twice_P > PPM) | ((twice_P == PPM) & (floor_P & 1 == 1)))
    return rounded_P


def divide_by_each(numerator_P: LongVector, denominator_P: LongVector) -> LongVector:
    """Return numerator / denominator (> 0), number by number, rounded half to even."""
    floor_P = numerator_P // denominator_P
    twice_P = 2 * (numerator_P - floor_P * denominator_P)
    is_up_P = (twice_P > denominator_P) | ((twice_P == denominator_P) & (floor_P & 1 == 1))
    rounded_P: LongVector = floor_P + is_up_P
    return rounded_P


def compute_root(square_P: LongVector) -> LongVector:
    """Return the integer square root, rounded down, of numbers from 0 to 2**62.

    The float root is off by at most one after rounding: one look up and one down make it exact,
    whatever the machine's own rounding.
    """
    root_P = np.sqrt(square_P.astype(np.float64)).astype(np.int64)
    root_P -= root_P * root_P > square_P
    root_P += (root_P + 1) * (root_P + 1) <= square_P
    return root_P
