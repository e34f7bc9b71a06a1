"""Signed events: what passes is what the owner of the key signed, to the last byte."""

import hashlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.base import canonical, events, keys

KEY = keys.derive_key(b"seed", "events")
EVENT = events.sign_event(
    KEY,
    8401,
    1_700_000_000,
    {"round": 3, "text": 'quote " and \\ and 漢\n'},
    [["t", "ab"], ["e", "x", ""]],
)
# no control characters other than those NIP-01 escapes
TAG_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n\t\b\f\r"\\\x7f'),
    max_size=8,
)
TAGS = st.lists(st.lists(TAG_TEXT, max_size=4), max_size=4)
CONTENTS = st.dictionaries(
    st.text(st.characters(max_codepoint=127), max_size=6),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
    | st.integers(-(2**53) + 1, 2**53 - 1),
    max_size=4,
)


def nip01_string(text: str) -> str:
    """NIP-01: seven characters are escaped, all others stand as they are."""
    escapes = {
        "\n": "\\n",
        '"': '\\"',
        "\\": "\\\\",
        "\r": "\\r",
        "\t": "\\t",
        "\b": "\\b",
        "\f": "\\f",
    }
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


@given(CONTENTS, TAGS, st.integers(0, events.CREATED_AT_MAX), st.integers(0, events.KIND_MAX))
@settings(max_examples=60)
def test_id_is_the_hash_of_nip01s_array(content, tags, created_at, kind):
    event = events.sign_event(KEY, kind, created_at, content, tags)
    listed = ",".join("[" + ",".join(map(nip01_string, tag)) + "]" for tag in tags)
    array = f'[0,"{KEY.pubkey}",{created_at},{kind},[{listed}],{nip01_string(event.content)}]'
    assert event.id == hashlib.sha256(array.encode()).hexdigest()
    assert events.check_event(event) is None
    assert events.read_content(event) == content
    assert events.decode_event(events.encode_event(event)) == event


def test_signing_twice_gives_the_same_bytes():
    assert events.sign_event(KEY, 1, 2, {"a": 3}) == events.sign_event(KEY, 1, 2, {"a": 3})


OTHER = keys.derive_key(b"seed", "other")


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "0" * 64},
        {"id": EVENT.id.upper()},
        {"pubkey": OTHER.pubkey},
        {"pubkey": EVENT.pubkey.upper()},
        {"created_at": EVENT.created_at + 1},
        {"kind": EVENT.kind + 1},
        {"kind": -1},
        {"kind": events.KIND_MAX + 1},
        {"created_at": -1},
        {"created_at": events.CREATED_AT_MAX + 1},
        {"tags": ()},
        {"tags": (("t", "ab", "e"), ("x", ""))},
        {"tags": (*EVENT.tags, ())},
        {"tags": EVENT.tags[::-1]},
        {"content": EVENT.content + " "},
        {"content": "\ud800"},
        {"tags": (("\ud800",),)},
        {"sig": "0" * 128},
        {"sig": EVENT.sig.upper()},
        {"sig": EVENT.sig[:4] + " " + EVENT.sig[4:]},
        {"sig": ""},
        {"sig": events.sign_event(OTHER, 1, 1, {}).sig},
    ],
)
def test_a_changed_field_is_found(changed):
    assert events.check_event(replace(EVENT, **changed)) is not None


def test_an_identity_cannot_be_claimed_by_resigning():
    """The attacker signs the victim's event with his own key: id and key no longer fit."""
    forged_sig = keys.sign_digest(OTHER, bytes.fromhex(EVENT.id))
    assert events.check_event(replace(EVENT, sig=forged_sig)) == "signature does not match the key"


@given(st.data())
@settings(max_examples=300)
def test_a_changed_byte_is_found(data):
    raw = bytearray(events.encode_event(EVENT))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        event = events.decode_event(bytes(raw))
    except ValueError:
        return
    assert events.encode_event(event) == bytes(raw)
    assert events.check_event(event) is not None


def test_every_single_bit_is_found():
    """As above without luck: each bit of the signed bytes, and the case of each letter."""
    raw = events.encode_event(EVENT)
    for at in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            try:
                event = events.decode_event(bytes(changed))
            except ValueError:
                continue
            assert events.check_event(event) is not None, (at, bit)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_arbitrary_bytes_raise_nothing_but_value_error(data):
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do, any other error not
        events.decode_event(data)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=3)
    | st.sampled_from(["0" * 64]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.fixed_dictionaries({f.name: VALUES for f in fields(events.Event)}))
