"""What every codec answers to. State is an argument, never hidden."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.fixed_point import FloatVector, IntVector

State = tuple[NDArray[np.float32], ...]  # see each codec's init; () for those without memory


class Codec(Protocol):
    """One way of writing updates; `decode` needs no state and has one result everywhere."""

    @property
    def description(self) -> str:
        """The canonical text: integers only, every option written out."""
        ...

    def init(self, size: int) -> State: ...

    def encode(self, update_P: FloatVector, state: State, seed: int) -> tuple[bytes, State]:
        """Return (payload, next state). seed: the round's; only for stages that draw.

        Raises ValueError naming the index of a value that is NaN, infinite or 2**96 and above, and
        for a state that `init(P)` cannot have led to.
        """
        ...

    def decode(self, payload: bytes, size: int) -> FloatVector:
        """Return what a peer's payload says, float32 [size]; ValueError for anything else."""
        ...

    def decode_fixed(self, payload: bytes, size: int) -> IntVector:
        """`decode`, then the fixed point of aggregation; ValueError also for values from 128."""
        ...

    def compute_size_bytes(self, size: int) -> int | None:
        """Return the length of every payload of `size` numbers, None where it varies."""
        ...

    def compute_size_bytes_max(self, size: int) -> int:
        """Return the cap in bytes of a payload: nothing longer is ever parsed."""
        ...


def check_state(state: State, expected: State) -> None:
    """Raise ValueError unless `state` has the arrays that `expected` has, by shape and type."""
    found = [(array.dtype, array.shape) for array in state]
    wanted = [(array.dtype, array.shape) for array in expected]
    if found != wanted:
        raise ValueError(f"state holds {found}, expected {wanted}")
