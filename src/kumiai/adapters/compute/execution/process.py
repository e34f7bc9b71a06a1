"""One worker process a core, each training one member at a time: for networks whose step is heavy.

Convolutions do not gain from stacking; on a CPU the fastest found is one process a core with one
thread each, channels innermost in memory, and a compiled step. Samples, the global model and the
updates lie in shared memory; only commands and numbers go through pipes. Workers are forked where
the system can, so that a user's recipe need not be picklable, and started afresh elsewhere.

Members are handed out one by one, the longest first, to whoever is free: a slow core delays the
round by one member at most. Who trains a member does not change its result.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import torch
import torch.multiprocessing as torch_multiprocessing
from torch import Tensor

from kumiai.adapters.compute.execution.inline import Step, train_member
from kumiai.adapters.compute.execution.shards import JoinedShards, count_member_iterations
from kumiai.adapters.cores import count_cores
from kumiai.base.errors import KumiaiError, RunFailedError
from kumiai.learning.client import LocalWork

STOP_SECONDS_MAX = 2.0
PARENT_CHECK_SECONDS = 1.0

Reply = tuple[Literal["trained", "failed"], int, float, str]


@dataclass(frozen=True)
class Desk:
    """What all processes see: the samples, the global model [P] and the updates [N, P].

    guides_NG: what the round tells each member beside the model; G is 0 for most rules.
    """

    data: JoinedShards
    global_P: Tensor
    updates_NP: Tensor
    guides_NG: Tensor


class WorkerError(KumiaiError):
    """Workers ended before they answered, or could not be had; finished rounds are not lost."""

    exit_code = RunFailedError.exit_code
    is_retriable = True


class WorkerBackend(ABC):
    """Keeps workers and what they share between rounds; `close` ends them."""

    patience_seconds = STOP_SECONDS_MAX  # with the workers of a round that failed

    def __init__(self, work: LocalWork) -> None:
        self._work = work
        self._workers: list[tuple[BaseProcess, Connection]] = []
        self._desk: Desk | None = None
        self._shown: JoinedShards | None = None

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers, none before the first round."""
        return tuple(process.pid or 0 for process, _ in self._workers)

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_NG: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return updates_NP and losses_N (mean over the samples seen) of one round.

        Raises ValueError where the recipe raises, WorkerError where a worker died; both end the
        workers, and the next round starts new ones.
        """
        try:
            desk = self._lay_out(global_P, data, len(seeds))
            if guides_NG is not None:
                desk.guides_NG[: len(seeds)] = guides_NG
            losses_N = self._hand_out(data, seeds)
        except BaseException:
            self._end(self.patience_seconds)
            raise
        return desk.updates_NP[: len(seeds)].clone(), losses_N

    def close(self) -> None:
        """End the workers: ask, then force."""
        self._end(STOP_SECONDS_MAX)

    def _end(self, patience_seconds: float) -> None:
        for _, pipe in self._workers:
            try:
                pipe.send(None)
            except OSError:
                continue  # already gone
        for process, pipe in self._workers:
            process.join(patience_seconds)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()
        self._workers = []
        self._desk = None
        self._shown = None

    def _lay_out(self, global_P: Tensor, data: JoinedShards, member_count: int) -> Desk:
        """Put the round's tensors into shared memory, starting workers when there are none."""
        if self._desk is None or self._shown is not data:
            self.close()
            size = self._work.layout.size
            self._desk = Desk(
                replace(data, inputs=share(data.inputs), targets=share(data.targets)),
                share(torch.empty(size)),
                share(torch.empty(member_count, size)),
                share(torch.zeros(member_count, self._work.guide_size)),
            )
            self._shown = data
            self._start(self._desk)
        self._desk.global_P.copy_(global_P)
        return self._desk

    @abstractmethod
    def _start(self, desk: Desk) -> None:
        """Start the workers."""

    @abstractmethod
    def _hand_out(self, data: JoinedShards, seeds: Sequence[int]) -> Tensor:
        """Have every member trained and return the losses [N]."""


class ProcessBackend(WorkerBackend):
    """A member to each worker, and another one when it answers."""

    name = "process"

    def __init__(
        self, work: LocalWork, step: Step | None = None, worker_count: int | None = None
    ) -> None:
        """worker_count: by default the cores this process may use."""
        super().__init__(work)
        self._step = step or work.step
        self._count = worker_count or count_cores()

    def _start(self, desk: Desk) -> None:
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = torch_multiprocessing.get_context(method)
        for _ in range(min(self._count, len(desk.data.counts))):
            here, there = context.Pipe()
            process = context.Process(
                target=run_worker, args=(self._work, self._step, desk, there), daemon=True
            )
            process.start()
            there.close()
            self._workers.append((process, here))

    def _hand_out(self, data: JoinedShards, seeds: Sequence[int]) -> Tensor:
        """Give every worker a member, and another one when it answers, until all are trained."""
        lengths = count_member_iterations(self._work.settings, data.counts)
        waiting = sorted(range(len(seeds)), key=lambda n: lengths[n])
        losses_N = torch.empty(len(seeds))
        busy: dict[Connection, tuple[BaseProcess, int]] = {}

        def give(process: BaseProcess, pipe: Connection) -> None:
            if waiting:
                member = waiting.pop()
                busy[pipe] = (process, member)
                try:
                    pipe.send((member, seeds[member]))
                except OSError as error:
                    raise describe_death(process, member) from error

        for process, pipe in self._workers:
            give(process, pipe)
        while busy:
            for ready in multiprocessing.connection.wait(list(busy)):
                assert isinstance(ready, Connection)
                process, member = busy.pop(ready)
                try:
                    kind, member, loss, message = ready.recv()
                except (EOFError, OSError) as error:
                    raise describe_death(process, member) from error
                if kind == "failed":
                    raise ValueError(message)
                losses_N[member] = loss
                give(process, ready)
        return losses_N


def run_worker(work: LocalWork, step: Step, desk: Desk, pipe: Connection) -> None:
    """Train members as they are handed over, until told to stop or the parent is gone."""
    # an interrupt from the keyboard reaches the whole group: the parent decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with torch.no_grad():
        for member, seed in hear(pipe, os.getppid()):
            guide_G = desk.guides_NG[member] if work.guide_size else None
            reply: Reply
            try:
                update_P, loss = train_member(
                    work, step, desk.global_P, desk.data, member=member, seed=seed, guide_G=guide_G
                )
                desk.updates_NP[member] = update_P
                reply = ("trained", member, loss, "")
            except ValueError as error:
                reply = ("failed", member, 0.0, str(error))
            pipe.send(reply)


def hear(pipe: Connection, parent: int) -> Iterator[tuple[int, int]]:
    """Yield the (member, seed) handed over, until told to stop or until the parent is gone."""
    while True:
        # siblings hold copies of the other end, so that a killed parent gives no end of file
        while not pipe.poll(PARENT_CHECK_SECONDS):
            if os.getppid() != parent:
                return
        command = pipe.recv()
        if command is None:
            return
        yield command


def describe_death(
    process: BaseProcess,
    member: int | None,
    fix: str = "run the round again, or use backend 'inline'",
) -> WorkerError:
    """Return the error for a worker that ended while it trained `member`, or was being started."""
    process.join(STOP_SECONDS_MAX)
    code = process.exitcode
    cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    work = "it was started" if member is None else f"training member {member}"
    return WorkerError(
        f"worker process {process.pid} ended ({cause}) while {work}: "
        f"out of memory, or killed; {fix}"
    )


def share(tensor: Tensor) -> Tensor:
    """Move a tensor's numbers into shared memory; strides stay."""
    shared: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
    return shared
