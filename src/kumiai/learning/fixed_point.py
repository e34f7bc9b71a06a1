"""Numbers on the wire: 32-bit fixed point in safetensors, the same bytes on every machine.

A weight w travels as the integer round(w * 2**24), ties to even; |w| < 128, resolution 6e-8.
Integers add up exactly in any order, so sums of updates have one digest. Blobs come from peers:
`decode_vector` checks size and header before it touches the numbers, and refuses with ValueError
(what was found, what was expected) whatever is not exactly one tensor of the expected form.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

SCALE_BITS = 24  # value = integer * 2**-SCALE_BITS
INTEGER_ABS_MAX = 2**31 - 1  # symmetric: -2**31 is refused, so that negation never overflows
HEADER_BYTES_MAX = 1024  # one tensor's header takes about 64
HEADER_LENGTH_BYTES = 8  # safetensors: little-endian uint64 in front of the JSON header

IntVector = NDArray[np.int32]
LongVector = NDArray[np.int64]
FloatVector = NDArray[np.float32]

_TYPE_NAMES = {np.dtype(np.int32): "I32", np.dtype(np.int64): "I64"}


def quantise(vector_P: NDArray[np.floating[Any]]) -> IntVector:
    """Return round-half-even(vector * 2**24) as int32 [P].

    Raises ValueError naming the first index that is NaN, infinite or not below 128 in size.
    """
    vector_P = np.asarray(vector_P)
    # A power of two scales without rounding, so float32 input stays exact in float32.
    with np.errstate(over="ignore"):
        scaled = np.rint(vector_P * vector_P.dtype.type(2**SCALE_BITS))
    fits = np.abs(scaled) < 2.0**31  # False for NaN
    if not fits.all():
        index = int(np.argmin(fits))
        raise ValueError(
            f"value {float(vector_P[index])} at index {index} has no fixed-point form: "
            f"expected a finite number below {2 ** (31 - SCALE_BITS)} in size"
        )
    return scaled.astype(np.int32)


def dequantise(ints_P: NDArray[np.integer[Any]]) -> FloatVector:
    """Return integers * 2**-24 as float32 (rounded to 24 significant bits, ties to even)."""
    return ints_P.astype(np.float32) * np.float32(2.0**-SCALE_BITS)


def encode_vector(name: str, ints_P: IntVector | LongVector) -> bytes:
    """Return safetensors bytes holding one int32 (or int64) tensor `name` of shape [P]."""
    if ints_P.dtype not in _TYPE_NAMES or ints_P.ndim != 1:
        raise ValueError(f"{ints_P.dtype} of shape {ints_P.shape} is not an integer vector")
    return save({name: np.ascontiguousarray(ints_P)})


def decode_vector(name: str, data: bytes, size: int) -> IntVector:
    """Return the int32 vector [size] out of a peer's bytes; ValueError for anything else."""
    ints_P: IntVector = _decode(name, data, size, np.dtype(np.int32))
    if ints_P.size and int(ints_P.min()) < -INTEGER_ABS_MAX:
        index = int(np.argmin(ints_P))
        raise ValueError(f"value {-(2**31)} at index {index} is outside +-{INTEGER_ABS_MAX}")
    return ints_P


def decode_long_vector(name: str, data: bytes, size: int) -> LongVector:
    """As `decode_vector`, for int64 (a server rule's state)."""
    long_P: LongVector = _decode(name, data, size, np.dtype(np.int64))
    return long_P


def compute_size_bytes_max(size: int, bytes_per_number: int = 4) -> int:
    """Return the cap in bytes of a blob with `size` numbers: nothing bigger is ever parsed."""
    return HEADER_LENGTH_BYTES + HEADER_BYTES_MAX + bytes_per_number * size


def _decode(name: str, data: bytes, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    size_bytes_max = compute_size_bytes_max(size, dtype.itemsize)
    if len(data) > size_bytes_max:
        raise ValueError(f"{len(data)} bytes, expected at most {size_bytes_max}")
    if len(data) < HEADER_LENGTH_BYTES:
        raise ValueError(f"{len(data)} bytes, expected a safetensors header")
    header_bytes = int.from_bytes(data[:HEADER_LENGTH_BYTES], "little")
    start = HEADER_LENGTH_BYTES + header_bytes
    if header_bytes > HEADER_BYTES_MAX or start > len(data):
        raise ValueError(
            f"header of {header_bytes} bytes in {len(data)}, expected at most {HEADER_BYTES_MAX}"
        )
    _check_header(_parse_header(data[HEADER_LENGTH_BYTES:start]), name, size, dtype)
    if len(data) - start != size * dtype.itemsize:
        raise ValueError(f"{len(data) - start} bytes of data, expected {size * dtype.itemsize}")
    # A copy in the machine's own byte order: the blob may be unaligned and is read-only.
    return np.frombuffer(data, dtype.newbyteorder("<"), offset=start).astype(dtype)


def _parse_header(header: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            header, object_pairs_hook=_refuse_repeats, parse_float=_refuse, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a safetensors header: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"header is a {type(document).__name__}, expected an object")
    return document


def _check_header(header: dict[str, Any], name: str, size: int, dtype: np.dtype[Any]) -> None:
    if list(header) != [name]:
        raise ValueError(f"tensors {list(header)}, expected exactly [{name!r}]")
    expected = {
        "dtype": _TYPE_NAMES[dtype],
        "shape": [size],
        "data_offsets": [0, size * dtype.itemsize],
    }
    if not _is_same(header[name], expected):
        raise ValueError(f"tensor {name!r} is {header[name]}, expected {expected}")


def _is_same(found: Any, expected: Any) -> bool:
    # Python calls True equal to 1: compare the types as well.
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            _is_same(found[key], expected[key]) for key in expected
        )
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_is_same, found, expected))
    return type(found) is type(expected) and bool(found == expected)


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"number {text} is not an integer")
