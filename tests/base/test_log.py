"""The chain of heads: one head stands for every record before it."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base import events, keys, log

KEY = keys.derive_key(b"seed", "log")
EVENTS = [events.sign_event(KEY, 8400, 5, {"n": n}) for n in range(4)]


def chain(times: list[int], signed: list[events.Event]) -> list[log.Record]:
    records: list[log.Record] = []
    for time_ms, event in zip(times, signed, strict=True):
        records.append(log.append_record(records[-1] if records else None, time_ms, event))
    return records


def test_heads_follow_the_formula():
    first, second = chain([7, 7], EVENTS[:2])
    genesis = hashlib.sha256(b"kumiai log v1").hexdigest()
    assert genesis == log.GENESIS_HEAD
    text = f"{genesis}|1|7|{EVENTS[0].id}"
    assert first.head == hashlib.sha256(text.encode()).hexdigest()
    text = f"{first.head}|2|7|{EVENTS[1].id}"
    assert second.head == hashlib.sha256(text.encode()).hexdigest()
    assert (first.height, second.height) == (1, 2)


def test_time_may_stand_still_but_not_run_backwards():
    last = chain([5], EVENTS[:1])[0]
    assert log.append_record(last, 5, EVENTS[1]).time_ms == 5
    with pytest.raises(ValueError, match="time 4 is before 5"):
        log.append_record(last, 4, EVENTS[1])


@given(st.permutations(range(4)), st.lists(st.integers(0, 50), min_size=4, max_size=4).map(sorted))
def test_another_order_or_time_is_another_head(order, times):
    plain = chain([0, 10, 20, 30], EVENTS)
    other = chain(times, [EVENTS[i] for i in order])
    is_same = list(order) == [0, 1, 2, 3] and times == [0, 10, 20, 30]
    assert (plain[-1].head == other[-1].head) == is_same


def test_a_head_holds_height_time_and_event():
    record = chain([1, 2], EVENTS[:2])[1]
    previous = chain([1], EVENTS[:1])[0].head
    assert log.compute_head(previous, 2, 2, record.event.id) == record.head
    for changed in (replace(record, height=3), replace(record, time_ms=3)):
        head = log.compute_head(previous, changed.height, changed.time_ms, changed.event.id)
        assert head != record.head
    assert log.compute_head(previous, 2, 2, EVENTS[2].id) != record.head
