"""The seal over a finished run: one signature under which no byte of any file can change unseen.

When a run ends, `seal_directory` writes two files into its folder. `seal.index` has one line of
canonical JSON a file: path, size, sha256, and the sha256 of every 64 KiB chunk. `seal.json` is one
signed event (kind 8490) that holds the sha256 of `seal.index`, the totals, and the patterns of
files that are not sealed on purpose. The list is a file of its own because an event holds at most
256 KiB and a large run has tens of thousands of blobs.

`check_seal` finds every changed, added, missing, cut or grown file, to the chunk; also the bytes
that SQLite itself never looks at. Guarantee: what passes is what the owner of the key sealed, if
the caller says whose key that has to be; without it the seal shows only that nothing changed since
somebody sealed it. Cost: one sha256 a byte to check, two to seal, on all cores; `check_sealed` says
which blobs need not be hashed again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumiai.adapters.store import tree
from kumiai.adapters.store.tree import CHUNK_BYTES, DIGEST_BYTES, FileStamp, TreeEntry
from kumiai.base import canonical
from kumiai.base.errors import StoreError
from kumiai.base.events import (
    EVENT_SIZE_BYTES_MAX,
    Event,
    check_event,
    decode_event,
    encode_event,
    read_content,
    sign_event,
)
from kumiai.base.keys import SigningKey

SEAL_KIND = 8490
SEAL_NAME = "seal.json"
INDEX_NAME = "seal.index"
IGNORED_DEFAULT = ("report.html", "telemetry*", "cache")
FINDING_COUNT_MAX = 1000

_VERSION = 1
_PARTIAL_SUFFIX = ".partial"
_SEAL_BYTES_MAX = 3 * EVENT_SIZE_BYTES_MAX
_OPEN_SUFFIXES = ("-wal", "-shm", "-journal")
_BLOB_PATH = re.compile(r"blobs/(?P<folder>[0-9a-f]{2})/(?P<name>(?P=folder)[0-9a-f]{62})")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file, and between which byte offsets (from, up to but without)."""

    path: str
    offsets: tuple[int, int] | None
    what: str

    def __str__(self) -> str:
        if self.offsets is None:
            return f"{self.path}: {self.what}"
        return f"{self.path}: bytes {self.offsets[0]} to {self.offsets[1] - 1}: {self.what}"


@dataclass(frozen=True, slots=True)
class _SealedFile:
    path: str
    size_bytes: int
    sha256: str
    chunks: bytes  # the chunk hashes, joined


@dataclass(frozen=True, slots=True)
class SealCheck:
    """What is wrong, and the blobs that are what they were: hash -> the file's stamp."""

    findings: list[Finding]
    blobs: Mapping[str, FileStamp]


class _SealError(Exception):
    """The seal itself cannot be believed, so nothing can be compared with it."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(what)
        self.finding = Finding(path, None, what)


def seal_directory(
    run_dir: Path,
    key: SigningKey,
    created_at: int,
    ignored: Sequence[str] = IGNORED_DEFAULT,
) -> Event:
    """Hash every file under `run_dir`, write `seal.index` and `seal.json`, return the signed event.

    `created_at` is in seconds; `ignored` holds shell patterns on the path inside `run_dir`. Sealing
    again replaces the old seal. Raises StoreError if a database is still open, a blob is not what
    its name says, or a file is a link or cannot be read.
    """
    try:
        for name in (INDEX_NAME, SEAL_NAME):
            (run_dir / (name + _PARTIAL_SUFFIX)).unlink(missing_ok=True)
        entries = [e for e in tree.list_tree(run_dir, ignored) if not _is_seal(e.path)]
        _check_sealable(entries)
        index = b"".join(_encode_line(file) + b"\n" for file in _hash_all(run_dir, entries))
        content = {
            "chunk_bytes": CHUNK_BYTES,
            "count": len(entries),
            "ignored": list(ignored),
            "index_sha256": canonical.sha256_hex(index),
            "index_size_bytes": len(index),
            "size_bytes": sum(entry.size_bytes for entry in entries),
            "version": _VERSION,
        }
        event = sign_event(key, SEAL_KIND, created_at, content)
        _write(run_dir / INDEX_NAME, index)
        _write(run_dir / SEAL_NAME, encode_event(event))
    except OSError as error:
        raise StoreError(f"cannot seal {run_dir}: {error}") from error
    return event


def check_seal(run_dir: Path, signer: str | None = None) -> list[Finding]:
    """Compare every byte under `run_dir` with its seal; an empty list means that nothing changed.

    `signer` is the public key that must have sealed it. At most FINDING_COUNT_MAX findings come
    back. Raises StoreError if `run_dir` is no folder that can be listed.
    """
    return check_sealed(run_dir, signer).findings


def check_sealed(run_dir: Path, signer: str | None = None) -> SealCheck:
    """As `check_seal`; also names the blobs that were found to be what their names say."""
    try:
        content = _read_seal(run_dir, signer)
        sealed = _read_index(run_dir, content)
    except _SealError as broken:
        return SealCheck([broken.finding], {})
    try:
        present = {e.path: e for e in tree.list_tree(run_dir, content["ignored"])}
    except OSError as error:
        raise StoreError(f"cannot list {run_dir}: {error}") from error
    blobs = _find_unchanged_blobs(run_dir, sealed, present)
    findings: list[Finding] = []
    for finding in _compare(run_dir, sealed, present, blobs):
        if len(findings) == FINDING_COUNT_MAX:
            findings[-1] = Finding(".", None, "there is more than can be listed")
            break
        findings.append(finding)
    return SealCheck(findings, blobs)


def _find_unchanged_blobs(
    run_dir: Path, sealed: Sequence[_SealedFile], present: Mapping[str, TreeEntry]
) -> dict[str, FileStamp]:
    """Hash each blob once, as a whole: what has its name's hash and the sealed size is intact."""
    sizes = {file.path: (file.sha256, file.size_bytes) for file in sealed}
    paths = [
        path
        for path, entry in present.items()
        if entry.is_file and path in sizes and (found := _BLOB_PATH.fullmatch(path))
        and sizes[path] == (found["name"], entry.size_bytes)
    ]  # fmt: skip
    hashes = tree.hash_files(run_dir, paths)
    return {
        each.sha256: each.stamp
        for path, each in zip(paths, hashes, strict=True)
        if not isinstance(each, OSError) and (each.sha256, each.stamp.size_bytes) == sizes[path]
    }


