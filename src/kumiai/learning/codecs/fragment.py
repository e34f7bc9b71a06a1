"""One fragment of an update in a payload, named by its number (see `learning.fragments`).

    payload = magic "KUF" (3) | version (1) | count (2) | turn (2) | P as uint64 (8)
              | the inner codec's payload of the fragment's K numbers       little-endian

What lies outside the fragment decodes to 0. Which fragment it is stands in the payload, so decoding
needs no round; whether it is the round's is checked where the round is known (scoring). Encoding
needs the turn: `for_round` gives the codec of a round.

What is not sent is remembered by the error feedback around this codec, which is always there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np

from kumiai.learning.codecs.codec import Codec, State, check_state
from kumiai.learning.codecs.feedback import ErrorFeedback
from kumiai.learning.codecs.wire import check_update
from kumiai.learning.fixed_point import FloatVector, IntVector
from kumiai.learning.fragments import compute_length, compute_span, compute_turn

MAGIC = b"KUF"
VERSION = 1
HEADER = struct.Struct("<3sBHHQ")


@dataclass(frozen=True)
class Fragment:
    """`inner` over fragment `turn` of `count`; a receiver's `turn` does not matter."""

    inner: Codec
    count: int
    turn: int = 0

    @property
    def description(self) -> str:
        return f"fragment:count={self.count}|{self.inner.description}"

    def init(self, size: int) -> State:
        return self.inner.init(compute_length(size, self.count))

    def encode(self, update_P: FloatVector, state: State, seed: int) -> tuple[bytes, State]:
        check_update(update_P)
        check_state(state, self.init(len(update_P)))
        span = compute_span(len(update_P), self.count, self.turn)
        body, after = self.inner.encode(update_P[span], state, seed)
        header = HEADER.pack(MAGIC, VERSION, self.count, self.turn, len(update_P))
        return header + body, after

    def decode(self, payload: bytes, size: int) -> FloatVector:
        span = self._find_span(payload, size)
        values_K = self.inner.decode(payload[HEADER.size :], span.stop - span.start)
        values_P = np.zeros(size, dtype=np.float32)
        values_P[span] = values_K
        return values_P

    def decode_fixed(self, payload: bytes, size: int) -> IntVector:
        span = self._find_span(payload, size)
        ints_K = self.inner.decode_fixed(payload[HEADER.size :], span.stop - span.start)
        ints_P = np.zeros(size, dtype=np.int32)
        ints_P[span] = ints_K
        return ints_P

    def compute_size_bytes(self, size: int) -> int | None:
        inner_bytes = self.inner.compute_size_bytes(compute_length(size, self.count))
        return None if inner_bytes is None else HEADER.size + inner_bytes

    def compute_size_bytes_max(self, size: int) -> int:
        length = compute_length(size, self.count)
        return HEADER.size + self.inner.compute_size_bytes_max(length)

    def _find_span(self, payload: bytes, size: int) -> slice:
        """Read the header; nothing is allocated before it holds."""
        most = self.compute_size_bytes_max(size)
        if not HEADER.size <= len(payload) <= most:
            raise ValueError(f"{len(payload)} bytes, expected {HEADER.size} to {most}")
        magic, version, count, turn, found = HEADER.unpack_from(payload)
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f"{magic!r} version {version}, expected {MAGIC!r} version {VERSION}")
        if count != self.count:
            raise ValueError(f"one of {count} fragments, expected one of {self.count}")
        if found != size:
            raise ValueError(f"fragment of {found} numbers, expected {size}")
        return compute_span(size, count, turn)


def cut(codec: Codec, count: int) -> Codec:
    """Return `codec` sending one of `count` fragments a round; itself for 1.

    Error feedback, with the codec's own decay or none, comes to stand around the whole.
    """
    if count == 1:
        return codec
    if isinstance(codec, ErrorFeedback):
        return replace(codec, inner=Fragment(codec.inner, count))
    return ErrorFeedback(Fragment(codec, count))


def for_round(codec: Codec, number: int) -> Codec:
    """Return the codec that a member encodes with in round `number`, counted from 1."""
    if isinstance(codec, ErrorFeedback) and isinstance(codec.inner, Fragment):
        turn = compute_turn(number, codec.inner.count)
        return replace(codec, inner=replace(codec.inner, turn=turn))
    return codec
