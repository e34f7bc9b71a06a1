"""Processes that play many independent jobs, and are gone the moment nobody waits for them.

A plain pool, left by Ctrl-C, plays what is queued to its end and prints a traceback a process. Here
workers die of Ctrl-C at once and in silence, and leaving the pool drops what has not begun.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def open_pool(
    workers: int, prepare: Callable[[], object] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Open `workers` fresh processes, each of which calls `prepare` first; close them at the end.

    ValueError for less than one worker.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (prepare,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(prepare: Callable[[], object] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if prepare is not None:
        prepare()
