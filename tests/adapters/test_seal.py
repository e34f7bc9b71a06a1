"""The seal: no byte of any sealed file, nor of the seal itself, changes unseen."""

import json
import os
import random
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kumiai.adapters.store import seal, tree
from kumiai.adapters.store.blobs import DirectoryBlobs
from kumiai.adapters.store.log import SqliteLog
from kumiai.adapters.store.seal import Finding, check_seal, seal_directory
from kumiai.base import canonical, keys
from kumiai.base.errors import StoreError
from kumiai.base.events import decode_event, encode_event, read_content, sign_event
from kumiai.base.log import append_record

KEY = keys.derive_key(b"seed", "orderer")
THIEF = keys.derive_key(b"seed", "thief")
CHUNK = tree.CHUNK_BYTES
SETTINGS = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


def fill(root: Path) -> None:
    """A run folder in small: a real database, blobs, odd names, sizes around the chunk borders."""
    with SqliteLog(root / "log.db") as log:
        last = None
        for n in range(40):
            last = append_record(last, n, sign_event(KEY, 8400, n, {"n": n, "pad": "x" * 3000}))
            log.append([last])
    blobs = DirectoryBlobs(root / "blobs")
    for size in (0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK):
        blobs.put(random.Random(size).randbytes(size))
    (root / "receipts").mkdir()
    (root / "receipts" / "alice 1.json").write_text('{"amount":5}')
    (root / "receipts" / "組合.json").write_text("{}")
    (root / "task.json").write_text("{}")
    (root / "report.html").write_text("<p>not sealed</p>")
    (root / "cache" / "deep").mkdir(parents=True)
    (root / "cache" / "deep" / "file").write_text("not sealed")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sealed") / "run"
    root.mkdir()
    fill(root)
    seal_directory(root, KEY, 1_700_000_000)
    return root


@pytest.fixture
def run_dir(sealed, tmp_path) -> Path:
    return shutil.copytree(sealed, tmp_path / "run")


def sealed_files(root: Path) -> list[Path]:
    ignored = ("report.html", "cache")
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in ignored
    )


def test_an_untouched_run_passes(run_dir):
    assert check_seal(run_dir) == []
    assert check_seal(run_dir, signer=KEY.pubkey) == []


def test_the_list_names_every_file_with_size_and_sha256(run_dir):
    content = read_content(decode_event((run_dir / "seal.json").read_bytes()))
    lines = [json.loads(line) for line in (run_dir / "seal.index").read_bytes().splitlines()]
    files = [path for path in sealed_files(run_dir) if not path.name.startswith("seal.")]
    assert [line["path"] for line in lines] == [str(p.relative_to(run_dir)) for p in files]
    for line, path in zip(lines, files, strict=True):
        data = path.read_bytes()
        assert (line["size_bytes"], line["sha256"]) == (len(data), canonical.sha256_hex(data))
        chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
        assert line["chunks"] == "".join(map(canonical.sha256_hex, chunks))
    assert content["count"] == len(files)
    assert content["size_bytes"] == sum(path.stat().st_size for path in files)


def test_sealing_is_repeatable_and_can_be_renewed(run_dir):
    first = (run_dir / "seal.json").read_bytes(), (run_dir / "seal.index").read_bytes()
    seal_directory(run_dir, KEY, 1_700_000_000)
    assert first == ((run_dir / "seal.json").read_bytes(), (run_dir / "seal.index").read_bytes())
    (run_dir / "task.json").write_text("changed")
    (run_dir / "seal.json.partial").write_text("left by a killed process")
    event = seal_directory(run_dir, KEY, 1_700_000_001)
    assert encode_event(event) == (run_dir / "seal.json").read_bytes()
    assert check_seal(run_dir, KEY.pubkey) == []


@given(st.data())
@settings(max_examples=150, **SETTINGS)
def test_any_flipped_byte_in_any_file_is_found_where_it_is(sealed, data):
    path = data.draw(st.sampled_from([p for p in sealed_files(sealed) if p.stat().st_size]))
    offset = data.draw(st.integers(0, path.stat().st_size - 1))
    check_flip(sealed, path, offset, data.draw(st.integers(1, 255)))


def test_every_byte_of_the_seal_and_a_bit_of_every_page_is_found(sealed):
    seal_path = sealed / "seal.json"
    for offset in range(seal_path.stat().st_size):
        check_flip(sealed, seal_path, offset, 0x20)  # also turns "a" into "A" in a signature
        check_flip(sealed, seal_path, offset, 0x01)
    log_path = sealed / "log.db"
    for offset in range(0, log_path.stat().st_size, 1009):  # also slack that SQLite never reads
        check_flip(sealed, log_path, offset, 0x80)


