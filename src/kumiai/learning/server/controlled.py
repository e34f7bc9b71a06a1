"""SCAFFOLD's server: any rule, with the shared control variate beside its state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kumiai.learning.fixed_point import INTEGER_ABS_MAX, IntVector, LongVector
from kumiai.learning.server.rule import ServerRule, ServerState, check_range, check_shapes

CONTROL_NAME = "control"


@dataclass(frozen=True)
class Controlled:
    """Moves the model as `inner` does; the state's last vector is c (see `learning.scaffold`).

    `apply` leaves c as it is; `replace_control` writes the round's next one.
    """

    inner: ServerRule

    @property
    def state_names(self) -> tuple[str, ...]:
        return (*self.inner.state_names, CONTROL_NAME)

    def init(self, size: int) -> ServerState:
        return (*self.inner.init(size), np.zeros(size, dtype=np.int64))

    def apply(
        self, state: ServerState, model_P: IntVector, delta_P: IntVector
    ) -> tuple[ServerState, IntVector]:
        check_shapes(self, state, model_P.shape)
        moved, model_P = self.inner.apply(state[:-1], model_P, delta_P)
        return (*moved, get_control(state)), model_P


def get_control(state: ServerState) -> LongVector:
    """Return c; ValueError for numbers that no update can have led to."""
    control_P = state[-1]
    check_range(CONTROL_NAME, control_P, -INTEGER_ABS_MAX, INTEGER_ABS_MAX)
    return control_P


def replace_control(state: ServerState, control_P: LongVector) -> ServerState:
    """Return the state with another c."""
    return (*state[:-1], control_P)
