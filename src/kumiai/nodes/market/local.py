"""What a market node asks of its own machine besides work: a folder of blobs, sealing, time, chance.

Blobs here are files under their sha256; a file that stands under its name is complete. Names come
from peers, so an implementation lets only 64 hex digits reach the file system.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
        """Give a path for a new file, on the same disk; what is left there at the end is deleted."""
        ...

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a finished file whose hash is known under its name, all or nothing."""
        ...


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed blob: its own sha256 and length."""

    sha256: str
    size_bytes: int


class SealPort(Protocol):
    """Sealed files (docs/nip-training.md, section 7). `key`: 32 bytes, for one file."""

    def seal(self, source: Path, target: Path, key: bytes) -> SealedFile: ...

    def unseal(self, source: Path, target: Path, key: bytes, size_bytes_max: int) -> SealedFile:
        """Open `source`; return sha256 and length of the plaintext at `target`.

        Raises BlobError (permanent) if the key does not open it, it was cut or changed, or more
        than size_bytes_max would come out.
        """
        ...
