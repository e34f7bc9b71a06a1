"""Slow lines: bytes take their time, one after another, and nobody is faster than the limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.sim.ordering import bandwidth
from kumiai.adapters.sim.ordering.bandwidth import Haul, Line, Lines
from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.ordering.checks import ViolationError
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import KeySigner
from kumiai.consensus.pbft.replica import Settings

SLOW = Line(100, (1_000, 1_000), is_shared=True)  # 12,500 bytes a second


def test_a_message_takes_its_bytes_and_the_latency():
    assert Lines(SLOW, 0).send(0, 1, 12_500, now_us=7) == 7 + 1_000_000 + 1_000
    assert Line(1, (0, 0), True).compute_busy_us(1) == 8_000
    assert Line(3_000_000, (0, 0), True).compute_busy_us(1) == 1  # rounded up


def test_receivers_share_an_uplink_in_the_order_of_sending():
    lines = Lines(SLOW, 0)
    arrivals = [lines.send(0, receiver, 1_250, 0) for receiver in (1, 2, 1)]
    assert arrivals == [101_000, 201_000, 301_000]
    assert lines.send(1, 0, 1_250, 0) == 101_000  # another's uplink is free
    assert lines.send(0, 3, 1_250, 1_000_000) == 1_101_000  # and so is this one later


def test_each_receiver_may_have_its_line():
    lines = Lines(Line(100, (1_000, 1_000), is_shared=False), 0)
    assert [lines.send(0, to, 1_250, 0) for to in (1, 2, 1)] == [101_000, 101_000, 201_000]


def test_latencies_stay_within_their_bounds():
    lines = Lines(Line(10**9, (30_000, 300_000), False), 1)
    arrivals = [lines.send(0, to, 1, 0) - 1 for to in range(2, 200)]
    assert all(30_000 <= each <= 300_000 for each in arrivals)
    assert min(arrivals) < 60_000 < 270_000 < max(arrivals)


@pytest.mark.parametrize("values", [(0, (0, 0)), (1, (-1, 0)), (1, (2, 1))])
def test_a_line_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match="give"):
        Line(*values, True)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([4, 5, 7, 10]),
    st.integers(1, 150),
    st.sampled_from([1, 64, 600]),
    st.sampled_from([100, 1_000, 30_000, 10**8]),
    st.sampled_from([(0, 0), (1_000, 1_000), (3_000, 30_000)]),
    st.booleans(),
    st.integers(0, 3),
)
def test_the_limit_is_below_every_play(size, count, operation, rate, latency, is_shared, seed):
    line = Line(rate, latency, is_shared)
    hauled = Haul(size, count, operation, line, seed).play()
    assert hauled.least_us <= hauled.us and 0 < hauled.first_us <= hauled.us


def test_a_long_play_comes_close_to_its_limit():
    """So the limit is no idle one: nine tenths of the time go by for the requests' bytes."""
    for is_shared in (False, True):
        hauled = Haul(4, 1_000, 256, Line(1_000, (1_000, 1_000), is_shared)).play()
        assert hauled.least_us > 0.9 * hauled.us


def test_all_is_sent_as_bytes_of_the_wire(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        Lines, "send", lambda self, sender, to, size, now_us: sizes.append(size) or now_us + 1
    )
    haul = Haul(4, 3, 64, SLOW)
    hauled = haul.play()
    assert hauled.sent_bytes == sum(sizes) and hauled.message_count == len(sizes)
    for request in haul.requests:
        assert len(wire.encode(request)) in sizes


def test_cheap_signatures_are_as_long_as_real_ones():
    real = KeySigner(derive_key(b"bandwidth", "key")).sign(b"\x01" * 32)
    assert len(CheapScheme(0).make_signer("key").sign(b"\x01" * 32)) == len(real)


def test_more_requests_than_may_wait_are_held_back(monkeypatch):
    monkeypatch.setattr(bandwidth, "SENT_MAX", 30)
    hauled = Haul(4, 200, 16, Line(10_000, (1_000, 1_000), True)).play()
    assert hauled.us >= hauled.least_us and hauled.batches >= 200 // 30


def test_a_play_in_which_nothing_gets_done_ends():
    """Nobody's timer may stand in for a lost line: here the primary's patience is over at once."""
    hasty = Settings(timeout_ms=1, resend_ms=bandwidth.LAST_MS, heartbeat_ms=bandwidth.LAST_MS)
    with pytest.raises(ViolationError, match="executed everywhere"):
        Haul(4, 3, 4_000, Line(1, (1_000, 1_000), True), 0, hasty).play()
