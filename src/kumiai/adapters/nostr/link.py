"""One relay, kept connected: reconnect with jitter, change of connection, NIP-42, requests.

A request (`Request`) outlives connections: it is asked again on each new one. After
`messages_per_connection` messages the link opens the next connection, asks everything there, and
only then closes the old one: some relays cut a connection after a number of messages, and what is
ephemeral would be lost in between.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

from kumiai.adapters.nostr import frames
from kumiai.adapters.nostr.connection import Connection, open_connection
from kumiai.adapters.nostr.frames import Frame
from kumiai.adapters.nostr.health import Health, LinkState
from kumiai.adapters.nostr.outgoing import Answer, Outgoing
from kumiai.base.keys import SigningKey
from kumiai.market.nips import nip01
from kumiai.nodes.market.errors import RelayError

AUTH_KIND: Final = 22_242
BAD_MAX: Final = 100  # messages of one connection that no honest relay sends
CHALLENGES_MAX: Final = 16  # of one connection; each costs a signature and an answer
CLOSED_KEPT: Final = 512  # ids of ended requests whose late events are no fault
HANDOVER_MAX_S: Final = 5.0
HANDOVER_LOOK_S: Final = 0.02
STEADY_S: Final = 5.0  # a connection that held so long resets the pause before the next attempt


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """How patient a link is. Pauses double from first to max, less up to a half by chance."""

    connect_timeout_s: float = 10.0
    pause_first_s: float = 0.1
    pause_max_s: float = 30.0
    messages_per_connection: int = 5_000


class Request(Protocol):
    """A subscription at one relay."""

    @property
    def id(self) -> str: ...

    def make_frame(self) -> str:
        """Return what asks for it: called for every new connection."""
        ...

    def on_event(self, document: dict[str, Any]) -> str | None:
        """Take an unread event; return what is wrong if no honest relay sends it."""
        ...

    def on_end(self) -> None:
        """All stored events were sent."""
        ...

    def on_closed(self, reason: str) -> None:
        """The relay will send nothing (more)."""
        ...

    def on_lost(self) -> None:
        """The connection is over; it is asked again on the next."""
        ...


class Link:
    """The connection to one relay. Lives in the event loop of its first call."""

    def __init__(
        self,
        url: str,
        key: SigningKey | None,
        policy: LinkPolicy,
        on_connect: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self.key = key
        self.health = Health(url, since_s=time.time())
        self._policy = policy
        self._on_connect = on_connect
        self._connection: Connection | None = None
        self._open: set[Connection] = set()  # it, and one that is being left
        self._requests: dict[str, Request] = {}
        self._reopening: set[str] = set()  # ids of requests that wait to be asked again
        self._closed: deque[str] = deque(maxlen=CLOSED_KEPT)
        self._outgoing = Outgoing(self.health, self._get_connection, has_key=key is not None)
        self._keeper: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_blamed = False
        self._is_changing = False

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        """Begin to connect, and keep at it; again is harmless."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """End everything; waiting publishers are told."""
        for task in [self._keeper, *self._tasks]:
            if task is not None:
                task.cancel()
        self._outgoing.stop()
        self._connection = None
        await asyncio.gather(*(it.close() for it in list(self._open)))
        await asyncio.gather(*filter(None, [self._keeper]), return_exceptions=True)
        self._enter(LinkState.CLOSED)

    async def publish(self, event_id: str, text: str, timeout_s: float, *, is_kept: bool) -> Answer:
        """Hand over an encoded event; see `Outgoing.publish`."""
        self.start()
        answer = await self._outgoing.publish(event_id, text, timeout_s, is_kept=is_kept)
        self._change_if_due()
        return answer

    def open(self, request: Request) -> None:
        """Ask for it now, if connected, and on each new connection until `drop`."""
        self.start()
        self._requests[request.id] = request
        if self._connection is not None:
            self._tell(self._connection, request.make_frame())

    def reopen(self, request: Request, pause_s: float) -> None:
        """Ask again after a pause, if it is still wanted by then; while one lasts, once."""
        if request.id in self._reopening:
            return  # a relay may say that it closes it as often as it likes
        self._reopening.add(request.id)

        async def ask() -> None:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            self._reopening.discard(request.id)
            if self._requests.get(request.id) is request:
                self.open(request)

        self.run(ask())

    def drop(self, request: Request) -> None:
        """End a request; events that were under way are ignored."""
        if self._requests.pop(request.id, None) is None:
            return
        self._closed.append(request.id)
        if self._connection is not None:
            self._connection.ended.discard(request.id)
            self._tell(self._connection, frames.encode_close(request.id))

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside, as long as the link lives."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def get_health(self) -> Health:
        """Return the counts as they are now."""
        self.health.waiting_events = self._outgoing.count()
        return self.health

    async def _keep(self) -> None:
        attempt = 0
        while True:
            self._enter(LinkState.CONNECTING)
            try:
                connection = await open_connection(self.url, self._policy.connect_timeout_s)
            except RelayError as error:
                self._note_failure(str(error))
            else:
                began = time.monotonic()
                await self._carry(connection)
                if time.monotonic() - began > STEADY_S and not self._is_blamed:
                    attempt = 0
            pause_s = min(self._policy.pause_max_s, self._policy.pause_first_s * 2**attempt)
            if self._is_blamed:
                pause_s, self._is_blamed = self._policy.pause_max_s, False
            attempt = min(attempt + 1, 16)
            self._enter(LinkState.WAITING)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    async def _carry(self, connection: Connection) -> None:
        """Be connected until no connection is left: each may have been followed by another."""
        await self._take(connection)
        while self._connection is not None:
            current = self._connection
            await current.is_over.wait()
            if self._connection is current:
                self._connection = None
                self._note_failure(f"connection lost: {current.reason}")
                for request in list(self._requests.values()):
                    request.on_lost()

    async def _take(self, connection: Connection) -> None:
        self._connection = connection
        self._open.add(connection)
        self.health.connects += 1
        self.health.is_authenticated = False
        self._enter(LinkState.CONNECTED)
        self.run(self._read(connection))
        if self._on_connect is not None:
            self._on_connect(self.url)
        for request in list(self._requests.values()):
            await connection.send(request.make_frame())
        await self._outgoing.send_all()

    async def _read(self, connection: Connection) -> None:
        try:
            await connection.read(self._on_frame)
        finally:
            self._open.discard(connection)
            self._outgoing.on_over(connection)
        if self._connection is not None and self._connection is not connection:
            await self._outgoing.send_all()

    def _on_frame(self, connection: Connection, data: str | bytes) -> None:
        self.health.received += 1
        try:
            frame = frames.read_frame(data)
        except ValueError as error:
            self._blame(connection, str(error))
            return
        if frame.name == "OK":
            if frame.subject == connection.auth_id:
                self._on_authenticated(connection, frame)
            else:
                self._outgoing.on_answer(connection, frame)
        elif frame.name == "NOTICE":
            self.health.last_error = f"notice: {frame.reason}"
        elif frame.name == "AUTH":
            if self.key is not None:
                self._authenticate(connection, self.key, frame.subject)
        else:
            self._on_request_frame(connection, frame)

    def _on_request_frame(self, connection: Connection, frame: Frame) -> None:
        request = self._requests.get(frame.subject)
        if request is None:
            if frame.subject not in self._closed:
                self._blame(connection, f"{frame.name} for a subscription that was not asked for")
        elif frame.event is not None:
            flaw = request.on_event(frame.event)
            if flaw is not None:
                self._blame(connection, flaw)
        elif frame.name == "EOSE":
            connection.ended.add(frame.subject)
            request.on_end()
        elif not (frame.reason.startswith("auth-required:") and self._can_authenticate(connection)):
            request.on_closed(frame.reason)

    def _can_authenticate(self, connection: Connection) -> bool:
        return self.key is not None and not connection.is_authenticated

    def _authenticate(self, connection: Connection, key: SigningKey, challenge: str) -> None:
        connection.challenge_count += 1
        if connection.challenge_count > CHALLENGES_MAX:
            self._blame(connection, "another challenge")
            return
        tags = [["relay", self.url], ["challenge", challenge]]
        try:
            event = nip01.sign_text(key, AUTH_KIND, int(time.time()), "", tags)
        except ValueError as error:  # no text that an event may hold
            self._blame(connection, f"a challenge that cannot be signed: {error}")
            return
        connection.auth_id = event.id
        self._tell(connection, frames.encode_auth(nip01.encode_event(event).decode()))

    def _on_authenticated(self, connection: Connection, frame: Frame) -> None:
        if not frame.is_accepted:
            self.health.last_error = f"authentication refused: {frame.reason}"
            return
        connection.is_authenticated = self.health.is_authenticated = True
        for request in self._requests.values():
            if request.id not in connection.ended:
                self._tell(connection, request.make_frame())
        self.run(self._outgoing.send_all())

    def _change_if_due(self) -> None:
        connection = self._connection
        if connection is None or self._is_changing:
            return
        if connection.sent_count >= self._policy.messages_per_connection:
            self._is_changing = True
            self.run(self._change(connection))

    async def _change(self, old: Connection) -> None:
        """Go over to a new connection before the relay ends the old one."""
        try:
            try:
                new = await open_connection(self.url, self._policy.connect_timeout_s)
            except RelayError as error:
                self._note_failure(str(error))
                await asyncio.sleep(self._policy.pause_first_s)
                return  # tried again with the next event; the relay may also end the old one
            if self._connection is not old:  # it ended meanwhile: the keeper connects
                await new.close()
                return
            asked = set(self._requests)
            await self._take(new)
            self.health.rotations += 1
            until = time.monotonic() + HANDOVER_MAX_S
            while time.monotonic() < until and not old.is_over.is_set():
                is_answered = not self._outgoing.is_carried_by(old)
                if is_answered and asked & set(self._requests) <= new.ended:
                    break
                await asyncio.sleep(HANDOVER_LOOK_S)
            await old.close()
        finally:
            self._is_changing = False

    def _tell(self, connection: Connection, text: str) -> None:
        self.run(self._send(connection, text))

    async def _send(self, connection: Connection, text: str) -> None:
        await connection.send(text)
        self._change_if_due()

    def _blame(self, connection: Connection, flaw: str) -> None:
        self.health.bad += 1
        self.health.last_error = frames.clean(f"the relay sent: {flaw}")
        connection.bad_count += 1
        if connection.bad_count == BAD_MAX:
            self._is_blamed = True
            connection.cut(f"{BAD_MAX} messages that no honest relay sends")

    def _note_failure(self, reason: str) -> None:
        self.health.failures += 1
        self.health.last_error = frames.clean(reason)

    def _get_connection(self) -> Connection | None:
        return self._connection

    def _enter(self, state: LinkState) -> None:
        if self.health.state is not state:
            self.health.state = state
            self.health.since_s = time.time()
