"""One contract for every blob store, and what only a folder must stand."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kumiai.adapters.memory.blobs import MemoryBlobs
from kumiai.adapters.store import blobs as store_blobs
from kumiai.adapters.store.blobs import DirectoryBlobs, SealedBlobs
from kumiai.adapters.store.tree import FileHash, hash_files
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import StoreError
from kumiai.nodes.ports import BlobPort

CAP = 1 << 20
ABSENT = sha256_hex(b"absent")


@pytest.fixture(params=["memory", "directory", "synced directory"])
def blobs(request, tmp_path) -> BlobPort:
    if request.param == "memory":
        return MemoryBlobs()
    return DirectoryBlobs(tmp_path / "run" / "blobs", is_synced="synced" in request.param)


@given(st.binary(max_size=200))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_come_back_under_their_hash(blobs, data):
    name = blobs.put(data)
    assert name == sha256_hex(data)
    assert blobs.put(data) == name  # twice is once
    assert blobs.has(name)
    assert blobs.get(name, len(data)) == data
    assert blobs.get(name, CAP) == data


def test_what_is_not_there_is_said_so(blobs):
    assert not blobs.has(ABSENT)
    with pytest.raises(StoreError, match=f"no blob {ABSENT}") as caught:
        blobs.get(ABSENT, CAP)
    assert not caught.value.is_retriable


def test_a_blob_above_the_cap_is_refused(blobs):
    name = blobs.put(b"x" * 1000)
    with pytest.raises(StoreError, match=f"{name}: 1000 bytes, more than the 999 allowed"):
        blobs.get(name, 999)
    with pytest.raises(StoreError, match="more than the 0 allowed"):
        blobs.get(name, 0)
    assert blobs.get(blobs.put(b""), 0) == b""


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../etc/passwd", "/etc/passwd", "partial", "a" * 63, "a" * 65, "A" * 64, "g" * 64,
     "../" + "a" * 61, "a" * 63 + "/", "a" * 63 + "\x00", "é" * 64, "\ud800" * 64, "٣" * 64],
)  # fmt: skip
def test_only_64_hex_digits_are_a_name(blobs, name):
    assert not blobs.has(name)
    with pytest.raises(StoreError, match="no blob's name"):
        blobs.get(name, CAP)


def test_a_mutable_buffer_is_copied(blobs):
    buffer = bytearray(b"before")
    name = blobs.put(buffer)
    buffer[:] = b"after!"
    assert blobs.get(name, CAP) == b"before"


# --- in a folder only ---


@pytest.fixture
def folder(tmp_path):
    return DirectoryBlobs(tmp_path / "blobs")


def path_of(tmp_path: Path, name: str) -> Path:
    return tmp_path / "blobs" / name[:2] / name


def test_the_file_lies_under_the_first_two_digits(folder, tmp_path):
    name = folder.put(b"data")
    assert path_of(tmp_path, name).read_bytes() == b"data"
    assert path_of(tmp_path, name).stat().st_mode & 0o777 == 0o644
    assert DirectoryBlobs(tmp_path / "blobs").get(name, CAP) == b"data"


@pytest.mark.parametrize("damaged", [b"dat", b"", b"datA", b"data and more"])
def test_a_damaged_blob_is_named_and_mended_by_put(folder, tmp_path, damaged):
    name = folder.put(b"data")
    path_of(tmp_path, name).write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged") as caught:
        folder.get(name, CAP)
    assert name in str(caught.value)
    assert str(path_of(tmp_path, name)) in str(caught.value)
    assert sha256_hex(damaged) in str(caught.value)
    assert not caught.value.is_retriable
    folder.put(b"data")
    assert folder.get(name, CAP) == b"data"


def test_a_pipe_or_folder_in_a_blobs_place_does_not_hang(folder, tmp_path):
    path = path_of(tmp_path, ABSENT)
    path.parent.mkdir()
    os.mkfifo(path)
    assert not folder.has(ABSENT)
    with pytest.raises(StoreError, match="is not a file"):
        folder.get(ABSENT, CAP)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="is not a file"):
        folder.get(ABSENT, CAP)


def test_a_huge_file_is_not_read_beyond_the_cap(folder, tmp_path):
    path = path_of(tmp_path, ABSENT)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: 1 TiB
    with pytest.raises(StoreError, match=f"{1 << 40} bytes, more than the 1000 allowed"):
        folder.get(ABSENT, 1000)


@pytest.mark.parametrize(
    ("code", "what", "is_retriable"),
    [(errno.ENOSPC, "the disk is full", True), (errno.EROFS, "Read-only", False)],
)
def test_a_failed_write_leaves_no_blob_and_no_litter(
    folder, tmp_path, monkeypatch, code, what, is_retriable
):
    def fail(_self, _target):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(StoreError, match=what) as caught:
            folder.put(b"data")
    assert caught.value.is_retriable is is_retriable
    assert not folder.has(sha256_hex(b"data"))
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []
    assert folder.get(folder.put(b"data"), CAP) == b"data"


def test_a_file_size_limit_of_the_system_is_a_store_error(tmp_path):
    """A real write that fails half-way: the process may write 10 KB a file."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from kumiai.adapters.store.blobs import DirectoryBlobs\n"
        "from kumiai.base.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "blobs = DirectoryBlobs(Path(sys.argv[1]))\n"
        "try:\n    blobs.put(b'x' * 100_000)\n"
        "except StoreError as error:\n    print(error)\n"
        "print(blobs.remove_partial())\n"
    )
    result = run_child(code, tmp_path / "blobs")
    assert "File too large" in result.stdout
    assert result.stdout.endswith("\n0\n")


