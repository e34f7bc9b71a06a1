"""The simulated world with a committee that orders: every event gets its place by agreement.

::

    member --event--> a validator (its gate) --request--> replicas agree --> Arrived, at their time

Nobody is privileged: a member hands its events to one validator, and to the next one, all again in
their order, where nothing was decided for a while. Replicas are the real machines over links that
delay, lose and cut; their messages take the world's time. The run moves on when the first loyal
replica executes a batch; that all of them execute the same, the cluster's checks watch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.sim.ordering.cluster import Cluster, Node
from kumiai.adapters.sim.world import NetworkModel, SimWorld
from kumiai.base import events
from kumiai.base.events import Event
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Scheme, Signer
from kumiai.consensus.pbft.effects import Execute
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.replica import Replica, Settings
from kumiai.nodes import ports
from kumiai.nodes.order import EPOCH_S, OrderReader

CLOCK = "orderer"  # sender of what the run's own clock says
OFFSET_MS_MAX = 100  # of a validator's time of day
RETRY_MS = 3_000  # without a decision: the next gate
ATTEMPTS_MAX = 50
REARM_MS = 200


@dataclass(frozen=True, slots=True)
class Place:
    """A replica: whose it is, how it signs, and what it is ("" loyal, or a kind of traitor)."""

    node: str
    signer: Signer
    kind: str = ""


@dataclass(frozen=True, slots=True)
class _Inside:
    """Something that happens between replicas."""

    kind: str
    what: Any


class OrderedWorld(SimWorld):
    """A `WorldPort` in virtual time whose order is a committee's."""

    _outside_count = 0  # of happenings for nodes

    def __init__(
        self,
        model: NetworkModel,
        committee: Committee,
        places: Sequence[Place],
        scheme: Scheme,
        on_decided: Callable[[m.Decided], None],
        settings: Settings | None = None,
    ) -> None:
        """on_decided: hears every batch, once, before its events arrive."""
        super().__init__(model)
        rng = random.Random(f"{model.seed}/offsets")
        self._offsets_ms = [rng.randint(-OFFSET_MS_MAX, OFFSET_MS_MAX) for _ in places]
        self._places, self._on_decided = places, on_decided
        self._counts = [0] * len(places)
        self._pending: dict[str, list[Event]] = {}
        self._attempts: dict[str, int] = {}
        self._done: set[str] = set()
        self._accused: set[int] = set()
        self._heads: dict[str, str] = {}  # a sender's oldest undecided event -> the sender
        self._reader = OrderReader()
        self.cluster = Cluster(
            committee,
            scheme,
            [place.signer for place in places],
            {index: place.kind for index, place in enumerate(places) if place.kind},
            model.seed,
            settings or Settings(),
            self,
            (1000 * EPOCH_S, OFFSET_MS_MAX),
        )
        self.cluster.start_all()
        for index, place in enumerate(places):
            for from_ms, to_ms in model.crashes.get(place.node, ()):
                self._push(from_ms, _Inside("stop", index))
                self._push(to_ms, _Inside("start", index))

    # ---- the world ----

    def next(self) -> ports.Happening | None:
        """Jump to the next happening for a node; None when nothing is left but heartbeats."""
        while self._outside_count or any(self._pending.values()):
            happening = self._pop()
            if isinstance(happening, _Inside):
                self._happen(happening)
                continue
            self._outside_count -= 1
            if self._reaches_someone(happening):
                return happening
        return None

    def send(self, sender: str, event: Event) -> None:
        """Hand an event to the sender's gate; a dead sender sends nothing."""
        if self._is_down(sender, self._now_ms):
            return
        extra_ms = self._model.extra_delay_ms.get((sender, event.kind), 0)
        if extra_ms:
            self._push(self._now_ms + extra_ms, _Inside("late", (sender, event)))
        else:
            self._queue_up(sender, event)

    def post(self, event: Event) -> None:
        """Hand in an event of the run's own clock."""
        self._queue_up(CLOCK, event)

    def arm(self, deadline_ms: int) -> None:
        """Wake the clock at a deadline; soon, where it has passed and the order's clock is late."""
        is_late = deadline_ms <= self._now_ms
        self._push(self._now_ms + REARM_MS if is_late else deadline_ms, ports.DeadlineReached())

    def _queue_up(self, sender: str, event: Event) -> None:
        pending = self._pending.setdefault(sender, [])
        pending.append(event)
        if len(pending) == 1:
            self._heads[event.id] = sender
            self._push(self._now_ms + RETRY_MS, _Inside("retry", (sender, event.id)))
        self._hand(sender, [event])

    def _hand(self, sender: str, given: Sequence[Event]) -> None:
        """Send events to the gate whose turn it is; one stream, so they arrive in their order."""
        home = sum(sender.encode()) + self._attempts.get(sender, 0)
        gate = home % len(self._places)
        at_ms = self._now_ms + (0 if sender == CLOCK else self._delay_ms(sender))
        at_ms = max(at_ms, self._last_arrival_ms.get(sender, 0))
        while self._is_lost(sender):  # a stream sends again what it lost, and keeps its order
            self.messages_lost += 1
            at_ms += self._model.resend_ms
        if not self._can_reach(sender, self._places[gate].node, at_ms):
            self.messages_lost += 1
            return
        self._last_arrival_ms[sender] = at_ms
        self._push(at_ms, _Inside("hand", (gate, tuple(given))))

    def _can_reach(self, one: str, other: str, at_ms: int) -> bool:
        return not any(
            begin <= at_ms < end and (one in cut) != (other in cut)
            for begin, end, cut in self._model.partitions
        )

    def _push(self, at_ms: int, happening: ports.Happening | _Inside) -> None:
        super()._push(at_ms, happening)  # type: ignore[arg-type]
        if not isinstance(happening, _Inside) or happening.kind == "late":
            self._outside_count += 1  # what is held back will be for nodes too

    # ---- inside ----

    def _happen(self, inside: _Inside) -> None:
        what = inside.what
        match inside.kind:
            case "deliver":
                self.cluster.deliver(*what)
            case "time":
                self.cluster.pass_time(*what)
            case "hand":
                self._take(*what)
            case "late":
                self._outside_count -= 1
                self._queue_up(*what)
            case "retry":
                self._retry(*what)
            case "stop":
                self.cluster.stop(self.cluster.nodes[what])
            case "start":
                self.cluster.start(self.cluster.nodes[what])

    def _take(self, gate: int, given: Sequence[Event]) -> None:
        """A validator hands in what a member sent it, under its own name."""
        for event in given:
            if self.cluster.nodes[gate].machine is None or event.id in self._done:
                continue
            self._counts[gate] += 1
            operation = events.encode_event(event).decode()
            signer = self._places[gate].signer
            request = m.sign_request(signer, self._counts[gate], operation)
            self.cluster.checks.submitted.add(request.digest)
            self.cluster.submit(gate, request)

    def _retry(self, sender: str, oldest: str) -> None:
        """Go to the next gate with all that is undecided, if the oldest of it still is."""
        pending = self._pending[sender]
        if not pending:
            return
        if pending[0].id == oldest:
            attempts = self._attempts.get(sender, 0) + 1
            self._attempts[sender] = attempts
            if attempts > ATTEMPTS_MAX:
                self.messages_lost += len(pending)
                self._heads.pop(oldest, None)
                pending.clear()
                return
            self._hand(sender, pending)
        self._push(self._now_ms + RETRY_MS, _Inside("retry", (sender, pending[0].id)))

    def _acknowledge(self, event: Event) -> None:
        """An event counts as done once all that its sender said before it is."""
        sender = self._heads.pop(event.id, None)
        if sender is None:
            return
        self._done.add(event.id)
        pending = self._pending[sender]
        pending.pop(0)
        if pending:
            self._heads[pending[0].id] = sender

    # ---- what the cluster asks for ----

    def read_clocks(self, index: int) -> tuple[int, int]:
        """Return what a replica's timers go by, and its time of day."""
        return self._now_ms, 1000 * EPOCH_S + self._now_ms + self._offsets_ms[index]

    def to_world_ms(self, index: int, timer_ms: int) -> int:
        """Timers go by the world's time."""
        return timer_ms

    def transmit(self, sender: int, receiver: int, message: m.Message) -> None:
        """Deliver after a delay, in order, or not at all: replicas say again what matters."""
        one, other = self._places[sender].node, self._places[receiver].node
        link = f"{one} to {other}"
        at_ms = max(self._now_ms + self._delay_ms(one), self._last_arrival_ms.get(link, 0))
        if self._is_lost(one) or not self._can_reach(one, other, at_ms):
            self.messages_lost += 1
            return
        self._last_arrival_ms[link] = at_ms
        self._push(at_ms, _Inside("deliver", (sender, receiver, message)))

    def wake_replica(self, at_ms: int, node: Node, machine: Replica) -> None:
        """Let a replica's time pass."""
        self._push(at_ms, _Inside("time", (node, machine)))

    def on_executed(self, index: int, effect: Execute) -> None:
        """The first loyal replica to execute a batch moves the run on."""
        if effect.decided.proof.sequence != self._reader.place + 1:
            return
        self._on_decided(effect.decided)
        for event, time_ms in self._reader.read(effect.decided):
            if event.id not in self._done:
                self._acknowledge(event)
                self._push(self._now_ms, ports.Arrived(event, time_ms))

    def on_accused(self, index: int, found: Equivocation) -> None:
        """The first loyal replica with a proof tells its validator."""
        if found.first.sender not in self._accused:
            self._accused.add(found.first.sender)
            self._push(self._now_ms, ports.Proven(self._places[index].node, found))
