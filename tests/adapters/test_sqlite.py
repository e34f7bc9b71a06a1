"""How a file of SQLite is opened when others open or write it at the same moment."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from kumiai.adapters.payments.cashu.embedded import EmbeddedEcash
from kumiai.adapters.payments.embedded import EmbeddedBank
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.payments.nwc_budget import NwcBudgets
from kumiai.adapters.store import sqlite
from kumiai.adapters.store.vault import SqliteVault
from kumiai.base.keys import derive_key


def write_locked(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN IMMEDIATE")
    return other


def test_opening_waits_for_who_writes_a_file_that_is_not_yet_in_wal_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 120.0)
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


FILES: dict[str, Callable[[Path], Any]] = {
    "bank": EmbeddedBank,
    "intents": SqliteIntents,
    "vault": SqliteVault,
    "ecash": lambda path: EmbeddedEcash(path, derive_key(b"sqlite", "ecash")),
}


@pytest.mark.parametrize("kind", FILES)
def test_who_opens_a_file_twice_keeps_its_locks(tmp_path: Path, kind: str) -> None:
    """Another process took itself for the last one and removed the log: what came then was lost."""
    path = tmp_path / "file.db"
    open_file = FILES[kind]
    opened = [open_file(path)]
    with sqlite3.connect(path) as connection:  # a connection of this process that stays
        connection.execute("CREATE TABLE IF NOT EXISTS mine (a)")
    opened.append(open_file(path))
    visit = (
        "import sqlite3, sys; it = sqlite3.connect(sys.argv[1]); it.execute('SELECT * FROM mine')"
    )
    subprocess.run([sys.executable, "-c", f"{visit}.fetchall(); it.close()", path], check=True)
    assert path.with_name("file.db-wal").exists()
    connection.execute("INSERT INTO mine VALUES (1)")
    connection.commit()
    connection.close()
    for it in opened:
        (it.engine if kind == "ecash" else it._engine).dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT a FROM mine").fetchall() == [(1,)]


def run_at_once(work: Callable[[Path], None], path: Path) -> None:
    """Let four threads do it to one file, beginning together."""
    barrier = threading.Barrier(4)

    def begin() -> None:
        barrier.wait()
        work(path)

    workers = [threading.Thread(target=begin) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def test_many_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    failures: list[DBAPIError] = []

    def work(path: Path) -> None:
        engine = sqlite.open_engine(path)
        try:
            with sqlite.begin_writing(engine) as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (a)")
        except DBAPIError as error:
            failures.append(error)
        engine.dispose()

    for number in range(20):
        run_at_once(work, tmp_path / f"{number}.db")
    assert failures == []


@pytest.mark.parametrize("kind", ["bank", "intents", "ecash", "budgets"])
def test_many_that_begin_a_file_at_once(tmp_path: Path, kind: str) -> None:
    open_file = NwcBudgets if kind == "budgets" else FILES[kind]
    failures: list[Exception] = []

    def work(path: Path) -> None:
        try:
            it: Any = open_file(path)
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)
        else:
            (it.engine if kind == "ecash" else it._engine).dispose()

    for number in range(10):
        run_at_once(work, tmp_path / f"{number}.db")
    assert failures == []
