"""One document, one encoding: RFC 8785 without floats, and a door that refuses all else."""

import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base import canonical

CAP = 1 << 20
ASCII_TEXT = st.text(st.characters(max_codepoint=127), max_size=12)
# control characters, quotes, backslashes, DEL, line separators, astral characters; no surrogates
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-canonical.INTEGER_MAX, canonical.INTEGER_MAX)
    | ANY_TEXT
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ASCII_TEXT, inner, max_size=5),
    max_leaves=25,
)


@given(DOCUMENTS)
@settings(max_examples=200)
def test_encode_equals_rfc8785(document):
    assert canonical.encode(document) == rfc8785.dumps(document)
    assert canonical.encode_checked(document) == rfc8785.dumps(document)


@given(DOCUMENTS)
def test_decode_inverts_encode(document):
    assert canonical.decode(canonical.encode(document), CAP) == document


@pytest.mark.parametrize("code", [*range(0x20), 0x22, 0x5C, 0x7F, 0x2028, 0xFEFF, 0x1F600])
def test_every_escape_is_rfc8785s(code):
    document = {"text": chr(code)}
    data = canonical.encode(document)
    assert data == rfc8785.dumps(document)
    assert canonical.decode(data, CAP) == document


@pytest.mark.parametrize("key", ["é", "漢", "\U0001f600", "\ue000"])
def test_keys_are_ascii_because_their_order_differs_beyond(key):
    with pytest.raises(ValueError, match="not ASCII"):
        canonical.encode_checked({key: 1})
    with pytest.raises(ValueError, match="not ASCII"):
        canonical.decode(rfc8785.dumps({key: 1}), CAP)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"1.0", "not an integer"),
        (b"1e3", "not an integer"),
        (b'{"a":NaN}', "not an integer"),
        (b"-Infinity", "not an integer"),
        (b'{"a":1,"a":1}', "canonical"),
        (b'{"a":1,"a":2}', "canonical"),
        (b'{"b":1,"a":2}', "canonical"),
        (b'{"a": 1}', "canonical"),
        (b'{"a":1}\n', "canonical"),
        (b' {"a":1}', "canonical"),
        (b"-0", "canonical"),
        (b'"\\u0041"', "canonical"),
        (b'"\\/"', "canonical"),
        (b'"\\u001F"', "canonical"),
        (b'"\x7f\\u007f"', "canonical"),
        (b'"\\ud800"', "surrogates"),
        (b'{"\\ud800":1}', "not ASCII"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\xff"', "UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "Expecting value"),
        ('{"a":1}'.encode("utf-16"), "UTF-8"),
        ('{"a":1}'.encode("utf-32-le"), "Expecting property"),
        (b"9007199254740992", "2\\*\\*53"),
        (b"-9007199254740992", "2\\*\\*53"),
        (b"1" * 5000, "digits"),
        (b"[" * 34 + b"]" * 34, "deeper"),
        (b"[" * 33 + b"1" + b"]" * 33, "deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b"", "Expecting value"),
        (b"{", "Expecting property"),
        (b'{"a":1}{"a":1}', "Extra data"),
        (b'"\x01"', "control character"),
        (b"{'a':1}", "Expecting property"),
    ],
)
def test_decode_refuses_what_is_not_canonical(data, match):
    with pytest.raises(ValueError, match=match):
        canonical.decode(data, CAP)


def test_the_largest_values_that_are_taken():
    for data in (b"9007199254740991", b"-9007199254740991", b"[" * 33 + b"]" * 33):
        assert canonical.encode_checked(canonical.decode(data, CAP)) == data


def test_decode_refuses_more_bytes_than_allowed_before_parsing():
    assert canonical.decode(b'"12345678"', 10) == "12345678"
    with pytest.raises(ValueError, match="11 bytes, more than the 10 allowed"):
        canonical.decode(b'"123456789"', 10)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_nothing_but_value_error(data):
    try:
        document = canonical.decode(data, CAP)
    except ValueError:
        return
    assert canonical.encode(document) == data


@given(DOCUMENTS, st.data())
def test_a_changed_byte_is_another_document_or_none(document, data):
    """Injective: what decodes has exactly the bytes it was decoded from."""
    changed = bytearray(canonical.encode(document))
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        other = canonical.decode(bytes(changed), CAP)
    except ValueError:
        return
    assert canonical.encode(other) == bytes(changed)
    assert json.dumps(other) != json.dumps(document)


@pytest.mark.parametrize("value", [1.5, float("nan"), b"x", {1: 2}, {"a": {3}}, object(), 2**53])
def test_encode_checked_refuses_what_has_no_canonical_form(value):
    with pytest.raises(ValueError, match=r"canonical form|not ASCII|exceeds"):
        canonical.encode_checked({"value": value} if not isinstance(value, dict) else value)


def test_is_hash_takes_only_what_sha256_hex_gives():
    name = canonical.sha256_hex(b"")
    assert name == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert canonical.is_hash(name)
    for bad in (
        name.upper(),
        name[:-1],
        name + "0",
        name[:-1] + "g",
        " " + name[1:],
        None,
        5,
        b"0" * 64,
    ):
        assert not canonical.is_hash(bad)
    assert canonical.hash_document({"b": 1, "a": 2}) == canonical.sha256_hex(b'{"a":2,"b":1}')
