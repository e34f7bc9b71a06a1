"""NIP-09, 13, 40, 42, 57, 65, 89, 94, heartbeats, addresses: there and back, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.events import Event, compute_id
from kumiai.base.keys import derive_key
from kumiai.market.nips import (
    heartbeat,
    nip09,
    nip13,
    nip40,
    nip42,
    nip57,
    nip65,
    nip89,
    nip94,
    urls,
)
from kumiai.market.nips.drafts import Draft, get_tag, has_tag, read_number, sign_draft
from kumiai.market.nips.nip01 import encode_event

AUTHOR, OTHER, PROVIDER = (derive_key(b"small", name) for name in "aop")
NOW = 1_800_000_000
HASH = "ab" * 32
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)


def tell(kind, tags=(), content=""):
    return Event("00" * 32, AUTHOR.pubkey, NOW, kind, tuple(map(tuple, tags)), content, "")


def show(draft, key=AUTHOR, at=NOW):
    return sign_draft(key, draft, at)


# NIP-09


@given(st.lists(HASHES, min_size=1, max_size=4), st.lists(st.integers(0, 65_535), max_size=3))
def test_deletions_there_and_back(ids, kinds):
    address = f"31990:{HASH}:a:b"
    deletion = nip09.Deletion(tuple(ids), tuple(kinds), (address,), "changed my mind")
    assert nip09.decode_deletion(show(nip09.encode_deletion(deletion))) == deletion


def test_only_the_author_withdraws():
    job = show(Draft(5_600))
    deletion = nip09.encode_deletion(nip09.Deletion((job.id,), (5_600,)))
    assert nip09.has_withdrawn(show(deletion), job)
    assert not nip09.has_withdrawn(show(deletion, OTHER), job)
    assert not nip09.has_withdrawn(show(deletion), show(Draft(5_601)))
    assert not nip09.has_withdrawn(show(replace(deletion, kind=1)), job)
    assert not nip09.has_withdrawn(show(Draft(5, (("e", "00" * 32),))), job)


def test_a_receiver_withdraws_its_gift_wraps():
    gift = show(Draft(1_059, (("p", OTHER.pubkey),)))
    deletion = nip09.encode_deletion(nip09.Deletion((gift.id,), (1_059,)))
    assert nip09.has_withdrawn(show(deletion, OTHER), gift)
    assert not nip09.has_withdrawn(show(deletion, PROVIDER), gift)


def test_an_address_covers_what_was_there_before():
    offer = show(Draft(31_990, (("d", "gpu"),)))
    named = nip09.Deletion(addresses=(f"31990:{AUTHOR.pubkey}:gpu",))
    assert nip09.has_withdrawn(show(nip09.encode_deletion(named)), offer)
    assert not nip09.has_withdrawn(show(nip09.encode_deletion(named), at=NOW - 1), offer)
    assert not nip09.has_withdrawn(show(nip09.encode_deletion(named), OTHER), offer)


@pytest.mark.parametrize(
    "tags", [(), (("e", "x"),), (("a", "1:2:3"),), (("e", HASH), ("k", "70000"))]
)
def test_deletions_that_name_nothing_are_refused(tags):
    with pytest.raises(ValueError, match=r"names|hex|kind|number"):
        nip09.decode_deletion(tell(5, tags))


# NIP-13


@given(st.integers(0, 255), st.integers(0, 2**256 - 1))
def test_zero_bits_against_the_slow_count(bits, number):
    digits = f"{(1 << 255 | number) >> bits:064x}"
    binary = f"{int(digits, 16):0256b}"
    assert nip13.count_zero_bits(digits) == len(binary) - len(binary.lstrip("0"))


def test_zero_bits_of_the_documents_examples():
    first = "000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d"
    second = "000006d8c378af1779d2feebc7603a125d99eca0ccf1085959b307f64e5dd358"
    assert nip13.count_zero_bits(first) == 36
    assert nip13.count_zero_bits(second) == 21
    assert nip13.count_zero_bits("00" * 32) == 256


def test_the_documents_mined_event_counts_as_it_committed():
    pubkey = "a48380f4cfcc1ad5378294fcac36439770f9c878dd880ffa94bb74ea54a6f243"
    tags, content = (("nonce", "776797", "20"),), "It's just me mining my own business"
    event_id = compute_id(pubkey, 1_651_794_653, 1, tags, content)
    event = Event(event_id, pubkey, 1_651_794_653, 1, tags, content, "")
    assert event_id.startswith("000006d8c378af17")
    assert nip13.get_work(event) == 20  # though the id has 21
    assert nip13.check_work(event, 20) is None
    assert nip13.check_work(event, 21).startswith("pow:")


@pytest.mark.parametrize(
    "tags",
    [
        (),
        (("nonce", "1"),),
        (("nonce", "1", "x"),),
        (("nonce", "1", "300"),),
        (("nonce", "1", "24"),),
        (("nonce", "1", "8"), ("nonce", "1", "8")),
    ],
)
def test_work_without_a_commitment_that_is_kept_is_none(tags):
    event = replace(tell(1, tags), id="0000ff" + "00" * 29)
    assert nip13.get_work(event) == 0


def test_mining_finds_the_first_nonce_and_gives_up():
    draft = Draft(5_600, (("t", "x"), ("nonce", "5", "9")), "job")
    mined = nip13.mine(draft, AUTHOR.pubkey, NOW, 8, 5_000)
    event = show(mined)
    assert nip13.get_work(event) == 8
    assert mined == nip13.mine(draft, AUTHOR.pubkey, NOW, 8, 5_000)
    assert [tag[0] for tag in mined.tags] == ["t", "nonce"]
    assert nip13.mine(draft, AUTHOR.pubkey, NOW, 60, 3) is None


# NIP-40


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_expiration(at_s, now_s):
    tags = (nip40.make_expiration(at_s),)
    assert nip40.get_expiration(tags) == at_s
    assert nip40.is_expired(tags, now_s) == (now_s >= at_s)
    assert not nip40.is_expired((), now_s)


@pytest.mark.parametrize("text", ["", "-1", "1e9", " 1", "9" * 13, "9" * 99_999, "+1", "0x1"])
def test_expirations_that_are_no_time(text):
    with pytest.raises(ValueError, match="no number"):
        nip40.get_expiration((("expiration", text),))


# NIP-42


def auth(challenge="abc", relay="wss://Relay.Example:443/", at=NOW, key=AUTHOR):
    return show(nip42.make_auth(challenge, relay), key, at)


def test_a_relay_knows_its_client():
    assert nip42.check_auth(auth(), "abc", "wss://relay.example", NOW) is None
    assert nip42.check_auth(auth(at=NOW - 600), "abc", "wss://relay.example", NOW) is None


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (auth("abd"), "challenge"),
        (auth(relay="wss://other.example"), "other.example"),
        (auth(relay="ws://relay.example"), "ws://"),
        (auth(at=NOW - 601), "from now"),
        (auth(at=NOW + 601), "from now"),
        (replace(auth(), kind=1), "kind"),
        (replace(auth(), sig="00" * 64), "signature"),
        (replace(auth(), pubkey=OTHER.pubkey), "id"),
        (tell(nip42.KIND), "challenge"),
        (tell(nip42.KIND, (("challenge", "abc"), ("challenge", "abc"))), "challenge"),
        (tell(nip42.KIND, (("challenge", "abc"), ("relay", "x"))), "relay"),
    ],
)
def test_what_does_not_answer_the_challenge(event, word):
    assert word in nip42.check_auth(event, "abc", "wss://relay.example", NOW)


def test_an_empty_challenge_is_never_answered():
    assert nip42.check_auth(auth(), "", "wss://relay.example", NOW)
    with pytest.raises(ValueError, match="empty"):
        nip42.make_auth("", "wss://relay.example")


# NIP-57


def receipt(key=PROVIDER, request_key=AUTHOR, recipient=OTHER.pubkey, **changes):
    tags = [("p", OTHER.pubkey), ("e", HASH), ("amount", "21000"), ("relays", "wss://a.b")]
    request = sign_draft(request_key, Draft(9_734, tuple(tags)), NOW)
    text = json.dumps({**json.loads(encode_event(request)), **changes})
    outer = [("p", recipient), ("e", HASH), ("bolt11", "lnbc1"), ("description", text)]
    return sign_draft(key, Draft(9_735, tuple(outer)), NOW)


def test_a_receipt_is_read_as_a_claim():
    claim = nip57.read_claim(receipt(), PROVIDER.pubkey)
    assert (claim.claimed_by, claim.sender) == (PROVIDER.pubkey, AUTHOR.pubkey)
    assert (claim.recipient, claim.amount_msat, claim.event_id) == (OTHER.pubkey, 21_000, HASH)


@pytest.mark.parametrize(
    ("event", "match"),
    [
        (receipt(key=OTHER), "provider"),  # a customer's own "proof" that it paid
        (receipt(recipient=AUTHOR.pubkey), "another recipient"),
        (receipt(content="x"), "id does not match"),
        (receipt(kind=1), "id does not match"),
        (receipt(sig="00" * 64), "signature"),
        (tell(9_734), "not a zap receipt"),
    ],
)
def test_receipts_that_are_not_even_claims(event, match):
    with pytest.raises(ValueError, match=match):
        nip57.read_claim(event, PROVIDER.pubkey)


# NIP-65


@given(
    st.sets(st.sampled_from([f"wss://r{i}.example" for i in range(4)])),
    st.sets(st.sampled_from([f"wss://r{i}.example" for i in range(4)])),
)
def test_relay_lists_there_and_back(read, write):
    relays = nip65.RelayList(tuple(sorted(read)), tuple(sorted(write)))
    found = nip65.decode_relay_list(show(nip65.encode_relay_list(relays)))
    assert (set(found.read), set(found.write)) == (read, write)


def test_at_most_eight_relays_are_kept_and_junk_is_left_out():
    tags = [("r",), ("r", "https://a.b"), ("r", "wss://a.b", "sometimes"), ("x", "wss://x.y")]
    tags += [("r", f"wss://r{i}.example", "write") for i in range(500)]
    tags += [("r", "WSS://R1.example/", "read")]
    found = nip65.decode_relay_list(tell(nip65.KIND, tags))
    assert found.write == tuple(f"wss://r{i}.example" for i in range(8))
    assert found.read == ("wss://r1.example",)
    with pytest.raises(ValueError, match="9"):
        nip65.encode_relay_list(nip65.RelayList(read=tuple(f"wss://r{i}.x" for i in range(9))))


# NIP-89 and heartbeats


@given(WORDS, st.lists(st.integers(0, 65_535), max_size=5), st.dictionaries(WORDS, WORDS))
def test_announcements_there_and_back(name, kinds, content):
    handler = nip89.Handler(name, tuple(kinds), content, (("t", "training"),))
    assert nip89.decode_handler(show(nip89.encode_handler(handler))) == handler


def test_recommendations_there_and_back():
    handlers = (
        nip89.Recommended(HASH, "gpu:1", "wss://a.b", "web"),
        nip89.Recommended(HASH, "x"),
        nip89.Recommended(HASH, "x", "", "ios"),
    )
    recommendation = nip89.Recommendation(5_600, handlers)
    event = show(nip89.encode_recommendation(recommendation))
    assert nip89.decode_recommendation(event) == recommendation


@pytest.mark.parametrize(
    ("tags", "content", "match"),
    [
        ((), "", "'d' is missing"),
        ((("d", ""),), "", "empty"),
        ((("d", "a"), ("d", "b")), "", "2 tags"),
        ((("d", "a"), ("k", "x")), "", "no number"),
        ((("d", "a"),), "[]", "JSON object"),
        ((("d", "a"),), "{", "not JSON"),
        ((("d", "a"),), "[" * 9_999, "not JSON"),
        ((("d", "a"),), '{"price": NaN}', "not JSON"),
        ((("d", "a"),), '{"price": 1e999}', "not JSON"),
        ((("d", "a"),), '{"name": "\\ud800"}', "not JSON"),
        ((("d", "a"),), '"' + "x" * 20_000 + '"', "characters"),
        ((("d", "a"), *[("k", "1")] * 33), "", "33"),
    ],
)
def test_announcements_that_do_not_fit(tags, content, match):
    with pytest.raises(ValueError, match=match):
        nip89.decode_handler(tell(nip89.HANDLER_KIND, tags, content))


@pytest.mark.parametrize("address", ["", "31990", f"31989:{HASH}:x", "31990:x:x", f"31990:{HASH}:"])
def test_recommendations_of_what_is_no_handler(address):
    tags = (("d", "5600"), ("a", address))
    with pytest.raises(ValueError, match=r"a: |d: "):
        nip89.decode_recommendation(tell(nip89.RECOMMENDATION_KIND, tags))


@given(WORDS, st.integers(0, 2**40), st.just("") | WORDS)
def test_heartbeats_there_and_back(name, expires_at_s, status):
    beat = heartbeat.Heartbeat(name, expires_at_s, status, "alive", (("x", "y"),))
    assert heartbeat.decode_heartbeat(show(heartbeat.encode_heartbeat(beat))) == beat


def test_a_heartbeat_for_ever_is_refused():
    with pytest.raises(ValueError, match="expiration"):
        heartbeat.decode_heartbeat(tell(heartbeat.KIND, (("d", "a"),)))


# NIP-94


@given(st.none() | st.integers(0, 2**53 - 1), st.lists(st.just("https://b.c/x"), max_size=3))
def test_file_metadata_there_and_back(size_bytes, fallbacks):
    file = nip94.FileMetadata(
        url="blossom:" + HASH + ".bin",
        media_type="application/octet-stream",
        sha256=HASH,
        original_sha256="cd" * 32,
        size_bytes=size_bytes,
        fallbacks=tuple(fallbacks),
        summary="a shard",
        description="words",
        others=(("dim", "1x1"),),
    )
    assert nip94.decode_file(show(nip94.encode_file(file))) == file


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"url": "no url"}, "no URL"),
        ({"url": "https://a b"}, "no URL"),
        ({"media_type": "Image/PNG"}, "media type"),
        ({"media_type": "png"}, "media type"),
        ({"sha256": HASH.upper()}, "hex"),
        ({"original_sha256": "x"}, "hex"),
        ({"size_bytes": -1}, "no number"),
        ({"fallbacks": ("https://b.c",) * 17}, "17"),
        ({"others": (("x", HASH),)}, "others"),
    ],
)
def test_file_metadata_that_does_not_fit(changes, match):
    file = nip94.FileMetadata("https://a.b/c", "image/png", HASH)
    with pytest.raises(ValueError, match=match):
        nip94.encode_file(replace(file, **changes))


# addresses and tags


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("WSS://Relay.Example:443/", "wss://relay.example"),
        ("ws://127.0.0.1:7777", "ws://127.0.0.1:7777"),
        ("ws://a.b:80//", "ws://a.b"),
        ("wss://a.b:80", "wss://a.b:80"),
        ("wss://a.b/Path/?q=1", "wss://a.b/Path?q=1"),
        ("ws://[::1]:8080", "ws://[::1]:8080"),
    ],
)
def test_one_relay_has_one_address(text, normal):
    assert urls.normalise_relay_url(text) == normal
    assert urls.normalise_relay_url(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", "relay.example", "https://a.b", "wss://", "wss:///x", "wss://u@a.b", "wss://u:p@a.b",
        "wss://a.b#x", "wss://a.b:0", "wss://a.b:99999", "wss://a.b:x", "wss://a.b/../x",
        "wss://a.b\n", "wss://\u3042", "wss://[::1", "wss://a b", "wss://" + "a" * 300,
        "wss://[zz]", "javascript:alert(1)", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_what_is_no_relay(text):
    with pytest.raises(ValueError, match=r"."):
        urls.normalise_relay_url(text)


@given(st.text(max_size=40) | WORDS.map(lambda text: "wss://" + text))
def test_addresses_are_normal_or_a_value_error(text):
    try:
        normal = urls.normalise_relay_url(text)
    except ValueError:
        return
    assert urls.normalise_relay_url(normal) == normal


@given(st.integers(0, 2**53 - 1))
def test_numbers_have_one_text(number):
    assert read_number(str(number), "n") == number
    for text in (f"0{number}", f"+{number}", f" {number}", f"{number}.0", f"{number}\n"):
        with pytest.raises(ValueError, match="no number"):
            read_number(text, "n")


def test_tags_without_names_or_values_are_no_tags():
    assert not has_tag(((), ("",)), "e")
    assert has_tag((("encrypted",),), "encrypted")
    assert get_tag((("e",),), "e") == ()
