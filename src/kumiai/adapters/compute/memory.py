"""What a member remembers between two of its updates that entered the model, and its bytes.

It lies in the member's own store and nobody else sees it: the control variate of an algorithm that
has one (int32, little-endian), then the codec's state, then whatever the member's own program gave
to be kept. All three advance together, with what entered the model (docs/adr/0013).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kumiai.learning.codecs import Codec, State, compute_state_bytes, decode_state, encode_state
from kumiai.learning.fixed_point import IntVector

CONTROL_BYTES = 4  # a number


class Memory(NamedTuple):
    """control_P: the member's own control variate, of size 0 without one; codec: its state.

    program: what the member's own program keeps, b"" where the engine trains.
    """

    control_P: IntVector
    codec: State
    program: bytes = b""


def encode_memory(memory: Memory) -> bytes:
    """Return the bytes; none if there is nothing to remember."""
    return memory.control_P.astype("<i4").tobytes() + encode_state(memory.codec) + memory.program


def compute_memory_bytes(codec: Codec, first: Memory, size: int) -> int:
    """Return the length of every memory shaped like `first`, but for the program's own part."""
    return CONTROL_BYTES * len(first.control_P) + compute_state_bytes(codec, size)


def decode_memory(codec: Codec, first: Memory, data: bytes, size: int) -> Memory:
    """Return what `encode_memory` was given; ValueError unless it is shaped like `first`."""
    fixed = compute_memory_bytes(codec, first, size)
    if len(data) < fixed:
        raise ValueError(f"memory of {len(data)} bytes, expected {fixed} or more")
    split = CONTROL_BYTES * len(first.control_P)
    control_P = np.frombuffer(data[:split], "<i4").astype(np.int32)
    return Memory(control_P, decode_state(codec, data[split:fixed], size), data[fixed:])
