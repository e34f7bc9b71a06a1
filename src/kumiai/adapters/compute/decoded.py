"""Blobs that were decoded lately, so that a round's updates are parsed once, not once a use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kumiai.base.errors import StoreError
from kumiai.learning import fixed_point
from kumiai.learning.codecs import Codec, Plain
from kumiai.nodes.ports import BlobPort

BYTES_KEPT_MAX = 512 * 2**20
COUNT_KEPT_MIN = 4
UPDATE = "update"

Result = TypeVar("Result")


def read_or_none(read: Callable[[], Result]) -> Result | None:
    """Return what `read` does, None for what is malformed or does not exist: a peer's fault.

    StoreError only where trying again may help: no verdict may rest on a passing failure of ours.
    """
    try:
        return read()
    except ValueError:
        return None
    except StoreError as error:
        if error.is_retriable:
            raise
        return None


class DecodedBlobs:
    """A bounded least-recently-used cache of int32 vectors of one size, which nobody may change.

    Blobs of the name "update" are payloads of `codec`; all others are fixed point as it is.
    """

    def __init__(self, blobs: BlobPort, size: int, codec: Codec | None = None) -> None:
        self._blobs, self._size, self._codec = blobs, size, codec or Plain()
        self._kept: OrderedDict[tuple[str, str], NDArray[np.int32]] = OrderedDict()
        self._count_max = max(COUNT_KEPT_MIN, BYTES_KEPT_MAX // (4 * max(1, size)))

    @property
    def size(self) -> int:
        """P, the numbers in each vector."""
        return self._size

    def get(self, name: str, blob: str) -> NDArray[np.int32]:
        """Return the vector; ValueError if malformed, StoreError if the blob cannot be had."""
        key = (name, blob)
        if key not in self._kept:
            self.keep(name, blob, self._read(name, blob))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _read(self, name: str, blob: str) -> NDArray[np.int32]:
        if name == UPDATE:
            data = self._blobs.get(blob, self._codec.compute_size_bytes_max(self._size))
            return self._codec.decode_fixed(data, self._size)
        data = self._blobs.get(blob, fixed_point.compute_size_bytes_max(self._size))
        return fixed_point.decode_vector(name, data, self._size)

    def find(self, name: str, blob: str) -> NDArray[np.int32] | None:
        """As `get`, but None for what is malformed or does not exist."""
        return read_or_none(lambda: self.get(name, blob))

    def keep(self, name: str, blob: str, vector_P: NDArray[np.int32]) -> None:
        """Remember a vector that was just encoded into `blob`, or decoded from it."""
        vector_P.flags.writeable = False
        self._kept[(name, blob)] = vector_P
        while len(self._kept) > self._count_max:
            self._kept.popitem(last=False)
