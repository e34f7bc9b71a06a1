"""Messages shared between the grid's process and its workers; outcomes in the order of pushing.

The grid's process answers messages too, in turns with handing out: N processes are N - 1 workers
and itself. Messages are taken in order, so what a time limit leaves over is always the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
    own = {job.identity for job in jobs}
    done: dict[str, Outcome] = {}
    given = shown = 0

    def settle(timeout: float | None) -> None:
        for job, outcome in workers.collect(timeout):
            if job.identity not in own:
                continue  # of an exchange that an exception ended
            if outcome.state is not None and job.node is not None:
                job.node.state = outcome.state
            done[job.identity] = outcome
        for job in workers.take_returned():
            if job.identity in own:
                done[job.identity] = here(job)

    while shown < len(jobs):
        settle(0)
        is_idle = True
        while given < len(jobs) and not workers.serves(jobs[given].node_id) and is_open():
            job = jobs[given]
            given += 1
            if job.can_travel and workers.hand_out(job, len(jobs) - given + 1):
                continue
            done[job.identity] = here(job)
            is_idle = False
            break
        while shown < given and jobs[shown].identity in done:
            yield done.pop(jobs[shown].identity)
            shown += 1
        if is_idle and (shown < given or (workers.is_busy and is_open())):
            settle(None)
        elif is_idle:
            return


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
