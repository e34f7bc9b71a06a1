"""Frames of a relay: any text gives a frame or ValueError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.nostr.trade import JOB, make_event

from kumiai.adapters.nostr import frames
from kumiai.adapters.nostr.events import read_wanted
from kumiai.adapters.nostr.frames import Frame, read_frame
from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import Filter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda it: st.lists(it, max_size=4) | st.dictionaries(st.text(max_size=8), it, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["EVENT", "OK", "EOSE", "CLOSED", "NOTICE", "AUTH", "NEG-MSG"])


@given(st.one_of(st.text(), st.binary(), st.tuples(NAMES, JSON, JSON, JSON).map(json.dumps)))
def test_anything_is_a_frame_or_a_value_error(data) -> None:
    try:
        frame = read_frame(data)
    except ValueError:
        return
    assert isinstance(frame.subject, str)
    assert len(frame.reason) <= frames.REASON_CHARS_MAX


@given(st.dictionaries(st.sampled_from([*nip01._FIELD_TYPES, "x"]), JSON))
def test_any_object_is_an_event_or_a_value_error(document) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_wanted(document, [Filter()])


def test_frames_that_relays_send() -> None:
    event = make_event("hello")
    text = nip01.encode_event(event).decode()
    assert read_frame(f'["EVENT","s1",{text}]').event == json.loads(text)
    assert read_frame('["OK","ab",true,""]') == Frame("OK", "ab", is_accepted=True)
    assert read_frame('["OK","ab",false,"pow: 20 bits"]').reason == "pow: 20 bits"
    assert read_frame('["EOSE","s1"]') == Frame("EOSE", "s1")
    assert read_frame('["CLOSED","s1","error: x"]') == Frame("CLOSED", "s1", reason="error: x")
    assert read_frame('["NOTICE","hello"]') == Frame("NOTICE", "", reason="hello")
    assert read_frame('["AUTH","abc"]') == Frame("AUTH", "abc")
    assert read_wanted(json.loads(text), [Filter(kinds=(JOB,))]) == event


def test_what_is_too_big_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="characters"):
        read_frame('["EVENT","s1",{"content":"' + "x" * 70_000 + '"}]')
    with pytest.raises(ValueError, match="characters"):
        read_frame(json.dumps(["EOSE", "s" * 600]))
    with pytest.raises(ValueError, match="subscription id"):
        frames.encode_request("s" * 65, [Filter()])
