"""NIP-59: what is wrapped is read by its receiver alone, and nobody speaks for another."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.keys import derive_key
from kumiai.market.nips import nip44, nip59
from kumiai.market.nips.drafts import Draft
from kumiai.market.nips.nip01 import encode_event, sign_text

AUTHOR, RECEIVER, STRANGER, ONCE = (derive_key(b"nip59", name) for name in "arso")
NOW = 1_800_000_000
NONCES = (bytes(32), bytes([1]) * 32)


def give(rumor, key=AUTHOR, kind=nip59.WRAP_KIND):
    sealed = nip59.seal(key, RECEIVER.pubkey, rumor, NOW - 10, NONCES[0])
    return nip59.wrap(ONCE, RECEIVER.pubkey, sealed, NOW - 20, NONCES[1], kind=kind)


def say(text="a key for your shard", pubkey=AUTHOR.pubkey):
    return nip59.make_rumor(pubkey, Draft(14, (("p", RECEIVER.pubkey),), text), NOW)


@given(st.text(max_size=500), st.sampled_from(nip59.WRAP_KINDS))
def test_the_receiver_reads_what_was_said_and_by_whom(text, kind):
    rumor = say(text)
    wrapped = give(rumor, kind=kind)
    assert nip59.open_gift(RECEIVER, wrapped) == rumor
    assert wrapped.pubkey == ONCE.pubkey
    assert AUTHOR.pubkey not in encode_event(wrapped).decode()


def test_nobody_else_opens_it():
    with pytest.raises(ValueError, match="somebody else"):
        nip59.open_gift(STRANGER, give(say()))
    tags = (("p", STRANGER.pubkey),)
    wrapped = give(say())
    again = sign_text(ONCE, wrapped.kind, wrapped.created_at, wrapped.content, tags)
    with pytest.raises(ValueError, match="MAC"):
        nip59.open_gift(STRANGER, again)


def forge(sealed_by, document):
    """A gift whose seal holds any document: what a member without our code could send."""
    text = json.dumps(document)
    content = nip44.encrypt(sealed_by, RECEIVER.pubkey, text, NONCES[0])
    sealed = sign_text(sealed_by, nip59.SEAL_KIND, NOW, content)
    return nip59.wrap(ONCE, RECEIVER.pubkey, sealed, NOW, NONCES[1])


def to_document(rumor):
    return {name: getattr(rumor, name) for name in nip59.Rumor.__slots__}


def test_words_of_another_under_the_own_seal_are_a_forgery():
    with pytest.raises(ValueError, match="a forgery"):
        nip59.open_gift(RECEIVER, forge(STRANGER, to_document(say())))
    with pytest.raises(ValueError, match="the rumor is of"):
        nip59.seal(STRANGER, RECEIVER.pubkey, say(), NOW, NONCES[0])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"id": "ab" * 32}, "id does not match"),
        ({"content": "other words"}, "id does not match"),
        ({"sig": "ab" * 64}, "signed"),
        ({"kind": "14"}, "kind"),
        ({"tags": [[1]]}, "tags"),
        ({"pubkey": None}, "pubkey"),
    ],
)
def test_rumors_that_do_not_fit_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        nip59.open_gift(RECEIVER, forge(AUTHOR, {**to_document(say()), **changes}))


@pytest.mark.parametrize("document", [[], "x", None, 1])
def test_what_is_no_rumor_at_all_is_refused(document):
    with pytest.raises(ValueError, match="JSON object"):
        nip59.open_gift(RECEIVER, forge(AUTHOR, document))


def test_every_envelope_is_checked():
    wrapped = give(say())
    with pytest.raises(ValueError, match="no gift wrap"):
        nip59.open_gift(RECEIVER, replace(wrapped, kind=1))
    with pytest.raises(ValueError, match="gift wrap: signature"):
        nip59.open_gift(RECEIVER, replace(wrapped, sig="00" * 64))
    sealed = nip59.seal(AUTHOR, RECEIVER.pubkey, say(), NOW, NONCES[0])
    for changed, match in (
        (replace(sealed, sig="00" * 64), "seal: signature"),
        (sign_text(AUTHOR, 1, NOW, sealed.content), "not a seal"),
        (sign_text(AUTHOR, 13, NOW, sealed.content, [("p", RECEIVER.pubkey)]), "not a seal"),
    ):
        with pytest.raises(ValueError, match=match):
            nip59.open_gift(RECEIVER, nip59.wrap(ONCE, RECEIVER.pubkey, changed, NOW, NONCES[1]))


def test_a_gift_wrap_is_not_signed_by_its_author_and_of_a_wrap_kind():
    sealed = nip59.seal(AUTHOR, RECEIVER.pubkey, say(), NOW, NONCES[0])
    with pytest.raises(ValueError, match="one-time"):
        nip59.wrap(AUTHOR, RECEIVER.pubkey, sealed, NOW, NONCES[1])
    with pytest.raises(ValueError, match="none of"):
        nip59.wrap(ONCE, RECEIVER.pubkey, sealed, NOW, NONCES[1], kind=1)


def test_an_expiration_stands_on_the_outside():
    sealed = nip59.seal(AUTHOR, RECEIVER.pubkey, say(), NOW, NONCES[0])
    tags = (("expiration", str(NOW + 60)),)
    wrapped = nip59.wrap(ONCE, RECEIVER.pubkey, sealed, NOW, NONCES[1], tags=tags)
    assert wrapped.tags[1:] == tags
    assert nip59.open_gift(RECEIVER, wrapped) == say()


def test_rumors_that_are_too_long_are_not_sealed():
    with pytest.raises(ValueError, match="more than"):
        nip59.seal(AUTHOR, RECEIVER.pubkey, say("x" * 50_000), NOW, NONCES[0])
