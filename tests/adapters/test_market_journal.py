"""One contract for the market's journals in memory and on disk; and what only a disk can do."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kumiai.adapters.memory.market_journal import MemoryMarketJournal
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.store import market_journal, sqlite
from kumiai.adapters.store.local_blobs import LocalBlobs
from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.base.canonical import sha256_hex
from kumiai.base.errors import StoreError
from kumiai.nodes.market.local import LocalBlobPort
from kumiai.nodes.market.ports import MarketJournalPort

OWNER = "somebody/job"


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        yield MemoryMarketJournal()
        return
    with SqliteMarketJournal(tmp_path / "market.db", OWNER) as opened:
        yield opened


def entry(number: int) -> dict[str, object]:
    return {"at_s": number, "type": "Ticked", "value": {"text": "é\n", "list": [1, None, True]}}


def test_what_was_appended_is_read_in_order(journal: MarketJournalPort) -> None:
    assert journal.read() == []
    journal.append([entry(1), entry(2)])
    journal.append([])
    journal.append([entry(3)])
    assert journal.read() == [entry(1), entry(2), entry(3)]


def test_a_mark_is_found_and_is_no_entry(journal: MarketJournalPort) -> None:
    journal.append([entry(1)])
    journal.mark(1_234)
    assert journal.find_mark() == 1_234
    journal.mark(1_300)
    assert (journal.find_mark(), journal.read()) == (1_300, [entry(1)])


def test_a_mark_outlives_the_process(tmp_path: Path) -> None:
    with SqliteMarketJournal(tmp_path / "market.db", OWNER) as opened:
        opened.append([entry(1)])
        opened.mark(1_234)
    with SqliteMarketJournal(tmp_path / "market.db", OWNER) as again:
        assert again.find_mark() == 1_234


@pytest.mark.parametrize("bad", [{"x": 1.5}, {"x": 2**60}, {"x": "\ud800"}, {"x": "y" * 2**23}])
def test_a_batch_with_a_bad_entry_leaves_nothing(journal: MarketJournalPort, bad: Any) -> None:
    journal.append([entry(1)])
    with pytest.raises(ValueError, match=r"."):
        journal.append([entry(2), bad, entry(3)])
    assert journal.read() == [entry(1)]
    journal.append([entry(2)])
    assert journal.read() == [entry(1), entry(2)]


def test_what_is_read_cannot_change_what_is_kept(journal: MarketJournalPort) -> None:
    journal.append([entry(1)])
    journal.read()[0]["at_s"] = 5  # type: ignore[index]
    assert journal.read() == [entry(1)]


def test_it_lasts_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    with SqliteMarketJournal(path, OWNER) as first:
        first.append([entry(1)])
        head = first.head
    with SqliteMarketJournal(path, OWNER) as second:
        assert second.head == head
        second.append([entry(2)])
        assert second.read() == [entry(1), entry(2)]
        with SqliteMarketJournal(path, OWNER, is_readonly=True) as reader:
            assert reader.read() == [entry(1), entry(2)]
            with pytest.raises(ValueError, match="reading"):
                reader.append([entry(3)])


def test_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    with SqliteMarketJournal(path, OWNER), pytest.raises(StoreError, match="another process"):
        SqliteMarketJournal(path, OWNER)
    SqliteMarketJournal(path, OWNER).close()


def test_who_looks_whether_a_node_runs_stops_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kumiai provider status` in the moment of a start made the start fail."""
    monkeypatch.setattr(market_journal, "LOOK_S_MAX", 120.0)
    with (tmp_path / "market.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as is_running does
        timer = threading.Timer(0.1, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        timer.start()
        with SqliteMarketJournal(tmp_path / "market.db", OWNER) as journal:
            journal.append([entry(1)])
        timer.join()


def test_who_reads_while_it_is_closed_makes_no_close_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kumiai market status` in the moment of a job's end made the node end with an error."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "market.db"
    journal = SqliteMarketJournal(path, OWNER)
    journal.append([entry(1)])
    code = (
        "import sqlite3, sys; it = sqlite3.connect(sys.argv[1]); it.execute('BEGIN');"
        "it.execute('SELECT * FROM entries').fetchall(); print('read', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"read\n"
        journal.close()
        with SqliteMarketJournal(path, OWNER) as again:  # the lock is free, too
            assert again.read() == [entry(1)]
            again.append([entry(2)])
        reader.communicate(b"\n")
    with SqliteMarketJournal(path, OWNER) as journal:
        assert journal.read() == [entry(1), entry(2)]
    assert sorted(it.name for it in tmp_path.iterdir()) == ["market.db", "market.db.lock"]


def test_only_its_owner_may_open_it(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    with SqliteMarketJournal(path, OWNER):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StoreError, match="not version 1 of somebody else"):
        SqliteMarketJournal(path, "somebody else")
    with pytest.raises(StoreError, match="no such file"):
        SqliteMarketJournal(tmp_path / "none.db", OWNER, is_readonly=True)
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(StoreError, match="no market journal"):
        SqliteMarketJournal(tmp_path / "other.db", OWNER, is_readonly=True)


def test_what_it_writes_is_its_owners_at_every_moment(tmp_path: Path) -> None:
    """Preimages and ecash stand in the log beside it first."""
    path = tmp_path / "market.db"
    for _ in range(2):
        with SqliteMarketJournal(path, OWNER) as journal:
            journal.append([entry(1)])
            modes = {it.name: stat.S_IMODE(it.stat().st_mode) for it in tmp_path.iterdir()}
            assert len(modes) > 2 and set(modes.values()) == {0o600}, modes
        path.chmod(0o644)
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StoreError):
        SqliteMarketJournal(tmp_path / "folder.db", OWNER)


def test_closing_while_somebody_looks(tmp_path: Path) -> None:
    """A screen that is open must not make the node's end a failure, or keep its lock."""
    path = tmp_path / "market.db"
    with SqliteMarketJournal(path, OWNER) as first:
        first.append([entry(1)])
        reader = SqliteMarketJournal(path, OWNER, is_readonly=True)
        assert reader.read() == [entry(1)]
    with SqliteMarketJournal(path, OWNER) as second:
        second.append([entry(2)])
        assert reader.read() == [entry(1), entry(2)]
    reader.close()
    with SqliteMarketJournal(path, OWNER) as last:
        assert last.read() == [entry(1), entry(2)]
    assert {it.name for it in tmp_path.iterdir()} == {"market.db", "market.db.lock"}


def test_looking_into_a_file_at_rest_changes_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    with SqliteMarketJournal(path, OWNER) as journal:
        journal.append([entry(1)])
    with SqliteMarketJournal(path, OWNER, is_readonly=True) as reader:
        assert reader.read() == [entry(1)]
        with SqliteMarketJournal(path, OWNER) as journal:  # who writes may begin meanwhile
            journal.append([entry(2)])
            assert reader.read() == [entry(1), entry(2)]
    SqliteMarketJournal(path, OWNER).close()
    rested = path.read_bytes()
    with SqliteMarketJournal(path, OWNER, is_readonly=True) as reader:
        assert reader.read() == [entry(1), entry(2)]
        assert path.read_bytes() == rested
    assert path.read_bytes() == rested
    foreign = tmp_path / "photos.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        connection.commit()
    kept = foreign.read_bytes()
    for look in (
        lambda: SqliteMarketJournal(foreign, OWNER, is_readonly=True),
        lambda: SqliteIntents(foreign, is_readonly=True),
    ):
        with pytest.raises(StoreError, match="holds no"):
            look()
    assert foreign.read_bytes() == kept


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET body = replace(body, '1', '7') WHERE number = 2",
        "UPDATE entries SET head = 'x' WHERE number = 2",
        "DELETE FROM entries WHERE number = 2",
        "UPDATE entries SET body = 'text' WHERE number = 2",
        "UPDATE format SET version = 2",
    ],
)
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "market.db"
    with SqliteMarketJournal(path, OWNER) as journal:
        journal.append([entry(1), entry(2), entry(3)])
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"damaged|version"):
        SqliteMarketJournal(path, OWNER, is_readonly=True).read()


_WRITER = """
import sys
from pathlib import Path
from kumiai.adapters.store.market_journal import SqliteMarketJournal
journal = SqliteMarketJournal(Path(sys.argv[1]), "somebody/job")
number = len(journal.read())
while True:
    journal.append([{"n": number}, {"n": number + 1}, {"n": number + 2}])
    number += 3
    print(number, flush=True)
"""


def test_kill_9_leaves_whole_batches_and_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "market.db"
    told = 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(5):
            told = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with SqliteMarketJournal(path, OWNER) as journal:
            found = [one["n"] for one in journal.read()]
        assert found == list(range(len(found)))
        assert len(found) % 3 == 0
        assert len(found) >= told  # what was acknowledged is there


def test_local_blobs_move_files_in_whole(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    port: LocalBlobPort = blobs
    name = sha256_hex(b"data")
    with port.reserve() as path:
        path.write_bytes(b"data")
        port.adopt(path, name)
    assert port.get_path(name).read_bytes() == b"data"
    assert blobs.get(name, 10) == b"data"
    with port.reserve() as path:
        path.write_bytes(b"left")
    assert not path.exists()
    for bad in ("../" + name, "x", name.upper(), ""):
        with pytest.raises(StoreError):
            port.get_path(bad)
        with port.reserve() as path:
            path.write_bytes(b"x")
            with pytest.raises(StoreError):
                port.adopt(path, bad)
    (tmp_path / "partial" / "left-by-kill").mkdir()
    assert blobs.remove_partial() == 1
