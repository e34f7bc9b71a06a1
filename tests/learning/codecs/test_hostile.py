"""A decoder's door: a peer's bytes raise ValueError or are a whole update, and nothing else."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning import fixed_point
from kumiai.learning.codecs import build_codec
from kumiai.learning.codecs.wire import HEADER, WIRE_MAX

SIZE = 90
SHAPES = [(9, 7), (27,)]
DESCRIPTIONS = [
    "dense",
    "bf16",
    "int8:block=16",
    "int4:block=7",
    "int2:block=16",
    "sign:block=16",
    "topk:density=0.1|dense",
    "topk:density=0.1,chunk=32|int2:block=4",
    "dct:chunk=8|topk:density=0.2,chunk=32|dense",
    "dct:chunk=8|dense",
    "powersgd:rank=2|dense",
    "powersgd:rank=1|int8:block=16",
]
every_codec = pytest.mark.parametrize("description", DESCRIPTIONS)
pytestmark = pytest.mark.filterwarnings("error")  # no overflow or invalid value on the way


def build(description):
    return build_codec(description, SHAPES)


def make_payload(codec, seed=1):
    update = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    return codec.encode(update, codec.init(SIZE), 0)[0]


def check_door(codec, payload):
    """Return whether the payload was taken; fail for anything but a ValueError or an update."""
    try:
        decoded = codec.decode(payload, SIZE)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            codec.decode_fixed(payload, SIZE)
        return False
    assert decoded.dtype == np.float32
    assert decoded.shape == (SIZE,)
    assert (np.abs(decoded) < WIRE_MAX).all()
    try:
        ints = codec.decode_fixed(payload, SIZE)
    except ValueError:
        assert np.abs(decoded).max() >= 127.9
    else:
        assert np.array_equal(ints, fixed_point.quantise(decoded))
    return True


@every_codec
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes(description, data):
    assert not check_door(build(description), data)


@every_codec
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_arbitrary_bytes_behind_a_right_header(description, data):
    codec = build(description)
    most = codec.compute_size_bytes_max(SIZE) - HEADER.size
    size_bytes = codec.compute_size_bytes(SIZE)
    least = max(0, most - 10) if size_bytes is None else size_bytes - HEADER.size
    body = data.draw(st.binary(min_size=least, max_size=most))
    check_door(codec, make_payload(codec)[: HEADER.size] + body)


@every_codec
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_changed_bytes(description, data):
    codec = build(description)
    payload = bytearray(make_payload(codec))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(HEADER.size, len(payload) - 1))] = data.draw(
            st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
        )
    check_door(codec, bytes(payload))


@every_codec
def test_every_length_but_the_right_one_is_refused(description):
    codec = build(description)
    payload = make_payload(codec)
    for length in range(len(payload)):
        assert not check_door(codec, payload[:length]), length
    for extra in (b"\0", b"\1", b"\xff" * 5, payload):
        assert not check_door(codec, payload + extra), extra


@every_codec
def test_every_changed_header_is_refused(description):
    codec = build(description)
    payload = make_payload(codec)
    for place in range(HEADER.size):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(payload)
            changed[place] ^= flip
            assert not check_door(codec, bytes(changed)), place


@every_codec
def test_a_payload_is_of_one_codec_and_one_size(description):
    codec = build(description)
    payload = make_payload(codec)
    for other in DESCRIPTIONS:
        if other != description:
            assert not check_door(build(other), payload)
    for size in (1, SIZE - 1, SIZE + 1):
        with pytest.raises(ValueError, match=r"expected|tensors hold"):
            codec.decode(payload, size)


def test_the_same_lengths_with_other_options_or_shapes_are_refused():
    payload = make_payload(build("topk:density=0.1,chunk=90|dense"))
    with pytest.raises(ValueError, match=r"codec .* expected .*other stages or options"):
        build("topk:density=0.1,chunk=0|dense").decode(payload, SIZE)
    payload = make_payload(build_codec("dct:chunk=2", [(45, 2)]))
    with pytest.raises(ValueError, match="other stages or options"):
        build_codec("dct:chunk=2", [(2, 45)]).decode(payload, SIZE)
    # what does not use the shapes does not name them
    flat, shaped = build_codec("topk:density=0.1"), build("topk:density=0.1")
    assert flat.decode(make_payload(shaped), SIZE).any()


NUMBERS = [np.nan, np.inf, -np.inf, WIRE_MAX, -WIRE_MAX, 3.4e38]
SCALES = [np.nan, np.inf, -np.inf, WIRE_MAX, -1.0, -0.0, 2.0**-130]


def put(payload, place, form, value):
    """The payload with one number behind the header replaced."""
    changed = bytearray(payload)
    struct.pack_into(form, changed, HEADER.size + place, value)
    return bytes(changed)


def upper_half(value):
    return int(np.float32(value).view(np.uint32)) >> 16


@pytest.mark.parametrize("value", NUMBERS, ids=str)
def test_numbers_no_encoder_sends(value):
    for description in ("dense", "dct:chunk=8|dense", "powersgd:rank=2|dense"):
        codec = build(description)
        with pytest.raises(ValueError, match=r"value .* at index 3 "):
            codec.decode(put(make_payload(codec), 12, "<f", value), SIZE)
    codec = build("bf16")
    with pytest.raises(ValueError, match=r"value .* at index 3 "):
        codec.decode(put(make_payload(codec), 6, "<H", upper_half(value)), SIZE)


@pytest.mark.parametrize("value", SCALES, ids=str)
def test_scales_no_encoder_sends(value):
    for description in ("int8:block=16", "int4:block=7"):
        codec = build(description)
        with pytest.raises(ValueError, match=r"scale .* of block 1 "):
            codec.decode(put(make_payload(codec), 4, "<f", value), SIZE)
    for description in ("int2:block=16", "sign:block=16"):
        codec = build(description)
        with pytest.raises(ValueError, match=r"scale .* of block 1 "):
            codec.decode(put(make_payload(codec), 2, "<H", upper_half(value)), SIZE)


@pytest.mark.parametrize(
    ("description", "place", "form", "value", "message"),
    [
        ("int8:block=16", 24 + 5, "<b", -128, "code -128 at index 5"),
        ("int4:block=10", 36 + 2, "<B", 0x80, "code -8 at index 5"),
        ("int8:block=16", 4, "<f", 0.0, "scale 0 has codes"),
        ("int4:block=7", 4, "<f", 0.0, "scale 0 has codes"),
        ("sign:block=16", 2, "<H", 0, "scale 0 has codes"),
        ("int2:block=16", 2, "<H", 0x7000, "block 1 has lo above hi"),
        ("sign:block=16", 12 + 11, "<B", 0x7F, "expected zeros after 2 bits"),
        ("int2:block=16", 24 + 22, "<B", 0x10, "expected zeros after 4 bits"),
    ],
)
def test_content_no_encoder_writes(description, place, form, value, message):
    codec = build(description)
    with pytest.raises(ValueError, match=message):
        codec.decode(put(make_payload(codec), place, form, value), SIZE)


def test_zero_block_of_two_bits_with_codes():
    codec = build("int2:block=45")
    payload = make_payload(codec)
    both_zero = put(put(payload, 0, "<H", 0), 4, "<H", 0)
    with pytest.raises(ValueError, match="scale 0 has codes"):
        codec.decode(both_zero, SIZE)


def rewrite_gaps(codec, low, unary):
    """A payload of nine indices below 90 (two low bits each) with these bits, lowest first."""
    pack = [np.packbits(np.array(bits, dtype=np.uint8), bitorder="little") for bits in (low, unary)]
    payload = make_payload(codec)
    return payload[: HEADER.size] + b"".join(p.tobytes() for p in pack) + payload[-36:]


@pytest.mark.parametrize(
    ("low", "unary", "message"),
    [
        ([0] * 18, [1] * 8, "bytes, expected"),  # too short for nine
        ([0] * 18, [1] * 8 + [0] * 8, "8 indices, expected 9"),
        ([0] * 18, [1] * 10, "10 indices, expected 9"),
        ([0] * 18, [1] * 9 + [0] * 7 + [0] * 8, "zero bytes after the last index"),
        ([1] * 18, [0] * 20 + [1] * 9, "index 115 is outside 0..89"),
        ([0] * 18, [0] * 21 + [1] * 9, "index 92 is outside 0..89"),
        ([0] * 18 + [1], [1] * 9, "expected zeros after 2 bits"),
        ([0] * 18, [0] * 31 + [1] * 9, "bytes, expected"),  # longer than any gaps below 90
    ],
)
def test_indices_no_encoder_writes(low, unary, message):
    codec = build("topk:density=0.1|dense")
    good = rewrite_gaps(codec, [0] * 18, [0] * 20 + [1] * 9)
    assert np.flatnonzero(codec.decode(good, SIZE)).tolist() == list(range(80, 89))
    with pytest.raises(ValueError, match=message):
        codec.decode(rewrite_gaps(codec, low, unary), SIZE)


def test_a_chunk_with_one_too_many():
    codec = build("topk:density=0.1,chunk=30|dense")  # three in each of three chunks
    with pytest.raises(ValueError, match="index 3 is one too many in its chunk of 30"):
        codec.decode(rewrite_gaps(codec, [0] * 18, [1] * 9), SIZE)


def test_products_beyond_float32_are_refused():
    codec = build("powersgd:rank=2|dense")
    payload = make_payload(codec)
    huge = np.full(59, 2.0**119, dtype="<f4").tobytes()
    with pytest.raises(ValueError, match="decoded value inf at index 0"):
        codec.decode(payload[: HEADER.size] + huge, SIZE)


@every_codec
def test_nothing_is_allocated_for_a_lie(description):
    """A payload claims a billion numbers, as many as the caller expects: refused by length."""
    codec = build_codec(description, [(10**9 // 7, 7), (10**9 % 7,)])
    lie = HEADER.pack(b"KUC", 1, 0, 10**9) + b"\0" * 1000
    tracemalloc.start()
    with pytest.raises(ValueError, match="1016 bytes, expected"):
        codec.decode(lie, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