@settings(max_examples=200)
def test_fields_of_any_type_are_refused_or_read_back_and_checked(document):
    data = canonical.encode(document)
    try:
        event = events.decode_event(data)
    except ValueError:
        return
    assert events.encode_event(event) == data
    assert events.check_event(event) is not None


@pytest.mark.parametrize("field", [f.name for f in fields(events.Event)])
def test_fields_are_exactly_seven(field):
    document = json.loads(events.encode_event(EVENT))
    with pytest.raises(ValueError, match="exactly the fields"):
        events.decode_event(canonical.encode({**document, "extra": 1}))
    document.pop(field)
    with pytest.raises(ValueError, match="exactly the fields"):
        events.decode_event(canonical.encode(document))


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", True), ("created_at", False), ("kind", "1"), ("tags", {}), ("tags", ["a"]),
     ("tags", [[1]]), ("tags", [["a", None]]), ("content", {}), ("content", None), ("id", 5)],
)  # fmt: skip
def test_a_field_of_another_type_is_refused(field, value):
    document = json.loads(events.encode_event(EVENT))
    with pytest.raises(ValueError, match=field):
        events.decode_event(canonical.encode({**document, field: value}))


@pytest.mark.parametrize("character", ["a", "漢", '"', "\\", "\U0001f600"])
def test_the_largest_event_can_be_read_back(character):
    """Whatever can be signed can be stored: size is in bytes, and escapes at most double it."""
    overhead = len(canonical.encode({"a": ""}))
    count = (events.EVENT_SIZE_BYTES_MAX - overhead) // (len(canonical.encode(character)) - 2)
    event = events.sign_event(KEY, 1, 1, {"a": character * count})
    assert events.check_event(event) is None
    assert events.decode_event(events.encode_event(event)) == event
    with pytest.raises(ValueError, match="too big"):
        events.sign_event(KEY, 1, 1, {"a": character * (count + 1)})
    content = canonical.encode({"a": character * (count + 1)}).decode()
    assert "too big" in events.check_event(replace(event, content=content))


def test_tags_count_towards_the_size():
    many = [[""] * 65_536]
    for tags in ([["x" * events.EVENT_SIZE_BYTES_MAX]], [["x"]] * 65, many, [["漢" * 100_000]]):
        with pytest.raises(ValueError, match="too big"):
            events.sign_event(KEY, 1, 1, {}, tags)
        frozen = tuple(tuple(tag) for tag in tags)
        assert "too big" in events.check_event(replace(EVENT, tags=frozen))
    full = [["\\" * ((events.EVENT_SIZE_BYTES_MAX - 2) // 64 - 4)] for _ in range(64)]
    event = events.sign_event(KEY, 1, 1, {}, full)
    assert events.decode_event(events.encode_event(event)) == event


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x0b", "\x1f"])
def test_characters_that_nip01_and_json_write_differently_are_refused(character):
    with pytest.raises(ValueError, match="control character"):
        events.sign_event(KEY, 1, 1, {}, [["t", character]])
    assert events.check_event(replace(EVENT, content=character)) == "control character"
    # inside a document they travel as escapes of its own text
    assert events.check_event(events.sign_event(KEY, 1, 1, {"t": character})) is None


@pytest.mark.parametrize(("kind", "created_at"), [(-1, 0), (65_536, 0), (1, -1), (1, 2**41)])
def test_nothing_is_signed_that_would_be_refused(kind, created_at):
    with pytest.raises(ValueError, match="out of range"):
        events.sign_event(KEY, kind, created_at, {})


@pytest.mark.parametrize("content", [{"a": 1.5}, {"漢": 1}, {"a": 2**53}, {"a": "\ud800"}])
def test_only_canonical_content_is_signed(content):
    with pytest.raises(ValueError, match=r"canonical|not ASCII|exceeds|surrogates"):
        events.sign_event(KEY, 1, 1, content)


@pytest.mark.parametrize("content", ["", "hello", "[]", "1", '{"b":1,"a":1}', '{"a": 1}', "\ud800"])
def test_content_is_read_only_if_it_is_a_canonical_object(content):
    with pytest.raises(ValueError, match=r"Expecting|canonical|not a JSON object|surrogates"):
        events.read_content(replace(EVENT, content=content))
