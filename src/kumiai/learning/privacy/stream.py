"""Randomness that only the owner of a key can know, the same again for the same key.

ChaCha20 (D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008) under a 256-bit key and a zero
nonce: every key is used for one stream only. Normal numbers by G. E. P. Box and M. E. Muller, "A
Note on the Generation of Random Normal Deviates" (1958), in float64 from 53-bit uniforms; they end
at 8.6 standard deviations and lie on a grid, so that a proof for real numbers holds only nearly
(I. Mironov, "On Significance of the Least Significant Bits for Differential Privacy", 2012).

Whoever knows the key can take the noise off again: a key never leaves its member.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import numpy as np
from Crypto.Cipher import ChaCha20
from numpy.typing import NDArray

KEY_BYTES = 32
_NONCE = bytes(8)  # with 8 bytes the block counter has 64 bits: no end is in sight


def derive_stream_key(secret: bytes, *parts: str | int) -> bytes:
    """Return the key of one piece of work: HMAC-SHA256 under `secret` over the parts' JSON."""
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a secret has {KEY_BYTES} bytes, not {len(secret)}")
    return hmac.digest(secret, json.dumps(list(parts)).encode(), hashlib.sha256)


class SecretStream:
    """Numbers drawn one after the other from one key."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key that is not 32 bytes long."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher: Any = ChaCha20.new(key=key, nonce=_NONCE)

    def draw_words(self, count: int) -> NDArray[np.uint64]:
        """Return `count` uniform 64-bit numbers."""
        data: bytes = self._cipher.encrypt(bytes(8 * count))
        return np.frombuffer(data, "<u8").astype(np.uint64)

    def draw_normal(self, count: int) -> NDArray[np.float64]:
        """Return `count` independent standard normal numbers."""
        pairs = (count + 1) // 2
        # 53 bits and half a step: never 0, whose logarithm is infinite
        uniform = ((self.draw_words(2 * pairs) >> np.uint64(11)) + 0.5) * 2.0**-53
        radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
        angle = 2.0 * np.pi * uniform[pairs:]
        normal: NDArray[np.float64] = np.concatenate(
            [radius * np.cos(angle), radius * np.sin(angle)]
        )
        return normal[:count]

    def draw_subset(self, count: int, expected: int) -> NDArray[np.int64]:
        """Return the rows of a Poisson sample: each of `count` with probability expected / count.

        Independent draws, so the sample's size varies and may be 0; all rows if expected >= count.
        """
        if count < 1 or expected < 1:
            raise ValueError(f"{expected} expected of {count} samples: both must be at least 1")
        if expected >= count:
            return np.arange(count)
        threshold = np.uint64((expected << 64) // count)
        return np.flatnonzero(self.draw_words(count) < threshold)
