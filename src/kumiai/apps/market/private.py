"""Files with secrets: readable by their owner alone from the beginning, whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write the file, or put this in the place of what it held; OSError if that cannot be."""
    partial = _write_beside(path, text)
    try:
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def create_private(path: Path, text: str) -> None:
    """Write the file unless it is there: of two processes one does; OSError if that cannot be."""
    if path.exists():
        return
    partial = _write_beside(path, text)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass  # the other one was faster
    except OSError:  # a disk without links
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _write_beside(path: Path, text: str) -> Path:
    """Write a file of another name in the same folder; it is on the disk when this returns."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every disk can, and the file itself is safe
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
