"""Keys: who a member is. One secret seed gives a work key and a funds key, bound to each other.

The work key signs events (BIP-340 Schnorr over secp256k1, as NOSTR uses it). The funds key is an
ordinary EVM key; its address receives money. `sign_binding` lets the funds key vouch for the work
key, and the profile event, signed by the work key, names the address: each points to the other, so
neither can be claimed by somebody else.

Every check takes exactly one text for one key or signature (lower-case hex of the right length, an
ECDSA s in the lower half), so nobody can give a signed thing a second form that passes as well.

Signatures are deterministic (auxiliary randomness is derived from key and message), which BIP-340
allows and a replayable run needs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from coincurve import PrivateKey, PublicKey, PublicKeyXOnly
from Crypto.Hash import keccak

SECRET_BYTES = 32
PUBKEY_BYTES = 32
SIGNATURE_BYTES = 64
BINDING_BYTES = 65  # r, s, recovery id
ADDRESS_BYTES = 20
KEYS_KEPT_MAX = 4_096  # of each sort, parsed and kept in one process

_BINDING_PREFIX = b"kumiai: this address acts for the work key "
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, 2.4.1


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret key and the x-only public key (64 hex digits) that it answers for."""

    secret: bytes
    pubkey: str

    def __repr__(self) -> str:
        return f"SigningKey({self.pubkey[:12]}...)"  # a secret never reaches a log


def key_from_secret(secret: bytes) -> SigningKey:
    """Wrap a 32-byte secret; raises ValueError if it is no valid secp256k1 scalar."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    return SigningKey(secret=secret, pubkey=PublicKeyXOnly.from_secret(secret).format().hex())


def derive_key(seed: bytes, label: str) -> SigningKey:
    """Derive the key named `label` from `seed`; the same two always give the same key."""
    counter = 0
    while True:  # a hash outside the curve's order has probability 2**-128
        secret = hashlib.sha256(seed + b"/" + label.encode() + bytes([counter])).digest()
        try:
            return key_from_secret(secret)
        except ValueError:
            counter += 1


def sign_digest(key: SigningKey, digest: bytes) -> str:
    """Sign a 32-byte digest (BIP-340); return 128 hex digits."""
    randomness = hashlib.sha256(key.secret + digest).digest()
    return _private_key(key.secret).sign_schnorr(digest, randomness).hex()


def is_signature(pubkey: str, digest: bytes, signature: str) -> bool:
    """Tell whether `signature` over `digest` was made by the owner of `pubkey`."""
    try:
        return _public_key(pubkey).verify(_decode_hex(signature, SIGNATURE_BYTES), digest)
    except ValueError:
        return False


def compute_address(key: SigningKey) -> str:
    """Return the EVM address of `key`: the last 20 bytes of its public key's keccak-256, as hex."""
    return _address_of(PublicKey.from_secret(key.secret))


def sign_binding(funds_key: SigningKey, work_pubkey: str) -> str:
    """Let the funds key vouch for `work_pubkey`; return a 65-byte recoverable signature as hex."""
    return sign_recoverable(funds_key, keccak256(_BINDING_PREFIX + work_pubkey.encode()))


def is_binding(address: str, work_pubkey: str, signature: str) -> bool:
    """Tell whether the owner of `address` vouched for `work_pubkey`."""
    try:
        digest = keccak256(_BINDING_PREFIX + work_pubkey.encode())
    except UnicodeEncodeError:
        return False
    return is_address_signature(address, digest, signature)


def sign_recoverable(key: SigningKey, digest: bytes) -> str:
    """Sign a 32-byte digest (ECDSA, as EVM accounts do); return r, s and recovery id as hex."""
    return PrivateKey(key.secret).sign_recoverable(digest, hasher=None).hex()


def is_address_signature(address: str, digest: bytes, signature: str) -> bool:
    """Tell whether the owner of `address` made `signature` (`sign_recoverable`) over `digest`."""
    try:
        raw = _decode_hex(signature, BINDING_BYTES)
        if int.from_bytes(raw[32:64], "big") > _CURVE_ORDER // 2:
            return False  # (r, n - s) verifies too: only the lower one of the twins counts
        signer = PublicKey.from_signature_and_message(raw, digest, hasher=None)
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception for a signature off the curve
        return False
    return _address_of(signer) == address


def is_address(text: object) -> bool:
    """Tell whether `text` is 0x and 40 lower-case hex digits."""
    try:
        return isinstance(text, str) and "0x" + _decode_hex(text[2:], ADDRESS_BYTES).hex() == text
    except ValueError:
        return False


def keccak256(data: bytes) -> bytes:
    """Return Ethereum's hash: Keccak-256, which is not FIPS 202's SHA3-256."""
    return keccak.new(digest_bits=256, data=data).digest()


@lru_cache(maxsize=KEYS_KEPT_MAX)
def _private_key(secret: bytes) -> PrivateKey:
    """Making the object computes its public key, which takes as long as a signature."""
    return PrivateKey(secret)


@lru_cache(maxsize=KEYS_KEPT_MAX)
def _public_key(pubkey: str) -> PublicKeyXOnly:
    return PublicKeyXOnly(_decode_hex(pubkey, PUBKEY_BYTES))


def _decode_hex(text: str, size_bytes: int) -> bytes:
    """Read lower-case hex of `size_bytes`; `bytes.fromhex` alone also takes "AB" and " "."""
    raw = bytes.fromhex(text)
    if len(raw) != size_bytes or raw.hex() != text:
        raise ValueError(f"not {2 * size_bytes} lower-case hex digits")
    return raw


def _address_of(public: PublicKey) -> str:
    return "0x" + keccak256(public.format(compressed=False)[1:])[-ADDRESS_BYTES:].hex()
