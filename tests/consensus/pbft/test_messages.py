"""Signatures cover every field; bytes are read only as they were written."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base import canonical
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.proofs import BEGINNING

DIGEST, OTHER = "ab" * 32, "cd" * 32
SIGNERS = [KeySigner(derive_key(b"messages", str(i))) for i in range(4)]
CLIENT = KeySigner(derive_key(b"messages", "client"))
COMMITTEE = Committee("run", 1, tuple(s.pubkey for s in SIGNERS), frozenset({CLIENT.pubkey}))
PREPARED = m.PreparedProof(1, 2, DIGEST, "0a", ((0, "0b"), (2, "0c")))
CHANGE = m.Signed(m.ViewChange(2, BEGINNING, (PREPARED,)), 1, "0d")
BODIES = [
    m.PrePrepare(1, 2, DIGEST),
    m.Prepare(1, 2, DIGEST),
    m.Commit(1, 2, DIGEST),
    m.Checkpoint(2, DIGEST),
    CHANGE.body,
    m.NewView(2, (CHANGE,), ("0e",)),
    m.Status(1, False, 2),
    m.Fetch(2, DIGEST),
]
REQUEST = m.sign_request(CLIENT, 7, "do it")
MESSAGES = [
    REQUEST,
    m.Proposal(m.Signed(BODIES[0], 1, "0f"), m.Batch((REQUEST,), 5)),
    m.Decided(m.Batch((REQUEST,), 5), m.CommitProof(1, 2, DIGEST, ((0, "0a"),))),
    m.Found(2, m.Batch((REQUEST, REQUEST))),
    *(m.Signed(body, 3, "ff" * 64) for body in BODIES),
]
ANOTHER = {int: 5, str: OTHER, bool: True, tuple: (), m.StableProof: m.StableProof(4, DIGEST, ())}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.type)
def test_a_signature_covers_every_field(body):
    """The reference code signed the digest only: a prepare served as commit, in any view."""
    signed = m.sign(COMMITTEE, SIGNERS[0], 0, body)
    assert m.is_signed(COMMITTEE, Schnorr(), signed)
    for field in dataclasses.fields(body):
        value = getattr(body, field.name)
        changed = dataclasses.replace(body, **{field.name: ANOTHER[type(value)]})
        assert not m.is_signed(COMMITTEE, Schnorr(), m.Signed(changed, 0, signed.signature))
    assert not m.is_signed(COMMITTEE, Schnorr(), m.Signed(body, 1, signed.signature))
    assert not m.is_signed(COMMITTEE, Schnorr(), m.Signed(body, 4, signed.signature))


def test_a_vote_counts_as_no_other_type_and_in_no_other_committee():
    for kind in (m.PrePrepare, m.Prepare, m.Commit):
        signed = m.sign(COMMITTEE, SIGNERS[0], 0, kind(1, 2, DIGEST))
        for other in {m.PrePrepare, m.Prepare, m.Commit} - {kind}:
            taken = m.Signed(other(1, 2, DIGEST), 0, signed.signature)
            assert not m.is_signed(COMMITTEE, Schnorr(), taken)
        for change in ({"cluster": "other run"}, {"epoch": 2}):
            elsewhere = dataclasses.replace(COMMITTEE, **change)
            assert not m.is_signed(elsewhere, Schnorr(), signed)


def test_requests_are_their_clients():
    assert m.find_request_flaw(COMMITTEE, Schnorr(), REQUEST) == ""
    later = dataclasses.replace(REQUEST, timestamp=8)
    assert "did not sign" in m.find_request_flaw(COMMITTEE, Schnorr(), later)
    stranger = m.sign_request(SIGNERS[0], 7, "do it")
    assert "not known" in m.find_request_flaw(COMMITTEE, Schnorr(), stranger)
    large = m.sign_request(CLIENT, 7, "x" * (m.OPERATION_BYTES_MAX + 1))
    assert "above" in m.find_request_flaw(COMMITTEE, Schnorr(), large)


def test_a_batch_has_a_bound_and_nothing_twice():
    def find(requests):
        return m.find_batch_flaw(COMMITTEE, Schnorr(), m.Batch(requests, 9), {})

    assert find((REQUEST,)) == ""
    assert find(()) == ""
    assert "twice" in find((REQUEST, REQUEST))
    assert "above 128" in find((REQUEST,) * 129)
    large = tuple(m.Request(CLIENT.pubkey, i, "x" * 400_000, "") for i in range(3))
    assert "bytes" in find(large)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_bytes_give_the_message_back(message):
    assert wire.decode(wire.encode(message)) == message


@given(st.sampled_from(MESSAGES), st.data())
def test_changed_bytes_are_refused_or_another_message(message, data):
    raw = bytearray(wire.encode(message))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        found = wire.decode(bytes(raw))
    except ValueError:
        return
    assert found != message
    assert wire.encode(found) == bytes(raw)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)
NAMES = st.sampled_from(["request", "proposal", "decided", "found", "signed", "new-view", "x"])


@given(
    st.binary(max_size=50)
    | st.builds(lambda n, t: canonical.encode([n, *t]), NAMES, st.lists(TREES))
)
def test_whatever_comes_is_read_or_refused(data):
    try:
        message = wire.decode(data)
    except ValueError:
        return
    assert wire.encode(message) == data


def test_what_is_too_big_is_not_parsed():
    with pytest.raises(ValueError, match="bytes, more than"):
        wire.decode(b"[" * (wire.MESSAGE_BYTES_MAX + 1))
    with pytest.raises(ValueError, match="nested"):
        wire.decode(b"[" * 100_000)
    proposal = m.Proposal(m.Signed(BODIES[0], 0, ""), m.Batch((REQUEST,) * (m.BATCH_COUNT_MAX + 1)))
    with pytest.raises(ValueError, match="array of 0 to 128"):
        wire.decode(wire.encode(proposal))


def test_a_new_view_in_a_new_view_is_refused():
    inner = m.Signed(m.NewView(2, (), ()), 1, "")
    outer = m.Signed(m.NewView(2, (inner,), ()), 1, "")
    with pytest.raises(ValueError, match="no view change"):
        wire.decode(wire.encode(outer))


@pytest.mark.parametrize("size", [0, 65])
def test_committees_have_a_size(size):
    with pytest.raises(ValueError, match="a committee has 1 to 64"):
        Committee("run", 1, tuple(f"{i:064x}" for i in range(size)), frozenset())
    with pytest.raises(ValueError, match="twice"):
        Committee("run", 1, ("a", "a"), frozenset())
