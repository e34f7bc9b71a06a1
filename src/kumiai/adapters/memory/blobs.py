"""Blobs in memory: the naive twin of the blob directory."""

from __future__ import annotations

from kumiai.base.canonical import is_hash, sha256_hex
from kumiai.base.errors import StoreError


class MemoryBlobs:
    """BlobPort without a disk."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        """Keep `data`; return its sha256 as 64 hex digits."""
        name = sha256_hex(data)
        self._blobs.setdefault(name, bytes(data))
        return name

    def get(self, sha256: str, size_bytes_max: int) -> bytes:
        """Return the bytes named `sha256`; raises StoreError if absent or bigger than the cap."""
        check_blob_name(sha256)
        data = self._blobs.get(sha256)
        if data is None:
            raise StoreError(f"there is no blob {sha256}")
        if len(data) > size_bytes_max:
            raise StoreError(
                f"blob {sha256}: {len(data)} bytes, more than the {size_bytes_max} allowed"
            )
        return data

    def has(self, sha256: str) -> bool:
        """Tell whether a blob of this name is kept; False for what cannot be a name."""
        return is_hash(sha256) and sha256 in self._blobs


def check_blob_name(sha256: str) -> None:
    """Raise StoreError unless `sha256` is 64 lower-case hex digits: names come from peers."""
    if not is_hash(sha256):
        raise StoreError(f"{str(sha256)[:80]!r} is no blob's name: that is 64 hex digits")
