"""How a round's members are split over workers: in shrinking chunks, by what they cost before.

Guided self-scheduling (C. D. Polychronopoulos and D. J. Kuck, "Guided Self-Scheduling: A Practical
Scheduling Scheme for Parallel Supercomputers", IEEE Transactions on Computers, 1987): whoever is
free takes a share of what is left, so that chunks are large while there is much to do and small at
the end. Deviation (a reconstruction): their chunk is the 1/W-th of what is left, counted in equal
iterations; here members weigh their iterations, a worker's share is that of its measured speed,
and half of it is handed out, because the measure may be wrong.

    budget_w = sum of waiting iterations * speed_w / (2 * sum of all speeds)

The split decides who trains a member and when, never what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CHUNK_SECONDS_MIN = 0.02  # below, handing over costs more than it balances
NEW_SHARE = 0.5  # of the last chunk in a worker's measured speed


@dataclass
class Pace:
    """Seconds that one iteration takes each worker, as measured; empty before the first chunk."""

    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, worker: str, iteration_count: int, seconds: float) -> None:
        """Take a chunk's measured time into the worker's pace."""
        latest = max(seconds, 1e-9) / max(1, iteration_count)
        known = self.seconds.get(worker, latest)
        self.seconds[worker] = (1 - NEW_SHARE) * known + NEW_SHARE * latest

    def forget(self, worker: str) -> None:
        """Drop a worker that is gone."""
        self.seconds.pop(worker, None)

    def compute_budget(self, worker: str, workers: Sequence[str], waiting_count: int) -> float:
        """Return the iterations of `worker`'s next chunk, with `waiting_count` iterations left.

        A worker that was not measured counts as the mean of those that were.
        """
        speeds = compute_speeds(self.seconds, workers)
        budget = waiting_count * speeds[worker] / (2 * sum(speeds.values()))
        if worker in self.seconds:
            budget = max(budget, CHUNK_SECONDS_MIN / self.seconds[worker])
        return budget


def compute_speeds(seconds: Mapping[str, float], workers: Sequence[str]) -> dict[str, float]:
    """Return each worker's iterations a second, in any common unit while none was measured."""
    known = [1 / seconds[worker] for worker in workers if worker in seconds]
    mean = sum(known) / len(known) if known else 1.0
    return {worker: 1 / seconds[worker] if worker in seconds else mean for worker in workers}


def take_chunk(waiting: list[int], iterations_N: Sequence[int], budget: float) -> list[int]:
    """Remove and return the next members: one at least, more as long as they fit the budget.

    waiting: members from the shortest to the longest; the longest go first. Raises ValueError when
    nobody is waiting.
    """
    if not waiting:
        raise ValueError("0 members are waiting: there is no chunk to take")
    chunk = [waiting.pop()]
    total = iterations_N[chunk[0]]
    while waiting and total + iterations_N[waiting[-1]] <= budget:
        total += iterations_N[waiting[-1]]
        chunk.append(waiting.pop())
    return chunk
