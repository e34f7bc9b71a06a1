"""The batches that a committee decided, in one file: a line each, in the form they travel in.

The file only repeats what validators' journals hold; it lets anybody redo the order without them.
A run that is taken up again writes it anew from the beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from kumiai.base.errors import StoreError
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.messages import Decided


class OrderFile:
    """Written from the first batch on; without any there is no file. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_suffix(".partial")
        self._file: BinaryIO | None = None

    def append(self, decided: Decided) -> None:
        """Write the next batch."""
        try:
            if self._file is None:
                self._file = self._partial.open("wb")
            self._file.write(wire.encode(decided) + b"\n")
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Make everything last, under its name."""
        if self._file is None:
            return
        try:
            with self._file as file:
                file.flush()
                os.fsync(file.fileno())
            self._partial.replace(self._path)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
        self._file = None


def read_order(path: Path) -> Iterator[Decided]:
    """Yield the batches; raises StoreError for a line that is none."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(wire.MESSAGE_BYTES_MAX + 2):
            number += 1
            try:
                decided = wire.decode(line.removesuffix(b"\n"))
            except ValueError as error:
                raise StoreError(f"{path.name}, line {number}: {error}") from error
            if not isinstance(decided, Decided) or not line.endswith(b"\n"):
                raise StoreError(f"{path.name}, line {number}: it is no decided batch")
            yield decided
