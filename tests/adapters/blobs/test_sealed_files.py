"""Sealed files: what was sealed comes back, and nothing else ever does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography", reason="the extra `market` is not installed")

from tests.adapters.blobs.servers import make_bytes

from kumiai.adapters.blobs.sealed import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    compute_sealed_size,
    open_file,
    seal_file,
)
from kumiai.base.errors import StoreError
from kumiai.nodes.market.errors import BlobError

KEY = bytes(range(32))
SALT = bytes(32)
BOX = CHUNK_BYTES + TAG_BYTES
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7]


def seal(folder: Path, data: bytes, key: bytes = KEY, salt: bytes | None = SALT) -> bytes:
    (folder / "plain").write_bytes(data)
    seal_file(folder / "plain", folder / "sealed", key, salt)
    return (folder / "sealed").read_bytes()


def refuses(folder: Path, sealed: bytes, key: bytes = KEY, size_bytes_max: int = 1 << 30) -> str:
    """The reason; and nothing is left."""
    (folder / "sealed").write_bytes(sealed)
    (folder / "opened").unlink(missing_ok=True)
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(BlobError) as caught:
        open_file(folder / "sealed", folder / "opened", key, size_bytes_max)
    assert {path.name for path in folder.iterdir()} == before
    assert not caught.value.is_retriable
    return str(caught.value)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_what_was_sealed_comes_back(tmp_path: Path, size_bytes: int) -> None:
    data = make_bytes(size_bytes)
    (tmp_path / "plain").write_bytes(data)
    told = seal_file(tmp_path / "plain", tmp_path / "sealed", KEY)
    sealed = (tmp_path / "sealed").read_bytes()
    assert told.plain_sha256 == hashlib.sha256(data).hexdigest()
    assert told.sealed_sha256 == hashlib.sha256(sealed).hexdigest()
    assert told.sealed_size_bytes == len(sealed) == compute_sealed_size(size_bytes)
    assert open_file(tmp_path / "sealed", tmp_path / "opened", KEY, size_bytes) == told
    assert (tmp_path / "opened").read_bytes() == data
    assert data[:64] not in sealed or size_bytes < 64


def test_the_form_is_what_the_document_says(tmp_path: Path) -> None:
    """Against the construction written out with the library's parts."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    data = make_bytes(CHUNK_BYTES + 5)
    salt = bytes(range(100, 132))
    header = b"kumiai-sealed\0\0\x01" + salt
    okm = HKDF(SHA256(), 39, salt, b"kumiai sealed file 1").derive(KEY)
    cipher = ChaCha20Poly1305(okm[:32])
    first = cipher.encrypt(okm[32:] + b"\0\0\0\0\0", data[:CHUNK_BYTES], header)
    second = cipher.encrypt(okm[32:] + b"\0\0\0\x01\x01", data[CHUNK_BYTES:], header)
    assert seal(tmp_path, data, salt=salt) == header + first + second


def test_one_salt_gives_one_form_and_each_file_has_its_own(tmp_path: Path) -> None:
    data = make_bytes(10_000)
    assert seal(tmp_path, data) == seal(tmp_path, data)
    assert seal(tmp_path, data, salt=None) != seal(tmp_path, data, salt=None)


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    sealed = seal(tmp_path, make_bytes(10_000))
    assert "does not hold" in refuses(tmp_path, sealed, key=bytes(32))


@pytest.mark.parametrize("size_bytes", [0, 5, CHUNK_BYTES, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7])
def test_cut_and_extended_files_are_refused(tmp_path: Path, size_bytes: int) -> None:
    sealed = seal(tmp_path, make_bytes(size_bytes))
    ends = {0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 15, len(sealed) - 1}
    ends |= {HEADER_BYTES + BOX * at for at in range(1, 4)} | {len(sealed) - TAG_BYTES}
    for end in ends:
        if end < len(sealed):
            refuses(tmp_path, sealed[:end])
    for more in (b"\0", sealed[-TAG_BYTES:], sealed[HEADER_BYTES:], sealed, bytes(BOX)):
        refuses(tmp_path, sealed + more)


def test_chunks_cannot_change_places(tmp_path: Path) -> None:
    sealed = seal(tmp_path, make_bytes(3 * CHUNK_BYTES))
    header, boxes = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    one, two, three = boxes[:BOX], boxes[BOX : 2 * BOX], boxes[2 * BOX :]
    for order in ((two, one, three), (one, three), (two, three), (one, one, two, three), (three,)):
        refuses(tmp_path, header + b"".join(order))
    other = seal(tmp_path, make_bytes(3 * CHUNK_BYTES, 9), salt=bytes([1]) * 32)
    refuses(tmp_path, header + one + other[HEADER_BYTES + BOX :])
    refuses(tmp_path, other[:HEADER_BYTES] + boxes)


def test_an_empty_chunk_at_the_end_is_refused(tmp_path: Path) -> None:
    """Somebody with the key could give one file two sealed forms otherwise."""
    from kumiai.adapters.blobs.sealed import _Stream

    header = seal(tmp_path, b"")[:HEADER_BYTES]
    stream = _Stream(KEY, header)
    boxes = stream.seal(bytes(CHUNK_BYTES), is_last=False) + stream.seal(b"", is_last=True)
    assert "empty chunk" in refuses(tmp_path, header + boxes)


def test_a_file_that_holds_more_than_allowed_is_refused(tmp_path: Path) -> None:
    sealed = seal(tmp_path, make_bytes(2 * CHUNK_BYTES))
    assert "more than" in refuses(tmp_path, sealed, size_bytes_max=2 * CHUNK_BYTES - 1)
    assert "more than" in refuses(tmp_path, sealed, size_bytes_max=5)


def test_an_old_target_stays_when_opening_fails(tmp_path: Path) -> None:
    sealed = seal(tmp_path, b"new")
    (tmp_path / "sealed").write_bytes(sealed[:-1])
    (tmp_path / "opened").write_bytes(b"old")
    with pytest.raises(BlobError):
        open_file(tmp_path / "sealed", tmp_path / "opened", KEY, 100)
    assert (tmp_path / "opened").read_bytes() == b"old"


def test_misuse_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    with pytest.raises(ValueError, match="32 bytes"):
        seal_file(tmp_path / "plain", tmp_path / "sealed", b"short")
    with pytest.raises(ValueError, match="32 bytes"):
        seal_file(tmp_path / "plain", tmp_path / "sealed", KEY, b"short")
    with pytest.raises(StoreError):
        seal_file(tmp_path / "missing", tmp_path / "sealed", KEY)
    with pytest.raises(StoreError):
        seal_file(tmp_path / "plain", tmp_path / "no" / "sealed", KEY)


@given(data=st.binary(min_size=0, max_size=200), flip=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_any_flipped_bit_is_seen(tmp_path_factory, data: bytes, flip: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    sealed = bytearray(seal(folder, data))
    sealed[flip % len(sealed)] ^= 1 << bit
    refuses(folder, bytes(sealed))
