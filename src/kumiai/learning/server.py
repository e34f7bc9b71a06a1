"""How the global model moves by a round's aggregated delta: (init, apply) pairs in integers.

    FedAvg   model += lr * delta                        McMahan et al., 2017
    FedAvgM  m = mu * m + delta; model += lr * m        Hsu, Qi and Brown, "Measuring the Effects of
                                                        Non-Identical Data Distribution", 2019
    DiLoCo   m = mu * m + delta; model += lr * (delta + mu * m)    Douillard et al., "DiLoCo:
             Distributed Low-Communication Training of Language Models", 2023: outer SGD with
             Nesterov momentum, as in PyTorch (gradient = -delta); lr 0.7 and mu 0.9 there

`delta` is local minus global, averaged. lr and mu are ppm integers, the momentum m is int64 in the
model's own fixed point, every product is divided half to even: the same bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kumiai.base.amounts import PPM
from kumiai.learning.aggregation.rounding import divide_half_even
from kumiai.learning.fixed_point import (
    INTEGER_ABS_MAX,
    IntVector,
    LongVector,
    decode_long_vector,
    encode_vector,
)

STATE_NAME = "momentum"
PRODUCT_MAX = 2**62  # every intermediate product stays below, so int64 never wraps


class ServerRule(Protocol):
    """`init` gives the state for P numbers (None without one); `apply` one round's step."""

    def init(self, size: int) -> LongVector | None: ...

    def apply(
        self, state_P: LongVector | None, model_P: IntVector, delta_P: IntVector
    ) -> tuple[LongVector | None, IntVector]:
        """Raises ValueError naming the index where a weight would reach 128."""
        ...


@dataclass(frozen=True)
class FedAvg:
    """Move by the delta times the server's learning rate; no state."""

    learning_rate_ppm: int = PPM

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate_ppm, 0)

    def init(self, size: int) -> LongVector | None:
        return None

    def apply(
        self, state_P: LongVector | None, model_P: IntVector, delta_P: IntVector
    ) -> tuple[LongVector | None, IntVector]:
        if state_P is not None:
            raise ValueError("FedAvg has no state")
        return None, _move(model_P, _multiply(delta_P.astype(np.int64), self.learning_rate_ppm))


@dataclass(frozen=True)
class OuterMomentum:
    """Heavy-ball (FedAvgM) or Nesterov (DiLoCo) momentum over the rounds' deltas."""

    learning_rate_ppm: int
    momentum_ppm: int
    is_nesterov: bool

    def __post_init__(self) -> None:
        _check_rates(self.learning_rate_ppm, self.momentum_ppm)

    def init(self, size: int) -> LongVector | None:
        return np.zeros(size, dtype=np.int64)

    def apply(
        self, state_P: LongVector | None, model_P: IntVector, delta_P: IntVector
    ) -> tuple[LongVector | None, IntVector]:
        if state_P is None or state_P.shape != model_P.shape:
            raise ValueError(f"momentum rule needs a state of shape {model_P.shape}")
        _check_state(state_P, self.momentum_ppm)
        long_P = delta_P.astype(np.int64)
        momentum_P = _multiply(state_P, self.momentum_ppm) + long_P
        step_P = momentum_P
        if self.is_nesterov:
            step_P = long_P + _multiply(momentum_P, self.momentum_ppm)
        return momentum_P, _move(model_P, _multiply(step_P, self.learning_rate_ppm))


def build_server(algorithm: str, learning_rate_ppm: int, momentum_ppm: int) -> ServerRule:
    """Return the server rule of a task's algorithm: fedavg, fedprox (as fedavg) or diloco."""
    if algorithm == "diloco":
        return OuterMomentum(learning_rate_ppm, momentum_ppm, is_nesterov=True)
    if algorithm not in ("fedavg", "fedprox"):
        raise ValueError(f"algorithm {algorithm!r} is unknown: use fedavg, fedprox or diloco")
    if momentum_ppm:
        return OuterMomentum(learning_rate_ppm, momentum_ppm, is_nesterov=False)
    return FedAvg(learning_rate_ppm)


def encode_state(state_P: LongVector) -> bytes:
    """Return the momentum as safetensors bytes: one int64 tensor "momentum"."""
    return encode_vector(STATE_NAME, state_P)


def decode_state(data: bytes, size: int) -> LongVector:
    """Return the momentum [size]; ValueError for anything else."""
    return decode_long_vector(STATE_NAME, data, size)


def _multiply(values_P: LongVector, rate_ppm: int) -> LongVector:
    if rate_ppm == PPM:
        return values_P
    return divide_half_even(values_P * rate_ppm, PPM)


def _move(model_P: IntVector, step_P: LongVector) -> IntVector:
    moved_P = model_P.astype(np.int64) + step_P
    is_outside_P = np.abs(moved_P) > INTEGER_ABS_MAX
    if is_outside_P.any():
        index = int(np.argmax(is_outside_P))
        raise ValueError(
            f"weight {index} would become {int(moved_P[index]) / 2**24:.3f}: outside +-128, "
            "the run diverges (lower the learning rates)"
        )
    return moved_P.astype(np.int32)


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


def _check_state(state_P: LongVector, momentum_ppm: int) -> None:
    limit = _momentum_max(momentum_ppm)
    if len(state_P) and (int(state_P.max()) > limit or int(state_P.min()) < -limit):
        raise ValueError(f"momentum outside +-{limit}: not made by this rule")
