"""The simulated world: time that jumps, a network that delays and loses, nodes that crash.

Everything follows from the seed: the same seed gives the same happenings in the same order. Nothing
waits for real time. Every random draw is made from a generator named by what it is for (sender,
count), so that one node's behaviour does not shift another's luck.

A lost message is sent again after `resend_ms`, as a client with acknowledgements does. A crashed
node neither receives nor sends nor finishes work; when it comes back it is woken and looks at the
run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kumiai.base.events import Event
from kumiai.nodes import ports

RESENDS_MAX = 50


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """How the world behaves. Times in milliseconds; intervals are half-open [from, to)."""

    seed: int = 0
    delay_ms: tuple[int, int] = (5, 40)
    drop_ppm: int = 0
    resend_ms: int = 250
    train_ms: int = 2_000  # a trainer of speed 1
    score_ms: int = 400
    aggregate_ms: int = 50
    slowness_ppm: Mapping[str, int] = field(default_factory=dict)  # node -> 1e6 = normal
    extra_delay_ms: Mapping[tuple[str, int], int] = field(default_factory=dict)  # (node, kind)
    crashes: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    partitions: tuple[tuple[int, int, frozenset[str]], ...] = ()  # who is cut off when


class SimWorld:
    """A `WorldPort` in virtual time."""

    def __init__(self, model: NetworkModel) -> None:
        self._model = model
        self._now_ms = 0
        self._queue: list[tuple[int, int, ports.Happening]] = []
        self._sequence = 0
        self._draws: dict[str, random.Random] = {}
        self._last_arrival_ms: dict[str, int] = {}
        self.messages_lost = 0
        for node, intervals in sorted(model.crashes.items()):
            for _, until_ms in intervals:
                self._push(until_ms, ports.WokenUp(node))

    @property
    def now_ms(self) -> int:
        """Virtual milliseconds since the run began."""
        return self._now_ms

    def next(self) -> ports.Happening | None:
        """Jump to the next happening that reaches somebody who is up."""
        while self._queue:
            happening = self._pop()
            if self._reaches_someone(happening):
                return happening
        return None

    def send(self, sender: str, event: Event) -> None:
        """Let an event leave, later where the model holds it back; a dead sender sends nothing."""
        if not self._is_down(sender, self._now_ms):
            self._let_go(sender, event, self._model.extra_delay_ms.get((sender, event.kind), 0))

    def _let_go(self, sender: str, event: Event, extra_ms: int) -> None:
        """Deliver to the orderer after delays and losses."""
        # One sender's messages arrive in their order, as over a stream, but for the held-back ones.
        at_ms = max(self._now_ms + self._delay_ms(sender), self._last_arrival_ms.get(sender, 0))
        at_ms += extra_ms
        for _ in range(RESENDS_MAX):
            if not self._is_cut_off(sender, at_ms) and not self._is_lost(sender):
                if not extra_ms:
                    self._last_arrival_ms[sender] = at_ms
                self._push(at_ms, ports.Arrived(event, at_ms))
                return
            self.messages_lost += 1
            at_ms += self._model.resend_ms
        self.messages_lost += 1

    def post(self, event: Event) -> None:
        """The orderer's own events arrive at once."""
        self._push(self._now_ms, ports.Arrived(event, self._now_ms))

    def wake(self, nodes: Sequence[str]) -> None:
        """Tell nodes that the run has moved on; the news travels like any message."""
        for node in nodes:
            at_ms = self._now_ms + self._delay_ms(node)
            while self._is_cut_off(node, at_ms):
                at_ms += self._model.resend_ms
            self._push(at_ms, ports.WokenUp(node))

    def start(
        self,
        node: str,
        ticket: int,
        job: ports.Job | None,
    ) -> None:
        """Work takes its virtual time, a tenth more or less, longer on a slow machine."""
        if isinstance(job, ports.TrainJob):
            basis_ms = self._model.train_ms
        elif isinstance(job, ports.ScoreJob):
            basis_ms = self._model.score_ms
        elif isinstance(job, ports.RecheckJob):  # each sheet is a scoring
            basis_ms = self._model.score_ms * len(job.targets)
        else:
            basis_ms = self._model.aggregate_ms
        slowness_ppm = self._model.slowness_ppm.get(node, 1_000_000)
        jitter_ppm = self._draw(f"work/{node}").randrange(900_000, 1_100_001)
        duration_ms = basis_ms * slowness_ppm // 1_000_000 * jitter_ppm // 1_000_000
        self._push(self._now_ms + duration_ms, ports.WorkDue(node, ticket))

    def arm(self, deadline_ms: int) -> None:
        """Wake the orderer's clock at `deadline_ms`."""
        self._push(max(deadline_ms, self._now_ms), ports.DeadlineReached())

    def reseat(self, epoch: int, seats: Sequence[str]) -> None:
        """One orderer orders in all epochs."""

    def close(self) -> None:
        """Nothing runs on."""

    def _pop(self) -> ports.Happening:
        at_ms, _, happening = heapq.heappop(self._queue)
        self._now_ms = max(self._now_ms, at_ms)
        return happening

    def _reaches_someone(self, happening: ports.Happening) -> bool:
        is_for_node = isinstance(happening, ports.WokenUp | ports.WorkDue)
        return not is_for_node or not self._is_down(happening.node, self._now_ms)

    def _push(self, at_ms: int, happening: ports.Happening) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (at_ms, self._sequence, happening))

    def _delay_ms(self, node: str) -> int:
        low, high = self._model.delay_ms
        return self._draw(f"delay/{node}").randint(low, high)

    def _is_lost(self, sender: str) -> bool:
        if self._model.drop_ppm == 0:
            return False
        return self._draw(f"drop/{sender}").randrange(1_000_000) < self._model.drop_ppm

    def _is_down(self, node: str, at_ms: int) -> bool:
        return any(a <= at_ms < b for a, b in self._model.crashes.get(node, ()))

    def _is_cut_off(self, node: str, at_ms: int) -> bool:
        return any(a <= at_ms < b and node in cut for a, b, cut in self._model.partitions)

    def _draw(self, purpose: str) -> random.Random:
        if purpose not in self._draws:
            self._draws[purpose] = random.Random(f"{self._model.seed}/{purpose}")
        return self._draws[purpose]
