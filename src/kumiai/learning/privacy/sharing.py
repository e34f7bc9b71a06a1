"""A secret in pieces: any `threshold` of them give it back, fewer tell nothing about it.

A. Shamir, "How to Share a Secret" (1979), over the integers modulo the prime 2^521 - 1:

    f(z) = secret + a_1 z + ... + a_(t-1) z^(t-1)        share of holder i: f(i), i = 1 ... n

The a_j come from a secret stream. Each share's SHA-256 is published with the dealing, so that a
holder who hands out another number is named; a share is a uniform number of 521 bits, so its hash
tells nothing. A dealer who deals shares of something else is found when the secret is
put together: its owner's public card (see `masking`) does not fit it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kumiai.learning.privacy.stream import KEY_BYTES, SecretStream

PRIME = 2**521 - 1
SHARE_BYTES = 66
_WORDS = 9  # 64 bits each: 55 more than the prime has, so that the remainder is even to 2^-55


@dataclass(frozen=True)
class Dealing:
    """A secret, dealt out: `shares` go to their holders in secret, the rest to everybody."""

    holders: tuple[str, ...]
    threshold: int
    hashes: tuple[str, ...]  # of the shares, in the order of the holders
    shares: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"Dealing({self.threshold} of {len(self.holders)})"  # shares never reach a log


def deal(secret: bytes, holders: Sequence[str], threshold: int, stream: SecretStream) -> Dealing:
    """Split 32 bytes among `holders`, so that any `threshold` of them can put it together.

    Raises ValueError unless more than half of the holders, and at most all, are the threshold: with
    half or less, two disjoint groups could each be asked for another secret of the same member.
    """
    count = len(holders)
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a secret has {KEY_BYTES} bytes, not {len(secret)}")
    if len(set(holders)) != count or count < 2:
        raise ValueError(f"holders {list(holders)}: at least two are needed, each once")
    if not count < 2 * threshold <= 2 * count:
        raise ValueError(
            f"threshold {threshold} of {count} holders: choose {count // 2 + 1} to {count}"
        )
    coefficients = [int.from_bytes(secret, "big"), *_draw_numbers(stream, threshold - 1)]
    shares = {
        holder: _evaluate(coefficients, place).to_bytes(SHARE_BYTES, "big")
        for place, holder in enumerate(holders, start=1)
    }
    hashes = tuple(hash_share(shares[holder]) for holder in holders)
    return Dealing(tuple(holders), threshold, hashes, shares)


def hash_share(share: bytes) -> str:
    """Return what is published of a share: its sha256."""
    return hashlib.sha256(share).hexdigest()


def join(
    shares: Mapping[str, bytes], holders: Sequence[str], threshold: int, hashes: Sequence[str]
) -> bytes:
    """Put the secret together; ValueError, naming the holder, for a share that was not dealt."""
    if len(shares) < threshold:
        raise ValueError(f"{len(shares)} shares of {sorted(shares)}: {threshold} are needed")
    points = {}
    for holder, share in sorted(shares.items()):
        if holder not in holders:
            raise ValueError(f"{holder} holds no share: holders are {list(holders)}")
        place = list(holders).index(holder)
        if hash_share(share) != hashes[place]:
            raise ValueError(f"the share of {holder} is not the one that was dealt")
        points[place + 1] = int.from_bytes(share, "big")
    used = dict(list(points.items())[:threshold])
    value = 0
    for place, number in used.items():
        over = under = 1
        for other in used:
            if other != place:
                over = over * other % PRIME
                under = under * (other - place) % PRIME
        value = (value + number * over * pow(under, -1, PRIME)) % PRIME
    if value >> (8 * KEY_BYTES):
        raise ValueError(f"the shares give no secret of {KEY_BYTES} bytes: they were dealt wrongly")
    return value.to_bytes(KEY_BYTES, "big")


def _draw_numbers(stream: SecretStream, count: int) -> list[int]:
    words = stream.draw_words(count * _WORDS).astype(np.uint64)
    data = words.astype("<u8").tobytes()
    size = 8 * _WORDS
    return [
        int.from_bytes(data[start : start + size], "little") % PRIME
        for start in range(0, len(data), size)
    ]


def _evaluate(coefficients: Sequence[int], place: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * place + coefficient) % PRIME
    return value
