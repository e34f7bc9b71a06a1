"""NIP-44 version 2: text that only two keys, or the holders of one job key, can read.

Source: nostr-protocol/nips, 44.md (version 2). Between two members the conversation key comes from
their key pair and is the same both ways; `encrypt_with` takes any 32-byte key instead, e.g. one
that a customer draws for a job before it knows its providers. ::

    conversation_key = HKDF-extract(salt="nip44-v2", x coordinate of ECDH)
    chacha_key(32), chacha_nonce(12), hmac_key(32) = HKDF-expand(conversation_key, nonce, 76)
    ciphertext = ChaCha20(pad(text)); mac = HMAC-SHA256(hmac_key, nonce || ciphertext)
    payload = base64(0x02 || nonce || ciphertext || mac)

Guarantee: what `decrypt` returns was encrypted by a holder of the key; any other payload raises
ValueError, and one plaintext and nonce have exactly one payload. The padding hides the length up to
a quarter. There is no forward secrecy, and who holds the key can write as either side: a payload
proves nothing to third parties, the event around it does. Check its signature first.

The nonce is an argument, as this floor draws nothing: 32 bytes from the system's random source,
never used twice under one key.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache
from typing import Final

from coincurve import PublicKey
from Crypto.Cipher import ChaCha20

from kumiai.base.canonical import is_hash
from kumiai.base.keys import SigningKey

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 32
TEXT_BYTES_MAX: Final = 1 << 20  # ours: the document allows 4 GiB
CONVERSATIONS_KEPT_MAX: Final = 1_024

_VERSION: Final = 2
_SALT: Final = b"nip44-v2"
_MAC_BYTES: Final = 32
_LENGTH_BYTES: Final = 2
_LONG_PREFIX_BYTES: Final = 6  # 0x0000 and 32 bits, from 65,536 bytes of text on
_SHORT_MAX: Final = 0xFFFF
_PADDED_MIN: Final = 32
_RAW_BYTES_MIN: Final = 1 + NONCE_BYTES + _LENGTH_BYTES + _PADDED_MIN + _MAC_BYTES
_RAW_BYTES_MAX: Final = 1 + NONCE_BYTES + _LONG_PREFIX_BYTES + TEXT_BYTES_MAX + _MAC_BYTES
_PAYLOAD_CHARS_MIN: Final = 4 * (_RAW_BYTES_MIN // 3)
_PAYLOAD_CHARS_MAX: Final = 4 * ((_RAW_BYTES_MAX + 2) // 3)


def encrypt(key: SigningKey, peer_pubkey: str, text: str, nonce: bytes) -> str:
    """Encrypt for the owner of `peer_pubkey`; ValueError for a bad key, nonce or length."""
    return encrypt_with(compute_conversation_key(key, peer_pubkey), text, nonce)


def decrypt(key: SigningKey, peer_pubkey: str, payload: str) -> str:
    """Read what the owner of `peer_pubkey` (or ourselves, to it) encrypted; ValueError if not."""
    return decrypt_with(compute_conversation_key(key, peer_pubkey), payload)


def compute_conversation_key(key: SigningKey, peer_pubkey: str) -> bytes:
    """Return the 32 bytes that both members compute; ValueError for no point of the curve."""
    if not is_hash(peer_pubkey):
        raise ValueError("a public key is 64 lower-case hex digits")
    return _conversation_key(key.secret, peer_pubkey)


def encrypt_with(conversation_key: bytes, text: str, nonce: bytes) -> str:
    """Encrypt `text` (1 byte to 1 MiB in UTF-8) under a key of 32 bytes; returns base64."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    chacha_key, chacha_nonce, hmac_key = _message_keys(conversation_key, nonce)
    padded = _pad(text.encode())
    ciphertext = ChaCha20.new(key=chacha_key, nonce=chacha_nonce).encrypt(padded)
    mac = hmac.digest(hmac_key, nonce + ciphertext, "sha256")
    return base64.b64encode(bytes([_VERSION]) + nonce + ciphertext + mac).decode()


