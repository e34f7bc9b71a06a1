"""Sealed files: a file under a 32-byte key, readable by whoever has the key, changed by nobody.

Source: Viet Tung Hoang, Reza Reyhanitabar, Phillip Rogaway, Damian Vizar, "Online Authenticated-
Encryption and its Nonce-Reuse Misuse-Resistance", 2015, section 7 (STREAM), over ChaCha20-Poly1305
(RFC 8439) with HKDF-SHA256 (RFC 5869).

::

    header = "kumiai-sealed" 0x00 0x00 version(1) salt(32)                        48 bytes
    K, P   = HKDF(key, salt, "kumiai sealed file 1")[:32], [32:39]
    chunk  = AEAD(K, nonce = P counter(4, big endian) last(1), 1 MiB of the file, header)

Every chunk but the last is full; the last has the flag 1, and is empty for an empty file only. So
a file has one sealed form for each key and salt, and one that is cut, extended, reordered, mixed
with another or damaged is refused. Give the same salt to make the same sealed file again (after a
crash); otherwise each gets a random one, so a key may be used more than once.

Nothing appears at the target before the last chunk was checked. The two hashes cost more than the
cipher; they run in threads beside it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from kumiai.base.errors import InputError, StoreError
from kumiai.nodes.market.errors import BlobError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
VERSION: Final = 1
HEADER_BYTES: Final = 48
CHUNK_COUNT_MAX: Final = 2**32  # 4 PiB

_MAGIC = b"kumiai-sealed\x00\x00" + bytes([VERSION])
_INFO = b"kumiai sealed file 1"


@dataclass(frozen=True, slots=True)
class SealedFile:
    """Both forms of one file: names are sha256, sizes in bytes."""

    plain_sha256: str
    plain_size_bytes: int
    sealed_sha256: str
    sealed_size_bytes: int


def compute_sealed_size(plain_size_bytes: int) -> int:
    """Return how many bytes a file of that size has when it is sealed."""
    chunk_count = max(1, -(-plain_size_bytes // CHUNK_BYTES))
    return HEADER_BYTES + plain_size_bytes + chunk_count * TAG_BYTES


def seal_file(source: Path, target: Path, key: bytes, salt: bytes | None = None) -> SealedFile:
    """Write the sealed form of `source` to `target`.

    Raises StoreError (disk), InputError (too big), ValueError for a key or salt of a wrong length.
    """
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    header = _MAGIC + salt
    stream = _Stream(key, header)
    with (
        ThreadPoolExecutor(2) as pool,
        _replacing(target) as output,
        source.open("rb", buffering=0) as file,
    ):
        plain, sealed = _Meter(pool), _Meter(pool)
        output.write(sealed.take(header))
        for chunk, is_last in _read_chunks(file, CHUNK_BYTES):
            output.write(sealed.take(stream.seal(plain.take(chunk), is_last=is_last)))
    return _sum_up(plain, sealed)


def open_file(source: Path, target: Path, key: bytes, size_bytes_max: int) -> SealedFile:
    """Write the plain form of `source` to `target`, of at most `size_bytes_max` bytes.

    Raises BlobError: not sealed, another key, cut, extended, reordered or damaged, or too big;
    StoreError (disk); ValueError for a key of a wrong length.
    """
    with (
        ThreadPoolExecutor(2) as pool,
        _replacing(target) as output,
        source.open("rb", buffering=0) as file,
    ):
        plain, sealed = _Meter(pool), _Meter(pool)
        header = _read_exactly(file, HEADER_BYTES)
        if len(header) != HEADER_BYTES or not header.startswith(_MAGIC):
            raise BlobError("not a sealed file of a version that is known here")
        sealed.take(header)
        stream = _Stream(key, header)
        for chunk, is_last in _read_chunks(file, CHUNK_BYTES + TAG_BYTES):
            sealed.take(chunk)
            if plain.size_bytes + len(chunk) - TAG_BYTES > size_bytes_max:
                raise BlobError(
                    f"the sealed file holds more than {size_bytes_max} bytes", code="too-big"
                )
            output.write(plain.take(stream.open(chunk, is_last=is_last)))
    return _sum_up(plain, sealed)


class _Stream:
    """The STREAM construction: each chunk under its place and whether it is the last."""

    def __init__(self, key: bytes, header: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        salt = header[len(_MAGIC) :]
        derived = HKDF(algorithm=SHA256(), length=39, salt=salt, info=_INFO).derive(key)
        self._cipher = ChaCha20Poly1305(derived[:32])
        self._prefix = derived[32:]
        self._header = header
        self._count = 0

    def seal(self, chunk: bytes, *, is_last: bool) -> bytes:
        return self._cipher.encrypt(self._next_nonce(is_last=is_last), chunk, self._header)

    def open(self, chunk: bytes, *, is_last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(chunk) == TAG_BYTES and self._count:
            raise BlobError("the sealed file ends with an empty chunk")
        try:
            return self._cipher.decrypt(self._next_nonce(is_last=is_last), chunk, self._header)
        except (InvalidTag, ValueError) as error:  # ValueError: shorter than a tag
            raise BlobError(
                f"chunk {self._count - 1} of the sealed file does not hold: it was changed or cut,"
                " or the key is another"
            ) from error

    def _next_nonce(self, *, is_last: bool) -> bytes:
        if self._count >= CHUNK_COUNT_MAX:
            raise InputError("file", self._count, f"at most {CHUNK_COUNT_MAX} chunks of 1 MiB")
        nonce = self._prefix + self._count.to_bytes(4, "big") + bytes([is_last])
        self._count += 1
        return nonce


class _Meter:
    """Hashes and counts what passes, one chunk behind in a thread of its own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._hasher = hashlib.sha256()
        self._job: Future[None] | None = None
        self.size_bytes = 0

    def take(self, data: bytes) -> bytes:
        if self._job is not None:
            self._job.result()
        self._job = self._pool.submit(self._hasher.update, data)
        self.size_bytes += len(data)
        return data

    def get_sha256(self) -> str:
        if self._job is not None:
            self._job.result()
        return self._hasher.hexdigest()


def _sum_up(plain: _Meter, sealed: _Meter) -> SealedFile:
    return SealedFile(plain.get_sha256(), plain.size_bytes, sealed.get_sha256(), sealed.size_bytes)


def _read_chunks(file: IO[bytes], size_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield (chunk, whether it is the last); an empty file has one empty chunk."""
    chunk = _read_exactly(file, size_bytes)
    while True:
        following = _read_exactly(file, size_bytes) if len(chunk) == size_bytes else b""
        yield chunk, not following
        if not following:
            return
        chunk = following


def _read_exactly(file: IO[bytes], size_bytes: int) -> bytes:
    """Read that many bytes, fewer only at the file's end."""
    data = file.read(size_bytes)
    while 0 < len(data) < size_bytes:
        more = file.read(size_bytes - len(data))
        if not more:
            break
        data += more
    return data


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `target` that takes its place when the block ends well."""
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".sealing-")
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{error.filename or target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
