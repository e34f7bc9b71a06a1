"""Signatures for millions of messages: a keyed hash that only the world can check.

Whoever has no `CheapSigner` of a key cannot sign for it, as with real keys; unlike these, checking
needs the secret, which the world holds. A contract test runs both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


def _compute(secret: str, digest: bytes) -> str:
    return hashlib.sha512(secret.encode() + digest).hexdigest()  # as long as a real one


@dataclass(frozen=True, slots=True)
class CheapSigner:
    """Signs for one key."""

    pubkey: str
    secret: str

    def sign(self, digest: bytes) -> str:
        """See `Signer`."""
        return _compute(self.secret, digest)


class CheapScheme:
    """Knows every secret."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def make_signer(self, name: str) -> CheapSigner:
        """Return the signer of the key that belongs to a name."""
        return self.make_signer_of(hashlib.sha256(f"key/{self._seed}/{name}".encode()).hexdigest())

    def make_signer_of(self, pubkey: str) -> CheapSigner:
        """Return the signer of a key."""
        return CheapSigner(pubkey, self._make_secret(pubkey))

    def is_signature(self, pubkey: str, digest: bytes, signature: str) -> bool:
        """See `Scheme`."""
        return signature == _compute(self._make_secret(pubkey), digest)

    def _make_secret(self, pubkey: str) -> str:
        return f"{self._seed}/{pubkey}"