def _compare(
    run_dir: Path,
    sealed: Sequence[_SealedFile],
    present: Mapping[str, TreeEntry],
    unchanged: Mapping[str, FileStamp],
) -> Iterator[Finding]:
    names = {file.path for file in sealed}
    for path in present:
        if path not in names and not _is_seal(path):
            yield Finding(_show(path), None, "added after the run was sealed")
    readable = []
    for file in sealed:
        entry = present.get(file.path)
        if entry is None:
            yield Finding(file.path, None, "missing")
        elif not entry.is_file:
            yield Finding(file.path, None, "is a link or device, not a file")
        elif not (_BLOB_PATH.fullmatch(file.path) and file.sha256 in unchanged):
            readable.append((file, entry.size_bytes))
    sizes = [(file.path, min(size, file.size_bytes)) for file, size in readable]
    hashes = tree.hash_chunks(run_dir, sizes)
    for (file, size), found in zip(readable, hashes, strict=True):
        if isinstance(found, OSError):
            yield Finding(file.path, None, f"cannot be read: {found.strerror}")
        else:
            yield from _compare_file(file, size, found)


def _compare_file(file: _SealedFile, size: int, found: bytes) -> Iterator[Finding]:
    """Compare the chunk hashes `found` of a file that now has `size` bytes with the sealed ones."""
    whole = tree.count_chunks(file.size_bytes) if size >= file.size_bytes else size // CHUNK_BYTES
    first_bad = None
    for chunk in range(whole + 1):
        at = slice(chunk * DIGEST_BYTES, (chunk + 1) * DIGEST_BYTES)
        is_bad = chunk < whole and found[at] != file.chunks[at]
        if is_bad and first_bad is None:
            first_bad = chunk
        elif not is_bad and first_bad is not None:
            stop = min(chunk * CHUNK_BYTES, file.size_bytes)
            yield Finding(file.path, (first_bad * CHUNK_BYTES, stop), "changed")
            first_bad = None
    if size < file.size_bytes:
        what = f"cut: {size} bytes instead of {file.size_bytes}"
        yield Finding(file.path, (whole * CHUNK_BYTES, file.size_bytes), what)
    elif size > file.size_bytes:
        what = f"grown: {size} bytes instead of {file.size_bytes}"
        yield Finding(file.path, (file.size_bytes, size), what)


def _read_seal(run_dir: Path, signer: str | None) -> dict[str, Any]:
    data = _read_capped(run_dir / SEAL_NAME, _SEAL_BYTES_MAX)
    try:
        event = decode_event(data)
        reason = check_event(event)
        if reason is None and event.kind != SEAL_KIND:
            reason = f"kind {event.kind} is no seal"
        if reason is None and signer is not None and event.pubkey != signer:
            reason = f"sealed by {event.pubkey}, not by {signer}"
        content = read_content(event) if reason is None else {}
        if reason is None and not _is_content(content):
            reason = "has fields of a wrong form"
    except ValueError as error:
        reason = f"damaged: {error}"
    if reason is not None:
        raise _SealError(SEAL_NAME, reason)
    return content


