"""The grid's side of its workers: start them, hand out messages, collect what comes back.

Workers are fresh interpreters (`worker.py`), one thread each for numerics, and start in the
background: importing an app takes seconds, and the grid answers messages itself until they are
ready. Each has at most `IN_FLIGHT_MAX` messages: one that it is at and one that waits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from flwr.app import RecordDict

from kumiai.adapters.cores import count_cores
from kumiai.adapters.flower.calls import Job, Outcome
from kumiai.adapters.flower.frames import receive_frames, send_frames
from kumiai.adapters.flower.state import decode_records, encode_records
from kumiai.base.errors import InputError

IN_FLIGHT_MAX = 2
REPLACED_MAX = 3  # workers that died in a message, in one run
WORKERS_MAX = 1_024
WORKERS_DEFAULT_MAX = 16  # each holds an interpreter with the app: some 300 MB with torch
STOP_SECONDS_MAX = 2.0
CHECK_SECONDS = 1.0
# One process a core: more threads would be in each other's way, and sums would depend on them.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from kumiai.adapters.flower.worker import main; main(int(sys.argv[2]))"
)

Tell = Callable[[str], None]


def choose_workers(asked: int | None, supernodes: int) -> int:
    """How many processes answer messages: as asked for, else one a core; never more than nodes."""
    if asked is None:
        return min(count_cores(), WORKERS_DEFAULT_MAX, supernodes)
    if not 1 <= asked <= WORKERS_MAX:
        raise InputError("--workers", asked, f"a number between 1 and {WORKERS_MAX}")
    return min(asked, supernodes)


@dataclass(slots=True, eq=False)
class Worker:
    """One process. content: the records it was sent last, which it keeps for the next message.

    is_ready: the app is loaded; is_warm: it has answered a message.
    """

    process: subprocess.Popen[bytes]
    pipe: Connection
    is_ready: bool = False
    is_warm: bool = False
    content: RecordDict | None = None
    jobs: deque[Job] = field(default_factory=deque)


class Workers:
    """Keeps `count` workers; `tell` is told why there are none, where the app does not load."""

    def __init__(self, count: int, setup: Mapping[str, Any], tell: Tell) -> None:
        self._setup, self._tell = dict(setup), tell
        self._workers: list[Worker] = []
        self._encoded: tuple[RecordDict | None, bytes] = (None, b"")
        self._died = 0
        self._returned: list[Job] = []
        try:
            for _ in range(count):
                self._start()
        except OSError as error:
            self._give_up(str(error))

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are ready."""
        return tuple(worker.process.pid for worker in self._workers if worker.is_ready)

    @property
    def is_busy(self) -> bool:
        """Whether a reply is still to come."""
        return any(worker.jobs for worker in self._workers)

    def serves(self, node_id: int) -> bool:
        """Whether a message to this node is under way: the next one needs the state it leaves."""
        return any(job.node_id == node_id for worker in self._workers for job in worker.jobs)

    def hand_out(self, job: Job, left: int) -> bool:
        """Give the job to a worker that has room; False if none has, or the grid had better.

        left: jobs that nobody has yet, this one among them. Towards the end nothing is put in line
        behind a call: whoever is free first takes it. Nor is it behind a worker's first call, in
        which an app reads its data.
        """
        room = IN_FLIGHT_MAX if left > len(self._workers) else 1
        free = [w for w in self._workers if w.is_ready and len(w.jobs) < (room if w.is_warm else 1)]
        if not free:
            return False
        worker = min(free, key=lambda w: len(w.jobs))
        try:
            self._send(worker, job)
        except (TypeError, ValueError):
            return False  # too large to travel, or of a kind that cannot
        except OSError:
            return False  # gone: `collect` finds out
        worker.jobs.append(job)
        return True

    def take_returned(self) -> list[Job]:
        """Jobs that were in line behind the one that a worker died of: nobody has begun them."""
        returned, self._returned = self._returned, []
        return returned

    def collect(self, timeout: float | None) -> list[tuple[Job, Outcome]]:
        """What has come back; waits for something where `timeout` is None."""
        pipes = {worker.pipe: worker for worker in self._workers}
        ready: list[Any] = wait(list(pipes), timeout or 0) if pipes else []
        while timeout is None and pipes and not ready:
            ready = wait(list(pipes), CHECK_SECONDS)
            # forked children of an app may hold a dead worker's end: no end of file then
            ready = ready or [p for p, w in pipes.items() if w.process.poll() is not None]
        found: list[tuple[Job, Outcome]] = []
        for worker in [pipes[pipe] for pipe in ready]:
            if worker not in self._workers:
                continue  # given up meanwhile
            try:
                if not worker.pipe.poll():
                    raise EOFError
                found += self._receive(worker)
            except (EOFError, OSError, ValueError):
                found += self._bury(worker)
        return found

    def close(self) -> None:
        """End all workers: the closed pipe tells them to, whatever they are at; then force."""
        for worker in self._workers:
            worker.pipe.close()
        end = time.monotonic() + STOP_SECONDS_MAX
        for worker in self._workers:
            _end(worker.process, max(0.0, end - time.monotonic()))
        self._workers = []

    def _start(self) -> None:
        here, there = Pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(sys.path), str(there.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                env={**os.environ, **dict.fromkeys(THREADS, "1")},
                process_group=0,  # an interrupt from the keyboard is for the grid's process
            )
        except (OSError, ValueError) as error:  # ValueError: no pass_fds on this system
            here.close()
            raise OSError(str(error)) from error
        finally:
            there.close()
        self._workers.append(Worker(process, here))
        send_frames(here, self._setup)

    def _send(self, worker: Worker, job: Job) -> None:
        is_new = worker.content is not job.message.content
        head = {
            "identity": job.identity,
            "partition": job.node.partition if job.node else -1,
            "kind": job.message.metadata.message_type,
            "group": job.message.metadata.group_id,
            "is_new": is_new,
        }
        state = job.node.state if job.node else RecordDict()
        parts = (
            self._encode(job.message.content) if is_new else b"",
            encode_records(state) if len(state) else b"",
        )
        send_frames(worker.pipe, head, *parts)
        worker.content = job.message.content

    def _encode(self, content: RecordDict) -> bytes:
        """The content's bytes: a strategy sends one RecordDict to all nodes."""
        if self._encoded[0] is not content:
            self._encoded = (content, encode_records(content))
        return self._encoded[1]

    def forget(self) -> None:
        """Forget contents: between two exchanges their owner may change what is in them."""
        self._encoded = (None, b"")
        for worker in self._workers:
            worker.content = None

    def _receive(self, worker: Worker) -> list[tuple[Job, Outcome]]:
        head, parts = receive_frames(worker.pipe)
        if not worker.is_ready:
            worker.is_ready = bool(head["ready"])
            if not worker.is_ready:
                self._give_up(head["line"])
            return []
        if not worker.jobs or head["identity"] != worker.jobs[0].identity:
            raise OSError(f"an answer to {head['identity']}, which was not the next")
        worker.is_warm = True
        outcome = Outcome(None, head["line"], printed=head["printed"])
        if not outcome.line:
            content, state = (decode_records(part) if part else RecordDict() for part in parts)
            outcome = Outcome(content, "", state, head["printed"])
        return [(worker.jobs.popleft(), outcome)]

    def _bury(self, worker: Worker) -> list[tuple[Job, Outcome]]:
        """Drop a worker that died: the message it was at failed, the one in line was not begun."""
        self._workers.remove(worker)
        worker.pipe.close()
        status = _end(worker.process, STOP_SECONDS_MAX)
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        if not worker.is_ready:
            self._give_up(f"a worker ended while it loaded the app, {how}")
            return []
        self._returned += list(worker.jobs)[1:]
        self._died += 1
        if self._died <= REPLACED_MAX:
            try:
                self._start()
            except OSError as error:
                self._tell(str(error))
        line = f"the worker process {worker.process.pid} died while it handled this ({how})"
        return [(job, Outcome(None, line)) for job in list(worker.jobs)[:1]]

    def _give_up(self, line: str) -> None:
        """What keeps one worker from loading the app keeps the others too: drop those not ready."""
        dropped = [worker for worker in self._workers if not worker.is_ready]
        self._workers = [worker for worker in self._workers if worker.is_ready]
        for worker in dropped:
            worker.pipe.close()
            _end(worker.process, STOP_SECONDS_MAX)
        self._tell(line)


def _end(process: subprocess.Popen[bytes], seconds: float) -> int:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
