"""Members trained by Ray workers: on all cores of this machine, or on a cluster that is there.

The samples are put into Ray's object store once, the global model once a round; every worker keeps
its recipe, its samples and its compiled step (`ray_worker`). Members go out in chunks by what they
were seen to cost (`split`). A worker that dies gives its chunk back: another trains it, with the
same seeds and so with the same result. Who trains a member does not change its result.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kumiai.adapters.compute.execution.lowering import LoweringError, Tier
from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.adapters.compute.execution.ray_cluster import (
    FIELD,
    RayOptions,
    Worker,
    join_cluster,
    leave_cluster,
)
from kumiai.adapters.compute.execution.ray_worker import (
    Answer,
    WorkOrder,
    describe_traits,
    pack_shards,
)
from kumiai.adapters.compute.execution.shards import JoinedShards, count_member_iterations
from kumiai.adapters.compute.execution.split import Pace, take_chunk
from kumiai.base.errors import InputError
from kumiai.learning.client import LocalWork

DEATHS_MAX = 3  # of workers in one round: beyond, the work itself is taken for the cause


@dataclass
class Round:
    """One round's work: who waits, who trains what, and what has come back."""

    global_ref: Any
    seeds: Sequence[int]
    iterations_N: Sequence[int]
    waiting: list[int]  # from the shortest to the longest
    updates_NP: Tensor
    losses_N: Tensor
    idle: list[Worker]
    guides_NG: Tensor | None = None
    busy: dict[Any, tuple[Worker, list[int]]] = field(default_factory=dict)
    death_count: int = 0

    def put_back(self, members: Sequence[int]) -> None:
        """Let members wait again, in their order."""
        waiting = [*self.waiting, *members]
        self.waiting = sorted(waiting, key=lambda n: (self.iterations_N[n], n))


class RayBackend:
    """Keeps its place at Ray between rounds; `close` gives it back."""

    name = "ray"

    def __init__(
        self,
        work: LocalWork,
        tier: Tier = "eager",
        cache_dir: Path | None = None,
        options: RayOptions | None = None,
    ) -> None:
        """Connect to Ray or start one; InputError without Ray, cluster, or a recipe's origin."""
        if work.recipe.origin is None:
            fix = (
                f"recipe {work.recipe.name!r} is a function of this process alone; give it as "
                "FILE.py:function, take a built-in one, or another backend"
            )
            raise InputError(FIELD, "ray", fix)
        self._work = work
        self._order = WorkOrder(
            work.recipe.origin, work.settings, tier, cache_dir, describe_traits(work)
        )
        self._cluster = join_cluster(options or RayOptions())
        self._ray: Any = self._cluster.ray
        self._pace = Pace()
        self._key = ""
        self._shown: JoinedShards | None = None
        self._data_ref: Any = None
        self._is_closed = False

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers, none before the first round."""
        return self._cluster.worker_pids

    def train(
        self,
        global_P: Tensor,
        data: JoinedShards,
        seeds: Sequence[int],
        guides_NG: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return updates_NP and losses_N (mean over the samples seen) of one round.

        Raises ValueError where the recipe raises, InputError where a worker is unlike this process,
        LoweringError where the step cannot be compiled there, WorkerError after DEATHS_MAX deaths.
        """
        if self._shown is not data:
            self._forget()
            self._key, self._shown = uuid.uuid4().hex, data
            self._data_ref = self._ray.put(pack_shards(data))
        iterations = count_member_iterations(self._work.settings, data.counts)
        turn = Round(
            global_ref=self._ray.put(global_P.detach().contiguous().numpy()),
            seeds=seeds,
            iterations_N=iterations,
            waiting=sorted(range(len(seeds)), key=lambda n: (iterations[n], n)),
            updates_NP=torch.empty(len(seeds), self._work.layout.size),
            losses_N=torch.empty(len(seeds)),
            idle=self._cluster.get_workers(len(seeds)),
            guides_NG=guides_NG,
        )
        while turn.waiting or turn.busy:
            self._hand_out(turn)
            done, _ = self._ray.wait(list(turn.busy), num_returns=1)
            for ref in done:
                self._take_back(turn, ref)
        return turn.updates_NP, turn.losses_N

    def close(self) -> None:
        """Drop the samples and leave Ray; a Ray of our own ends with its last user."""
        if self._is_closed:
            return
        self._is_closed = True
        self._forget()
        leave_cluster(self._cluster)

    def _hand_out(self, turn: Round) -> None:
        """Give every idle worker a chunk."""
        if turn.waiting and not turn.idle and not turn.busy:
            turn.idle = self._cluster.get_workers(len(turn.waiting))
        everyone = [worker.name for worker in turn.idle]
        everyone += [worker.name for worker, _ in turn.busy.values()]
        while turn.waiting and turn.idle:
            worker = turn.idle.pop()
            left = sum(turn.iterations_N[n] for n in turn.waiting)
            budget = self._pace.compute_budget(worker.name, everyone, left)
            members = take_chunk(turn.waiting, turn.iterations_N, budget)
            if self._key not in worker.opened:
                worker.opened.add(self._key)
                # calls of one actor run in their order
                worker.actor.open.remote(self._key, self._order, self._data_ref, turn.global_ref)
            guides_CG = None if turn.guides_NG is None else turn.guides_NG[members].numpy()
            ref = worker.actor.train.remote(
                self._key, turn.global_ref, members, [turn.seeds[n] for n in members], guides_CG
            )
            turn.busy[ref] = (worker, members)

    def _take_back(self, turn: Round, ref: Any) -> None:
        """Take a chunk's results, or bury its worker and let its members wait again."""
        worker, members = turn.busy.pop(ref)
        faults = self._ray.exceptions
        try:
            answer: Answer = self._ray.get(ref)
        except (faults.RayActorError, faults.ObjectLostError, faults.OutOfMemoryError) as error:
            self._cluster.drop(worker)
            self._pace.forget(worker.name)
            turn.put_back(members)
            turn.death_count += 1
            if turn.death_count > DEATHS_MAX:
                raise describe_deaths(turn.death_count, worker, members) from error
            return
        self._check(answer)
        assert answer.updates_CP is not None
        turn.updates_NP[members] = torch.from_numpy(answer.updates_CP.copy())
        turn.losses_N[members] = torch.tensor(answer.losses_C)
        count = sum(turn.iterations_N[n] for n in members)
        self._pace.note(worker.name, count, answer.seconds)
        turn.idle.append(worker)

    def _check(self, answer: Answer) -> None:
        """Raise what a worker could only say."""
        if answer.kind == "failed":
            raise ValueError(answer.message)
        if answer.kind == "unlowered":
            raise LoweringError(answer.message)
        if answer.kind == "refused":
            raise InputError(FIELD, "ray", answer.message)

    def _forget(self) -> None:
        """Let every worker drop the samples that it has."""
        if self._shown is not None:
            self._cluster.forget(self._key)
        self._shown = self._data_ref = None


def describe_deaths(count: int, worker: Worker, members: Sequence[int]) -> WorkerError:
    """Return the error for a round in which too many workers died."""
    shown = ", ".join(map(str, members[:10])) + (" ..." if len(members) > 10 else "")
    return WorkerError(
        f"{count} Ray workers died in one round, the last (process {worker.pid}) while training "
        f"members {shown}: out of memory, or killed; finished rounds are kept: continue with "
        "--resume, with fewer workers or another backend"
    )