def check_flip(root: Path, path: Path, offset: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))
    try:
        findings = check_seal(root, KEY.pubkey)
    finally:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([byte]))
    assert len(findings) == 1, (path, offset, mask)
    assert findings[0].path == str(path.relative_to(root))
    if not path.name.startswith("seal."):
        start = offset // CHUNK * CHUNK
        assert findings[0].offsets == (start, min(start + CHUNK, path.stat().st_size))
        assert findings[0].what == "changed"


BIG = "blobs/" + canonical.sha256_hex(random.Random(3 * CHUNK).randbytes(3 * CHUNK))
BIG = f"blobs/{BIG[6:8]}/{BIG[6:]}"


@pytest.mark.parametrize(
    ("size", "offsets"),
    [
        (0, (0, 3 * CHUNK)),
        (5, (0, 3 * CHUNK)),
        (CHUNK, (CHUNK, 3 * CHUNK)),
        (2 * CHUNK + 1, (2 * CHUNK, 3 * CHUNK)),
        (3 * CHUNK - 1, (2 * CHUNK, 3 * CHUNK)),
        (3 * CHUNK + 1, (3 * CHUNK, 3 * CHUNK + 1)),
    ],
)
def test_a_cut_or_grown_file_is_found(run_dir, size, offsets):
    os.truncate(run_dir / BIG, size)
    (finding,) = check_seal(run_dir)
    assert (finding.path, finding.offsets) == (BIG, offsets)
    assert finding.what.startswith("cut" if size < 3 * CHUNK else "grown")
    assert str(finding).startswith(f"{BIG}: bytes {offsets[0]} to {offsets[1] - 1}: ")


def test_a_cut_file_with_a_changed_byte_has_both_findings(run_dir):
    with (run_dir / BIG).open("r+b") as file:
        file.write(b"\x00\x00\x00\x00")
        file.truncate(2 * CHUNK + 5)
    assert [f.offsets for f in check_seal(run_dir)] == [(0, CHUNK), (2 * CHUNK, 3 * CHUNK)]


def test_neighbouring_changed_chunks_are_one_finding(run_dir):
    (run_dir / BIG).write_bytes(bytes(3 * CHUNK))
    assert check_seal(run_dir) == [Finding(BIG, (0, 3 * CHUNK), "changed")]


def test_added_and_missing_files_are_found(run_dir):
    (run_dir / "task.json").unlink()
    (run_dir / "receipts" / "mallory.json").write_text("{}")
    (run_dir / "log.db-wal").write_bytes(b"")  # SQLite would read it
    (run_dir / "new" / "folder").mkdir(parents=True)
    (run_dir / "new" / "folder" / "empty").write_bytes(b"")
    found = {(f.path, f.what.split()[0]) for f in check_seal(run_dir)}
    assert found == {
        ("task.json", "missing"),
        ("receipts/mallory.json", "added"),
        ("log.db-wal", "added"),
        ("new/folder/empty", "added"),
    }


def test_a_renamed_file_and_swapped_contents_are_found(run_dir):
    (run_dir / "task.json").rename(run_dir / "Task.json")
    assert {f.path for f in check_seal(run_dir)} == {"task.json", "Task.json"}
    (run_dir / "Task.json").rename(run_dir / "task.json")
    (run_dir / "receipts" / "組合.json").write_text('{"amount":5}')
    (run_dir / "receipts" / "alice 1.json").write_text("{}")
    assert {f.path for f in check_seal(run_dir)} == {"receipts/組合.json", "receipts/alice 1.json"}


def test_an_empty_file_that_is_sealed_is_missed(run_dir):
    (empty,) = [path for path in sealed_files(run_dir) if path.stat().st_size == 0]
    empty.write_bytes(b"x")
    assert [f.offsets for f in check_seal(run_dir)] == [(0, 1)]
    empty.unlink()
    assert [f.what for f in check_seal(run_dir)] == ["missing"]


def test_a_link_in_a_files_place_is_found_even_to_the_same_bytes(run_dir, tmp_path):
    shutil.copy(run_dir / "task.json", tmp_path / "task.json")
    (run_dir / "task.json").unlink()
    (run_dir / "task.json").symlink_to(tmp_path / "task.json")
    (run_dir / "models").symlink_to(tmp_path)
    os.mkfifo(run_dir / "pipe")  # must not block
    what = {f.path: f.what for f in check_seal(run_dir)}
    assert set(what) == {"task.json", "models", "pipe"}
    assert what["task.json"].startswith("is a link")


def test_a_file_name_that_is_no_utf8_is_shown_and_not_sealed(run_dir):
    raw = os.fsencode(run_dir) + b"/bad\xff"
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    (finding,) = check_seal(run_dir)
    assert finding.path == "bad\\udcff"
    finding.path.encode()
    with pytest.raises(StoreError, match="not UTF-8"):
        seal_directory(run_dir, KEY, 1)


