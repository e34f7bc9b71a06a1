"""The codec of a task that names none, and what codecs remember, put away and taken up again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning import fixed_point
from kumiai.learning.codecs import (
    Plain,
    build_codec,
    compute_state_bytes,
    decode_state,
    encode_state,
)

SHAPES = [(9, 8), (18,)]
REMEMBERING = [
    "ef|sign",
    "ef:decay=0.9|topk:density=0.1|int2",
    "powersgd:rank=2",
    "ef|powersgd:rank=1|int8",
]
FORGETTING = ["dense-fixed", "dense", "int4", "topk:density=0.5", "dct:chunk=8|bf16"]


def make_update(seed):
    return np.random.default_rng(seed).standard_normal(90).astype(np.float32)


@pytest.mark.parametrize("description", [*REMEMBERING, *FORGETTING])
def test_a_state_put_away_and_taken_up_gives_the_same_bytes(description):
    codec = build_codec(description, SHAPES)
    kept = stored = codec.init(90)
    for seed in range(3):
        payload, kept = codec.encode(make_update(seed), kept, seed)
        again, stored = codec.encode(make_update(seed), stored, seed)
        assert again == payload
        data = encode_state(stored)
        assert len(data) == compute_state_bytes(codec, 90)
        stored = decode_state(codec, data, 90)
    assert bool(kept) == (description in REMEMBERING)


@pytest.mark.parametrize("description", REMEMBERING)
def test_what_is_no_state_is_refused(description):
    codec = build_codec(description, SHAPES)
    _, state = codec.encode(make_update(1), codec.init(90), 1)
    data = encode_state(state)
    for wrong in (b"", data[:-1], data + b"\0", data + data):
        with pytest.raises(ValueError, match=f"state of {len(wrong)} bytes, expected {len(data)}"):
            decode_state(codec, wrong, 90)
    with pytest.raises(ValueError, match="not finite"):
        decode_state(codec, np.float32(np.nan).tobytes() + data[4:], 90)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-127, 127, width=32), min_size=1, max_size=40))
def test_the_plain_codec_is_the_fixed_point_itself(values):
    update_P = np.array(values, dtype=np.float32)
    codec = Plain()
    payload, state = codec.encode(update_P, codec.init(len(values)), 0)
    assert state == ()
    assert payload == fixed_point.encode_vector("update", fixed_point.quantise(update_P))
    ints_P = codec.decode_fixed(payload, len(values))
    assert np.array_equal(ints_P, fixed_point.quantise(update_P))
    assert np.array_equal(codec.decode(payload, len(values)), fixed_point.dequantise(ints_P))
    assert len(payload) <= codec.compute_size_bytes_max(len(values))


def test_the_plain_codec_has_no_memory_and_no_room_for_great_values():
    assert build_codec("dense-fixed").description == "dense-fixed"
    with pytest.raises(ValueError, match="index 3 has no fixed-point form"):
        Plain().encode(np.array([0, 1, 2, 128], np.float32), (), 0)
    with pytest.raises(ValueError, match="state holds"):
        Plain().encode(make_update(1), (make_update(2),), 0)


def test_the_plain_codec_keeps_integers_that_float32_would_round():
    ints_P = np.array([2**31 - 1, -(2**25) - 1], dtype=np.int32)
    assert np.array_equal(Plain().decode_fixed(Plain().encode_fixed(ints_P), 2), ints_P)


def test_a_payload_of_another_codec_is_refused():
    update_P = make_update(1)
    for sender, receiver in [("dense", "dense-fixed"), ("dense-fixed", "dense"), ("int8", "sign")]:
        codec = build_codec(sender)
        payload, _ = codec.encode(update_P, codec.init(90), 0)
        with pytest.raises(ValueError, match=r"expected|header"):
            build_codec(receiver).decode_fixed(payload, 90)
