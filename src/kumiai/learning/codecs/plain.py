"""The update as it is: the fixed point of aggregation in safetensors, nothing left out.

    payload = safetensors, one int32 tensor "update" of shape [P]

What a run uses whose task names no codec. It has no header of `wire`: a blob of other stages is
refused by the header of safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumiai.learning import fixed_point
from kumiai.learning.codecs.codec import State, check_state
from kumiai.learning.codecs.wire import check_update
from kumiai.learning.fixed_point import FloatVector, IntVector
from kumiai.tasks.codecs import DENSE_FIXED

TENSOR_NAME = "update"


@dataclass(frozen=True)
class Plain:
    """The codec without memory or loss beyond the fixed point's own rounding."""

    @property
    def description(self) -> str:
        return DENSE_FIXED

    def init(self, size: int) -> State:
        return ()

    def encode(self, update_P: FloatVector, state: State, seed: int) -> tuple[bytes, State]:
        """As every codec; ValueError also for values from 128, which the fixed point has not."""
        check_update(update_P)
        check_state(state, ())
        return self.encode_fixed(fixed_point.quantise(update_P)), ()

    def encode_fixed(self, ints_P: IntVector) -> bytes:
        """Return the payload of integers as they are, also of those float32 would round."""
        return fixed_point.encode_vector(TENSOR_NAME, ints_P)

    def decode(self, payload: bytes, size: int) -> FloatVector:
        return fixed_point.dequantise(self.decode_fixed(payload, size))

    def decode_fixed(self, payload: bytes, size: int) -> IntVector:
        return fixed_point.decode_vector(TENSOR_NAME, payload, size)

    def compute_size_bytes(self, size: int) -> int | None:
        """The header is padded as its writer likes: None."""
        return None

    def compute_size_bytes_max(self, size: int) -> int:
        return fixed_point.compute_size_bytes_max(size)
