"""Plays a plan: chaos first, then a healed network in which the work must get done.

Time is a number, disks are lists, links are a queue: a seed always gives the same world. A crash
comes in the midst of a replica's effects and takes with it what was not made to last. Clients send
a request to everybody, again and again, until enough replicas executed it, then their next one.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.ordering.checks import Checks, Note, ViolationError, to_note
from kumiai.adapters.sim.ordering.plan import CLIENTS, OFFSET_MS_MAX, Plan
from kumiai.adapters.sim.ordering.traitors import Traitor
from kumiai.base.amounts import PPM
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee
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
    TimePassed,
)
from kumiai.consensus.pbft.replica import Replica, Settings
from kumiai.consensus.pbft.safety import Entry, Voted

RETRY_MS = 1_000
REST_MS = 600_000  # after the healing: by then everything must be done
SLOWER = 10
EPOCH_MS = 1_800_000_000_000  # time of day when a play begins
WIRE_EVERY = 8  # seeds of which every message travels as bytes
SETTINGS = Settings(interval=4, batch_count_max=5, timeout_ms=2_000, resend_ms=400)


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


@dataclass
class Client:
    """Sends one request at a time."""

    name: str
    waiting: list[tuple[int, str]]  # (not before, operation)
    request: m.Request | None = None
    count: int = 0


@dataclass(frozen=True)
class Result:
    """restored_ms: from the healing until all that was asked before it was done everywhere;
    timeout_ms: the longest that a loyal replica then waited for a primary.
    """

    executed: int
    views: int
    accused: frozenset[int]
    restored_ms: int
    timeout_ms: int
    message_count: int


class World:
    """One play of one plan."""

    def __init__(
        self,
        plan: Plan,
        make_committee: Callable[..., Committee] = Committee,
        make_disk: Callable[[], Disk] = Disk,
    ) -> None:
        """The two `make_` are for worlds that are broken on purpose."""
        self.plan = plan
        self._rng = random.Random(f"world/{plan.seed}")
        self._scheme = CheapScheme(plan.seed)
        self._signers = [self._scheme.make_signer(f"replica {i}") for i in range(plan.size)]
        client_keys = [self._scheme.make_signer(f"client {i}") for i in range(CLIENTS)]
        self.committee = make_committee(
            f"sim {plan.seed}",
            1,
            tuple(signer.pubkey for signer in self._signers),
            frozenset(signer.pubkey for signer in client_keys),
        )
        self._client_keys = client_keys
        loyal = frozenset(range(plan.size)) - plan.traitors.keys()
        ahead_ms_max = OFFSET_MS_MAX + SETTINGS.drift_ms
        self.checks = Checks(self.committee, self._scheme, loyal, ahead_ms_max)
        self._traitors = {
            index: Traitor(kind, self.committee, index, self._signers[index], plan.seed)
            for index, kind in plan.traitors.items()
        }
        self.nodes = [Node(index, make_disk()) for index in range(plan.size)]
        self._seconds = {
            index: Node(index, make_disk(), is_second=True)
            for index, kind in plan.traitors.items()
            if kind == "twin"
        }
        self.clients = [
            Client(key.pubkey, [(at, op) for at, who, op in plan.requests if who == index])
            for index, key in enumerate(client_keys)
        ]
        self.now_ms = 0
        self._queue: list[tuple[int, int, str, Any]] = []
        self._count = 0
        self._message_count = 0
        self._done_counts: dict[str, set[int]] = {}

    # ---- the play ----

    def play(self) -> Result:
        """Play to the end; raises ViolationError where a promise is broken."""
        for node in [*self.nodes, *self._seconds.values()]:
            self._start(node)
        for client in self.clients:
            self._push(0, "client", client)
        for crash in self.plan.crashes:
            self._push(crash.at_ms, "crash", crash)
        self._push(self.plan.heal_ms, "heal", None)
        restored_ms, timeout_ms, asked = -1, 0, frozenset[str]()
        while self._queue:
            self.now_ms, _, kind, what = heapq.heappop(self._queue)
            if kind == "heal":
                asked = frozenset(
                    client.request.digest for client in self.clients if client.request
                )
                timeout_ms = self._find_timeout()
            else:
                self._happen(kind, what)
            is_healed = self.now_ms >= self.plan.heal_ms
            if is_healed and restored_ms < 0 and all(map(self._is_done_by_all, asked)):
                restored_ms = self.now_ms - self.plan.heal_ms
            if is_healed and self._is_finished():
                return self._conclude(restored_ms, timeout_ms)
            if self.now_ms > self.plan.heal_ms + REST_MS:
                raise ViolationError(f"no progress: {self._describe()}")
        raise ViolationError("nothing happens any more")

    def _happen(self, kind: str, what: Any) -> None:
        if kind == "deliver":
            self._deliver(*what)
        elif kind == "time":
            node, machine = what
            if node.machine is machine:
                node.armed_ms = -1
                self._step(node, TimePassed())
        elif kind == "crash":
            node = self.nodes[what.replica]
            if node.machine is not None:
                node.effects_left, node.back_ms = self._rng.randrange(8), what.back_ms
                self._push(what.back_ms, "back", node)
        elif kind == "back":
            if what.machine is not None:
                self._stop(what)
            self._start(what)
        else:
            self._ask(what)

    def _conclude(self, restored_ms: int, timeout_ms: int) -> Result:
        machines = [n.machine for n in self.nodes if n.index in self.checks.loyal and n.machine]
        heads = {
            machine.head for machine in machines if machine.executed == len(self.checks.decided)
        }
        if len(heads) != 1:
            raise ViolationError(f"heads differ: {heads}")
        return Result(
            len(self.checks.decided),
            max(machine.safety.view for machine in machines),
            frozenset(self.checks.accused),
            restored_ms,
            timeout_ms,
            self._message_count,
        )

    # ---- replicas ----

    def _start(self, node: Node) -> None:
        node.effects_left = None
        if self.plan.traitors.get(node.index) == "mute":
            return
        node.machine = Replica(
            self.committee,
            node.index,
            self._signers[node.index],
            self._scheme,
            SETTINGS,
            node.disk.read_entries(),
            node.disk.read_decided(),
        )
        if node.index in self.checks.loyal:
            self.checks.on_restart(node.index, node.disk.decided)
        self._step(node, TimePassed())

    def _stop(self, node: Node) -> None:
        node.machine, node.effects_left, node.armed_ms = None, None, -1
        node.disk.crash(self._rng)

    def _step(self, node: Node, given: Input) -> None:
        machine = node.machine
        if machine is None:
            return
        for effect in machine.step(given, *self._read_clocks(node.index)):
            if node.effects_left is not None:
                if node.effects_left == 0:
                    self._stop(node)
                    return
                node.effects_left -= 1
            self._carry_out(node, effect)
        if node.index in self.checks.loyal:
            self.checks.on_step(machine)
        deadline_ms = self._to_world_ms(node.index, machine.next_deadline_ms)
        if node.armed_ms < 0 or deadline_ms < node.armed_ms:
            node.armed_ms = max(deadline_ms, self.now_ms + 1)
            self._push(node.armed_ms, "time", (node, machine))

    def _carry_out(self, node: Node, effect: Effect) -> None:
        if isinstance(effect, Persist):
            node.disk.persist(effect.entries)
        elif isinstance(effect, Execute):
            node.disk.append(effect.decided)
            if node.index in self.checks.loyal:
                self.checks.on_executed(node.index, effect, EPOCH_MS + self.now_ms)
                for request in effect.requests:
                    self._done_counts.setdefault(request.digest, set()).add(node.index)
        elif isinstance(effect, Broadcast):
            self.checks.on_sent(node.index, effect.message, node.disk.notes)
            for receiver in range(self.plan.size):
                if receiver != node.index:
                    self._send(node, receiver, effect.message)
        elif isinstance(effect, Send):
            self.checks.on_sent(node.index, effect.message, node.disk.notes)
            self._send(node, effect.replica, effect.message)
        elif isinstance(effect, Serve):
            for decided in node.disk.read_decided(effect.sequence, effect.count_max):
                self._send(node, effect.replica, decided)
        elif isinstance(effect, Accuse) and node.index in self.checks.loyal:
            self.checks.on_accused(effect.found)

    # ---- links ----

    def _send(self, node: Node, receiver: int, message: m.Message) -> None:
        traitor = self._traitors.get(node.index)
        if traitor is None:
            self._transmit(node.index, receiver, message)
            return
        if traitor.kind == "twin" and (receiver in traitor.side) == node.is_second:
            return
        for each in traitor.betray(message, receiver):
            self._transmit(node.index, receiver, each)

    def _transmit(self, sender: int, receiver: int, message: m.Message) -> None:
        self._message_count += 1
        if self.plan.seed % WIRE_EVERY == 0:
            message = wire.decode(wire.encode(message))
        plan, rng = self.plan, self._rng
        delay_ms = rng.randint(*plan.delays_ms)
        if self.now_ms < plan.heal_ms:
            if rng.randrange(PPM) < plan.drop_ppm or self._is_cut(sender, receiver):
                return
            if sender in plan.slow or receiver in plan.slow:
                delay_ms *= SLOWER
            if rng.randrange(PPM) < plan.twice_ppm:
                self._push(self.now_ms + 2 * delay_ms, "deliver", (sender, receiver, message))
        self._push(self.now_ms + delay_ms, "deliver", (sender, receiver, message))

    def _is_cut(self, sender: int, receiver: int) -> bool:
        return any(
            cut.begin_ms <= self.now_ms < cut.end_ms
            and (sender in cut.side) != (receiver in cut.side)
            for cut in self.plan.cuts
        )

    def _deliver(self, sender: int, receiver: int, message: m.Message) -> None:
        traitor = self._traitors.get(receiver)
        if traitor is not None:
            traitor.hear(message)
            if traitor.kind == "twin" and sender not in traitor.side:
                self._step(self._seconds[receiver], Received(message))
                return
        self._step(self.nodes[receiver], Received(message))

    # ---- clients ----

    def _ask(self, client: Client) -> None:
        """Send the outstanding request to everybody, or the next one once that is done."""
        if client.request is not None and self._is_done(client.request.digest):
            client.request = None
        if client.request is None:
            if not client.waiting:
                return
            at_ms, operation = client.waiting[0]
            if at_ms > self.now_ms:
                self._push(at_ms, "client", client)
                return
            client.waiting.pop(0)
            signer = next(key for key in self._client_keys if key.pubkey == client.name)
            client.request = m.sign_request(signer, client.count, operation)
            client.count += 1
            self.checks.submitted.add(client.request.digest)
        for receiver in range(self.plan.size):
            self._transmit(receiver, receiver, client.request)
        self._push(self.now_ms + RETRY_MS, "client", client)

    def _is_done(self, digest: str) -> bool:
        return len(self._done_counts.get(digest, ())) > self.committee.faulty_max

    def _is_done_by_all(self, digest: str) -> bool:
        return self._done_counts.get(digest, set()) >= self.checks.loyal

    def _is_finished(self) -> bool:
        if any(client.waiting for client in self.clients):
            return False
        return all(
            client.request is None or self._is_done_by_all(client.request.digest)
            for client in self.clients
        ) and all(n.machine is not None for n in self.nodes if n.index in self.checks.loyal)

    # ---- time ----

    def _push(self, at_ms: int, kind: str, what: object) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at_ms, self._count, kind, what))

    def _read_clocks(self, index: int) -> tuple[int, int]:
        """Return what a replica's timers go by, and its time of day."""
        timer_ms = self.now_ms * self.plan.rates_ppm[index] // PPM
        return timer_ms, EPOCH_MS + self.now_ms + self.plan.offsets_ms[index]

    def _to_world_ms(self, index: int, local_ms: int) -> int:
        return -(-local_ms * PPM // self.plan.rates_ppm[index])

    def _find_timeout(self) -> int:
        """Return the longest patience of a loyal replica, in the world's time."""
        waits = [
            node.machine.patience.current_ms
            for node in self.nodes
            if node.index in self.checks.loyal and node.machine is not None
        ]
        slowest = min(self.plan.rates_ppm.values())
        return max(waits, default=SETTINGS.timeout_ms) * PPM // slowest

    def _describe(self) -> str:
        return "; ".join(
            f"{n.index}: view {n.machine.safety.view}{'?' if n.machine.safety.is_changing else ''} "
            f"executed {n.machine.executed}"
            for n in self.nodes
            if n.machine is not None
        )
