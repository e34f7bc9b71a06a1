"""What every server rule is: its state, the state's bytes, and the one way a model moves."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from kumiai.learning.fixed_point import (
    INTEGER_ABS_MAX,
    IntVector,
    LongVector,
    compute_size_bytes_max,
    decode_long_vector,
    encode_vector,
)

PRODUCT_MAX = 2**62  # every intermediate product stays below, so int64 never wraps
LONG_BYTES = 8

ServerState = tuple[LongVector, ...]  # one vector [P] for each of the rule's `state_names`


class ServerRule(Protocol):
    """`init` gives the state for P numbers; `apply` one round's step."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """What each vector of the state is; () for a rule without one."""
        ...

    def init(self, size: int) -> ServerState: ...

    def apply(
        self, state: ServerState, model_P: IntVector, delta_P: IntVector
    ) -> tuple[ServerState, IntVector]:
        """Raises ValueError naming the index where a weight would reach 128."""
        ...


def encode_state(rule: ServerRule, state: ServerState) -> bytes:
    """Return the state as safetensors bytes: one int64 tensor, the vectors one after the other.

    Its name is theirs joined by "+", so that the state of one rule is not read as another's.
    """
    check_shapes(rule, state, state[0].shape if state else (0,))
    return encode_vector("+".join(rule.state_names), np.concatenate(state))


def decode_state(rule: ServerRule, data: bytes, size: int) -> ServerState:
    """Return the state's vectors [size]; ValueError for anything else."""
    count = len(rule.state_names)
    if not count:
        raise ValueError(f"{type(rule).__name__} has no state")
    joined = decode_long_vector("+".join(rule.state_names), data, size * count)
    return tuple(joined.reshape(count, size))


def compute_state_bytes_max(rule: ServerRule, size: int) -> int:
    """Return the cap in bytes of a state's blob: nothing bigger is ever parsed."""
    return compute_size_bytes_max(size * len(rule.state_names), LONG_BYTES)


def check_shapes(rule: ServerRule, state: ServerState, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the state holds one vector of `shape` for each of its names."""
    found = [vector_P.shape for vector_P in state]
    if found == [shape] * len(rule.state_names):
        return
    if not rule.state_names:
        raise ValueError(f"{type(rule).__name__} has no state")
    names = " and ".join(rule.state_names)
    raise ValueError(f"the rule needs a state of {names} of shape {shape} each, not {found}")


def check_range(name: str, vector_P: LongVector, least: int, most: int) -> None:
    """Raise ValueError for a state that no rounds of the rule can have led to."""
    if len(vector_P) and (int(vector_P.max()) > most or int(vector_P.min()) < least):
        raise ValueError(f"{name} outside {least}..{most}: not made by this rule")


def move(model_P: IntVector, step_P: LongVector) -> IntVector:
    """Return model + step; ValueError naming the first weight that would reach 128."""
    moved_P = model_P.astype(np.int64) + step_P
    is_outside_P = np.abs(moved_P) > INTEGER_ABS_MAX
    if is_outside_P.any():
        index = int(np.argmax(is_outside_P))
        raise ValueError(
            f"weight {index} would become {int(moved_P[index]) / 2**24:.3f}: outside +-128, "
            "the run diverges (lower the learning rates)"
        )
    return moved_P.astype(np.int32)
