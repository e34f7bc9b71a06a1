"""One contract for every log, and what only a log on disk must stand: kill -9, a full disk."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kumiai.adapters.memory.log import MemoryLog
from kumiai.adapters.store import log as store_log
from kumiai.adapters.store.log import SqliteLog
from kumiai.base import keys
from kumiai.base.errors import StoreError
from kumiai.base.events import check_event, sign_event
from kumiai.base.log import append_record, compute_head
from kumiai.nodes.ports import LogPort

KEY = keys.derive_key(b"seed", "log")
EVENTS = [sign_event(KEY, 8400 + n, n, {"n": n, "text": "漢" * n}) for n in range(10)]


def make_records(
    count, event_of=lambda n: EVENTS[n % len(EVENTS)], time_of=lambda n: 10 * (n // 3)
):
    records = []
    for n in range(count):
        records.append(append_record(records[-1] if records else None, time_of(n), event_of(n)))
    return records


RECORDS = make_records(30)
FORK = make_records(30, event_of=lambda n: EVENTS[n % 10 if n < 12 else (n + 1) % 10])


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path) -> LogPort:
    if request.param == "memory":
        yield MemoryLog()
    else:
        with SqliteLog(tmp_path / "run" / "log.db") as opened:
            yield opened


def test_what_is_appended_is_read_in_order(log):
    assert log.last() is None
    assert list(log.read()) == []
    log.append(RECORDS[:4])
    log.append([])
    log.append(RECORDS[4:5])
    log.append(RECORDS[5:])
    assert list(log.read()) == RECORDS
    assert list(log.read(8)) == RECORDS[7:]
    assert list(log.read(31)) == list(log.read(99)) == []
    assert log.last() == RECORDS[-1]


def test_a_replayed_history_is_taken_and_only_the_new_is_added(log):
    log.append(RECORDS[:10])
    for start in range(0, 30, 4):  # a resumed run appends from the start, in other batches
        log.append(RECORDS[start : start + 4])
    log.append(RECORDS)
    assert list(log.read()) == RECORDS


def bad_batches():
    head = RECORDS[4].head
    time_back = replace(RECORDS[5], time_ms=0)
    time_back = replace(time_back, head=compute_head(head, 6, 0, time_back.event.id))
    yield "gap", RECORDS[6:8]
    yield "gap", [RECORDS[5], RECORDS[7]]
    yield "gap", [RECORDS[5], RECORDS[5]]
    yield "gap", [RECORDS[6], RECORDS[5]]
    yield "gap", [replace(RECORDS[0], height=0)]
    yield "gap", [replace(RECORDS[0], height=-1)]
    yield "wrong head", [replace(RECORDS[5], head=RECORDS[4].head)]
    yield "wrong head", [RECORDS[5], replace(RECORDS[6], event=EVENTS[9])]
    yield "wrong head", [replace(RECORDS[5], time_ms=11)]
    yield "backwards", [time_back]
    yield "diverged at height 5: event", [replace(RECORDS[4], event=EVENTS[9])]
    yield "diverged at height 5: time", [replace(RECORDS[4], time_ms=9)]
    yield "diverged at height 5: head", [replace(RECORDS[4], head=RECORDS[3].head)]
    resigned = replace(RECORDS[4].event, sig="0" * 128)  # the head does not hold the signature
    yield "diverged at height 5: event", [replace(RECORDS[4], event=resigned)]
    yield "diverged at height 3", [*RECORDS[:2], replace(RECORDS[2], time_ms=1), *RECORDS[3:9]]


@pytest.mark.parametrize(("what", "batch"), list(bad_batches()))
def test_a_bad_batch_is_refused_for_good_and_changes_nothing(log, what, batch):
    log.append(RECORDS[:5])
    with pytest.raises(StoreError, match=what) as caught:
        log.append(batch)
    assert not caught.value.is_retriable
    assert list(log.read()) == RECORDS[:5]
    assert log.last() == RECORDS[4]
    log.append(RECORDS[5:])
    assert list(log.read()) == RECORDS


def test_a_fork_is_named_by_its_first_height(log):
    log.append(RECORDS)
    with pytest.raises(StoreError, match="diverged at height 13: event"):
        log.append(FORK)


def test_a_batch_that_is_bad_at_its_end_is_refused_whole(log):
    with pytest.raises(StoreError, match="wrong head at height 20"):
        log.append([*RECORDS[:19], replace(RECORDS[19], head="0" * 64)])
    assert log.last() is None


@pytest.mark.parametrize("height", [0, -1])
def test_heights_count_from_1(log, height):
    with pytest.raises(ValueError, match="count from 1"):
        log.read(height)


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 12)), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_disk_and_its_twin_agree(tmp_path_factory, batches):
    twin = MemoryLog()
    with SqliteLog(tmp_path_factory.mktemp("log") / "log.db") as disk:
        for start, count in batches:
            batch = (RECORDS if start % 5 else FORK)[start : start + count]
            answers = []
            for one in (twin, disk):
                try:
                    answers.append(one.append(batch))
                except StoreError as error:
                    answers.append(str(error))
            assert answers[0] == answers[1]
        assert list(twin.read()) == list(disk.read())


# --- on disk only ---


def test_reading_streams_over_chunk_borders(tmp_path, monkeypatch):
    monkeypatch.setattr(store_log, "READ_CHUNK_ROWS", 5)
    with SqliteLog(tmp_path / "log.db") as log:
        log.append(RECORDS)
        for start in (1, 5, 6, 26, 30):
            assert list(log.read(start)) == RECORDS[start - 1 :]
        reading = log.read()
        next(reading)
        log.append(make_records(32))  # an open reader does not stop the writer
        assert len(list(reading)) == 31


def test_close_leaves_one_quiescent_file_and_readonly_changes_no_byte(tmp_path):
    path = tmp_path / "a folder?#" / "log.db"
    with SqliteLog(path) as log:
        log.append(RECORDS)
        assert (path.parent / "log.db-wal").exists()
    assert [entry.name for entry in path.parent.iterdir()] == ["log.db"]
    before = path.read_bytes()
    assert before[18:20] == b"\x01\x01"  # file format 1: rollback journal, not WAL
    path.chmod(0o444)
    with SqliteLog.open_readonly(path) as log:
        assert list(log.read()) == RECORDS
        assert log.last() == RECORDS[-1]
        log.append(RECORDS[:3])  # nothing new, nothing written
        with pytest.raises(StoreError, match="may only be read"):
            log.append(make_records(31)[30:])
    assert [entry.name for entry in path.parent.iterdir()] == ["log.db"]
    assert path.read_bytes() == before


def test_readonly_puts_nothing_beside_a_file_left_in_wal_mode(tmp_path):
    """After a kill the write-ahead log may be empty; SQLite alone would make new files for it."""
    with SqliteLog(tmp_path / "log.db") as log:
        log.append(RECORDS)
        with log._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        (tmp_path / "copy").mkdir()
        shutil.copy(tmp_path / "log.db", tmp_path / "copy" / "log.db")
    path = tmp_path / "copy" / "log.db"
    assert path.read_bytes()[18:20] == b"\x02\x02"
    with SqliteLog.open_readonly(path) as log:
        assert list(log.read()) == RECORDS
        assert [entry.name for entry in path.parent.iterdir()] == ["log.db"]
    assert [entry.name for entry in path.parent.iterdir()] == ["log.db"]


def test_a_closed_log_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "log.db"
    for count in (3, 3, 17, 30):
        with SqliteLog(path) as log:
            log.append(RECORDS[:count])
    with SqliteLog.open_readonly(path) as log:
        assert list(log.read()) == RECORDS


def test_readonly_refuses_what_is_missing_foreign_or_in_use(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        SqliteLog.open_readonly(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(StoreError, match="holds no log"):
        SqliteLog.open_readonly(tmp_path / "empty.db")
    (tmp_path / "text.db").write_text("this is no database, however long it may be" * 50)
    for opened in (SqliteLog.open_readonly, SqliteLog):
        with pytest.raises(StoreError, match="no SQLite database"):
            opened(tmp_path / "text.db")
    with SqliteLog(tmp_path / "log.db") as log:
        log.append(RECORDS)
        with pytest.raises(StoreError, match="still in use"):
            SqliteLog.open_readonly(tmp_path / "log.db")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        SqliteLog(tmp_path / "file" / "log.db")
    (tmp_path / "log.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteLog(tmp_path / "log.db")


def test_a_full_disk_loses_nothing_and_can_be_tried_again(tmp_path):
    with SqliteLog(tmp_path / "log.db") as log:
        log.append(RECORDS[:5])
        with log._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=10")
            connection.commit()
        many = make_records(500)
        with pytest.raises(StoreError, match="the disk is full") as caught:
            log.append(many)
        assert caught.value.is_retriable
        assert list(log.read()) == RECORDS[:5]
        with log._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=100000")
            connection.commit()
        log.append(many)
        assert list(log.read()) == many


def test_a_locked_file_is_said_to_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("kumiai.adapters.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    with SqliteLog(tmp_path / "log.db") as log:
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process is writing") as caught:
            log.append(RECORDS)
        assert caught.value.is_retriable
        other.execute("ROLLBACK")
        other.close()
        log.append(RECORDS)
        assert log.last() == RECORDS[-1]


def test_two_writers_cannot_fork_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("kumiai.adapters.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    one, two = SqliteLog(tmp_path / "log.db"), SqliteLog(tmp_path / "log.db")
    one.append(RECORDS[:12])
    with pytest.raises(StoreError, match="another process wrote the same entry"):
        two.append(FORK[:20])
    assert list(one.read()) == list(two.read()) == RECORDS[:12]
    with pytest.raises(StoreError, match="another process") as caught:
        one.close()  # cannot put to rest what another still holds open
    assert caught.value.is_retriable
    two.close()
    one.close()
    with SqliteLog.open_readonly(tmp_path / "log.db") as log:
        assert list(log.read()) == RECORDS[:12]


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE records SET time_ms = time_ms + 1 WHERE height = 9", "height 9"),
        ("UPDATE records SET head = '00' WHERE height = 9", "height 9"),
        ("UPDATE records SET head = NULL WHERE height = 9", "record 9"),
        ("UPDATE records SET head = x'ff00' WHERE height = 9", "record 9"),
        ("UPDATE records SET head = CAST(x'ff' AS TEXT) WHERE height = 9", "UTF-8"),
        ("UPDATE records SET time_ms = 'x' WHERE height = 9", "record 9"),
        ("UPDATE records SET event = 'text' WHERE height = 9", "height 9"),
        ("UPDATE records SET event = 5 WHERE height = 9", "damaged"),
        ("UPDATE records SET event = x'7b7d' WHERE height = 9", "height 9"),
        ("UPDATE records SET event = (SELECT event FROM records WHERE height = 1) WHERE height = 9",
         "height 9"),
        ("DELETE FROM records WHERE height = 9", "gap at height 10"),
        ("DELETE FROM records WHERE height = 1", "gap at height 2"),
        ("INSERT INTO records SELECT 0, time_ms, head, event FROM records WHERE height = 1", None),
    ],
)  # fmt: skip
def test_a_changed_row_is_found_on_reading(tmp_path, statement, what):
    path = tmp_path / "log.db"
    with SqliteLog(path) as log:
        log.append(RECORDS)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '')")
    connection.execute("PRAGMA writable_schema=RESET")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with SqliteLog.open_readonly(path) as log:
        if what is None:  # a row that no height reaches is the seal's business
            assert list(log.read()) == RECORDS
            return
        with pytest.raises(StoreError, match=what) as caught:
            list(log.read())
        assert not caught.value.is_retriable


def test_any_damaged_byte_gives_the_same_log_a_plain_error_or_a_bad_signature(tmp_path):
    """Never another exception, never another history that passes for signed."""
    path = tmp_path / "log.db"
    with SqliteLog(path) as log:
        log.append(RECORDS)
    whole = path.read_bytes()
    seeded = random.Random(5)
    found = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(seeded.choice((1, 1, 8))):
            damaged[seeded.randrange(len(damaged))] ^= seeded.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            with SqliteLog.open_readonly(path) as log:
                records = list(log.read())
        except StoreError:
            found += 1
            continue
        if records != RECORDS[: len(records)]:
            assert any(check_event(record.event) for record in records)
            found += 1
    assert found > 75
    for size in (0, 1, 99, 4096, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError):
            list(SqliteLog.open_readonly(path).read())


CHILD = """
import sys
from pathlib import Path
from kumiai.adapters.store.log import SqliteLog
from kumiai.base import keys
from kumiai.base.events import sign_event
from kumiai.base.log import append_record
key = keys.derive_key(b"seed", "log")
events = [sign_event(key, 8400, n, {"n": n, "pad": "x" * 300}) for n in range(10)]
log = SqliteLog(Path(sys.argv[1]))
last = log.last()
while True:
    batch = []
    for _ in range(7):
        height = last.height if last else 0
        last = append_record(last, height, events[height % 10])
        batch.append(last)
    log.append(batch)
    print(last.height, flush=True)
"""


def test_kill_9_at_any_moment_leaves_a_prefix_of_whole_batches(tmp_path):
    """The child goes on from what the killed one left, ten times; what it reported is there."""
    path = tmp_path / "log.db"
    source = Path(store_log.__file__).parents[3]
    seeded = random.Random(3)
    events = [sign_event(KEY, 8400, n, {"n": n, "pad": "x" * 300}) for n in range(10)]
    reported = 0
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(source)},
        )
        child.stdout.readline()  # it has begun
        time.sleep(seeded.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().split()
        child.wait()
        reported = max([reported, *map(int, lines[:-1])])
        log = SqliteLog(path)
        records = list(log.read())
        assert [record.height for record in records] == list(range(1, len(records) + 1))
        assert len(records) % 7 == 0
        assert len(records) >= reported
        assert log.last() == records[-1]
        last = None
        for height, record in enumerate(records):
            assert record == (last := append_record(last, height, events[height % 10]))
        log._engine.dispose()  # not closed: the next child must manage as well
    assert reported > 100
    SqliteLog(path).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.db"]
    with SqliteLog.open_readonly(path) as log:
        assert len(list(log.read())) == len(records)
