"""Server rules with at most a momentum: the delta as it is, heavy ball, Nesterov.

    FedAvg   model += lr * delta                        McMahan et al., 2017
    FedAvgM  m = mu * m + delta; model += lr * m        Hsu, Qi and Brown, "Measuring the Effects of
                                                        Non-Identical Data Distribution", 2019
    DiLoCo   m = mu * m + delta; model += lr * (delta + mu * m)    Douillard et al., "DiLoCo:
             Distributed Low-Communication Training of Language Models", 2023: outer SGD with
             Nesterov momentum, as in PyTorch (gradient = -delta); lr 0.7 and mu 0.9 there

lr: `learning_rate_ppm`; mu: `momentum_ppm`; m: the state, int64 in the model's own fixed point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kumiai.base.amounts import PPM
from kumiai.learning.aggregation.rounding import divide_half_even
from kumiai.learning.fixed_point import IntVector, LongVector
from kumiai.learning.server.rule import (
    PRODUCT_MAX,
    ServerState,
    check_range,
    check_shapes,
    move,
)


@dataclass(frozen=True)
class FedAvg:
    """Move by the delta times the server's learning rate; no state."""

    learning_rate_ppm: int = PPM

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate_ppm, 0)

    @property
    def state_names(self) -> tuple[str, ...]:
        return ()

    def init(self, size: int) -> ServerState:
        return ()

    def apply(
        self, state: ServerState, model_P: IntVector, delta_P: IntVector
    ) -> tuple[ServerState, IntVector]:
        check_shapes(self, state, model_P.shape)
        return (), move(model_P, _multiply(delta_P.astype(np.int64), self.learning_rate_ppm))


@dataclass(frozen=True)
class OuterMomentum:
    """Heavy-ball (FedAvgM) or Nesterov (DiLoCo) momentum over the rounds' deltas."""

    learning_rate_ppm: int
    momentum_ppm: int
    is_nesterov: bool

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate_ppm, self.momentum_ppm)

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("momentum",)

    def init(self, size: int) -> ServerState:
        return (np.zeros(size, dtype=np.int64),)

    def apply(
        self, state: ServerState, model_P: IntVector, delta_P: IntVector
    ) -> tuple[ServerState, IntVector]:
        check_shapes(self, state, model_P.shape)
        limit = _momentum_max(self.momentum_ppm)
        check_range("momentum", state[0], -limit, limit)
        long_P = delta_P.astype(np.int64)
        momentum_P = _multiply(state[0], self.momentum_ppm) + long_P
        step_P = momentum_P
        if self.is_nesterov:
            step_P = long_P + _multiply(momentum_P, self.momentum_ppm)
        return (momentum_P,), move(model_P, _multiply(step_P, self.learning_rate_ppm))


def _multiply(values_P: LongVector, rate_ppm: int) -> LongVector:
    if rate_ppm == PPM:
        return values_P
    return divide_half_even(values_P * rate_ppm, PPM)


def _momentum_max(momentum_ppm: int) -> int:
    # |m| <= |delta| / (1 - mu), plus one unit of rounding a round, itself a geometric sum.
    return (2**31 + 1) * PPM // (PPM - momentum_ppm) + 1


def _check_rates(learning_rate_ppm: int, momentum_ppm: int) -> None:
    if learning_rate_ppm <= 0 or not 0 <= momentum_ppm < PPM:
        raise ValueError(
            f"server learning rate {learning_rate_ppm} ppm must be positive and momentum "
            f"{momentum_ppm} ppm within 0..{PPM - 1}"
        )
    step_max = 2**31 + _momentum_max(momentum_ppm)
    if step_max * max(learning_rate_ppm, PPM) >= PRODUCT_MAX:
        raise ValueError(
            f"server learning rate {learning_rate_ppm} ppm with momentum {momentum_ppm} ppm "
            "overflows 62 bits: lower one of them"
        )
