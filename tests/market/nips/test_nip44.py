"""NIP-44: the document's own vectors, vectors of nostr-tools for long texts, and laws.

nip44.vectors.json is the file of paulmillr/nip44 that 44.md names by its sha256 (public domain).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumiai.base.keys import derive_key, key_from_secret
from kumiai.market.nips import nip44

FILE = Path(__file__).with_name("nip44.vectors.json")
FILE_SHA256 = "269ed0f69e4c192512cc779e78c555090cebc7c785b609e338a62afc3ce25040"
VALID = json.loads(FILE.read_bytes())["v2"]["valid"]
INVALID = json.loads(FILE.read_bytes())["v2"]["invalid"]
KEYS = [derive_key(b"nip44", name) for name in ("a", "b", "c")]
NONCE = bytes(range(32))


def hex_bytes(vector, name):
    return bytes.fromhex(vector[name])


def test_the_vectors_are_those_that_the_document_names():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == FILE_SHA256


def test_conversation_keys():
    assert len(VALID["get_conversation_key"]) == 35
    for vector in VALID["get_conversation_key"]:
        key = key_from_secret(hex_bytes(vector, "sec1"))
        found = nip44.compute_conversation_key(key, vector["pub2"])
        assert found.hex() == vector["conversation_key"]


def test_message_keys():
    conversation_key = hex_bytes(VALID["get_message_keys"], "conversation_key")
    for vector in VALID["get_message_keys"]["keys"]:
        found = nip44._message_keys(conversation_key, hex_bytes(vector, "nonce"))
        names = ("chacha_key", "chacha_nonce", "hmac_key")
        assert [each.hex() for each in found] == [vector[name] for name in names]


def test_padded_sizes():
    for size, padded in VALID["calc_padded_len"]:
        assert nip44.compute_padded_size(size) == padded


def test_encrypting_and_decrypting_both_ways():
    for vector in VALID["encrypt_decrypt"]:
        keys = [key_from_secret(hex_bytes(vector, name)) for name in ("sec1", "sec2")]
        nonce, text = hex_bytes(vector, "nonce"), vector["plaintext"]
        for own, peer in (keys, keys[::-1]):
            shared = nip44.compute_conversation_key(own, peer.pubkey)
            assert shared.hex() == vector["conversation_key"]
            assert nip44.encrypt(own, peer.pubkey, text, nonce) == vector["payload"]
            assert nip44.decrypt(own, peer.pubkey, vector["payload"]) == text


def test_long_messages():
    for vector in VALID["encrypt_decrypt_long_msg"]:
        key, nonce = hex_bytes(vector, "conversation_key"), hex_bytes(vector, "nonce")
        text = vector["pattern"] * vector["repeat"]
        assert hashlib.sha256(text.encode()).hexdigest() == vector["plaintext_sha256"]
        payload = nip44.encrypt_with(key, text, nonce)
        assert hashlib.sha256(payload.encode()).hexdigest() == vector["payload_sha256"]
        assert nip44.decrypt_with(key, payload) == text


@pytest.mark.parametrize(
    ("size", "sha256"),
    [  # npm nostr-tools 2.25.2: v2.encrypt("x".repeat(size), 32 times 7, 32 times 9)
        (65_535, "f0d55687ff66d156f48755a8e313b5608d313660c1ea04bee5153f8978df1ae4"),
        (65_536, "a2e67575c74584bd7ba470cb081d444bbd3aa860f9789e4727366178470bb419"),
        (65_537, "9641afcfd4cd682d3232792b53442b3b8a21b22f8258b57593e5f42b836298b2"),
        (100_000, "cdc957f7e7ccb72575592c4a5d7d0faaf433668ffe91f88cf4678fe18f9a6975"),
        (1_048_576, "6cd0549fdb201455de4fa1d1490df0d86f077a626dc183a1c4cf853385c2138c"),
    ],
)
def test_the_long_form_of_the_length(size, sha256):
    payload = nip44.encrypt_with(bytes([7]) * 32, "x" * size, bytes([9]) * 32)
    assert hashlib.sha256(payload.encode()).hexdigest() == sha256
    assert nip44.decrypt_with(bytes([7]) * 32, payload) == "x" * size


def test_no_conversation_with_what_is_no_key():
    for vector in INVALID["get_conversation_key"]:
        with pytest.raises(ValueError, match=r"secp256k1|scalar"):
            nip44.compute_conversation_key(
                key_from_secret(hex_bytes(vector, "sec1")), vector["pub2"]
            )


@pytest.mark.parametrize("vector", INVALID["decrypt"], ids=lambda vector: vector["note"])
def test_invalid_payloads_are_refused_for_the_reason_in_the_vector(vector):
    reason = vector["note"].split(":")[0].replace("invalid ", "").split()[-1]
    words = {"length": "out of bounds", "base64": "base64", "MAC": "MAC", "padding": "padding"}
    with pytest.raises(ValueError, match=words.get(reason, "version")):
        nip44.decrypt_with(hex_bytes(vector, "conversation_key"), vector["payload"])


@pytest.mark.parametrize("size", [0, nip44.TEXT_BYTES_MAX + 1])
def test_texts_that_are_empty_or_too_long_are_not_encrypted(size):
    with pytest.raises(ValueError, match="not 1 to"):
        nip44.encrypt_with(bytes(32), "x" * size, NONCE)


@pytest.mark.parametrize(
    "padded",
    [
        b"\0\0" + (5).to_bytes(4, "big") + b"hello" + bytes(27),  # the long form of a short length
        b"\0\0" + (0).to_bytes(4, "big") + bytes(32),
        b"\0\0\xff\xff\xff\xff" + bytes(32),  # 4 GiB promised
        b"\0\x05hello" + bytes(26) + b"\x01",  # padding that says something
        b"\0\x05hello" + bytes(59),  # more padding than needed
        b"\0\x02\xff\xfe" + bytes(30),  # no UTF-8
    ],
)
def test_other_paddings_are_refused_even_under_a_true_mac(padded):
    chacha_key, chacha_nonce, hmac_key = nip44._message_keys(bytes(32), NONCE)
    ciphertext = nip44.ChaCha20.new(key=chacha_key, nonce=chacha_nonce).encrypt(padded)
    mac = hmac.digest(hmac_key, NONCE + ciphertext, "sha256")
    payload = base64.b64encode(b"\x02" + NONCE + ciphertext + mac).decode()
    with pytest.raises(ValueError, match=r"padding|UTF-8"):
        nip44.decrypt_with(bytes(32), payload)


def test_a_payload_has_one_text_in_base64():
    payload = nip44.encrypt_with(bytes(32), "x" * 40, NONCE)  # 131 bytes: two bits are unused
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    assert payload.endswith("=")
    twin = payload[:-2] + alphabet[alphabet.index(payload[-2]) ^ 1] + "="
    assert base64.b64decode(twin) == base64.b64decode(payload)
    with pytest.raises(ValueError, match="nothing reads"):
        nip44.decrypt_with(bytes(32), twin)


@given(text=st.text(min_size=1, max_size=200), nonce=st.binary(min_size=32, max_size=32))
def test_what_one_encrypts_the_other_reads_and_a_third_does_not(text, nonce):
    one, other, third = KEYS
    payload = nip44.encrypt(one, other.pubkey, text, nonce)
    assert nip44.decrypt(other, one.pubkey, payload) == text
    assert nip44.decrypt(one, other.pubkey, payload) == text
    with pytest.raises(ValueError, match="MAC"):
        nip44.decrypt(third, one.pubkey, payload)


@given(place=st.integers(1, 98), bit=st.integers(0, 7))
def test_every_changed_bit_is_noticed(place, bit):
    raw = bytearray(base64.b64decode(nip44.encrypt_with(bytes(32), "a", NONCE)))
    raw[place] ^= 1 << bit
    with pytest.raises(ValueError, match="MAC"):
        nip44.decrypt_with(bytes(32), base64.b64encode(raw).decode())


@given(st.text(max_size=400) | st.binary(max_size=300).map(lambda x: base64.b64encode(x).decode()))
def test_garbage_is_a_value_error(payload):
    with pytest.raises(ValueError, match="NIP-44"):
        nip44.decrypt_with(bytes(32), payload)


@given(st.integers(1, 1 << 20))
def test_padding_is_never_less_than_the_text_nor_more_than_a_quarter_above(size):
    padded = nip44.compute_padded_size(size)
    assert padded >= size
    assert padded <= max(32, size + 31, size * 5 // 4)


@pytest.mark.parametrize(("key", "nonce"), [(bytes(31), NONCE), (bytes(32), bytes(24))])
def test_keys_and_nonces_of_other_sizes_are_misuse(key, nonce):
    with pytest.raises(ValueError, match="bytes"):
        nip44.encrypt_with(key, "a", nonce)