def test_what_is_ignored_may_change_and_the_list_of_it_is_signed(run_dir):
    (run_dir / "report.html").write_text("other")
    (run_dir / "cache" / "deep" / "more").write_text("new")
    shutil.rmtree(run_dir / "cache" / "deep")
    (run_dir / "telemetry.json").write_text("new")
    assert check_seal(run_dir) == []
    (run_dir / "cached").write_text("not in the folder cache")
    assert [f.path for f in check_seal(run_dir)] == ["cached"]
    seal_directory(run_dir, KEY, 1, ignored=())
    (run_dir / "report.html").write_text("again")
    assert [f.path for f in check_seal(run_dir)] == ["report.html"]


def test_the_signer_must_be_the_expected_one(run_dir):
    seal_directory(run_dir, THIEF, 1)
    assert check_seal(run_dir) == []  # nothing changed since somebody sealed it
    (finding,) = check_seal(run_dir, signer=KEY.pubkey)
    assert finding.path == "seal.json"
    assert THIEF.pubkey in finding.what


def reseal(run_dir: Path, kind: int = seal.SEAL_KIND, **changed: object) -> None:
    content = read_content(decode_event((run_dir / "seal.json").read_bytes()))
    event = sign_event(KEY, kind, 1, {**content, **changed})
    (run_dir / "seal.json").write_bytes(encode_event(event))


@pytest.mark.parametrize(
    "changed",
    [{"kind": 8400}, {"version": 2}, {"version": True}, {"count": -1}, {"count": 3}, {"count": "3"},
     {"chunk_bytes": 4096}, {"ignored": "*"}, {"ignored": [1]}, {"index_sha256": "x"},
     {"index_sha256": "0" * 64}, {"index_size_bytes": 0}, {"size_bytes": 5}, {"extra": 1}],
)  # fmt: skip
def test_a_signed_seal_of_a_wrong_form_is_refused(run_dir, changed):
    reseal(run_dir, **changed)
    (finding,) = check_seal(run_dir, KEY.pubkey)
    assert finding.path in ("seal.json", "seal.index")


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"not json", b"\xff", b'{"chunks":"","path":5,"sha256":"","size_bytes":0}',
     b'{"chunks":"","path":"a","sha256":"' + b"0" * 64 + b'","size_bytes":1}',
     b'{"chunks":"' + b"z" * 64 + b'","path":"a","sha256":"' + b"0" * 64 + b'","size_bytes":1}',
     b'{"chunks":"","path":"a","sha256":"' + b"0" * 64 + b'","size_bytes":-1}',
     b'{"chunks":"","path":"a","sha256":"' + b"0" * 64 + b'","size_bytes":true}'],
)  # fmt: skip
def test_a_signed_list_of_a_wrong_form_is_refused(run_dir, line):
    """Whoever signs nonsense gets a finding, never a crash."""
    index = line + b"\n"
    (run_dir / "seal.index").write_bytes(index)
    digest = canonical.sha256_hex(index)
    reseal(run_dir, index_sha256=digest, index_size_bytes=len(index), count=1, size_bytes=0)
    (finding,) = check_seal(run_dir, KEY.pubkey)
    assert finding.path == "seal.index"


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../../outside", ""])
def test_a_signed_list_cannot_lead_out_of_the_folder(run_dir, path, monkeypatch):
    line = {"chunks": "0" * 64, "path": path, "sha256": "0" * 64, "size_bytes": 5}
    index = canonical.encode(line) + b"\n"
    (run_dir.parent / "outside").write_text("12345")
    (run_dir / "seal.index").write_bytes(index)
    digest = canonical.sha256_hex(index)
    reseal(run_dir, index_sha256=digest, index_size_bytes=len(index), count=1, size_bytes=5,
           ignored=["*"])  # fmt: skip
    opened = []
    monkeypatch.setattr(tree, "_open", opened.append)
    assert check_seal(run_dir) == [Finding(path, None, "missing")]
    assert opened == []


@pytest.mark.parametrize("name", ["seal.json", "seal.index"])
def test_a_missing_cut_grown_or_odd_seal_is_a_finding(run_dir, name):
    whole = (run_dir / name).read_bytes()
    for data in (b"", whole[:-1], whole + b"\n", b" " + whole, whole * 2, b"{}", b"\xff" * 100):
        (run_dir / name).write_bytes(data)
        assert [f.path for f in check_seal(run_dir)] == [name]
    (run_dir / name).unlink()
    assert check_seal(run_dir) == [Finding(name, None, "missing")]
    (run_dir / name).mkdir()
    assert check_seal(run_dir) == [Finding(name, None, "is not a file")]


