"""What a market node asks of its own machine besides work: blobs, sealing, time, chance.

Blobs here are files under their sha256; a file that stands under its name is complete. Names come
from peers, so an implementation lets only 64 hex digits reach the file system.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

Clock = Callable[[], int]  # unix seconds
Nonces = Callable[[int], bytes]  # that many bytes from a source nobody can guess


class LocalBlobPort(Protocol):
    """Our own blobs by path. Raises StoreError, `is_retriable` for a full disk and the like."""

    def has(self, sha256: str) -> bool: ...

    def get_path(self, sha256: str) -> Path:
        """Return where the blob lies, for reading only; StoreError (permanent) if it is absent."""
        ...

    def reserve(self) -> AbstractContextManager[Path]:
        """Give a path for a new file on the same disk; what is left there is deleted."""
        ...

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a finished file whose hash is known under its name, all or nothing."""
        ...


class SealedFile(Protocol):
    """Both forms of one file: names are sha256, sizes in bytes."""

    @property
    def plain_sha256(self) -> str: ...

    @property
    def plain_size_bytes(self) -> int: ...

    @property
    def sealed_sha256(self) -> str: ...

    @property
    def sealed_size_bytes(self) -> int: ...


class SealPort(Protocol):
    """Sealed files (docs/nip-training.md, section 7). `key` and `salt`: 32 bytes each."""

    def seal_file(self, source: Path, target: Path, key: bytes, salt: bytes) -> SealedFile:
        """Seal `source`; the same key and salt give the same bytes. StoreError (disk)."""
        ...

    def open_file(self, source: Path, target: Path, key: bytes, size_bytes_max: int) -> SealedFile:
        """Open `source` into `target`.

        Raises BlobError (permanent) if the key does not open it, it was cut or changed, or more
        than size_bytes_max bytes would come out; StoreError (disk).
        """
        ...
