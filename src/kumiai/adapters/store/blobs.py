"""Blobs on disk: bytes under the name of their own sha256, checked every time they are read.

A blob lies at `<root>/<first two digits>/<sha256>`. It is written to `<root>/partial/` first and
then renamed, so a file under its final name is complete, also after kill -9. Only names of 64
hex digits ever reach the file system. Cost: one hash a put, one hash a get.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kumiai.adapters.memory.blobs import check_blob_name
from kumiai.adapters.store.tree import FileStamp, read_stamp
from kumiai.base.canonical import is_hash, sha256_hex
from kumiai.base.errors import StoreError

PARTIAL = "partial"
_RETRIABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EINTR})


class DirectoryBlobs:
    """BlobPort over one folder. Several processes may put into the same folder at once.

    `is_synced` waits for the disk at every put, so that also a power cut loses nothing.
    """

    def __init__(self, root: Path, *, is_synced: bool = False) -> None:
        self._root = root
        self._is_synced = is_synced
        try:
            (root / PARTIAL).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _translate(root, error) from error

    def put(self, data: bytes) -> str:
        """Keep `data`; return its sha256 as 64 hex digits. Mends a damaged copy of the same."""
        name = sha256_hex(data)
        path = self._path_of(name)
        try:
            if not _holds(path, data):
                self._write(path, data)
        except OSError as error:
            raise _translate(path, error) from error
        return name

    def get(self, sha256: str, size_bytes_max: int) -> bytes:
        """Return the bytes named `sha256`.

        Raises StoreError: no such blob, bigger than `size_bytes_max`, or not what its name says.
        """
        check_blob_name(sha256)
        path = self._path_of(sha256)
        return _read_checked(path, sha256, size_bytes_max, known=None)

    def has(self, sha256: str) -> bool:
        """Tell whether a blob of this name is kept; False for what cannot be a name."""
        return is_hash(sha256) and self._path_of(sha256).is_file()

    def remove_partial(self) -> int:
        """Delete what killed processes left half written; return how many files that were.

        Call it only while no other process puts into this folder.
        """
        left = list((self._root / PARTIAL).iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _path_of(self, name: str) -> Path:
        return _find_path(self._root, name)

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._root / PARTIAL)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                if self._is_synced:
                    file.flush()
                    os.fsync(file.fileno())
            partial.chmod(0o644)  # mkstemp makes private files; blobs are meant to be served
            partial.replace(path)
            if self._is_synced:
                _sync_folder(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


class SealedBlobs:
    """BlobPort over a folder that nobody writes to, us included: for checking a finished run.

    `known` holds the blobs that were just hashed (`seal.check_sealed`), with their stamps; while a
    file's stamp is the same, it is read without being hashed again. `put` only tells the name.
    """

    def __init__(self, root: Path, known: Mapping[str, FileStamp]) -> None:
        self._root, self._known = root, known

    def put(self, data: bytes) -> str:
        """Return the sha256 of `data` as 64 hex digits; nothing is written."""
        return sha256_hex(data)

    def get(self, sha256: str, size_bytes_max: int) -> bytes:
        """As `DirectoryBlobs.get`, errors too."""
        check_blob_name(sha256)
        path = _find_path(self._root, sha256)
        return _read_checked(path, sha256, size_bytes_max, self._known.get(sha256))

    def has(self, sha256: str) -> bool:
        """As `DirectoryBlobs.has`."""
        return is_hash(sha256) and _find_path(self._root, sha256).is_file()


def _find_path(root: Path, name: str) -> Path:
    return root / name[:2] / name


def _read_checked(path: Path, name: str, size_bytes_max: int, known: FileStamp | None) -> bytes:
    """Read the blob `name`, hashed unless its stamp is the `known` one; StoreError if it is not."""
    try:
        data, stamp = _read_capped(path, size_bytes_max)
    except FileNotFoundError as error:
        raise StoreError(f"there is no blob {name}") from error
    except OSError as error:
        raise _translate(path, error) from error
    if len(data) > size_bytes_max:
        raise StoreError(
            f"blob {name}: {stamp.size_bytes} bytes, more than the {size_bytes_max} allowed"
        )
    if known is None or stamp != known:
        found = sha256_hex(data)
        if found != name:
            raise StoreError(f"{path}: damaged: its bytes have sha256 {found}")
    return data


def _holds(path: Path, data: bytes) -> bool:
    try:
        return _read_capped(path, len(data))[0] == data
    except FileNotFoundError:
        return False


def _read_capped(path: Path, size_bytes_max: int) -> tuple[bytes, FileStamp]:
    """Read one byte beyond the cap at most, from a regular file only (a pipe would block).

    The stamp is taken before the bytes: what is written in between shows in the next one.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise StoreError(f"{path}: is not a file")
    with path.open("rb") as file:
        stamp = read_stamp(file)
        return file.read(size_bytes_max + 1), stamp


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translate(path: Path, error: OSError) -> StoreError:
    if error.errno == errno.ENOSPC:
        sentence = "the disk is full: free some space and try again"
    else:
        sentence = error.strerror or str(error)
    return StoreError(f"{path}: {sentence}", is_retriable=error.errno in _RETRIABLE)
