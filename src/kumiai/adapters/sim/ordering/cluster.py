"""A committee's replicas in one process: honest ones, traitors, and what outlives their crashes.

Whoever plays a world gives `Surroundings`: its time, its links and its ears. The replicas are the
real machines; a crash comes in the midst of a replica's effects and takes with it what was not made
to last. Every step of a loyal replica is checked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from kumiai.adapters.sim.ordering.checks import Checks, Note, to_note
from kumiai.adapters.sim.ordering.traitors import Traitor
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, Scheme, Signer
from kumiai.consensus.pbft.effects import (
    Accuse,
    Broadcast,
    Effect,
    Execute,
    Input,
    Persist,
    Received,
    Send,
    Serve,
    Submitted,
    TimePassed,
)
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.replica import Replica, Settings
from kumiai.consensus.pbft.safety import Entry, Voted


class Surroundings(Protocol):
    """What a cluster needs of the world around it. Times in milliseconds of that world."""

    @property
    def now_ms(self) -> int: ...

    def read_clocks(self, index: int) -> tuple[int, int]:
        """Return what a replica's timers go by, and its time of day."""
        ...

    def to_world_ms(self, index: int, timer_ms: int) -> int:
        """Return when a replica's timers will show this."""
        ...

    def transmit(self, sender: int, receiver: int, message: m.Message) -> None:
        """Bring a message to `Cluster.deliver` some time, or never."""
        ...

    def wake_replica(self, at_ms: int, node: Node, machine: Replica) -> None:
        """Call `Cluster.pass_time` with these then."""
        ...

    def on_executed(self, index: int, effect: Execute) -> None:
        """A loyal replica executed a batch."""
        ...

    def on_accused(self, index: int, found: Equivocation) -> None:
        """A loyal replica holds a proof of another's fault."""
        ...


@dataclass
class Disk:
    """A journal in memory, of which a crash may take what was appended after the last `persist`."""

    entries: list[Entry] = field(default_factory=list)
    decided: list[m.Decided] = field(default_factory=list)
    synced_count: int = 0
    notes: set[Note] = field(default_factory=set)

    def persist(self, entries: tuple[Entry, ...]) -> None:
        """Write down the entries; all that was written lasts."""
        self.entries += entries
        self.notes |= {to_note(entry) for entry in entries if isinstance(entry, Voted)}
        self.synced_count = len(self.decided)

    def append(self, decided: m.Decided) -> None:
        """Write down a decided batch; it lasts from the next `persist` on."""
        self.decided.append(decided)

    def read_entries(self) -> Iterator[Entry]:
        """Yield what was written down, in its order."""
        yield from self.entries

    def read_decided(self, first: int = 1, count_max: int = -1) -> Iterator[m.Decided]:
        """Yield decided batches from a place on, at most so many (-1: all)."""
        found = (decided for decided in self.decided if decided.proof.sequence >= first)
        yield from found if count_max < 0 else islice(found, count_max)

    def crash(self, rng: random.Random) -> None:
        """Lose some of what was written since."""
        kept = rng.randint(self.synced_count, len(self.decided))
        del self.decided[kept:]


@dataclass
class Node:
    """A place in the committee; a twin is two of them. machine: None while it is down."""

    index: int
    disk: Disk
    machine: Replica | None = None
    armed_ms: int = -1
    effects_left: int | None = None  # until it crashes
    back_ms: int = 0
    is_second: bool = False


