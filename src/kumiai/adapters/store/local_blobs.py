"""A member's own blobs by path: what a market node fetches, seals and works on.

The same folder and rules as `DirectoryBlobs`; files may be larger than memory, so they are moved
in whole instead of passing through it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kumiai.adapters.memory.blobs import check_blob_name
from kumiai.adapters.store.blobs import PARTIAL, DirectoryBlobs
from kumiai.base.errors import StoreError


class LocalBlobs(DirectoryBlobs):
    """BlobPort and LocalBlobPort over one folder."""

    def get_path(self, sha256: str) -> Path:
        """Return where the blob lies, for reading only; StoreError if it is absent."""
        check_blob_name(sha256)
        path = self._path_of(sha256)
        if not path.is_file():
            raise StoreError(f"there is no blob {sha256}")
        return path

    @contextmanager
    def reserve(self) -> Iterator[Path]:
        """Give a path for a new file beside the blobs; what is left there is deleted."""
        with tempfile.TemporaryDirectory(dir=self._root / PARTIAL) as folder:
            yield Path(folder) / "new"

    def adopt(self, path: Path, sha256: str) -> None:
        """Move a finished file under its name, on the disk before it has it."""
        check_blob_name(sha256)
        target = self._path_of(sha256)
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StoreError(f"{target}: {error.strerror}", is_retriable=is_full) from error

    def remove_partial(self) -> int:
        """As `DirectoryBlobs.remove_partial`, with the folders that `reserve` left."""
        left = list((self._root / PARTIAL).iterdir())
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return len(left)
