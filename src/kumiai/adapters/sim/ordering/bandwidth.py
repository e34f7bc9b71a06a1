"""How long a committee takes where lines are slow: each byte of each message takes its time.

A message of b bytes (as `wire` writes it) holds a line of r kbit/s for 8 b / r ms; messages on one
line leave in the order in which they were sent; each then travels for a latency drawn between two
bounds. A line is a sender's uplink, shared by all its receivers, or one between each two. Nothing
is lost; signatures and disks take no time: that is measured with real processes. Time is in whole
microseconds, rounded up, so that a seed always gives the same play.

A client hands its requests to the first primary over a line of its own. It ends when every replica
has executed all of them.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kumiai.adapters.sim.ordering.cheap_keys import CheapScheme
from kumiai.adapters.sim.ordering.checks import ViolationError
from kumiai.adapters.sim.ordering.cluster import Cluster, Node
from kumiai.base import canonical
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.effects import Execute
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.replica import Replica, Settings

US_PER_MS = 1_000
BITS_PER_BYTE = 8
PER_CLIENT = 1_000  # requests under one name: a replica lets no more than 1,024 of one wait
SENT_MAX = 8_000  # requests sent that the primary has not executed: it lets 8,192 wait
BEGIN_MS = 60_000  # the client begins when the replicas' greetings have arrived, on any line
LAST_MS = 10 * 24 * 3_600_000
EPOCH_MS = 1_800_000_000_000  # time of day when a play begins
# nobody fails and nothing is lost: no timer may run out only because a line is slow, and no place
# lie above the window of who has not heard of the last checkpoint (STATUS would make that good)
SETTINGS = Settings(
    interval=256,
    pipeline_max=64,
    timeout_ms=4 * 3_600_000,
    resend_ms=LAST_MS,
    heartbeat_ms=LAST_MS,
)


@dataclass(frozen=True)
class Line:
    """rate_kbit_s: what goes through. latency_us: least and most that a message then travels.

    is_shared: one line a sender, for all its receivers; else one for each two. Raises ValueError
    for a rate below 1, a negative latency or one whose least is above its most.
    """

    rate_kbit_s: int
    latency_us: tuple[int, int]
    is_shared: bool

    def __post_init__(self) -> None:
        if self.rate_kbit_s < 1:
            raise ValueError(f"rate_kbit_s is {self.rate_kbit_s}: give 1 or more")
        if not 0 <= self.latency_us[0] <= self.latency_us[1]:
            raise ValueError(f"latency_us is {self.latency_us}: give least <= most, from 0 on")

    def compute_busy_us(self, size_bytes: int) -> int:
        """Return how long so many bytes hold the line."""
        return -(-size_bytes * BITS_PER_BYTE * US_PER_MS // self.rate_kbit_s)


class Lines:
    """When what is sent arrives."""

    def __init__(self, line: Line, seed: int) -> None:
        self._line = line
        self._rng = random.Random(f"lines/{seed}")
        self._free_us: dict[tuple[int, int], int] = {}

    def send(self, sender: int, receiver: int, size_bytes: int, now_us: int) -> int:
        """Return when a message that is sent now has arrived; its line is busy until it left."""
        key = (sender, -1) if self._line.is_shared else (sender, receiver)
        left_us = max(now_us, self._free_us.get(key, 0)) + self._line.compute_busy_us(size_bytes)
        self._free_us[key] = left_us
        return left_us + self._rng.randint(*self._line.latency_us)


def compute_least_us(committee: Committee, line: Line, requests: Sequence[m.Request]) -> int:
    """Return a time below which no primary can order these requests by PBFT over such lines.

    Before anybody may execute a request, it must have come from the client and gone on to q - 1
    others, who PREPARE and COMMIT: three latencies; before all have, to n - 1. Only the requests'
    own bytes are counted: no votes, no signatures of proposals.

        l + max(c(q - 1) b / r + 3 l, c(n - 1) b / r + l)

    b: bytes, r: rate, l: least latency; c(k) = k where a sender has one line, 1 where it has k.
    """
    size_bytes = len(canonical.encode(wire.write_batch(m.Batch(tuple(requests)))))
    latency_us = line.latency_us[0]

    def compute(copies: int) -> int:
        return size_bytes * copies * BITS_PER_BYTE * US_PER_MS // line.rate_kbit_s

    copies = (committee.quorum - 1, committee.size - 1) if line.is_shared else (1, 1)
    return latency_us + max(compute(copies[0]) + 3 * latency_us, compute(copies[1]) + latency_us)


@dataclass(frozen=True)
class Hauled:
    """A play. us: from the client's first byte until all had executed everything; least_us: see
    `compute_least_us`. first_us: until the first replica had.
    """

    us: int
    first_us: int
    least_us: int
    batches: int
    message_count: int
    sent_bytes: int


class Haul:
    """One play: `size` replicas order `count` requests of `operation_bytes` bytes each."""

    def __init__(
        self,
        size: int,
        count: int,
        operation_bytes: int,
        line: Line,
        seed: int = 0,
        settings: Settings = SETTINGS,
    ) -> None:
        scheme = CheapScheme(seed)
        signers = [scheme.make_signer(f"replica {i}") for i in range(size)]
        clients = [scheme.make_signer(f"client {i}") for i in range(-(-count // PER_CLIENT))]
        self.committee = Committee(
            "haul",
            1,
            tuple(signer.pubkey for signer in signers),
            frozenset(client.pubkey for client in clients),
        )
        self.requests = [
            m.sign_request(clients[i // PER_CLIENT], i, f"{i:0{operation_bytes}d}")
            for i in range(count)
        ]
        self._cluster = Cluster(
            self.committee, scheme, signers, {}, seed, settings, self, (EPOCH_MS, 0)
        )
        self._cluster.checks.submitted |= {request.digest for request in self.requests}
        self.nodes = self._cluster.nodes
        self._line, self._lines = line, Lines(line, seed)
        self._now_us, self._count = 0, 0
        self._queue: list[tuple[int, int, str, Any]] = []
        self._sent = self._message_count = self._sent_bytes = 0
        self._done = [0] * size
        self._sizes: tuple[m.Message | None, int] = (None, 0)

    def play(self) -> Hauled:
        """Play to the end; raises ViolationError where a promise is broken or nothing happens."""
        self._cluster.start_all()
        begin_us, first_us = BEGIN_MS * US_PER_MS, 0
        self._push(begin_us, "client", None)
        while min(self._done) < len(self.requests):
            if not self._queue or self._now_us > LAST_MS * US_PER_MS:
                raise ViolationError(f"only {min(self._done)} requests were executed everywhere")
            self._now_us, _, kind, what = heapq.heappop(self._queue)
            self._happen(kind, what)
            if not first_us and max(self._done) == len(self.requests):
                first_us = self._now_us
        return Hauled(
            self._now_us - begin_us,
            first_us - begin_us,
            compute_least_us(self.committee, self._line, self.requests),
            len(self._cluster.checks.decided),
            self._message_count,
            self._sent_bytes,
        )

    def _happen(self, kind: str, what: Any) -> None:
        if kind == "deliver":
            self._cluster.deliver(*what)
        elif kind == "time":
            self._cluster.pass_time(*what)
        else:
            self._ask()

    def _ask(self) -> None:
        """Send what may be sent: not more than the primary lets wait."""
        client, primary = self.committee.size, self.committee.get_primary(0)
        last = min(len(self.requests), self._done[primary] + SENT_MAX)
        for request in self.requests[self._sent : last]:
            self.transmit(client, primary, request)
        self._sent = max(self._sent, last)

    # ---- what the cluster asks for ----

    @property
    def now_ms(self) -> int:
        """The play's time."""
        return self._now_us // US_PER_MS

    def read_clocks(self, index: int) -> tuple[int, int]:
        """All clocks are right."""
        return self.now_ms, EPOCH_MS + self.now_ms

    def to_world_ms(self, index: int, timer_ms: int) -> int:
        """Timers show the play's time."""
        return timer_ms

    def wake_replica(self, at_ms: int, node: Node, machine: Replica) -> None:
        """Let a replica's time pass."""
        self._push(at_ms * US_PER_MS, "time", (node, machine))

    def on_executed(self, index: int, effect: Execute) -> None:
        """Count it; the client hears of it a latency later."""
        self._done[index] += len(effect.requests)
        if self._sent < len(self.requests) and index == self.committee.get_primary(0):
            self._push(self._now_us + self._line.latency_us[1], "client", None)

    def on_accused(self, index: int, found: Equivocation) -> None:
        """The checks have judged it."""

    def transmit(self, sender: int, receiver: int, message: m.Message) -> None:
        """Deliver when its bytes have gone through the line."""
        if self._sizes[0] is not message:  # a broadcast is encoded once
            self._sizes = (message, len(wire.encode(message)))
        size_bytes = self._sizes[1]
        self._message_count += 1
        self._sent_bytes += size_bytes
        at_us = self._lines.send(sender, receiver, size_bytes, self._now_us)
        self._push(at_us, "deliver", (sender, receiver, message))

    def _push(self, at_us: int, kind: str, what: object) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at_us, self._count, kind, what))