class Cluster:
    """n replicas. checks: what must hold, whatever the world does."""

    def __init__(
        self,
        committee: Committee,
        scheme: Scheme,
        signers: Sequence[Signer],
        traitors: Mapping[int, str],
        seed: int,
        settings: Settings,
        around: Surroundings,
        day_ms: tuple[int, int],
        make_disk: Callable[[], Disk] | None = None,
    ) -> None:
        """traitors: index -> kind. day_ms: the time of day when the world's clock shows 0, and how
        far from it a loyal replica's may be.
        """
        make_disk = make_disk or Disk
        self.committee, self.settings, self._around = committee, settings, around
        self._scheme, self._signers = scheme, signers
        self._begin_ms, offset_ms_max = day_ms
        self._rng = random.Random(f"cluster/{seed}")
        loyal = frozenset(range(committee.size)) - traitors.keys()
        self.checks = Checks(committee, scheme, loyal, offset_ms_max + settings.drift_ms)
        self._traitors = {
            index: Traitor(kind, committee, index, signers[index], seed)
            for index, kind in traitors.items()
        }
        self.nodes = [Node(index, make_disk()) for index in range(committee.size)]
        self._seconds = {
            index: Node(index, make_disk(), is_second=True)
            for index, kind in traitors.items()
            if kind == "twin"
        }

    @property
    def loyal_machines(self) -> list[Replica]:
        """The loyal replicas that are up."""
        return [n.machine for n in self.nodes if n.index in self.checks.loyal and n.machine]

    def start_all(self) -> None:
        """Start every replica."""
        for node in [*self.nodes, *self._seconds.values()]:
            self.start(node)

    def start(self, node: Node) -> None:
        """Start a replica from what its disk holds."""
        node.effects_left = None
        traitor = self._traitors.get(node.index)
        if traitor is not None and traitor.kind == "mute":
            return
        node.machine = Replica(
            self.committee,
            node.index,
            self._signers[node.index],
            self._scheme,
            self.settings,
            node.disk.read_entries(),
            node.disk.read_decided(),
        )
        if node.index in self.checks.loyal:
            self.checks.on_restart(node.index, node.disk.decided)
        self._step(node, TimePassed())

    def stop(self, node: Node) -> None:
        """Let a replica die, and its disk lose what was not made to last."""
        node.machine, node.effects_left, node.armed_ms = None, None, -1
        node.disk.crash(self._rng)

    def deliver(self, sender: int, receiver: int, message: m.Message) -> None:
        """Bring a message to its receiver."""
        traitor = self._traitors.get(receiver)
        if traitor is not None:
            traitor.hear(message)
            if traitor.kind == "twin" and sender not in traitor.side:
                self._step(self._seconds[receiver], Received(message))
                return
        self._step(self.nodes[receiver], Received(message))

    def submit(self, index: int, request: m.Request) -> None:
        """Hand in a request of a replica's own."""
        self._step(self.nodes[index], Submitted(request))

    def pass_time(self, node: Node, machine: Replica) -> None:
        """The time has come that `Surroundings.wake_replica` was asked for."""
        if node.machine is machine:
            node.armed_ms = -1
            self._step(node, TimePassed())

    def _step(self, node: Node, given: Input) -> None:
        machine = node.machine
        if machine is None:
            return
        around = self._around
        for effect in machine.step(given, *around.read_clocks(node.index)):
            if node.effects_left is not None:
                if node.effects_left == 0:
                    self.stop(node)
                    return
                node.effects_left -= 1
            self._carry_out(node, effect)
        if node.index in self.checks.loyal:
            self.checks.on_step(machine)
        deadline_ms = around.to_world_ms(node.index, machine.next_deadline_ms)
        if node.armed_ms < 0 or deadline_ms < node.armed_ms:
            node.armed_ms = max(deadline_ms, around.now_ms + 1)
            around.wake_replica(node.armed_ms, node, machine)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        is_loyal = node.index in self.checks.loyal
        if isinstance(effect, Persist):
            node.disk.persist(effect.entries)
        elif isinstance(effect, Execute):
            node.disk.append(effect.decided)
            if is_loyal:
                day_ms = self._begin_ms + self._around.now_ms
                self.checks.on_executed(node.index, effect, day_ms)
                self._around.on_executed(node.index, effect)
        elif isinstance(effect, Broadcast):
            self.checks.on_sent(node.index, effect.message, node.disk.notes)
            for receiver in range(self.committee.size):
                if receiver != node.index:
                    self._send(node, receiver, effect.message)
        elif isinstance(effect, Send):
            self.checks.on_sent(node.index, effect.message, node.disk.notes)
            self._send(node, effect.replica, effect.message)
        elif isinstance(effect, Serve):
            for decided in node.disk.read_decided(effect.sequence, effect.count_max):
                self._send(node, effect.replica, decided)
        elif isinstance(effect, Accuse) and is_loyal:
            self.checks.on_accused(effect.found)
            self._around.on_accused(node.index, effect.found)

    def _send(self, node: Node, receiver: int, message: m.Message) -> None:
        traitor = self._traitors.get(node.index)
        if traitor is None:
            self._around.transmit(node.index, receiver, message)
            return
        if traitor.kind == "twin" and (receiver in traitor.side) == node.is_second:
            return
        for each in traitor.betray(message, receiver):
            self._around.transmit(node.index, receiver, each)
