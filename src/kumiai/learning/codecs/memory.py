"""A codec's state as bytes, so that its owner can put it away between rounds.

    bytes = the arrays of `codec.init(P)` in their order, float32, little-endian, nothing between

The owner reads what itself wrote, but perhaps after a crash or with another task's file at hand: a
length that does not fit and numbers that are not finite are refused.
"""

from __future__ import annotations

import math

import numpy as np

from kumiai.learning.codecs.codec import Codec, State

FLOAT_BYTES = 4


def compute_state_bytes(codec: Codec, size: int) -> int:
    """Return the length of every state of `codec` over `size` numbers; 0 for one without."""
    return sum(FLOAT_BYTES * array.size for array in codec.init(size))


def encode_state(state: State) -> bytes:
    """Return the arrays' bytes in a row."""
    return b"".join(array.astype("<f4").tobytes() for array in state)


def decode_state(codec: Codec, data: bytes, size: int) -> State:
    """Return what `encode_state` was given; ValueError for what cannot be a state of `codec`."""
    empty = codec.init(size)
    expected = compute_state_bytes(codec, size)
    if len(data) != expected:
        raise ValueError(f"state of {len(data)} bytes, expected {expected}")
    arrays, start = [], 0
    for array in empty:
        count = math.prod(array.shape)
        piece = np.frombuffer(data, "<f4", count, start).astype(np.float32)
        start += FLOAT_BYTES * count
        arrays.append(piece.reshape(array.shape))
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("state holds a number that is not finite")
    return tuple(arrays)
