"""A stranger's shard: what is no samples is refused before it costs anything."""

from __future__ import annotations

import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import save

from kumiai.adapters.compute.market.shards import HEADER_BYTES_MAX, decode_shard, encode_shard
from kumiai.base.errors import InputError

X = torch.linspace(0, 1, 24).reshape(6, 4)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def decode(data: bytes):
    return decode_shard(data, (4,), 3)


def write(header: dict, body: bytes, padding: int = 0) -> bytes:
    text = json.dumps(header).encode() + b" " * padding
    return struct.pack("<Q", len(text)) + text + body


def entry(kind: str, shape: list[int], start: int, stop: int) -> dict:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}


GOOD = {"x": entry("F32", [6, 4], 0, 96), "y": entry("I64", [6], 96, 144)}
BODY = X.numpy().tobytes() + Y.numpy().tobytes()


def test_what_was_written_is_read_back_also_for_sequences():
    inputs, targets = decode(encode_shard((X, Y)))
    assert torch.equal(inputs, X)
    assert torch.equal(targets, Y)
    inputs, targets = decode(encode_shard((X, Y[:, None].expand(6, 4).contiguous())))
    assert targets.shape == (6, 4)
    assert torch.equal(decode(write(GOOD, BODY))[0], X)
    assert torch.equal(decode(write(GOOD, BODY, padding=1_000))[0], X)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"x": X * float("nan"), "y": Y}, "NaN"),
        ({"x": X / 0, "y": Y}, "infinity"),
        ({"x": X.double(), "y": Y}, "x is F64"),
        ({"x": X.half(), "y": Y}, "x is F16"),
        ({"x": X, "y": Y.int()}, "y is I32"),
        ({"x": X, "y": Y + 1}, "labels within 1..3"),
        ({"x": X, "y": Y - 1}, "labels within -1..1"),
        ({"x": X[:, :3].contiguous(), "y": Y}, "x has shape"),
        ({"x": X[:5].contiguous(), "y": Y}, "y has shape"),
        ({"x": X[:0].contiguous(), "y": Y[:0]}, "x has shape"),
        ({"x": X, "y": Y[:, None, None].contiguous()}, "y has shape"),
        ({"x": X, "y": Y, "z": Y.clone()}, "expected x and y"),
        ({"x": X}, "expected x and y"),
    ],
)
def test_other_tensors_are_refused_by_name(tensors, says):
    with pytest.raises(InputError, match=says):
        decode(save(tensors))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        BODY,
        struct.pack("<Q", 2**63) + b"{}",  # a header of more bytes than there are
        struct.pack("<Q", HEADER_BYTES_MAX + 1) + b" " * (HEADER_BYTES_MAX + 1),
        write(GOOD, BODY, padding=HEADER_BYTES_MAX),  # well formed, but long
        write(GOOD, BODY[:-1]),  # cut short
        write(GOOD, BODY + b"\0"),  # more than the header knows
        write({**GOOD, "x": entry("F32", [2**40, 2**40], 0, 96)}, BODY),  # a giant's shape
        write({**GOOD, "x": entry("F32", [6, 4], 0, 2**62)}, BODY),  # a giant's bytes
        write({**GOOD, "y": entry("I64", [6], 48, 96)}, BODY),  # one tensor over another
        write({**GOOD, "x": entry("F32", [-6, -4], 0, 96)}, BODY),
        pickle.dumps({"x": X.numpy(), "y": Y.numpy()}),
    ],
)
def test_a_lying_header_is_refused(data):
    with pytest.raises(InputError):
        decode(data)


def test_pickle_is_never_loaded(tmp_path):
    """Loading this would write a file."""
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self):
            return open, (str(mark), "w")

    with pytest.raises(InputError):
        decode(pickle.dumps(Bomb()))
    assert not mark.exists()
