"""NIP-01: shapes and sizes of events, filters, tags; truth of signatures is in test_agreement."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.keys import derive_key
from kumiai.market.nips import nip01

KEY = derive_key(b"nip01", "a")
EVENT = nip01.sign_text(KEY, 1, 5, "words", [("t", "a"), ("t", "b", "c"), ("e",), ()])


def test_events_there_and_back_with_fields_that_nobody_knows():
    document = {**nip01.to_mapping(EVENT), "seen_on": ["wss://a.b"]}
    assert nip01.decode_event(json.dumps(document)) == EVENT
    assert nip01.decode_event(nip01.encode_event(EVENT)) == EVENT


@pytest.mark.parametrize("name", nip01.to_mapping(EVENT))
@pytest.mark.parametrize("value", [None, True, 1.5, {}, [1], [["a", 1]], "AB" * 32])
def test_fields_of_another_type_are_refused(name, value):
    document = {**nip01.to_mapping(EVENT), name: value}
    if name in {"content", "sig"} and isinstance(value, str):
        return  # any text is content; a signature is checked, not parsed
    with pytest.raises(ValueError, match="field"):
        nip01.decode_event(json.dumps(document))


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 50_000, b"null"])
def test_what_is_no_event(data):
    with pytest.raises(ValueError, match=r"."):
        nip01.decode_event(data)


def test_sizes_are_capped_before_parsing():
    data = b'{"content":"' + b"x" * nip01.EVENT_BYTES_MAX
    with pytest.raises(ValueError, match="more than"):
        nip01.decode_event(data)
    with pytest.raises(ValueError, match="more than"):
        nip01.sign_text(KEY, 1, 5, "x" * nip01.EVENT_BYTES_MAX)


@pytest.mark.parametrize(
    ("wanted", "is_match"),
    [
        (nip01.Filter(), True),
        (nip01.Filter(tags={"t": ("b", "z")}), True),
        (nip01.Filter(tags={"t": ("c",)}), False),  # only the first value counts
        (nip01.Filter(tags={"t": ("a",), "e": ("x",)}), False),
        (nip01.Filter(kinds=(2,)), False),
        (nip01.Filter(authors=("00" * 32,)), False),
        (nip01.Filter(ids=(EVENT.id,), since=5, until=5), True),
        (nip01.Filter(since=6), False),
        (nip01.Filter(until=4), False),
    ],
)
def test_filters(wanted, is_match):
    assert wanted.has(EVENT) == is_match
    assert nip01.has_any((nip01.Filter(kinds=(9,)), wanted), EVENT) == is_match


def test_a_tag_that_is_given_twice_has_no_value():
    assert nip01.get_values(EVENT.tags, "t") == ["a", "b"]
    assert nip01.get_value(EVENT.tags, "e") is None
    with pytest.raises(ValueError, match="2 tags"):
        nip01.get_value(EVENT.tags, "t")


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_garbage_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        nip01.decode_event(data)
