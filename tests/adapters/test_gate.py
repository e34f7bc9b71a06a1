"""A validator's gate: what it takes, which number it gives, and how much may be undecided."""

from __future__ import annotations

import dataclasses

import pytest

from kumiai.adapters.committee import gate as gates
from kumiai.adapters.committee.gate import EVENT, UNDECIDED_MAX, Gate, encode_handed
from kumiai.base import events
from kumiai.base.errors import Reject
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.pool import WINDOW

SIGNER = KeySigner(derive_key(b"gate", "validator"))
COMMITTEE = Committee("gate", 1, (SIGNER.pubkey,), frozenset({SIGNER.pubkey}))
MEMBER = derive_key(b"gate", "member")


def say(text: str) -> events.Event:
    return events.sign_event(MEMBER, 8440, 1_767_225_600, {"text": text})


def take(gate: Gate, event: events.Event):
    return gate.take(encode_handed(event).removeprefix(EVENT))


def test_an_event_becomes_the_validators_own_request():
    event = say("a")
    request = take(Gate(COMMITTEE, SIGNER, -1), event)
    assert isinstance(request, m.Request)
    assert m.find_request_flaw(COMMITTEE, Schnorr(), request) == ""
    assert events.decode_event(request.operation.encode()) == event


def test_numbers_rise_and_leave_room_for_those_before_a_crash():
    gate = Gate(COMMITTEE, SIGNER, 100)
    numbers = [take(gate, say(str(i))).timestamp for i in range(3)]
    assert numbers == [101 + UNDECIDED_MAX + i for i in range(3)]
    before = {101 + i for i in range(UNDECIDED_MAX)}  # what may have been under way at the crash
    assert before.isdisjoint(numbers)
    assert min(before) > max(numbers) - WINDOW  # none of them is below the window for it


def test_an_event_that_is_under_way_is_not_asked_for_twice_but_a_decided_one_is():
    gate = Gate(COMMITTEE, SIGNER, -1)
    request = take(gate, say("a"))
    assert take(gate, say("a")) is None
    gate.note_executed([request])
    assert isinstance(take(gate, say("a")), m.Request)


def test_half_a_window_may_be_undecided():
    gate = Gate(COMMITTEE, SIGNER, -1)
    given = [take(gate, say(str(i))) for i in range(UNDECIDED_MAX)]
    refused = take(gate, say("one more"))
    assert isinstance(refused, Reject)
    assert f"{UNDECIDED_MAX} events" in refused.detail
    gate.note_executed(given[:1])
    assert isinstance(take(gate, say("one more")), m.Request)


def test_bytes_are_bounded_too(monkeypatch):
    monkeypatch.setattr(gates, "UNDECIDED_BYTES_MAX", 3_000)
    gate = Gate(COMMITTEE, SIGNER, -1)
    first = take(gate, say("a" * 2_000))
    assert isinstance(take(gate, say("b" * 2_000)), Reject)
    gate.note_executed([first])
    assert isinstance(take(gate, say("b" * 2_000)), m.Request)


def test_what_was_lost_below_the_window_makes_room():
    """A request that the pool refused is never executed; it must not hold its place for ever."""
    gate = Gate(COMMITTEE, SIGNER, -1)
    take(gate, say("lost"))
    later = m.sign_request(SIGNER, 2 * WINDOW, "")
    gate.note_executed([later])
    request = take(gate, say("lost"))
    assert isinstance(request, m.Request)
    assert request.timestamp == later.timestamp + 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff rubbish", ""),
        (b"{}", "exactly the fields"),
        (
            events.encode_event(dataclasses.replace(say("a"), content='{"text":"b"}')),
            "id does not match",
        ),
        (events.encode_event(dataclasses.replace(say("a"), sig="00" * 64)), "signature"),
    ],
)
def test_what_is_no_signed_event_is_refused(data, what):
    refused = Gate(COMMITTEE, SIGNER, -1).take(data)
    assert isinstance(refused, Reject)
    assert what in refused.detail


def test_a_validator_that_is_no_client_takes_no_events():
    committee = Committee("gate", 1, (SIGNER.pubkey,), frozenset())
    assert isinstance(take(Gate(committee, SIGNER, -1), say("a")), Reject)


def test_others_requests_do_not_count():
    gate = Gate(COMMITTEE, SIGNER, -1)
    request = take(gate, say("a"))
    other = m.sign_request(KeySigner(MEMBER), request.timestamp, request.operation)
    gate.note_executed([other])
    assert take(gate, say("a")) is None