def test_an_index_with_another_runs_signature_is_found(run_dir, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "task.json").write_text("other")
    seal_directory(other, KEY, 5)
    shutil.copy(other / "seal.json", run_dir / "seal.json")
    assert [f.path for f in check_seal(run_dir, KEY.pubkey)] == ["seal.index"]


def test_findings_are_bounded(run_dir):
    (run_dir / "many").mkdir()
    for n in range(seal.FINDING_COUNT_MAX + 50):
        (run_dir / "many" / str(n)).touch()
    findings = check_seal(run_dir)
    assert len(findings) == seal.FINDING_COUNT_MAX
    assert "more than can be listed" in findings[-1].what


def test_what_must_not_be_sealed_is_refused_and_leaves_no_seal(tmp_path):
    root = tmp_path / "run"
    with SqliteLog(root / "log.db") as log:
        log.append([append_record(None, 1, sign_event(KEY, 1, 1, {}))])
        with pytest.raises(StoreError, match=r"log\.db: is still open"):
            seal_directory(root, KEY, 1)
    name = DirectoryBlobs(root / "blobs").put(b"data")
    (root / "blobs" / name[:2] / name).write_bytes(b"damaged")
    with pytest.raises(StoreError, match=f"{name}: damaged"):
        seal_directory(root, KEY, 1)
    (root / "blobs" / name[:2] / name).write_bytes(b"data")
    (root / "link").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="link: is a link"):
        seal_directory(root, KEY, 1)
    assert not (root / "seal.json").exists()
    (root / "link").unlink()
    seal_directory(root, KEY, 1)
    assert check_seal(root, KEY.pubkey) == []


def test_no_folder_is_said_so(tmp_path):
    with pytest.raises(StoreError, match="cannot seal"):
        seal_directory(tmp_path / "none", KEY, 1)
    assert check_seal(tmp_path / "none") == [Finding("seal.json", None, "missing")]


def test_reading_a_sealed_log_keeps_the_seal(run_dir):
    with SqliteLog.open_readonly(run_dir / "log.db") as log:
        assert len(list(log.read())) == 40
    assert check_seal(run_dir, KEY.pubkey) == []


def test_chunk_hashes_over_segment_borders_equal_the_naive_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "_READ_BYTES", 2 * CHUNK)
    monkeypatch.setattr(tree, "_SEGMENT_BYTES", 4 * CHUNK)
    monkeypatch.setattr(tree, "_TASKS_MAX", 3)
    sizes = [0, 1, CHUNK, 4 * CHUNK, 4 * CHUNK + 1, 9 * CHUNK - 1]
    for size in sizes:
        (tmp_path / str(size)).write_bytes(random.Random(size).randbytes(size))
    for cut in (0, 1, CHUNK):  # hash less than the whole file
        wanted = [(str(size), max(0, size - cut)) for size in sizes]
        for (name, size), found in zip(wanted, tree.hash_chunks(tmp_path, wanted), strict=True):
            data = (tmp_path / name).read_bytes()[:size]
            chunks = [data[at : at + CHUNK] for at in range(0, size, CHUNK)]
            assert found.hex() == "".join(map(canonical.sha256_hex, chunks))
    missing, present = tree.hash_chunks(tmp_path, [("none", 5), ("1", 1)])
    assert isinstance(missing, FileNotFoundError)
    assert len(present) == tree.DIGEST_BYTES


def test_memory_does_not_grow_with_the_files(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(128 * 2**20)  # sparse
    tracemalloc.start()
    try:
        seal_directory(tmp_path, KEY, 1)
        assert check_seal(tmp_path) == []
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()


def test_a_finding_reads_as_a_sentence():
    assert str(Finding("a", None, "missing")) == "a: missing"
    assert (
        str(replace(Finding("a", None, "changed"), offsets=(0, 10))) == "a: bytes 0 to 9: changed"
    )


def test_blobs_that_changed_places_are_found(run_dir):
    blobs = sorted(path for path in (run_dir / "blobs").rglob("*") if path.is_file())
    first, second = (path for path in blobs if path.stat().st_size in (CHUNK - 1, CHUNK + 1))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    found = {finding.path for finding in check_seal(run_dir)}
    assert found == {str(path.relative_to(run_dir)) for path in (first, second)}


def test_blobs_that_are_what_they_were_are_named_with_their_stamps(run_dir):
    blobs = sorted(path for path in (run_dir / "blobs").rglob("*") if path.is_file())
    assert set(seal.check_sealed(run_dir).blobs) == {path.name for path in blobs}
    blobs[0].write_bytes(b"changed")
    checked = seal.check_sealed(run_dir)
    assert set(checked.blobs) == {path.name for path in blobs[1:]}
    stamps = {name: stamp.inode for name, stamp in checked.blobs.items()}
    assert stamps == {path.name: path.stat().st_ino for path in blobs[1:]}
