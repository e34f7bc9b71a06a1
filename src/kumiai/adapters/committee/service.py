"""A validator's share of the order: one loop that feeds its replica and does what it asks.

Effects are carried out in their order: what must last is on the disk before the next message
leaves. Who connects may send requests and replicas' messages, or follow the order: the text
"follow N" brings every decided batch from place N on, each with its proof.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from websockets.asyncio.server import ServerConnection

from kumiai.adapters.committee.journal import Journal
from kumiai.adapters.committee.links import Address, Links
from kumiai.base.keys import SigningKey
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.effects import (
    Accuse,
    Broadcast,
    Effect,
    Execute,
    Input,
    Persist,
    Received,
    Refuse,
    Send,
    Serve,
    Submitted,
    TimePassed,
)
from kumiai.consensus.pbft.replica import Replica, Settings

FOLLOW = b"follow "
FOLLOWERS_MAX = 64
FOLLOWED_MAX = 256  # batches on their way to one follower
INPUTS_MAX = 4_096
TURN_MAX = 64  # inputs between two looks at the clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceConfig:
    """addresses: of all replicas, by index."""

    committee: Committee
    own: int
    key: SigningKey
    addresses: tuple[Address, ...]
    journal: Path
    settings: Settings = field(default_factory=Settings)


@dataclass
class Follower:
    """Somebody who reads the order: next place and what wakes its task."""

    sequence: int
    is_ready: asyncio.Event


class Service:
    """The loop; `run` until cancelled. on_execute hears of every batch that is executed anew."""

    def __init__(
        self,
        config: ServiceConfig,
        on_execute: Callable[[Execute], None] = lambda effect: None,
        tls: Sequence[ssl.SSLContext | None] = (None, None),
    ) -> None:
        """tls: for the door and for the links to others. Raises StoreError for a bad journal."""
        self._config, self._on_execute = config, on_execute
        self.journal = Journal(config.journal, config.committee.name)
        self.replica = Replica(
            config.committee,
            config.own,
            KeySigner(config.key),
            Schnorr(),
            config.settings,
            self.journal.read_entries(),
            self.journal.read_decided(),
        )
        others = [i for i in range(config.committee.size) if i != config.own]
        self._places = {replica: place for place, replica in enumerate(others)}
        self._links = Links(
            config.addresses[config.own],
            [config.addresses[i] for i in others],
            self._on_message,
            *tls,
        )
        self._inputs: asyncio.Queue[Input] = asyncio.Queue(INPUTS_MAX)
        self._followers: dict[ServerConnection, Follower] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused_count = 0

    def submit(self, request: m.Request) -> None:
        """Hand in a request of this process; raises asyncio.QueueFull where too many wait."""
        self._inputs.put_nowait(Submitted(request))

    async def run(self) -> None:
        """Listen, connect, order; until cancelled."""
        await self._links.open()
        try:
            while True:
                await self._turn()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._links.close()
            self.journal.close()

    async def _turn(self) -> None:
        """Wait for inputs or the replica's deadline, and take what has come."""
        wait = max(0.0, self.replica.next_deadline_ms / 1000 - time.monotonic())
        given: list[Input] = []
        with contextlib.suppress(TimeoutError):
            given.append(await asyncio.wait_for(self._inputs.get(), wait))
        while len(given) < TURN_MAX and not self._inputs.empty():
            given.append(self._inputs.get_nowait())
        now_ms = int(time.monotonic() * 1000)
        if now_ms >= self.replica.next_deadline_ms:
            given.append(TimePassed())
        for each in given:
            for effect in self.replica.step(each, now_ms):
                self._carry_out(effect)
        if self._inputs.empty():
            self.journal.sync()  # under load the next vote's entry does it
        self._wake_followers()
        await asyncio.sleep(0)  # links and followers take their turn

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Persist):
            self.journal.persist(effect.entries)
        elif isinstance(effect, Execute):
            self.journal.append(effect.decided)
            self._on_execute(effect)
        elif isinstance(effect, Broadcast):
            data = wire.encode(effect.message)
            for outbox in self._links.outboxes:
                outbox.put(data)
        elif isinstance(effect, Send):
            self._send(effect.replica, effect.message)
        elif isinstance(effect, Serve):
            for decided in self.journal.read_decided(effect.sequence, effect.count_max):
                self._send(effect.replica, decided)
        elif isinstance(effect, Accuse):
            self.journal.keep_evidence(effect.found)
            _log.warning("replica %d is proven guilty", effect.found.first.sender)
        elif isinstance(effect, Refuse):
            self.refused_count += 1
            _log.info("refused: %s: %s", effect.reject.reason, effect.reject.detail)

    def _send(self, replica: int, message: m.Message) -> None:
        place = self._places.get(replica)
        if place is not None:
            self._links.outboxes[place].put(wire.encode(message))

    def _on_message(self, data: bytes, connection: ServerConnection) -> None:
        if data.startswith(FOLLOW):
            self._follow(data, connection)
            return
        try:
            message = wire.decode(data)
            self._inputs.put_nowait(Received(message))
        except (ValueError, asyncio.QueueFull) as error:
            self.refused_count += 1  # what mattered comes again
            _log.info("refused: %s", error)

    def _follow(self, data: bytes, connection: ServerConnection) -> None:
        number = data.removeprefix(FOLLOW)
        if len(self._followers) >= FOLLOWERS_MAX or not number.isdigit() or len(number) > 15:
            self.refused_count += 1
            return
        follower = Follower(int(number), asyncio.Event())
        follower.is_ready.set()
        self._followers[connection] = follower
        task = asyncio.create_task(self._serve(connection, follower))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: ServerConnection, follower: Follower) -> None:
        """Send what is decided, no faster than the other end reads."""
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                await follower.is_ready.wait()
                follower.is_ready.clear()
                while batches := list(self.journal.read_decided(follower.sequence, FOLLOWED_MAX)):
                    for decided in batches:
                        await connection.send(wire.encode(decided))
                        follower.sequence = decided.proof.sequence + 1
        except ConnectionClosed:
            pass
        finally:
            self._followers.pop(connection, None)

    def _wake_followers(self) -> None:
        for follower in self._followers.values():
            if follower.sequence <= self.replica.executed:
                follower.is_ready.set()


def run_service(config: ServiceConfig) -> None:
    """Run a validator's service in this process until it is ended."""
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(Service(config).run())