def _read_index(run_dir: Path, content: Mapping[str, Any]) -> list[_SealedFile]:
    data = _read_capped(run_dir / INDEX_NAME, content["index_size_bytes"])
    if canonical.sha256_hex(data) != content["index_sha256"]:
        raise _SealError(INDEX_NAME, f"is not the list that {SEAL_NAME} signs")
    try:
        files = [_decode_line(line) for line in data.splitlines()]
    except ValueError as error:
        raise _SealError(INDEX_NAME, f"malformed: {error}") from error
    if len(files) != content["count"] or len({file.path for file in files}) != len(files):
        raise _SealError(INDEX_NAME, "does not list each file once")
    if sum(file.size_bytes for file in files) != content["size_bytes"]:
        raise _SealError(INDEX_NAME, "does not add up to the signed size")
    return files


def _is_content(content: Mapping[str, Any]) -> bool:
    counts = ("chunk_bytes", "count", "index_size_bytes", "size_bytes", "version")
    return (
        set(content) == {*counts, "ignored", "index_sha256"}
        and all(type(content[name]) is int and content[name] >= 0 for name in counts)
        and (content["version"], content["chunk_bytes"]) == (_VERSION, CHUNK_BYTES)
        and canonical.is_hash(content["index_sha256"])
        and isinstance(content["ignored"], list)
        and all(isinstance(pattern, str) for pattern in content["ignored"])
    )


def _encode_line(file: _SealedFile) -> bytes:
    return canonical.encode(
        {
            "chunks": file.chunks.hex(),
            "path": file.path,
            "sha256": file.sha256,
            "size_bytes": file.size_bytes,
        }
    )


def _decode_line(line: bytes) -> _SealedFile:
    document = canonical.decode(line, len(line))
    if not isinstance(document, dict) or set(document) != {
        "chunks",
        "path",
        "sha256",
        "size_bytes",
    }:
        raise ValueError("a line has other fields than it should")
    chunks, size = document["chunks"], document["size_bytes"]
    if type(size) is not int or size < 0 or not isinstance(chunks, str):
        raise ValueError("a line has values of wrong types")
    if not isinstance(document["path"], str) or not canonical.is_hash(document["sha256"]):
        raise ValueError("a line has values of wrong types")
    if len(chunks) != 2 * DIGEST_BYTES * tree.count_chunks(size):
        raise ValueError(f"{document['path']}: chunk hashes do not fit {size} bytes")
    return _SealedFile(document["path"], size, document["sha256"], bytes.fromhex(chunks))


def _hash_all(run_dir: Path, entries: Sequence[TreeEntry]) -> Iterator[_SealedFile]:
    hashes = tree.hash_chunks(run_dir, [(entry.path, entry.size_bytes) for entry in entries])
    totals = tree.hash_files(run_dir, [entry.path for entry in entries])
    for entry, chunks, total in zip(entries, hashes, totals, strict=True):
        if isinstance(chunks, OSError):
            raise chunks
        if isinstance(total, OSError):
            raise total
        blob = _BLOB_PATH.fullmatch(entry.path)
        if blob and blob["name"] != total.sha256:
            raise StoreError(f"{entry.path}: damaged: its bytes have sha256 {total.sha256}")
        yield _SealedFile(entry.path, entry.size_bytes, total.sha256, chunks)


def _check_sealable(entries: Sequence[TreeEntry]) -> None:
    names = {entry.path for entry in entries}
    for entry in entries:
        if not entry.is_file:
            raise StoreError(f"{_show(entry.path)}: is a link or device, not a file: remove it")
        if _show(entry.path) != entry.path:
            raise StoreError(f"{_show(entry.path)}: its name is not UTF-8: rename it")
        for suffix in _OPEN_SUFFIXES:
            if entry.path.endswith(suffix) and entry.path.removesuffix(suffix) in names:
                raise StoreError(
                    f"{entry.path.removesuffix(suffix)}: is still open ({entry.path} exists):"
                    " close it before sealing"
                )


def _is_seal(path: str) -> bool:
    return path in (SEAL_NAME, INDEX_NAME)


def _show(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()


def _read_capped(path: Path, size_bytes_max: int) -> bytes:
    """Read a plain file of at most `size_bytes_max` bytes; raises _SealError otherwise."""
    try:
        if path.is_symlink() or not path.is_file():
            raise _SealError(path.name, "is not a file" if path.exists() else "missing")
        with path.open("rb") as file:
            data = file.read(size_bytes_max + 1)
    except OSError as error:
        raise _SealError(path.name, f"cannot be read: {error.strerror}") from error
    if len(data) > size_bytes_max:
        raise _SealError(path.name, f"bigger than {size_bytes_max} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + _PARTIAL_SUFFIX)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
