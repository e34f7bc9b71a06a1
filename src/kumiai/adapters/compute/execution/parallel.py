"""Members trained one after the other, each by several processes at once (`learning.parallel`).

The recipe chose so. The processes are kept between rounds; samples, the global model and the
updates lie in shared memory, and only commands and numbers go through pipes. On the CPU they are
forked where the system can, so that a user's recipe may be any function; GPUs cannot be used after
a fork, so there each process builds the recipe again from its file or its name.

One process that fails or dies leaves the others waiting for it inside a sum: they are ended, the
round with them, and the next round starts all of them anew.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import shutil
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing as torch_multiprocessing
from torch import Tensor

from kumiai.adapters.compute.execution.parallel_rank import Order, Reply, Seat, run_rank
from kumiai.adapters.compute.execution.process import Desk, WorkerBackend, describe_death
from kumiai.adapters.compute.execution.shards import CPU, JoinedShards
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork
from kumiai.learning.parallel import Parallel

DEATH_SECONDS_MAX = 0.5  # between a process's death and its being known, when another complains
FIX = "run the round again"


class ParallelBackend(WorkerBackend):
    """A recipe's processes, all of them for each member."""

    name = "parallel"
    patience_seconds = 0.0  # who waits for another inside a sum hears nothing

    def __init__(
        self, work: LocalWork, parallel: Parallel, device_type: str = "cpu", method: str = ""
    ) -> None:
        """device_type: cpu, or cuda with a GPU for each process. method: fork or spawn.

        InputError for a recipe that cannot be built again where it has to be.
        """
        can_fork = "fork" in multiprocessing.get_all_start_methods()
        self._method = method or ("fork" if can_fork and device_type == CPU.type else "spawn")
        self._made: LocalWork | Order = work
        if self._method != "fork":
            if work.recipe.origin is None:
                fix = (
                    "its processes cannot be forked here and have to build it again: give it as "
                    "FILE.py:function, or take a built-in one"
                )
                raise InputError("model.recipe", work.recipe.name, fix)
            self._made = Order(work.recipe.origin, work.settings)
        super().__init__(work)
        self._parallel, self._device_type = parallel, device_type
        self._folder = ""

    def _end(self, patience_seconds: float) -> None:
        super()._end(patience_seconds)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _start(self, desk: Desk) -> None:
        if self._method == "fork" and self._parallel.mode == "fsdp":
            # imported once, for all processes to inherit
            from kumiai.adapters.compute.execution import sharded  # noqa: F401
        context: Any = torch_multiprocessing.get_context(self._method)
        self._folder = tempfile.mkdtemp(prefix="kumiai-")  # for this user alone
        for rank in range(self._parallel.process_count):
            seat = Seat(rank, self._parallel, f"{self._folder}/meeting", self._device_type)
            here, there = context.Pipe()
            process = context.Process(
                target=run_rank, args=(seat, self._made, desk, there), daemon=True
            )
            process.start()
            there.close()
            self._workers.append((process, here))
        self._gather(None)

    def _hand_out(self, data: JoinedShards, seeds: Sequence[int]) -> Tensor:
        return torch.tensor([self._train_member(n, seed) for n, seed in enumerate(seeds)])

    def _train_member(self, member: int, seed: int) -> float:
        for process, pipe in self._workers:
            try:
                pipe.send((member, seed))
            except OSError as error:
                raise describe_death(process, member, FIX) from error
        replies = self._gather(member)
        if self._parallel.mode == "ddp":
            return replies[0][1]  # already everybody's
        return sum(loss for _, loss, _ in replies)

    def _gather(self, member: int | None) -> list[Reply]:
        """Return what every process answers, by rank; raises for the first that cannot."""
        replies: dict[int, Reply] = {}
        waiting = {pipe: rank for rank, (_, pipe) in enumerate(self._workers)}
        while waiting:
            for ready in multiprocessing.connection.wait(list(waiting)):
                assert isinstance(ready, Connection)
                rank = waiting.pop(ready)
                try:
                    reply: Reply = ready.recv()
                except (EOFError, OSError) as error:
                    raise describe_death(self._workers[rank][0], member, FIX) from error
                if reply[0] == "failed":
                    self._find_death(member)
                    raise ValueError(reply[2])
                replies[rank] = reply
        return [replies[rank] for rank in sorted(replies)]

    def _find_death(self, member: int | None) -> None:
        """Raise WorkerError if a process died: what the others then complain of is no fault."""
        processes = {process.sentinel: process for process, _ in self._workers}
        for sentinel in multiprocessing.connection.wait(list(processes), DEATH_SECONDS_MAX):
            assert isinstance(sentinel, int)
            raise describe_death(processes[sentinel], member, FIX)
