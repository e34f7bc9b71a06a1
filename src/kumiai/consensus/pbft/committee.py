"""A committee of replicas: their keys in order, how many must agree, who leads which view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from kumiai.base import canonical, keys
from kumiai.base.keys import SigningKey
from kumiai.consensus.quorum import compute_fault_tolerance, compute_quorum

COMMITTEE_SIZE_MAX = 64


class Scheme(Protocol):
    """How bytes are signed; a simulation that checks millions of messages brings a cheap one."""

    def is_signature(self, pubkey: str, digest: bytes, signature: str) -> bool:
        """Tell whether the owner of `pubkey` signed the 32 bytes of `digest`."""
        ...


class Signer(Protocol):
    """Who signs: the owner of one key."""

    @property
    def pubkey(self) -> str: ...

    def sign(self, digest: bytes) -> str:
        """Sign 32 bytes; the same bytes always give the same text."""
        ...


class Schnorr:
    """BIP-340 signatures, as all of Kumiai's events carry them."""

    def is_signature(self, pubkey: str, digest: bytes, signature: str) -> bool:
        return keys.is_signature(pubkey, digest, signature)


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a key held in this process."""

    key: SigningKey

    @property
    def pubkey(self) -> str:
        return self.key.pubkey

    def sign(self, digest: bytes) -> str:
        return keys.sign_digest(self.key, digest)


@dataclass(frozen=True)
class Committee:
    """The replicas of one epoch: what is signed for one committee counts in no other.

    cluster: which order this is (a task's id). replicas: public keys, a replica's index is its
    place. clients: the keys whose requests are ordered. Raises ValueError for an empty or too large
    committee, or a key twice.
    """

    cluster: str
    epoch: int
    replicas: tuple[str, ...]
    clients: frozenset[str]

    def __post_init__(self) -> None:
        if not 1 <= len(self.replicas) <= COMMITTEE_SIZE_MAX:
            raise ValueError(f"a committee has 1 to {COMMITTEE_SIZE_MAX}, not {len(self.replicas)}")
        if len(set(self.replicas)) != len(self.replicas):
            raise ValueError("a key is in the committee twice")

    @property
    def size(self) -> int:
        """N."""
        return len(self.replicas)

    @cached_property
    def faulty_max(self) -> int:
        """f, how many may do anything."""
        return compute_fault_tolerance(self.size)

    @cached_property
    def quorum(self) -> int:
        """q, how many equal signatures decide."""
        return compute_quorum(self.size)

    @cached_property
    def name(self) -> str:
        """What every signature names: a hash over cluster, epoch and members."""
        return canonical.hash_document([self.cluster, self.epoch, list(self.replicas)])

    def make_next(self, epoch: int, seats: Sequence[str]) -> Committee:
        """Return the committee of a later epoch of this order; its clients are its replicas.

        Raises ValueError for an epoch that does not follow.
        """
        if epoch <= self.epoch:
            raise ValueError(f"epoch {epoch} does not follow epoch {self.epoch}")
        return Committee(self.cluster, epoch, tuple(seats), frozenset(seats))

    def get_primary(self, view: int) -> int:
        """Return who leads a view."""
        return view % self.size


def compute_digest(*parts: object) -> str:
    """Return sha256 over the parts' canonical form; each part is a number or text."""
    return canonical.sha256_hex(canonical.encode(parts))
