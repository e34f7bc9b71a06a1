"""Blossom's documents: lists of servers, blob URIs, authorisations and their header."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.events import Event
from kumiai.base.keys import derive_key
from kumiai.market.nips import bud
from kumiai.market.nips.bud import BlobUri, Verb
from kumiai.market.nips.drafts import Draft, sign_draft
from kumiai.market.nips.nip01 import encode_event

KEY, OTHER = derive_key(b"bud", "a"), derive_key(b"bud", "b")
NOW = 1_800_000_000
HASH, HASH_2 = "ab" * 32, "b1674191a88ec5cdd733e4240a81803105dc412d6c6708d53ab94fc248f4f553"
AUTHOR = "ec4425ff5e9446080d2f70440188e3ca5d6da8713db7bdeef73d0ed54d9093f0"
SERVER = "http://127.0.0.1:24242"
SERVERS = st.sampled_from(
    ("https://cdn.example.com", SERVER, "http://[::1]:80/x", "https://b.c:8443")
).map(bud.normalise_server_url)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.lists(SERVERS, min_size=1, max_size=4, unique=True))
def test_server_lists_there_and_back(servers):
    event = sign_draft(KEY, bud.encode_servers(servers), NOW)
    assert bud.decode_servers(event) == tuple(servers)


def test_a_list_keeps_sixteen_servers_and_leaves_out_junk():
    tags = (("server", "ftp://a.b"), ("server",), ("server", "https://a.b/?x=1"))
    tags += tuple(("server", f"https://s{i}.example/") for i in range(99))
    event = Event("00" * 32, KEY.pubkey, NOW, bud.SERVERS_KIND, tags, "", "")
    assert bud.decode_servers(event) == tuple(f"https://s{i}.example" for i in range(16))
    with pytest.raises(ValueError, match="at least one"):
        bud.encode_servers(())


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        (f"blossom:{HASH_2}.pdf", BlobUri(HASH_2, "pdf")),
        (f"blossom:{HASH_2}.bin", BlobUri(HASH_2)),
        (
            f"blossom:{HASH_2}.pdf?xs=cdn.satellite.earth&as={AUTHOR}&xs=blossom.primal.net&sz=184292",
            BlobUri(
                HASH_2,
                "pdf",
                ("https://cdn.satellite.earth", "https://blossom.primal.net"),
                (AUTHOR,),
                184_292,
            ),
        ),
        (
            f"blossom:{HASH_2}.png?xs=https://cdn.satellite.earth&new=field",
            BlobUri(HASH_2, "png", ("https://cdn.satellite.earth",)),
        ),
        (f"blossom:{HASH}.bin?xs=http://127.0.0.1:24242", BlobUri(HASH, servers=(SERVER,))),
    ],
)
def test_uris_of_the_document(text, uri):
    assert bud.parse_uri(text) == uri
    assert bud.parse_uri(bud.encode_uri(uri)) == uri


@given(
    HASHES,
    st.lists(SERVERS, max_size=3).map(tuple),
    st.lists(HASHES, max_size=3).map(tuple),
    st.none() | st.integers(0, 2**53 - 1),
)
def test_uris_there_and_back(sha256, servers, authors, size_bytes):
    uri = BlobUri(sha256, "safetensors", servers, authors, size_bytes)
    assert bud.parse_uri(bud.encode_uri(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"blob:{HASH}.bin",
        f"blossom:{HASH}",
        f"blossom:{HASH.upper()}.bin",
        f"blossom:{HASH[:-1]}.bin",
        f"blossom:{HASH}.tar.gz",
        f"blossom:{HASH}.../../etc",
        f"blossom:{HASH}.bin?sz=-1",
        f"blossom:{HASH}.bin?sz=1&sz=2",
        f"blossom:{HASH}.bin?as=npub",
        f"blossom:{HASH}.bin?xs=file:///etc/passwd",
        f"blossom:{HASH}.bin?xs=user:secret@host",
        f"blossom:{HASH}.bin?xs=",
        f"blossom:{HASH}.bin?" + "xs=a.b&" * 17,
        f"blossom:{HASH}.bin?" + "x" * 9_000,
    ],
)
def test_what_is_no_blob_uri(text):
    with pytest.raises(ValueError, match=r"."):
        bud.parse_uri(text)


def allow(verb=Verb.UPLOAD, hashes=(HASH,), servers=(SERVER,), at=NOW, until=NOW + 60):
    return sign_draft(KEY, bud.make_auth(verb, until, "Upload a shard", hashes, servers), at)


@pytest.mark.parametrize("verb", Verb)
def test_every_verb_is_allowed_as_signed(verb):
    event = bud.decode_header(bud.encode_header(allow(verb)))
    assert bud.check_auth(event, verb, NOW, SERVER, HASH, needs_scope=True) is None
    assert event.pubkey == KEY.pubkey
    for other in set(Verb) - {verb}:
        assert other.value in bud.check_auth(event, other, NOW, SERVER, HASH)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (allow(until=NOW), "expired"),
        (allow(at=NOW + 61, until=NOW + 99), "future"),
        (allow(hashes=(HASH_2,)), "another blob"),
        (allow(servers=("http://127.0.0.1:24243",)), "another server"),
        (allow(servers=("https://other.example",)), "another server"),
        (allow(servers=()), "replayed"),
        (replace(allow(), sig="00" * 64), "signature"),
        (replace(allow(), pubkey=OTHER.pubkey), "id does not match"),
        (replace(allow(), kind=27_235), "kind"),
        (sign_draft(KEY, Draft(24_242, (("t", "upload"), ("x", HASH))), NOW), "expiration"),
        (
            sign_draft(KEY, Draft(24_242, (("t", "upload"), ("expiration", str(NOW + 9)))), NOW),
            "names its blobs",
        ),
        (
            sign_draft(KEY, Draft(24_242, (("t", "upload"), ("expiration", "never"))), NOW),
            "no number",
        ),
        (
            sign_draft(
                KEY,
                Draft(
                    24_242,
                    (("t", "get"), ("t", "upload"), ("expiration", str(NOW + 9)), ("x", HASH)),
                ),
                NOW,
            ),
            "not an authorisation",
        ),
    ],
)
def test_what_does_not_allow_an_upload(event, word):
    assert word in bud.check_auth(event, Verb.UPLOAD, NOW, SERVER, HASH, needs_scope=True)


def test_without_hashes_a_get_is_for_any_blob_but_an_upload_is_not_made():
    event = allow(Verb.GET, hashes=())
    assert bud.check_auth(event, Verb.GET, NOW, SERVER, HASH) is None
    for verb in (Verb.UPLOAD, Verb.DELETE, Verb.MEDIA):
        with pytest.raises(ValueError, match="names its blobs"):
            allow(verb, hashes=())


def test_scopes_are_hosts_in_lower_case():
    draft = bud.make_auth(Verb.LIST, NOW + 9, "List", servers=("https://CDN.Example/",))
    assert ("server", "cdn.example") in draft.tags
    shouted = tuple(("server", "CDN.example") if x[0] == "server" else x for x in draft.tags)
    event = sign_draft(KEY, replace(draft, tags=shouted), NOW)
    assert bud.check_auth(event, Verb.LIST, NOW, "https://cdn.example") is None


def test_headers_in_older_base64_are_read():
    event = allow()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for text in (encode(encode_event(event)).decode(),):
            assert bud.decode_header(f"nostr {text}") == event
            assert bud.decode_header(f"Nostr {text.rstrip('=')}") == event
    assert "=" not in bud.encode_header(event)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda x: base64.b64encode(x).decode()))
def test_garbage_headers_are_a_value_error(text):
    for header in (text, f"Nostr {text}", "Nostr " + "A" * 20_000):
        with pytest.raises(ValueError, match=r"."):
            bud.decode_header(header)
