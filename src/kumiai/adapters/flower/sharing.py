"""Messages shared between the grid's process and its workers; outcomes in the order of pushing.

The grid's process answers messages too, in turns with handing out: N processes are N - 1 workers
and itself. Messages are taken in order, so what a time limit leaves over is always the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kumiai.adapters.flower.calls import Job, Outcome
from kumiai.adapters.flower.workers import Workers


def answer_alone(
    jobs: Sequence[Job], here: Callable[[Job], Outcome], is_open: Callable[[], bool]
) -> Iterator[Outcome]:
    """Answer one after the other in this process while `is_open`."""
    for job in jobs:
        if not is_open():
            return
        yield here(job)


def answer_shared(
    jobs: Sequence[Job],
    here: Callable[[Job], Outcome],
    is_open: Callable[[], bool],
    workers: Workers,
) -> Iterator[Outcome]:
    """Answer in this process and in the workers; once not `is_open`, what was begun is finished."""
    share = _Share(jobs, here, is_open, workers, {job.identity: job for job in jobs})
    shown = 0
    while shown < len(jobs):
        share.settle(0)
        has_worked = share.give()
        while shown < share.given and jobs[shown].identity in share.done:
            yield share.done.pop(jobs[shown].identity)
            shown += 1
        if has_worked:
            continue
        if shown == share.given and not (workers.is_busy and is_open()):
            return
        share.settle(None)


@dataclass(slots=True)
class _Share:
    """One exchange while it lasts: the first `given` jobs are done or under way."""

    jobs: Sequence[Job]
    here: Callable[[Job], Outcome]
    is_open: Callable[[], bool]
    workers: Workers
    own: Mapping[str, Job]
    done: dict[str, Outcome] = field(default_factory=dict)
    given: int = 0

    def settle(self, timeout: float | None) -> None:
        """Take in what has come back, and do what a dead worker left undone."""
        for job, outcome in self.workers.collect(timeout):
            if job.identity not in self.own:
                continue  # of an exchange that an exception ended
            if outcome.state is not None and job.node is not None:
                job.node.state = outcome.state
            self.done[job.identity] = outcome
        for job in self.workers.take_returned():
            if job.identity in self.own:
                self.done[job.identity] = self.here(job)

    def give(self) -> bool:
        """Hand out what the workers have room for, then do one here; False if none was left."""
        while self.given < len(self.jobs):
            job = self.jobs[self.given]
            if self.workers.serves(job.node_id) or not self.is_open():
                return False
            self.given += 1
            if not (job.can_travel and self.workers.hand_out(job, len(self.jobs) - self.given + 1)):
                self.done[job.identity] = self.here(job)
                return True
        return False


@contextmanager
def one_thread() -> Iterator[None]:
    """Give torch one thread, as in the workers, so that every process comes to the same sums."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
