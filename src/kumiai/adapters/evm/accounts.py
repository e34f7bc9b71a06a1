"""Accounts: a secret key that signs transactions and digests, here and nowhere else.

Transactions are of type 2 (EIP-1559, EIP-2718) and encoded by the few lines of RLP below, which is
several times faster than a general library (benchmarks/chain_client.py); a test holds them against
eth-account. Digests are signed over secp256k1 with s in the lower half, as 65 bytes (r, s, v) or
compact as 64 (EIP-2098: r and vs).

Addresses are lower-case hex with 0x everywhere in this room.
"""

from __future__ import annotations

from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey

from kumiai.base.errors import InputError
from kumiai.base.keys import keccak256

DIGEST_BYTES = 32
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@dataclass(frozen=True, slots=True)
class Transaction:
    """The fields of a type 2 transaction; amounts in wei. `to` None: creates a contract."""

    chain_id: int
    nonce: int
    max_fee: int  # per gas
    tip: int  # per gas, part of max_fee
    gas: int
    to: str | None
    value: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What a node takes, and the hash it will be known by."""

    raw: bytes
    hash: str


class Account:
    """A secret key and its address; never printed."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        """secret: 32 bytes; ValueError if they are no valid scalar."""
        if len(secret) != 32:
            raise ValueError(f"a secret has 32 bytes, not {len(secret)}")
        self._key = PrivateKey(secret)
        self.address = _address_of(self._key.public_key)

    def __repr__(self) -> str:
        return f"Account({self.address})"

    def sign_transaction(self, transaction: Transaction) -> SignedTransaction:
        """Sign a type 2 transaction; deterministic (RFC 6979)."""
        fields = _encode_fields(transaction)
        signature = self._key.sign_recoverable(keccak256(b"\x02" + _wrap(fields)), hasher=None)
        parity = signature[64]
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        signed = fields + _encode_int(parity) + _encode_int(r) + _encode_int(s)
        raw = b"\x02" + _wrap(signed)
        return SignedTransaction(raw, "0x" + keccak256(raw).hex())

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest; return 65 bytes: r, s, v (27 or 28)."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        signature = self._key.sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def sign_digest_compact(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest; return 64 bytes: r and vs (EIP-2098)."""
        return compact_signature(self.sign_digest(digest))

    def export_secret(self) -> bytes:
        """Return the secret, for a keystore."""
        return self._key.secret


def compact_signature(signature: bytes) -> bytes:
    """Return a 65-byte signature as r and vs (EIP-2098): v becomes the top bit of s."""
    if len(signature) != 65 or signature[64] not in {27, 28}:
        raise ValueError("a signature has 65 bytes that end with 27 or 28")
    top = (signature[64] - 27) << 7
    return signature[:32] + bytes([signature[32] | top]) + signature[33:64]


def recover_signer(digest: bytes, signature: bytes) -> str | None:
    """Return the address that signed (65 or 64 bytes), or None where nobody can have.

    An s in the upper half is refused: each signature has one form only.
    """
    if len(signature) == 64:
        parity, s_first = signature[32] >> 7, signature[32] & 0x7F
        signature = signature[:32] + bytes([s_first]) + signature[33:64] + bytes([27 + parity])
    if len(signature) != 65 or signature[64] not in {27, 28}:
        return None
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    plain = signature[:64] + bytes([signature[64] - 27])
    try:
        return _address_of(PublicKey.from_signature_and_message(plain, digest, hasher=None))
    except Exception:  # noqa: BLE001 - coincurve raises bare Exception
        return None


def parse_address(field_name: str, value: str) -> str:
    """Return an address in lower case; InputError if it is none (or by EIP-55 mistyped)."""
    digits = value[2:] if value[:2] == "0x" else ""
    try:
        is_hex = len(digits) == 40 and len(bytes.fromhex(digits)) == 20
    except ValueError:
        is_hex = False
    if not is_hex:
        raise InputError(field_name, value, "an address is 0x and 40 hex digits")
    if digits.lower() != digits != digits.upper() and encode_checksum(value) != value:
        raise InputError(field_name, value, "the checksum is wrong: a letter was mistyped")
    return value.lower()


def encode_checksum(address: str) -> str:
    """Return the address with EIP-55's checksum in the case of its letters, for people."""
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    pairs = zip(digits, marks, strict=False)
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in pairs)


def compute_contract_address(sender: str, nonce: int) -> str:
    """Return where a contract made by this transaction will live."""
    body = _wrap(_encode_bytes(bytes.fromhex(sender[2:])) + _encode_int(nonce))
    return "0x" + keccak256(body)[12:].hex()


def _address_of(public: PublicKey) -> str:
    return "0x" + keccak256(public.format(compressed=False)[1:])[12:].hex()


def _encode_fields(t: Transaction) -> bytes:
    numbers = (t.chain_id, t.nonce, t.tip, t.max_fee, t.gas)
    return b"".join(
        (
            *map(_encode_int, numbers),
            _encode_bytes(b"" if t.to is None else bytes.fromhex(t.to[2:])),
            _encode_int(t.value),
            _encode_bytes(t.data),
            b"\xc0",  # no access list
        )
    )


def _encode_int(value: int) -> bytes:
    return _encode_bytes(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encode_bytes(data: bytes) -> bytes:
    if len(data) == 1 and data[0] < 0x80:
        return data
    return _head(len(data), 0x80) + data


def _wrap(payload: bytes) -> bytes:
    return _head(len(payload), 0xC0) + payload


def _head(size: int, offset: int) -> bytes:
    if size < 56:
        return bytes([offset + size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(digits)]) + digits
