"""The wire format: exact, one form, and no byte string of a peer can break it."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from kumiai.learning.fixed_point import (
    HEADER_BYTES_MAX,
    INTEGER_ABS_MAX,
    compute_size_bytes_max,
    decode_long_vector,
    decode_vector,
    dequantise,
    encode_vector,
    quantise,
)

INTS = hnp.arrays(
    np.int32, st.integers(1, 20), elements=st.integers(-INTEGER_ABS_MAX, INTEGER_ABS_MAX)
)


def test_ties_round_to_even():
    ticks = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.75], dtype=np.float64) / 2**24
    assert quantise(ticks).tolist() == [0, 2, 2, 0, -2, 1]


@given(hnp.arrays(np.float32, 8, elements=st.floats(-127, 127, width=32)))
def test_equals_exact_rational_rounding(vector):
    expected = [round(Fraction(float(value)) * 2**24) for value in vector]
    assert quantise(vector).tolist() == expected


@given(INTS)
def test_small_integers_survive_the_round_trip(ints):
    exact = ints >> 8  # float32 holds 24 bits
    assert np.array_equal(quantise(dequantise(exact)), exact)


@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, -np.inf, 128.0, -128.0, 3e38, 128 - 2**-26], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_does_not_fit_is_named(bad, dtype):
    vector = np.zeros(5, dtype=dtype)
    vector[3] = bad
    with pytest.raises(ValueError, match="index 3"):
        quantise(vector)


@given(INTS)
def test_codec_round_trip(ints):
    data = encode_vector("update", ints)
    assert np.array_equal(decode_vector("update", data, len(ints)), ints)
    assert len(data) <= compute_size_bytes_max(len(ints))
    long = ints.astype(np.int64) * 2**30
    assert np.array_equal(decode_long_vector("m", encode_vector("m", long), len(long)), long)


def test_decoded_vector_is_native_and_writable():
    decoded = decode_vector("u", encode_vector("u", np.arange(3, dtype=np.int32)), 3)
    decoded[0] = 7
    assert decoded.dtype == np.int32
    assert decoded.flags.c_contiguous


def build(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


GOOD = {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes, expected a safetensors header"),
        (build({"u": GOOD}, b"\0" * 2000), "expected at most"),
        ((2**63).to_bytes(8, "little") + b"{}", "header of"),
        ((HEADER_BYTES_MAX + 1).to_bytes(8, "little") + b" " * 1030, "header of"),
        (build(b"[" * 1000, b""), "not a safetensors header"),
        (build(b"\xff\xfe", b""), "not a safetensors header"),
        (build([1], b""), "header is a list"),
        (build({"u": GOOD, "v": GOOD}, b"\0" * 8), "expected exactly"),
        (build({"v": GOOD}, b"\0" * 8), "expected exactly"),
        (build({"u": GOOD, "__metadata__": {}}, b"\0" * 8), "expected exactly"),
        (build(b'{"u":1,"u":' + json.dumps(GOOD).encode() + b"}", b"\0" * 8), "repeated"),
        (build({"u": {**GOOD, "dtype": "F32"}}, b"\0" * 8), "expected {'dtype': 'I32'"),
        (build({"u": {**GOOD, "shape": [1, 2]}}, b"\0" * 8), "'shape': "),
        (build({"u": {**GOOD, "shape": [3]}}, b"\0" * 8), "'shape': "),
        (build({"u": {**GOOD, "data_offsets": [False, 8]}}, b"\0" * 8), "expected"),
        (build({"u": GOOD}, b"\0" * 7), "7 bytes of data, expected 8"),
        (build({"u": GOOD}, b"\0" * 12), "12 bytes of data, expected 8"),
        (build({"u": GOOD}, b"\0\0\0\0\0\0\0\x80"), "index 1"),
        (save({"u": np.zeros(2, dtype=np.float32)}), "'F32'"),
        (save({"u": np.zeros((1, 2), dtype=np.int32)}), "'shape': "),
    ],
)
def test_refusals_say_what_was_found(data, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("[", r"\[")):
        decode_vector("u", data, 2)


@given(st.binary(max_size=200))
@example(b"\x02\0\0\0\0\0\0\0{}")
@example(b"\x04\0\0\0\0\0\0\0null")
def test_arbitrary_bytes_never_crash(data):
    try:
        decode_vector("u", data, 4)
    except ValueError:
        return
    raise AssertionError("random bytes were taken for an update")


@given(st.data())
def test_a_changed_byte_is_refused_or_still_a_full_vector(data):
    blob = bytearray(encode_vector("u", np.arange(6, dtype=np.int32)))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_vector("u", bytes(blob), 6)
    except ValueError:
        return
    assert decoded.shape == (6,)
    assert decoded.dtype == np.int32
