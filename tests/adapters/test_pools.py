"""Pools of processes: they work, and end when nobody waits for them any more."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

import pytest

from kumiai.adapters.pools import open_pool

JOBS = 60


def leave_a_mark(folder: Path, number: int) -> int:
    time.sleep(0.02)
    (folder / str(number)).touch()
    return number


def test_workers_prepare_themselves_and_die_of_an_interruption_without_a_word() -> None:
    with open_pool(1, partial(signal.signal, signal.SIGUSR1, signal.SIG_IGN)) as pool:
        assert pool.submit(signal.getsignal, signal.SIGUSR1).result() is signal.SIG_IGN
        assert pool.submit(signal.getsignal, signal.SIGINT).result() is signal.SIG_DFL


def test_what_has_not_begun_when_the_pool_is_left_is_dropped(tmp_path: Path) -> None:
    def work_until_the_first_is_done() -> None:
        with open_pool(1) as pool:
            waiting = [pool.submit(leave_a_mark, tmp_path, number) for number in range(JOBS)]
            waiting[0].result()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_until_the_first_is_done()
    assert 1 <= len(list(tmp_path.iterdir())) < JOBS
