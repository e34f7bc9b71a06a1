"""The files of a folder and their chunk hashes: streamed, on all cores, in flat memory.

Files are named by their path inside the folder, with `/` between the parts; no link is followed.
Cost: one sha256 a byte, spread over the cores (hashlib lets go of the interpreter). Memory: one
read buffer a core, and 32 bytes for every 64 KiB of the files in hand.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kumiai.adapters.cores import count_cores

CHUNK_BYTES = 64 * 1024
DIGEST_BYTES = 32

_READ_BYTES = 16 * CHUNK_BYTES
_SEGMENT_BYTES = 16 * _READ_BYTES  # what one task of the pool hashes
_TASKS_MAX = 512  # tasks waiting in the pool at once
_WORKERS = min(8, count_cores())


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """Something that lies in a folder: `path` inside it, size, and whether it is a plain file."""

    path: str
    size_bytes: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells that a file was not written since: its number, size and time of last change.

    The time is the kernel's (ctime): programs cannot set it back.
    """

    inode: int
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class FileHash:
    """The sha256 of a whole file as hex, and the stamp it had before it was read."""

    sha256: str
    stamp: FileStamp


def read_stamp(file: io.IOBase) -> FileStamp:
    """Return the stamp of an open file."""
    status = os.fstat(file.fileno())
    return FileStamp(status.st_ino, status.st_size, status.st_ctime_ns)


def list_tree(root: Path, ignored: Sequence[str]) -> list[TreeEntry]:
    """Return all that is no folder under `root`, sorted by path, but what matches `ignored`.

    `ignored` holds shell patterns on the whole path (`*` also matches `/`); one that fits a folder
    covers all that is in it. Raises OSError.
    """
    patterns = [form for pattern in ignored for form in (pattern, pattern + "/*")]
    found = [
        entry
        for entry in _walk(root, "")
        if not any(fnmatchcase(entry.path, pattern) for pattern in patterns)
    ]
    return sorted(found, key=lambda entry: entry.path)


def hash_chunks(root: Path, sizes: Sequence[tuple[str, int]]) -> Iterator[bytes | OSError]:
    """For each (path, size): the sha256 of every 64 KiB of its first `size` bytes, joined.

    The last chunk may be shorter. A file that cannot be read gives its OSError; one that is shorter
    than `size` gives what is there.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        for group in _group(sizes):
            waiting = [_submit(pool, root / path, size) for path, size in group]
            for futures in waiting:
                errors = [error for f in futures if isinstance(error := f.exception(), OSError)]
                yield errors[0] if errors else b"".join(future.result() for future in futures)


def hash_files(root: Path, paths: Sequence[str]) -> Iterator[FileHash | OSError]:
    """Hash each file as a whole; one that cannot be read gives its OSError."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(paths), _TASKS_MAX):
            part = [root / path for path in paths[start : start + _TASKS_MAX]]
            yield from pool.map(_hash_file, part)


def count_chunks(size_bytes: int) -> int:
    """Return how many chunks a file of `size_bytes` has; an empty one has none."""
    return -(-size_bytes // CHUNK_BYTES)


def _walk(folder: Path, prefix: str) -> Iterator[TreeEntry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, path + "/")
            else:
                size = entry.stat(follow_symlinks=False).st_size
                yield TreeEntry(path, size, entry.is_file(follow_symlinks=False))


def _group(sizes: Sequence[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """Cut the list so that no group makes many more than _TASKS_MAX tasks."""
    group: list[tuple[str, int]] = []
    task_count = 0
    for path, size in sizes:
        group.append((path, size))
        task_count += 1 + size // _SEGMENT_BYTES
        if task_count >= _TASKS_MAX:
            yield group
            group, task_count = [], 0
    yield group


def _submit(pool: ThreadPoolExecutor, path: Path, size: int) -> list[Future[bytes]]:
    starts = range(0, size, _SEGMENT_BYTES)
    return [
        pool.submit(_hash_segment, path, start, min(start + _SEGMENT_BYTES, size))
        for start in starts
    ]


def _hash_segment(path: Path, start: int, stop: int) -> bytes:
    digests = []
    with _open(path) as file:
        file.seek(start)
        while start < stop:
            data = memoryview(file.read(min(_READ_BYTES, stop - start)))
            if not data:
                break
            digests += [
                hashlib.sha256(data[at : at + CHUNK_BYTES]).digest()
                for at in range(0, len(data), CHUNK_BYTES)
            ]
            start += len(data)
    return b"".join(digests)


def _hash_file(path: Path) -> FileHash | OSError:
    try:
        with _open(path) as file:
            stamp = read_stamp(file)
            return FileHash(hashlib.file_digest(file, "sha256").hexdigest(), stamp)
    except OSError as error:
        return error


def _open(path: Path) -> io.FileIO:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    return io.FileIO(os.open(path, flags), "r")
