"""The simulated world with a committee that orders: every event gets its place by agreement.

::

    member --event--> a validator (its gate) --request--> replicas agree --> Arrived, at their time

Nobody is privileged: a member hands its events to one validator, and to the next one, all again in
their order, where nothing was decided for a while. Replicas are the real machines over links that
delay, lose and cut; their messages take the world's time. The run moves on when the first loyal
replica executes a batch; that all of them execute the same, the cluster's checks watch.

An epoch's committee is a cluster of its own. The batch in which the run seats another one is the
last of the old order: what its replicas decided after it counts for nothing, and members hand what
is not done to the new gates.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.sim.ordering.cluster import Cluster, Node
from kumiai.adapters.sim.world import NetworkModel, SimWorld
from kumiai.adapters.undecided import CLOCK, REARM_MS, RETRY_MS, Undecided
from kumiai.base import events
from kumiai.base.events import Event
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Scheme, Signer
from kumiai.consensus.pbft.effects import Execute
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.replica import Replica, Settings
from kumiai.nodes import ports
from kumiai.nodes.order import EPOCH_S, OrderReader

OFFSET_MS_MAX = 100  # of a validator's time of day


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
        self._offsets_ms = {p.node: rng.randint(-OFFSET_MS_MAX, OFFSET_MS_MAX) for p in places}
        self._all = {place.signer.pubkey: place for place in places}
        self._scheme, self._settings, self._on_decided = scheme, settings or Settings(), on_decided
        self._undecided = Undecided()
        self._accused: set[str] = set()
        self._reader = OrderReader()
        self._decided: deque[m.Decided] = deque()  # by the present committee, and not read yet
        self._arrived: deque[ports.Arrived] = deque()  # of the batch that is being read
        self._following: Committee | None = None
        self._seat(committee)
        self.cluster.start_all()
        for place in places:
            for from_ms, to_ms in model.crashes.get(place.node, ()):
                self._push(from_ms, _Inside("stop", place.node))
                self._push(to_ms, _Inside("start", place.node))

    # ---- the world ----

    def next(self) -> ports.Happening | None:
        """Jump to the next happening for a node; None when nothing is left but heartbeats."""
        while self._is_read_on() or self._outside_count or self._undecided.has_any():
            if self._arrived:
                return self._arrived.popleft()
            if self._decided:
                self._read(self._decided.popleft())
                continue
            happening = self._pop()
            if isinstance(happening, _Inside):
                self._happen(happening)
                continue
            self._outside_count -= 1
            if self._reaches_someone(happening):
                return happening
        return None

    def _let_go(self, sender: str, event: Event, extra_ms: int) -> None:
        """Hand an event to the sender's gate."""
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

    def reseat(self, epoch: int, seats: Sequence[str]) -> None:
        """Begin another committee once the batch that is being read is at its end."""
        self._following = self.cluster.committee.make_next(epoch, seats)

    def _is_read_on(self) -> bool:
        """Tell whether decided events wait to be taken; at a batch's end, seat who follows."""
        if not self._arrived and self._following is not None:
            self._change_committee(self._following)
        return bool(self._arrived or self._decided)

    def _seat(self, committee: Committee) -> None:
        self._places = [self._all[key] for key in committee.replicas]
        self._counts = [0] * len(self._places)
        self.cluster = Cluster(
            committee,
            self._scheme,
            [place.signer for place in self._places],
            {index: place.kind for index, place in enumerate(self._places) if place.kind},
            self._model.seed + committee.epoch,
            self._settings,
            self,
            (1000 * EPOCH_S, OFFSET_MS_MAX),
        )

    def _change_committee(self, committee: Committee) -> None:
        """Replicas begin as the news reaches their validators; all hand in again what is not done.

        What the old committee decided after its last batch is dropped with it.
        """
        self._following = None
        for node in self.cluster.nodes:
            self.cluster.stop(node)
        self._decided.clear()
        self._reader.begin_epoch()
        self._seat(committee)
        delays_ms = [self._delay_ms(place.node) for place in self._places]
        for place, delay_ms in zip(self._places, delays_ms, strict=True):
            begin = _Inside("begin", (committee.epoch, place.node))
            self._push(self._now_ms + delay_ms, begin)
        self._push(self._now_ms + max(delays_ms), _Inside("begin", (committee.epoch, "")))

    def _queue_up(self, sender: str, event: Event) -> None:
        if self._undecided.add(sender, event):
            self._push(self._now_ms + RETRY_MS, _Inside("retry", (sender, event.id)))
        self._hand(sender, [event])

    def _hand(self, sender: str, given: Sequence[Event]) -> None:
        """Send events to the gate whose turn it is; one stream, so they arrive in their order."""
        gate = self._undecided.get_gate(sender, len(self._places))
        at_ms = self._now_ms + (0 if sender == CLOCK else self._delay_ms(sender))
        at_ms = max(at_ms, self._last_arrival_ms.get(sender, 0))
        while self._is_lost(sender):  # a stream sends again what it lost, and keeps its order
            self.messages_lost += 1
            at_ms += self._model.resend_ms
        if not self._can_reach(sender, self._places[gate].node, at_ms):
            self.messages_lost += 1
            return
        self._last_arrival_ms[sender] = at_ms
        self._push(at_ms, _Inside("hand", (self._places[gate].node, tuple(given))))

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
                epoch, *delivered = what
                if epoch == self.cluster.committee.epoch:
                    self.cluster.deliver(*delivered)
            case "time":
                self.cluster.pass_time(*what)
            case "hand":
                self._take(*what)
            case "late":
                self._outside_count -= 1
                self._queue_up(*what)
            case "retry":
                self._retry(*what)
            case "stop" | "start":
                self._turn(what, inside.kind == "start")
            case "begin":
                self._begin(*what)

    def _begin(self, epoch: int, node: str) -> None:
        """A seated validator's replica begins; after the last ("") members come to the gates."""
        if epoch != self.cluster.committee.epoch:
            return
        if node and not self._is_down(node, self._now_ms):
            self._turn(node, is_on=True)
        if not node:
            for sender, waiting in self._undecided.list_waiting():
                self._hand(sender, waiting)

    def _turn(self, node: str, is_on: bool) -> None:
        """Start or stop the replica of a validator, if it sits in the committee."""
        index = self._find(node)
        if index is None:
            return
        replica = self.cluster.nodes[index]
        if not is_on:
            self.cluster.stop(replica)
        elif replica.machine is None:
            self.cluster.start(replica)

    def _find(self, node: str) -> int | None:
        return next((i for i, place in enumerate(self._places) if place.node == node), None)

    def _take(self, node: str, given: Sequence[Event]) -> None:
        """A validator hands in what a member sent it, under its own name, if it has a seat."""
        gate = self._find(node)
        if gate is None:
            return
        for event in given:
            if self.cluster.nodes[gate].machine is None or self._undecided.is_done(event):
                continue
            self._counts[gate] += 1
            operation = events.encode_event(event).decode()
            signer = self._places[gate].signer
            request = m.sign_request(signer, self._counts[gate], operation)
            self.cluster.checks.submitted.add(request.digest)
            self.cluster.submit(gate, request)

    def _retry(self, sender: str, oldest: str) -> None:
        """Go to the next gate with all that is undecided, if the oldest of it still is."""
        waiting = self._undecided.get(sender)
        if waiting and waiting[0].id == oldest:
            self.messages_lost += self._undecided.turn(sender)
            if waiting:
                self._hand(sender, waiting)
        if waiting:
            self._push(self._now_ms + RETRY_MS, _Inside("retry", (sender, waiting[0].id)))

    # ---- what the cluster asks for ----

    def read_clocks(self, index: int) -> tuple[int, int]:
        """Return what a replica's timers go by, and its time of day."""
        offset_ms = self._offsets_ms[self._places[index].node]
        return self._now_ms, 1000 * EPOCH_S + self._now_ms + offset_ms

    def to_world_ms(self, index: int, timer_ms: int) -> int:
        """Timers go by the world's time."""
        return timer_ms

    def transmit(self, sender: int, receiver: int, message: m.Message) -> None:
        """Deliver after a delay, in order, or not at all: replicas say again what matters."""
        one, other = self._places[sender].node, self._places[receiver].node
        link, epoch = f"{one} to {other}", self.cluster.committee.epoch
        at_ms = max(self._now_ms + self._delay_ms(one), self._last_arrival_ms.get(link, 0))
        if self._is_lost(one) or not self._can_reach(one, other, at_ms):
            self.messages_lost += 1
            return
        self._last_arrival_ms[link] = at_ms
        self._push(at_ms, _Inside("deliver", (epoch, sender, receiver, message)))

    def wake_replica(self, at_ms: int, node: Node, machine: Replica) -> None:
        """Let a replica's time pass."""
        self._push(at_ms, _Inside("time", (node, machine)))

    def on_executed(self, index: int, effect: Execute) -> None:
        """The first loyal replica to execute a batch moves the run on."""
        if effect.decided.proof.sequence == self._reader.place + len(self._decided) + 1:
            self._decided.append(effect.decided)

    def _read(self, decided: m.Decided) -> None:
        """Let the run have the events of the next batch, all before those of another one."""
        self._on_decided(decided)
        for event, time_ms in self._reader.read(decided):
            self._undecided.acknowledge(event)  # who reads the batches alone sees an event as often
            self._arrived.append(ports.Arrived(event, time_ms))

    def on_accused(self, index: int, found: Equivocation) -> None:
        """The first loyal replica with a proof tells its validator."""
        committee = self.cluster.committee
        traitor = committee.replicas[found.first.sender]
        if traitor not in self._accused:
            self._accused.add(traitor)
            node = self._places[index].node
            self._push(self._now_ms, ports.Proven(node, committee.epoch, found))
