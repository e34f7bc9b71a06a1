"""Events on their way to one relay: sent until answered, over as many connections as that takes.

An event without an answer is sent again on the next connection (the same event twice is harmless,
NIP-01). One that its publisher stopped waiting for is kept, up to a bound, and sent when the relay
is back; the oldest gives way.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from kumiai.adapters.nostr.connection import Connection
from kumiai.adapters.nostr.frames import Frame, encode_publish
from kumiai.adapters.nostr.health import Health

IN_FLIGHT_MAX: Final = 256  # sent and not answered; further publishers wait
LATE_MAX: Final = 1_024  # kept after their publishers stopped waiting
TRIES_MAX: Final = 8  # of an event that the relay put off
PAUSE_FIRST_S: Final = 0.25

NO_ANSWER: Final = "no answer in time; it is sent again when the relay is back"

Answer = tuple[bool, str]


@dataclass(eq=False, slots=True)
class _Pending:
    text: str
    is_kept: bool
    waiters: list[asyncio.Future[Answer]] = field(default_factory=list)
    sent_on: Connection | None = None
    sent_at: float = 0.0
    tries: int = 0


class Outgoing:
    """What one relay has not answered yet. `get_connection`: the one to send on, if there is one.

    has_key: whether we can authenticate, so that waiting for it makes sense.
    """

    def __init__(
        self, health: Health, get_connection: Callable[[], Connection | None], *, has_key: bool
    ) -> None:
        self._health = health
        self._get_connection = get_connection
        self._has_key = has_key
        self._pending: dict[str, _Pending] = {}
        self._late: dict[str, None] = {}  # in order of age
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(self, event_id: str, text: str, timeout_s: float, *, is_kept: bool) -> Answer:
        """Return whether the relay took the event, and its words; (False, NO_ANSWER) after a while.

        is_kept: send it later if there was no answer. Cancelling is like running out of time.
        """
        pending = self._pending.get(event_id)
        if pending is None:
            pending = self._pending[event_id] = _Pending(text, is_kept)
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        pending.waiters.append(waiter)
        self._late.pop(event_id, None)
        try:
            async with asyncio.timeout(timeout_s), self._slots:
                await self._send(pending)
                return await waiter
        except TimeoutError:
            return False, NO_ANSWER
        finally:
            pending.waiters.remove(waiter)
            if not pending.waiters:
                self._leave(event_id, pending)

    def on_answer(self, connection: Connection, frame: Frame) -> None:
        """Take an OK; one for an event that was not sent means nothing."""
        pending = self._pending.get(frame.subject)
        if pending is None or pending.sent_on is None:
            return
        if frame.is_accepted or frame.reason.startswith("duplicate:"):
            self._health.accepted += 1
            self._health.latency_ms = (time.monotonic() - pending.sent_at) * 1e3
            self._finish(frame.subject, (True, frame.reason))
            return
        pending.tries += 1
        is_put_off = frame.reason.startswith("rate-limited:")
        is_auth = frame.reason.startswith("auth-required:") and self._has_key
        if pending.tries > TRIES_MAX or not (is_put_off or is_auth):
            self._health.refused += 1
            self._finish(frame.subject, (False, frame.reason or "refused without a reason"))
            return
        pending.sent_on = None
        if is_put_off:
            pause_s = PAUSE_FIRST_S * 2**pending.tries * random.uniform(0.5, 1.0)
            asyncio.get_running_loop().call_later(pause_s, self._send_soon, pending)
        elif connection.is_authenticated:
            self._send_soon(pending)  # refused before the relay had read who we are

    def on_over(self, connection: Connection) -> None:
        """A connection is over: what it left unanswered goes out on another."""
        for pending in self._pending.values():
            if pending.sent_on is connection:
                pending.sent_on = None

    async def send_all(self) -> None:
        """Send everything that no connection carries: after connecting or authenticating."""
        for pending in list(self._pending.values()):
            await self._send(pending)

    def is_carried_by(self, connection: Connection) -> bool:
        """Tell whether answers are still due on this connection."""
        return any(it.sent_on is connection for it in self._pending.values())

    def count(self) -> int:
        """Return how many events are without an answer."""
        return len(self._pending)

    def stop(self) -> None:
        """Answer every publisher that it is over."""
        for event_id in list(self._pending):
            self._finish(event_id, (False, "closed"))
        for task in self._tasks:
            task.cancel()

    async def _send(self, pending: _Pending) -> None:
        connection = self._get_connection()
        if connection is None or pending.sent_on is not None:
            return
        pending.sent_on = connection
        pending.sent_at = time.monotonic()
        if not await connection.send(encode_publish(pending.text)):
            pending.sent_on = None

    def _send_soon(self, pending: _Pending) -> None:
        task = asyncio.get_running_loop().create_task(self._send(pending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _finish(self, event_id: str, answer: Answer) -> None:
        pending = self._pending.pop(event_id)
        self._late.pop(event_id, None)
        for waiter in pending.waiters:
            if not waiter.done():
                waiter.set_result(answer)

    def _leave(self, event_id: str, pending: _Pending) -> None:
        if self._pending.get(event_id) is not pending:
            return  # answered
        if not pending.is_kept:
            del self._pending[event_id]
            return
        self._late[event_id] = None
        if len(self._late) > LATE_MAX:
            oldest = next(iter(self._late))
            del self._late[oldest]
            del self._pending[oldest]
