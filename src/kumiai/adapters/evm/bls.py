"""BLS signatures of a committee that certifies by one aggregate (contracts/src/BlsCommittee.sol).

Over BLS12-381 with signatures in G1 and keys in G2; messages of 32 bytes are hashed to the curve by
RFC 9380 under the two tags of the contract. Points are spelt as EIP-2537 does: 64 bytes a
coordinate. The arithmetic is py_ecc's: plain Python, whose time depends on the secret. Sign where
nobody else can measure it.

::

    key = BlsKey.generate()
    proof = key.prove(message)                # message: computeProofMessage of the contract
    aggregate([a.sign(digest), b.sign(digest)])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from hashlib import sha256
from secrets import randbelow
from typing import Any, Final, cast

from py_ecc.bls.hash_to_curve import hash_to_G1
from py_ecc.optimized_bls12_381.optimized_curve import (
    G2,
    Z1,
    add,
    curve_order,
    is_inf,
    multiply,
    normalize,
)

from kumiai.adapters.evm.bindings.bls.structs import G1Point, G2Point
from kumiai.base.errors import InputError
from kumiai.base.keys import keccak256

SIGNATURE_TAG: Final = b"KUMIAI-COMMITTEE-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_"
PROOF_TAG: Final = b"KUMIAI-POSSESSION-V1_BLS12381G1_XMD:SHA-256_SSWU_RO_"
SECRET_BYTES: Final = 32
MESSAGE_BYTES: Final = 32
_WORD: Final = 32


class BlsKey:
    """A member's secret: signs for a committee, and proves that its public key is its own."""

    __slots__ = ("_scalar", "public")

    def __init__(self, secret: bytes) -> None:
        """secret: a number from 1 to the curve's order - 1, in 32 bytes; else InputError.

        Never a funds key, and nothing else is to be derived from it.
        """
        scalar = int.from_bytes(secret, "big")
        if len(secret) != SECRET_BYTES or not 0 < scalar < curve_order:
            raise InputError("secret", f"{len(secret)} bytes", "let BlsKey.generate draw one")
        self._scalar = scalar
        self.public = G2Point(*_spell(multiply(G2, scalar)))

    @classmethod
    def generate(cls) -> BlsKey:
        """Draw a key from the system's randomness."""
        return cls((1 + randbelow(curve_order - 1)).to_bytes(SECRET_BYTES, "big"))

    def __repr__(self) -> str:
        return f"BlsKey({self.key_hash.hex()[:16]})"

    def export_secret(self) -> bytes:
        """The 32 bytes that make this key again; for a keystore, and for nothing else."""
        return self._scalar.to_bytes(SECRET_BYTES, "big")

    @property
    def key_hash(self) -> bytes:
        """keccak256 of the public key: what the contract keeps of it."""
        return hash_key(self.public)

    def sign(self, digest: bytes) -> G1Point:
        """Sign the arena's digest of a certificate or a verdict; InputError unless 32 bytes."""
        return self._sign(digest, SIGNATURE_TAG)

    def prove(self, message: bytes) -> G1Point:
        """Prove that the secret is known, for `register`; InputError unless 32 bytes."""
        return self._sign(message, PROOF_TAG)

    def _sign(self, message: bytes, tag: bytes) -> G1Point:
        return G1Point(*_spell(multiply(_hash(message, tag), self._scalar)))


def hash_key(public: G2Point) -> bytes:
    """keccak256 of a key's eight words."""
    return keccak256(b"".join(getattr(public, field.name) for field in fields(public)))


def hash_message(message: bytes, tag: bytes) -> G1Point:
    """The point that is signed for a message of 32 bytes; InputError for another length."""
    return G1Point(*_spell(_hash(message, tag)))


def aggregate(signatures: Sequence[G1Point]) -> G1Point:
    """Add signatures of one message up; InputError where one is no point of the curve.

    Whether each is its member's own is not looked at: check a stranger's before adding it, by
    letting a node call the contract with it.
    """
    total = Z1
    for signature in signatures:
        total = add(total, _parse(signature))
    return G1Point(*_spell(total))


def _hash(message: bytes, tag: bytes) -> Any:
    if len(message) != MESSAGE_BYTES:
        raise InputError("message", f"{len(message)} bytes", "give the 32 bytes of a digest")
    return hash_to_G1(message, tag, cast(Any, sha256))


def _spell(point: Any) -> list[bytes]:
    """Two words a coordinate; infinity is all zeros."""
    if is_inf(point):
        return [bytes(_WORD)] * 4  # only sums of signatures are ever infinity
    words = []
    for coordinate in normalize(point):
        for part in getattr(coordinate, "coeffs", (coordinate,)):
            text = int(part).to_bytes(2 * _WORD, "big")
            words += [text[:_WORD], text[_WORD:]]
    return words


def _parse(point: G1Point) -> Any:
    words = (point.x_a, point.x_b, point.y_a, point.y_b)
    if any(len(word) != _WORD for word in words):
        raise InputError("signature", "words of other lengths", "give four words of 32 bytes")
    x = int.from_bytes(point.x_a + point.x_b, "big")
    y = int.from_bytes(point.y_a + point.y_b, "big")
    if x == y == 0:
        return Z1
    kind = type(Z1[0])
    modulus = kind.field_modulus
    if x >= modulus or y >= modulus or (y * y - x * x * x - 4) % modulus != 0:
        raise InputError("signature", hex(x), "give a point of BLS12-381's G1")
    return kind(x), kind(y), kind(1)
