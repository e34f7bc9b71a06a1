"""Streaming DiLoCo's fragments: where they lie, what travels, and the paper's worker as twin."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.learning import server
from kumiai.learning.codecs import Plain, build_codec, cut, for_round
from kumiai.learning.codecs.fragment import HEADER
from kumiai.learning.fixed_point import dequantise
from kumiai.learning.fragments import FRAGMENTS_MAX, compute_length, compute_span, compute_turn

SIZE, COUNT = 90, 4
INNER = [
    "dense-fixed",
    "dense",
    "ef|int8:block=16",
    "int2:block=8",
    "ef:decay=0.9|topk:density=0.2",
]
every_inner = pytest.mark.parametrize("description", INNER)
pytestmark = pytest.mark.filterwarnings("error")


def make_update(seed, size=SIZE):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def send(codec, update, state, number):
    payload, state = for_round(codec, number).encode(update, state, number)
    return payload, state


# where fragments lie ------------------------------------------------------------------------------


@given(st.integers(1, 300), st.integers(1, FRAGMENTS_MAX))
@settings(max_examples=100, deadline=None)
def test_fragments_are_equally_long_and_cover_everything(size, count):
    length, covered = compute_length(size, count), np.zeros(size, dtype=int)
    for turn in range(count):
        span = compute_span(size, count, turn)
        assert 0 <= span.start < span.stop <= size
        assert span.stop - span.start == length
        covered[span] += 1
    assert covered.min() >= 1
    if size % count == 0:
        assert covered.max() == 1


def test_turns_go_round_from_the_first_round():
    assert [compute_turn(number, 3) for number in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    for call in (
        lambda: compute_turn(0, 3),
        lambda: compute_span(10, 3, 3),
        lambda: compute_span(10, 3, -1),
        lambda: compute_length(0, 3),
        lambda: compute_length(10, FRAGMENTS_MAX + 1),
    ):
        with pytest.raises(ValueError, match=r"less than 1|outside 0\.\.2|expected 1\.\.64"):
            call()


# what travels -------------------------------------------------------------------------------------


@every_inner
@given(seed=st.integers(0, 99), number=st.integers(1, 9))
@settings(max_examples=8, deadline=None)
def test_a_round_sends_its_fragment_and_nothing_else(description, seed, number):
    codec, update = cut(build_codec(description), COUNT), make_update(seed)
    payload, _ = send(codec, update, codec.init(SIZE), number)
    span = compute_span(SIZE, COUNT, (number - 1) % COUNT)
    inner = build_codec(description.removeprefix("ef|").removeprefix("ef:decay=0.9|"))
    length = span.stop - span.start
    body, _ = inner.encode(update[span], inner.init(length), number)
    assert payload[HEADER.size :] == body
    decoded = codec.decode(payload, SIZE)
    expected = np.zeros(SIZE, dtype=np.float32)
    expected[span] = inner.decode(body, length)
    assert np.array_equal(decoded, expected)
    fixed = np.zeros(SIZE, dtype=np.int32)
    fixed[span] = inner.decode_fixed(body, length)
    assert np.array_equal(codec.decode_fixed(payload, SIZE), fixed)
    exact = codec.compute_size_bytes(SIZE)
    assert exact is None or exact == len(payload)
    assert len(payload) <= codec.compute_size_bytes_max(SIZE)


@every_inner
def test_nothing_is_lost_for_good(description):
    """What was decoded and what is held back add up to all that was learnt."""
    codec = cut(build_codec(description), COUNT)
    decay = 0.9 if "0.9" in description else 1.0
    state, sent, owed = codec.init(SIZE), np.zeros(SIZE), np.zeros(SIZE)
    for number in range(1, 10):
        update = make_update(number)
        payload, state = send(codec, update, state, number)
        decoded = codec.decode(payload, SIZE)
        owed = decay * owed + update - decoded
        sent += decoded
        assert np.allclose(state[0], owed, atol=1e-5)
    assert np.count_nonzero(sent) > SIZE // 6


def test_bytes_shrink_by_the_number_of_fragments():
    size = 100_000
    whole = build_codec("int8").compute_size_bytes(size)
    for count in (2, 10, 50):
        part = cut(build_codec("int8"), count).compute_size_bytes(size)
        assert part <= whole / count + 2 * HEADER.size + 8


def test_one_fragment_is_the_codec_itself():
    codec = build_codec("ef|sign")
    assert cut(codec, 1) is codec
    assert for_round(codec, 7) is codec
    assert cut(Plain(), 3).description == "ef:decay_ppm=1000000|fragment:count=3|dense-fixed"


# the paper's worker as twin -----------------------------------------------------------------------


def test_two_workers_that_keep_their_own_copies():
    """Streaming DiLoCo as the paper tells it, without delay: every worker has its own parameters,
    trains all of them, and a fragment is overwritten when its turn comes. Same models, round by
    round, as ours, where a member starts from the global model and what it holds back."""
    rounds, members, rule = 9, 2, server.OuterMomentum(700_000, 900_000, is_nesterov=True)
    pulls = [make_update(50 + m) for m in range(members)]  # each worker's own optimum

    def train(start_P, member):
        return (start_P + np.float32(0.2) * (pulls[member] - start_P)).astype(np.float32)

    # the paper: momentum and model as floats, a fragment at a time
    copies = [np.zeros(SIZE) for _ in range(members)]
    model, momentum = np.zeros(SIZE), np.zeros(SIZE)
    # ours
    codec = cut(build_codec("dense"), COUNT)
    states = [codec.init(SIZE) for _ in range(members)]
    model_P, server_state = np.zeros(SIZE, dtype=np.int32), rule.init(SIZE)
    for number in range(1, rounds + 1):
        span = compute_span(SIZE, COUNT, compute_turn(number, COUNT))
        copies = [train(copies[m], m) for m in range(members)]
        delta = np.mean([copy[span] for copy in copies], axis=0) - model[span]
        momentum[span] = 0.9 * momentum[span] + delta
        model[span] += 0.7 * (delta + 0.9 * momentum[span])
        for copy in copies:
            copy[span] = model[span]

        decoded = []
        for m in range(members):
            held_P, global_P = states[m][0], dequantise(model_P)
            update_P = train(global_P + held_P, m) - global_P - held_P
            payload, states[m] = send(codec, update_P, states[m], number)
            decoded.append(codec.decode_fixed(payload, SIZE).astype(np.int64))
        delta_P = (sum(decoded) // members).astype(np.int32)
        server_state, model_P = server.apply_in_span(rule, server_state, model_P, delta_P, span)
        assert np.allclose(dequantise(model_P), model, atol=1e-5)
        for m in range(members):
            assert np.allclose(dequantise(model_P) + states[m][0], copies[m], atol=1e-5)
    assert np.abs(model).max() > 0.5


# a peer's bytes -----------------------------------------------------------------------------------


def make_payload(codec, number=2):
    return send(codec, make_update(1), codec.init(SIZE), number)[0]


@every_inner
def test_every_changed_header_and_length_is_refused_or_another_fragment(description):
    codec = cut(build_codec(description), COUNT)
    payload = make_payload(codec)
    for place in range(HEADER.size):
        for flip in (1, 0x80, 0xFF):
            changed = bytearray(payload)
            changed[place] ^= flip
            is_turn = place == 6 and flip == 1  # the low byte of the turn: 1 becomes 0
            if is_turn:
                decoded = codec.decode(bytes(changed), SIZE)
                assert not decoded[compute_length(SIZE, COUNT) :].any()
                continue
            for decode in (codec.decode, codec.decode_fixed):
                with pytest.raises(ValueError, match=r"expected|outside"):
                    decode(bytes(changed), SIZE)
    for wrong in (b"", payload[:10], payload[:-1], payload + b"\0", payload * 2):
        for decode in (codec.decode, codec.decode_fixed):
            with pytest.raises(ValueError, match=r"."):
                decode(wrong, SIZE)


@every_inner
@given(body=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_arbitrary_bytes_behind_a_right_header(description, body):
    codec = cut(build_codec(description), COUNT)
    payload = make_payload(codec)[: HEADER.size] + body
    try:
        decoded = codec.decode(payload, SIZE)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            codec.decode_fixed(payload, SIZE)
        return
    assert decoded.shape == (SIZE,)
    assert not decoded[: compute_length(SIZE, COUNT)].any()


@every_inner
def test_nothing_is_allocated_for_a_lie(description):
    codec, size = cut(build_codec(description), COUNT), 10**9
    lie = struct.pack("<3sBHHQ", b"KUF", 1, COUNT, 1, size) + b"\0" * 1000
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"."):
        codec.decode_fixed(lie, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_payload_of_another_cut_is_refused():
    payload = make_payload(cut(build_codec("dense"), COUNT))
    with pytest.raises(ValueError, match="one of 4 fragments, expected one of 3"):
        cut(build_codec("dense"), 3).decode(payload, SIZE)
    with pytest.raises(ValueError, match="fragment of 90 numbers, expected 89"):
        cut(build_codec("dense"), COUNT).decode(payload, SIZE - 1)
    with pytest.raises(ValueError, match="expected"):
        build_codec("dense").decode(payload, SIZE)
