"""A codec made of stages in a row.

    payload = header (16) | bytes of the transforms, in order | bytes of the packer

Only one transform of a stack (top-k) writes bytes of its own, and the packer's count is fixed, so
no length travels that could lie: everything has its place before the first byte is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kumiai.learning import fixed_point
from kumiai.learning.codecs.codec import State, check_state
from kumiai.learning.codecs.wire import (
    HEADER,
    WIRE_MAX,
    Packer,
    Transform,
    check_below,
    check_header,
    check_update,
    encode_header,
)
from kumiai.learning.fixed_point import FloatVector, IntVector


@dataclass(frozen=True)
class Stack:
    """Transforms in order, then a packer. codec_id: see `wire.compute_codec_id`."""

    description: str
    codec_id: int
    transforms: tuple[Transform, ...]
    packer: Packer

    def init(self, size: int) -> State:
        counts = self._compute_counts(size)
        slots = [t.init(n) for t, n in zip(self.transforms, counts, strict=False)]
        return tuple(array for slot in slots for array in slot)

    def encode(self, update_P: FloatVector, state: State, seed: int) -> tuple[bytes, State]:
        check_update(update_P)
        check_state(state, self.init(len(update_P)))
        parts = [encode_header(self.codec_id, len(update_P))]
        values, rest, kept = update_P, state, list[NDArray[np.float32]]()
        for transform in self.transforms:
            slot_length = len(transform.init(len(values)))
            slot, rest = rest[:slot_length], rest[slot_length:]
            own, values, slot = transform.encode(values, slot, seed)
            parts.append(own)
            kept += slot
        parts.append(self.packer.encode(values, seed))
        return b"".join(parts), tuple(kept)

    def decode(self, payload: bytes, size: int) -> FloatVector:
        counts = self._compute_counts(size)
        packed_bytes = self.packer.compute_size_bytes(counts[-1])
        least, most = self._compute_bounds(size)
        if not least <= len(payload) <= most:
            raise ValueError(f"{len(payload)} bytes, expected {least} to {most}")
        check_header(payload, self.codec_id, size)
        end = len(payload) - packed_bytes
        own, values = payload[HEADER.size : end], self.packer.decode(payload[end:], counts[-1])
        for transform, count in zip(reversed(self.transforms), reversed(counts[:-1]), strict=True):
            writes = transform.compute_own_bytes(count)[1] > 0
            values = transform.decode(own if writes else b"", values, count)
        check_below(values, WIRE_MAX, "decoded value")
        return values

    def decode_fixed(self, payload: bytes, size: int) -> IntVector:
        return fixed_point.quantise(self.decode(payload, size))

    def compute_size_bytes(self, size: int) -> int | None:
        least, most = self._compute_bounds(size)
        return least if least == most else None

    def compute_size_bytes_max(self, size: int) -> int:
        return self._compute_bounds(size)[1]

    def _compute_counts(self, size: int) -> list[int]:
        """Return the count of numbers before each transform and before the packer."""
        if size < 1:
            raise ValueError(f"size {size} is less than 1")
        counts = [size]
        for transform in self.transforms:
            counts.append(transform.compute_count(counts[-1]))
        return counts

    def _compute_bounds(self, size: int) -> tuple[int, int]:
        counts = self._compute_counts(size)
        fixed = HEADER.size + self.packer.compute_size_bytes(counts[-1])
        bounds = [t.compute_own_bytes(n) for t, n in zip(self.transforms, counts, strict=False)]
        return fixed + sum(least for least, _ in bounds), fixed + sum(most for _, most in bounds)
