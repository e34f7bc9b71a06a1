"""Plays a plan: chaos first, then a healed network in which the work must get done.

Time is a number, links are a queue: a seed always gives the same world. Clients send a request to
everybody, again and again, until enough replicas executed it, then their next one.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.ordering.checks import ViolationError
from kumiai.adapters.sim.ordering.cluster import Cluster, Disk, Node
from kumiai.adapters.sim.ordering.plan import CLIENTS, OFFSET_MS_MAX, Plan
from kumiai.base.amounts import PPM
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.effects import Execute
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.replica import Replica, Settings

RETRY_MS = 1_000
REST_MS = 600_000  # after the healing: by then everything must be done
SLOWER = 10
EPOCH_MS = 1_800_000_000_000  # time of day when a play begins
WIRE_EVERY = 8  # seeds of which every message travels as bytes
SETTINGS = Settings(interval=4, batch_count_max=5, timeout_ms=2_000, resend_ms=400)


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
        scheme = CheapScheme(plan.seed)
        signers = [scheme.make_signer(f"replica {i}") for i in range(plan.size)]
        client_keys = [scheme.make_signer(f"client {i}") for i in range(CLIENTS)]
        self.committee = make_committee(
            f"sim {plan.seed}",
            1,
            tuple(signer.pubkey for signer in signers),
            frozenset(signer.pubkey for signer in client_keys),
        )
        self._client_keys = client_keys
        self._cluster = Cluster(
            self.committee,
            scheme,
            signers,
            plan.traitors,
            plan.seed,
            SETTINGS,
            self,
            (EPOCH_MS, OFFSET_MS_MAX),
            make_disk,
        )
        self.nodes, self.checks = self._cluster.nodes, self._cluster.checks
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
        self._cluster.start_all()
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
            self._cluster.deliver(*what)
        elif kind == "time":
            self._cluster.pass_time(*what)
        elif kind == "crash":
            node = self.nodes[what.replica]
            if node.machine is not None:
                node.effects_left, node.back_ms = self._rng.randrange(8), what.back_ms
                self._push(what.back_ms, "back", node)
        elif kind == "back":
            if what.machine is not None:
                self._cluster.stop(what)
            self._cluster.start(what)
        else:
            self._ask(what)

    def _conclude(self, restored_ms: int, timeout_ms: int) -> Result:
        machines = self._cluster.loyal_machines
        heads = {machine.head for machine in machines}
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

    # ---- what the cluster asks for ----

    def read_clocks(self, index: int) -> tuple[int, int]:
        """Return what a replica's timers go by, and its time of day."""
        timer_ms = self.now_ms * self.plan.rates_ppm[index] // PPM
        return timer_ms, EPOCH_MS + self.now_ms + self.plan.offsets_ms[index]

    def to_world_ms(self, index: int, timer_ms: int) -> int:
        """Return when a replica's timers will show this."""
        return -(-timer_ms * PPM // self.plan.rates_ppm[index])

    def wake_replica(self, at_ms: int, node: Node, machine: Replica) -> None:
        """Let a replica's time pass."""
        self._push(at_ms, "time", (node, machine))

    def on_executed(self, index: int, effect: Execute) -> None:
        """Count who has done what was asked for."""
        for request in effect.requests:
            self._done_counts.setdefault(request.digest, set()).add(index)

    def on_accused(self, index: int, found: Equivocation) -> None:
        """The checks have judged it."""

    def transmit(self, sender: int, receiver: int, message: m.Message) -> None:
        """Deliver after a delay, twice or never."""
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
            self.transmit(receiver, receiver, client.request)
        self._push(self.now_ms + RETRY_MS, "client", client)

    def _is_done(self, digest: str) -> bool:
        return len(self._done_counts.get(digest, ())) > self.committee.faulty_max

    def _is_done_by_all(self, digest: str) -> bool:
        return self._done_counts.get(digest, set()) >= self.checks.loyal

    def _is_finished(self) -> bool:
        if any(client.waiting for client in self.clients):
            return False
        return (
            all(
                client.request is None or self._is_done_by_all(client.request.digest)
                for client in self.clients
            )
            and self._is_remembered()
        )

    def _is_remembered(self) -> bool:
        """Tell whether all loyal replicas are up and have all that one of them ever executed.

        A crash may take the latest batches from a disk: they must come back from the others.
        """
        machines = self._cluster.loyal_machines
        place = len(self.checks.decided)
        return len(machines) == len(self.checks.loyal) and all(
            machine.executed == place for machine in machines
        )

    # ---- time ----

    def _push(self, at_ms: int, kind: str, what: object) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at_ms, self._count, kind, what))

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
