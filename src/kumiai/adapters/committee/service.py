"""A validator's share of the order: one loop that feeds its replica and does what it asks.

What has come is taken in turns: all of a turn's inputs are stepped, what they want written down is
on the disk with one write, and only then the turn's messages leave, in their order. Who connects
may send requests and replicas' messages, no faster than they are worked on; hand in a member's
event, after the text "event ", which this validator then asks the order for (`gate`); or follow the
order: after the text "follow N" a connection brings every decided batch from place N on, each with
its proof, and is not read any more.
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

from kumiai.adapters.committee.gate import EVENT, Gate
from kumiai.adapters.committee.journal import Journal
from kumiai.adapters.committee.links import Address, Links
from kumiai.base.errors import Reject
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
from kumiai.consensus.pbft.pool import Done
from kumiai.consensus.pbft.replica import Replica, Settings

FOLLOW = b"follow "
FOLLOWERS_MAX = 64
FOLLOWED_MAX = 256  # batches on their way to one follower
DIGITS_MAX = 15  # of a place
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


class Service:
    """The loop; `run` until cancelled. on_execute hears of every batch that is executed anew."""

    def __init__(
        self,
        config: ServiceConfig,
        on_execute: Callable[[Execute], None] = lambda effect: None,
        tls: Sequence[ssl.SSLContext | None] = (None, None),
        read_clock: Callable[[], float] = time.time,
    ) -> None:
        """tls: for the door and for the links to others. read_clock: the time of day in seconds,
        which its batches carry and others' are compared with. Raises StoreError for a bad journal.
        """
        self._config, self._on_execute, self._read_clock = config, on_execute, read_clock
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
        done = self.replica.pool.executed.get(config.key.pubkey, Done())
        self._gate = Gate(config.committee, KeySigner(config.key), done.last)
        others = [i for i in range(config.committee.size) if i != config.own]
        self._places = {replica: place for place, replica in enumerate(others)}
        self._links = Links(
            config.addresses[config.own],
            [config.addresses[i] for i in others],
            self._on_message,
            *tls,
        )
        self._inputs: asyncio.Queue[Input] = asyncio.Queue(INPUTS_MAX)
        self._followers: set[asyncio.Event] = set()

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
            await self._links.close()
            self.journal.close()

    async def _turn(self) -> None:
        """Wait for inputs or the replica's deadline, and take what has come."""
        wait = max(0.0, self.replica.next_deadline_ms / 1000 - time.monotonic())
        given: list[Input] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                given.append(await self._inputs.get())
        while len(given) < TURN_MAX and not self._inputs.empty():
            given.append(self._inputs.get_nowait())
        now_ms, clock_ms = int(time.monotonic() * 1000), int(self._read_clock() * 1000)
        if now_ms >= self.replica.next_deadline_ms:
            given.append(TimePassed())
        effects = [effect for each in given for effect in self.replica.step(each, now_ms, clock_ms)]
        self._write_down(effects)
        for effect in effects:
            self._carry_out(effect)
        await asyncio.sleep(0)  # links and followers take their turn

    def _write_down(self, effects: Sequence[Effect]) -> None:
        """Make a whole turn's promises last, with one write, before any of its messages leaves."""
        for effect in effects:
            if isinstance(effect, Persist):
                self.journal.write(effect.entries)
            elif isinstance(effect, Execute):
                self.journal.append(effect.decided)
            elif isinstance(effect, Accuse):
                self.journal.keep_evidence(effect.found)
        # what is only decided may wait for the next vote: it proves itself and can be had again
        if self._inputs.empty() or any(isinstance(effect, Persist) for effect in effects):
            self.journal.sync()

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Execute):
            self._gate.note_executed(effect.requests)
            self._on_execute(effect)
            for has_news in self._followers:
                has_news.set()
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
            _log.warning("replica %d is proven guilty", effect.found.first.sender)
        elif isinstance(effect, Refuse):
            _log.info("refused: %s: %s", effect.reject.reason, effect.reject.detail)

    def _send(self, replica: int, message: m.Message) -> None:
        place = self._places.get(replica)
        if place is not None:
            self._links.outboxes[place].put(wire.encode(message))

    async def _on_message(self, data: bytes, connection: ServerConnection) -> None:
        """Take a message; returns when there is room for the next one of this connection."""
        if data.startswith(FOLLOW):
            await self._serve(data.removeprefix(FOLLOW), connection)
            return
        if data.startswith(EVENT):
            given = self._gate.take(data.removeprefix(EVENT))
            if isinstance(given, Reject):
                _log.info("refused: %s: %s", given.reason, given.detail)
            elif given is not None:
                await self._inputs.put(Submitted(given))
            return
        try:
            message = wire.decode(data)
        except ValueError as error:
            _log.info("refused: %s", error)
            return
        await self._inputs.put(Received(message))

    async def _serve(self, first: bytes, connection: ServerConnection) -> None:
        """Send what is decided, no faster than the other end reads, until it goes away."""
        if not first.isdigit() or len(first) > DIGITS_MAX:
            await connection.close(1008, "follow needs the number of a place")
            return
        if len(self._followers) >= FOLLOWERS_MAX:
            await connection.close(1013, "too many followers")
            return
        place, has_news = int(first), asyncio.Event()
        self._followers.add(has_news)
        is_gone = asyncio.create_task(connection.wait_closed())
        try:
            while not is_gone.done():
                has_news.clear()
                while batches := list(self.journal.read_decided(place, FOLLOWED_MAX)):
                    for decided in batches:
                        await connection.send(wire.encode(decided))
                        place = decided.proof.sequence + 1
                waiting = asyncio.create_task(has_news.wait())
                await asyncio.wait({waiting, is_gone}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
        finally:
            is_gone.cancel()
            self._followers.discard(has_news)


def run_service(config: ServiceConfig) -> None:
    """Run a validator's service in this process until it is ended."""
    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(Service(config).run())
