"""How a file of SQLite is opened when others open or write it at the same moment."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from kumiai.adapters.store import sqlite


def write_locked(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN IMMEDIATE")
    return other


def test_opening_waits_for_who_writes_a_file_that_is_not_yet_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    other = write_locked(path)
    timer = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    timer.start()
    engine = sqlite.open_engine(path)
    with sqlite.begin_writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    timer.join()
    other.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_opening_gives_up_when_the_other_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "new.db"
    other = write_locked(path)
    with pytest.raises(DBAPIError, match="database is locked"):
        sqlite.open_engine(path).connect()
    other.close()


def test_many_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    failures: list[DBAPIError] = []

    def work(path: Path, barrier: threading.Barrier) -> None:
        barrier.wait()
        engine = sqlite.open_engine(path)
        try:
            with sqlite.begin_writing(engine) as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (a)")
        except DBAPIError as error:
            failures.append(error)
        engine.dispose()

    for number in range(20):
        barrier = threading.Barrier(4)
        path = tmp_path / f"{number}.db"
        workers = [threading.Thread(target=work, args=(path, barrier)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert failures == []
