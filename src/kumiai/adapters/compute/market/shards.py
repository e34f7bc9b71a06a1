"""Samples as they travel: one safetensors blob with tensors x and y, from a stranger.

x: float32 [n, *input_shape], all finite. y: int64 [n], or [n, T] for sequences, classes within
0..class_count-1. Nothing else may be in the blob. The header is bounded before it is parsed, and
sizes are compared with the blob's own before anything is allocated; pickle is never read.
"""

from __future__ import annotations

import math

import torch
from safetensors import SafetensorError, deserialize
from safetensors.torch import save

from kumiai.adapters.data.federated import Samples
from kumiai.base.errors import InputError

FIELD = "shard"
HEADER_BYTES_MAX = 4_096
HEADER_LENGTH_BYTES = 8
TARGET_DIMENSIONS_MAX = 2
TYPES = {"x": "F32", "y": "I64"}


def encode_shard(samples: Samples) -> bytes:
    """Return the blob's bytes of (inputs, targets)."""
    inputs, targets = samples
    return save({"x": inputs.contiguous(), "y": targets.contiguous()})


def decode_shard(data: bytes, input_shape: tuple[int, ...], class_count: int) -> Samples:
    """Return (inputs, targets); InputError that says what is wrong for anything else."""
    header_bytes = int.from_bytes(data[:HEADER_LENGTH_BYTES], "little")
    if len(data) < HEADER_LENGTH_BYTES or header_bytes > HEADER_BYTES_MAX:
        _refuse(f"a header of {header_bytes} bytes, expected at most {HEADER_BYTES_MAX}")
    try:
        tensors = dict(deserialize(data))
    except (SafetensorError, ValueError) as error:
        raise InputError(FIELD, f"{len(data)} bytes", f"not safetensors: {error}") from error
    if tensors.keys() != TYPES.keys():
        _refuse(f"tensors {sorted(tensors)[:8]}, expected x and y")
    for name, wanted in TYPES.items():
        if tensors[name]["dtype"] != wanted:
            _refuse(f"{name} is {tensors[name]['dtype']}, expected {wanted}")
    x_shape, y_shape = (tuple(tensors[name]["shape"]) for name in ("x", "y"))
    count = x_shape[0] if x_shape else 0
    if count < 1 or x_shape[1:] != input_shape:
        _refuse(f"x has shape {list(x_shape)}, expected [n, {', '.join(map(str, input_shape))}]")
    if not 1 <= len(y_shape) <= TARGET_DIMENSIONS_MAX or y_shape[0] != count or 0 in y_shape:
        _refuse(f"y has shape {list(y_shape)}, expected [{count}] or [{count}, T]")
    sizes = {"x": 4 * math.prod(x_shape), "y": 8 * math.prod(y_shape)}
    for name, size in sizes.items():
        if len(tensors[name]["data"]) != size:
            _refuse(f"{name} has {len(tensors[name]['data'])} bytes, its shape says {size}")
    inputs = torch.frombuffer(bytearray(tensors["x"]["data"]), dtype=torch.float32)
    targets = torch.frombuffer(bytearray(tensors["y"]["data"]), dtype=torch.int64)
    if not bool(torch.isfinite(inputs).all()):
        _refuse("x holds NaN or infinity")
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= class_count:
        _refuse(f"labels within {low}..{high}, expected 0..{class_count - 1}")
    return inputs.view(x_shape), targets.view(y_shape)


def _refuse(found: str) -> None:
    raise InputError(FIELD, "a stranger's samples", found)