def test_a_name_that_is_taken_by_a_file_is_a_store_error(tmp_path):
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(StoreError, match="blobs"):
        DirectoryBlobs(tmp_path / "blobs")


def test_kill_9_while_putting_leaves_whole_blobs_only(tmp_path):
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from kumiai.adapters.store.blobs import DirectoryBlobs\n"
        "blobs = DirectoryBlobs(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "while True:\n    blobs.put(os.urandom(300_000))\n"
    )
    blobs = DirectoryBlobs(tmp_path / "blobs")
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "blobs")],
            stdout=subprocess.PIPE,
            env=child_environment(),
        )
        child.stdout.readline()
        time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
    blobs.remove_partial()
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert len(blobs.get(path.name, CAP)) == 300_000
    assert blobs.remove_partial() == 0


def test_many_writers_of_the_same_bytes(folder, tmp_path):
    datas = [bytes([n % 5]) * 50_000 for n in range(60)]
    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(folder.put, datas))
    assert [folder.get(name, CAP) for name in names] == datas
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []


def child_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(store_blobs.__file__).parents[3])}


def run_child(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, check=True
    )


@pytest.fixture
def sealed(tmp_path) -> tuple[Path, SealedBlobs, str]:
    """One blob's file, the read-only port that was told its stamp, and its name."""
    name = DirectoryBlobs(tmp_path).put(b"honest")
    path = tmp_path / name[:2] / name
    (found,) = hash_files(tmp_path, [f"{name[:2]}/{name}"])
    assert isinstance(found, FileHash) and found.sha256 == name
    return path, SealedBlobs(tmp_path, {name: found.stamp}), name


def test_a_blob_that_was_just_hashed_is_not_hashed_again(sealed, monkeypatch):
    _, blobs, name = sealed
    monkeypatch.setattr(store_blobs, "sha256_hex", lambda data: pytest.fail("hashed"))
    assert blobs.get(name, CAP) == b"honest"


def test_a_blob_that_changed_since_it_was_hashed_is_found(sealed):
    path, blobs, name = sealed
    before = path.stat()
    path.write_bytes(b"hostil")  # of the same size, and its time set back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StoreError, match="damaged"):
        blobs.get(name, CAP)


def test_the_read_only_port_reads_what_nobody_hashed_and_writes_nothing(sealed, tmp_path):
    _, blobs, _ = sealed
    other = DirectoryBlobs(tmp_path).put(b"other")
    assert blobs.get(other, CAP) == b"other" and blobs.has(other)
    assert blobs.put(b"new") == sha256_hex(b"new")
    assert not blobs.has(sha256_hex(b"new"))
    with pytest.raises(StoreError, match="no blob"):
        blobs.get(sha256_hex(b"new"), CAP)
