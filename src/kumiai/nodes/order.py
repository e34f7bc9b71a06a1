"""From a committee's decided batches to a run's events: what every node and verifier reads.

A batch's requests carry one event each, in NIP-01 form. A request that was executed before, or
carries no event, gives nothing. An event's time is the order's clock when its batch was decided:
the latest of the batches' times so far, counted from `EPOCH_S`.
"""

from __future__ import annotations

from kumiai.base import events
from kumiai.base.events import Event
from kumiai.consensus.pbft.messages import Decided
from kumiai.consensus.pbft.pool import Pool

EPOCH_S = 1_767_225_600  # time 0 of a run: 2026-01-01T00:00:00Z


class OrderReader:
    """Reads batches one after another; ValueError for one that is not the next."""

    def __init__(self) -> None:
        self.place = 0
        self._time_ms = 0
        self._pool = Pool()

    def begin_epoch(self) -> None:
        """The next batch is the first of another committee; the order's clock goes on."""
        self.place, self._pool = 0, Pool()

    def read(self, decided: Decided) -> list[tuple[Event, int]]:
        """Return the events of the next batch, each with its time in milliseconds."""
        if decided.proof.sequence != self.place + 1:
            raise ValueError(f"place {decided.proof.sequence} does not follow place {self.place}")
        self.place += 1
        self._time_ms = max(self._time_ms, decided.batch.time_ms - 1000 * EPOCH_S)
        found = []
        for request in self._pool.execute(decided.batch.requests):
            try:
                event = events.decode_event(request.operation.encode())
            except ValueError:
                continue
            found.append((event, self._time_ms))
        return found
