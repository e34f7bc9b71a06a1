"""Killed at any moment, a run goes on to the same certificates, and nothing is paid twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.adapters.store.log import SqliteLog
from kumiai.apps.verify import verify_path
from kumiai.apps.view import RunView, load_view
from kumiai.base.errors import InputError
from kumiai.base.log import Record

KILLS = int(os.environ.get("KUMIAI_KILLS", "3"))
CONSOLE = "import sys; from kumiai.apps.cli import main; sys.exit(main())"
SETTINGS = ("--set", "training.rounds=2")
WAIT_S = 240

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    folder = tmp_path_factory.mktemp("resume")
    task = write_task(folder)
    run = kumiai.run(task, folder / "whole", {"training.rounds": "2"})
    return run, folder / "whole"


def start(
    task: Path, out: Path, *more: str, settings: tuple[str, ...] = SETTINGS
) -> subprocess.Popen[bytes]:
    source = Path(kumiai.__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", CONSOLE, "run", str(task), "--out", str(out), "--quiet"]
    return subprocess.Popen(
        [*command, *settings, *more],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def count_records(out: Path) -> int:
    if not (out / "log.db").exists():
        return 0
    try:
        uri = f"file:{out / 'log.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as db:
            return int(db.execute("select count(*) from records").fetchone()[0])
    except sqlite3.Error:  # not there yet, or just being written
        return 0


def kill_at(process: subprocess.Popen[bytes], out: Path, height: int) -> bool:
    """SIGKILL as soon as the log has that many records; False when the run was faster."""
    end = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < end:
        if count_records(out) >= height:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_is_resumed_to_the_same_end(
    undisturbed: tuple[RunView, Path], tmp_path: Path, number: int
) -> None:
    whole, folder = undisturbed
    height_last = count_records(folder)
    # one early, one late, the others anywhere; a failed one is found again by its number
    rng = random.Random(f"kill/{number}")
    height = (1, height_last - 3, rng.randrange(2, height_last))[min(number, 2)]
    out, task = tmp_path / "run", folder.parent / "task.toml"
    process = start(task, out)
    was_killed = kill_at(process, out, height)
    assert was_killed or process.returncode == 0
    before = count_records(out)
    process = start(task, out, "--resume")
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints.decode()
    assert count_records(out) == height_last >= before
    resumed = load_view(out)
    assert [c.hash for c in resumed.certificates] == [c.hash for c in whole.certificates]
    assert [r.hash for r in resumed.receipts] == [r.hash for r in whole.receipts]
    assert resumed.flows == whole.flows
    report = verify_path(out)
    assert report.is_ok, report.findings
    assert _read_books(out) == _read_books(folder)


def _read_books(out: Path) -> tuple[dict[str, int], int]:
    """Every account, and how many commands were applied."""
    with SqliteLedger.open_readonly(out / "ledger.db") as ledger:
        ledger.check_books()
        return dict(ledger.accounts()), len(list(ledger.history()))


def _read_log(out: Path) -> list[Record]:
    with SqliteLog.open_readonly(out / "log.db") as log:
        return list(log.read())


def test_a_run_ordered_by_a_committee_is_resumed_to_the_same_order(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    settings = ("--set", "training.rounds=1", "--set", "validation.ordering=committee")
    whole, out = tmp_path / "whole", tmp_path / "run"
    start(task, whole, settings=settings).communicate(timeout=WAIT_S)
    assert kill_at(start(task, out, settings=settings), out, count_records(whole) // 2)
    assert not (out / "order.log").exists()
    process = start(task, out, "--resume", settings=settings)
    _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints.decode()
    assert _read_log(out) == _read_log(whole)
    assert (out / "order.log").read_bytes() == (whole / "order.log").read_bytes()
    assert verify_path(out).is_ok


def test_resuming_a_finished_run_changes_nothing(undisturbed: tuple[RunView, Path]) -> None:
    whole, folder = undisturbed
    books = _read_books(folder)
    records = _read_log(folder)
    again = kumiai.run(folder.parent / "task.toml", folder, {"training.rounds": "2"}, resume=True)
    assert again.certificates == whole.certificates
    assert again.receipts == whole.receipts
    assert _read_books(folder) == books
    assert _read_log(folder) == records
    assert verify_path(folder).is_ok


@pytest.mark.parametrize(
    "change", [{"seed": "4"}, {"training.rounds": "5"}, {"data.trainers": "3"}]
)
def test_another_task_in_the_same_folder_is_refused(
    undisturbed: tuple[RunView, Path], change: dict[str, str]
) -> None:
    _, folder = undisturbed
    books = _read_books(folder)
    with pytest.raises(InputError, match="another task, recipe file or members"):
        kumiai.run(
            folder.parent / "task.toml", folder, {"training.rounds": "2", **change}, resume=True
        )
    assert _read_books(folder) == books


def test_without_resume_a_folder_is_not_touched(undisturbed: tuple[RunView, Path]) -> None:
    _, folder = undisturbed
    with pytest.raises(InputError, match="holds a run already"):
        kumiai.run(folder.parent / "task.toml", folder, {"training.rounds": "2"})
    assert verify_path(folder).is_ok


def test_resume_of_nothing_begins(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    run = kumiai.run(task, tmp_path / "new", {"training.rounds": "1"}, resume=True)
    assert run.phase == "FINISHED"