def decrypt_with(conversation_key: bytes, payload: str) -> str:
    """Return the text of `payload`; ValueError unless it was made under this key."""
    raw = _decode_payload(payload)
    nonce, ciphertext = raw[1 : 1 + NONCE_BYTES], raw[1 + NONCE_BYTES : -_MAC_BYTES]
    chacha_key, chacha_nonce, hmac_key = _message_keys(conversation_key, nonce)
    expected = hmac.digest(hmac_key, nonce + ciphertext, "sha256")
    if not hmac.compare_digest(expected, raw[-_MAC_BYTES:]):
        raise ValueError("NIP-44: the MAC does not match: another key, or changed on the way")
    text = _unpad(ChaCha20.new(key=chacha_key, nonce=chacha_nonce).decrypt(ciphertext))
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"NIP-44: the text is not UTF-8: {error}") from error


def compute_padded_size(size_bytes: int) -> int:
    """Return how long `size_bytes` of text are with padding, without the length in front."""
    if size_bytes <= _PADDED_MIN:
        return _PADDED_MIN
    power = 1 << (size_bytes - 1).bit_length()
    chunk = 32 if power <= 256 else power // 8
    return chunk * ((size_bytes - 1) // chunk + 1)


def compute_payload_chars(size_bytes: int) -> int:
    """Return how long the payload of `size_bytes` of text is."""
    prefix_bytes = _LENGTH_BYTES if size_bytes <= _SHORT_MAX else _LONG_PREFIX_BYTES
    raw_bytes = 1 + NONCE_BYTES + prefix_bytes + compute_padded_size(size_bytes) + _MAC_BYTES
    return 4 * ((raw_bytes + 2) // 3)


@lru_cache(maxsize=CONVERSATIONS_KEPT_MAX)
def _conversation_key(secret: bytes, peer_pubkey: str) -> bytes:
    try:
        point = PublicKey(b"\x02" + bytes.fromhex(peer_pubkey)).multiply(secret)
    except Exception as error:  # coincurve's errors have no class of their own
        raise ValueError("not a public key of secp256k1") from error
    return hmac.digest(_SALT, point.format(compressed=True)[1:], "sha256")


def _message_keys(conversation_key: bytes, nonce: bytes) -> tuple[bytes, bytes, bytes]:
    if len(conversation_key) != KEY_BYTES:
        raise ValueError(f"a conversation key has {KEY_BYTES} bytes, not {len(conversation_key)}")
    first = hmac.digest(conversation_key, nonce + b"\x01", "sha256")
    second = hmac.digest(conversation_key, first + nonce + b"\x02", "sha256")
    third = hmac.digest(conversation_key, second + nonce + b"\x03", "sha256")
    return first, second[:12], second[12:] + third[:12]


def _pad(text: bytes) -> bytes:
    size = len(text)
    if not 1 <= size <= TEXT_BYTES_MAX:
        raise ValueError(f"NIP-44: a text of {size} bytes, not 1 to {TEXT_BYTES_MAX}")
    prefix = size.to_bytes(2, "big") if size <= _SHORT_MAX else b"\0\0" + size.to_bytes(4, "big")
    return prefix + text + bytes(compute_padded_size(size) - size)


def _unpad(padded: bytes) -> bytes:
    """Only the one padding that `_pad` makes is taken."""
    size = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    start = _LENGTH_BYTES
    if size == 0:
        start = _LONG_PREFIX_BYTES
        size = int.from_bytes(padded[_LENGTH_BYTES:start], "big")
        if size <= _SHORT_MAX:
            raise ValueError("NIP-44: invalid padding: an empty text, or a long form of a short")
    text = padded[start : start + size]
    if len(text) != size or len(padded) != start + compute_padded_size(size):
        raise ValueError("NIP-44: invalid padding: the length does not fit")
    if any(padded[start + size :]):
        raise ValueError("NIP-44: invalid padding: it is not zero")
    return text


def _decode_payload(payload: str) -> bytes:
    if payload.startswith("#"):
        raise ValueError("NIP-44: unknown version: the payload begins with #")
    if not _PAYLOAD_CHARS_MIN <= len(payload) <= _PAYLOAD_CHARS_MAX:
        raise ValueError(f"NIP-44: a payload of {len(payload)} characters is out of bounds")
    try:
        raw = base64.b64decode(payload, validate=True)
    except ValueError as error:
        raise ValueError(f"NIP-44: not base64: {error}") from error
    if raw[0] != _VERSION:
        raise ValueError(f"NIP-44: unknown version {raw[0]}, only {_VERSION} is read")
    if len(raw) < _RAW_BYTES_MIN or base64.b64encode(raw).decode() != payload:
        raise ValueError("NIP-44: too short, or base64 with bits that nothing reads")
    return raw
