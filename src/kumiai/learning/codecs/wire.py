"""What every payload has in common: a header of 16 bytes, bounds on numbers, and two protocols.

    magic "KUC" (3) | version (1) | codec (4) | P as uint64 (8)      little-endian

`codec` is the first four bytes of sha256 over the canonical description and the tensors' shapes, so
that a payload of another codec, or of the same with other options, is refused by name.

Float assumptions, on which "the same bytes on every machine" rests: IEEE 754 binary32 and binary64,
every single +, -, *, / and square root rounded to nearest even, subnormals kept (no flush to zero).
Nothing here adds floats in an order that a library chooses: sums are taken over integers that
float64 holds exactly (see `exact`). Quantisers take a block whose peak is below 2**-96 as zero, so
scales are never subnormal; the fixed point that follows a codec cannot hold such values anyway.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kumiai.learning.fixed_point import FloatVector

MAGIC = b"KUC"
VERSION = 1
HEADER = struct.Struct("<3sBIQ")
INPUT_MAX = 2.0**96  # of an update's value: sums and factors of such values still fit float32
PEAK_MIN = 2.0**-96  # a quantiser's block with a smaller peak is sent as zeros
WIRE_MAX = 2.0**120  # of a number in a payload: products with small integers still fit float32

Slot = tuple[NDArray[np.float32], ...]  # what one transform remembers between rounds
Shape = tuple[int, ...]


class Packer(Protocol):
    """The last stage: K numbers to bytes, their count fixed by K."""

    def compute_size_bytes(self, count: int) -> int: ...

    def encode(self, values_K: FloatVector, seed: int) -> bytes: ...

    def decode(self, data: bytes, count: int) -> FloatVector:
        """`data` has the right size; raises ValueError for content that no encoder writes."""
        ...


class Transform(Protocol):
    """A stage before it: P numbers to K numbers and some bytes of its own."""

    def compute_count(self, size: int) -> int:
        """Return K for P = size."""
        ...

    def compute_own_bytes(self, size: int) -> tuple[int, int]:
        """Return the least and the most bytes that this stage writes itself."""
        ...

    def init(self, size: int) -> Slot: ...

    def encode(
        self, values_P: FloatVector, slot: Slot, seed: int
    ) -> tuple[bytes, FloatVector, Slot]: ...

    def decode(self, own: bytes, values_K: FloatVector, size: int) -> FloatVector:
        """Raises ValueError for `own` that no encoder writes; the stack checks the result."""
        ...


def compute_codec_id(description: str, shapes: Sequence[Shape] | None) -> int:
    """Return the 32 bits that name a codec with all its options."""
    text = f"{description} {'flat' if shapes is None else [list(shape) for shape in shapes]}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def encode_header(codec_id: int, size: int) -> bytes:
    """Return the 16 bytes in front of a payload of `size` numbers."""
    return HEADER.pack(MAGIC, VERSION, codec_id, size)


def check_header(payload: bytes, codec_id: int, size: int) -> None:
    """Raise ValueError unless `payload` begins as `encode_header(codec_id, size)` does."""
    if len(payload) < HEADER.size:
        raise ValueError(f"{len(payload)} bytes, expected a header of {HEADER.size}")
    magic, version, found_id, found_size = HEADER.unpack_from(payload)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"{magic!r} version {version}, expected {MAGIC!r} version {VERSION}")
    if found_id != codec_id:
        raise ValueError(f"codec {found_id:08x}, expected {codec_id:08x}: other stages or options")
    if found_size != size:
        raise ValueError(f"payload of {found_size} numbers, expected {size}")


def check_update(update_P: FloatVector) -> None:
    """Raise ValueError for what no codec takes, naming the first bad index."""
    if update_P.dtype != np.float32 or update_P.ndim != 1 or update_P.size == 0:
        raise ValueError(
            f"{update_P.dtype} of shape {update_P.shape}, expected float32 [P] with P at least 1"
        )
    check_below(update_P, INPUT_MAX, "value")


def check_below(values: FloatVector, limit: float, what: str) -> None:
    """Raise ValueError naming the first entry that is NaN, infinite or not below `limit`."""
    if values.size and not (float(values.max()) < limit and float(values.min()) > -limit):
        index = int(np.argmin(np.abs(values) < limit))  # NaN compares as False
        raise ValueError(
            f"{what} {float(values.ravel()[index])} at index {index} is not finite and below "
            f"{limit:.3g} in size"
        )
