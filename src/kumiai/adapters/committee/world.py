"""The world in real time: the validators that order are processes of this machine.

::

    send -> Undecided -> the sender's gate (a link) ~~> replicas agree ~~> Follower -> Arrived

Time is the time of day. Work is due at once and takes as long as it takes; meanwhile a thread keeps
the links, brings what is decided and looks after the processes. An event that is not decided for
`RETRY_MS` goes to the next gate with all that its sender said since.

Another epoch's committee begins at the end of the batch in which the run seats it: the old
processes end, what they decided after it counts for nothing, and what is not done is handed in
again. Nothing of it can be taken up again: `close` ends all of it, whatever happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kumiai.adapters.committee.following import Follower
from kumiai.adapters.committee.gate import encode_handed
from kumiai.adapters.committee.links import Outbox
from kumiai.adapters.committee.processes import LOOK_SECONDS, Processes
from kumiai.adapters.undecided import CLOCK, REARM_MS, RETRY_MS, Undecided
from kumiai.base.errors import InputError
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.replica import Settings
from kumiai.nodes import ports
from kumiai.nodes.order import EPOCH_S, OrderReader

WAIT_SECONDS_MAX = 1.0  # without looking up: an interruption is heard

News = m.Decided | BaseException


@dataclass(frozen=True, slots=True)
class _Retry:
    """Look whether a sender's oldest event was decided."""

    sender: str
    oldest: str


@dataclass(frozen=True, slots=True)
class _Late:
    """An event that was held back leaves."""

    sender: str
    event: Event


class Desk:
    """One committee at work: its processes, and the thread that hands in, follows and looks after.

    What is decided, and the error that ended the thread, come out of `news`.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.follower = Follower(processes.committee, processes.addresses, self.news.put)
        self._outboxes: list[Outbox] = []
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="order", daemon=True)

    def open(self) -> None:
        """Start the processes and the thread."""
        self.processes.start()
        self._thread.start()
        self._is_ready.wait()

    def hand(self, gate: int, event: Event) -> None:
        """Give an event to a validator, some time; what it never gets, the world hands in again."""
        with contextlib.suppress(RuntimeError):  # the thread has ended: the news says why
            self._loop.call_soon_threadsafe(self._outboxes[gate].put, encode_handed(event))

    def close(self) -> None:
        """End the processes, which breaks their links at once, then the thread."""
        try:
            self.processes.close()
        finally:
            if self._thread.ident is not None:
                with contextlib.suppress(RuntimeError):  # it has ended by itself
                    self._loop.call_soon_threadsafe(self._work.cancel)
                self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - the world raises it in the run's own thread
            self.news.put(error)
        finally:
            self._is_ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.ensure_future(self._keep())
        self._outboxes = [Outbox(address) for address in self.processes.addresses]
        self._is_ready.set()
        await self._work

    async def _keep(self) -> None:
        async with asyncio.TaskGroup() as group:
            for outbox in self._outboxes:
                group.create_task(outbox.run())
            group.create_task(self.follower.run())
            while True:
                self.processes.look_after()
                await asyncio.sleep(LOOK_SECONDS)


class ProcessWorld:
    """A `WorldPort` in real time whose order is a committee's of processes; `close` it."""

    def __init__(
        self,
        committee: Committee,
        keys: Mapping[str, SigningKey],
        folder: Path,
        on_decided: Callable[[m.Decided], None],
        settings: Settings | None = None,
        held_ms: Mapping[str, int] | None = None,
    ) -> None:
        """keys: of all validators that may ever sit, by public key. folder: of their journals.

        on_decided: hears every batch, once, before its events arrive. held_ms: who says everything
        that much later. InputError where the machine's clock is before the runs' own beginning.
        """
        self._keys, self._folder, self._on_decided = keys, folder, on_decided
        self._settings, self._held_ms = settings or Settings(), held_ms or {}
        if self.now_ms < 0:
            raise InputError("the machine's clock", time.time(), "it is before 2026: set it")
        self._undecided = Undecided()
        self._reader = OrderReader()
        self._arrived: deque[ports.Arrived] = deque()  # of the batch that is being read
        self._due: list[tuple[int, int, ports.Happening | _Late]] = []
        self._retries: list[tuple[int, int, _Retry]] = []
        self._numbers = itertools.count()
        self._following: Committee | None = None
        self.messages_lost = 0
        self.desk = self._seat(committee)

    @property
    def now_ms(self) -> int:
        """Milliseconds of the day's time since `EPOCH_S`."""
        return time.time_ns() // 1_000_000 - 1000 * EPOCH_S

    def next(self) -> ports.Happening | None:
        """Wait for what happens next; None when nothing ever will.

        Events come before what is due: who worked for long hears first what was decided meanwhile.
        Raises ValidatorError when too many validators are gone for good.
        """
        while True:
            if not self._arrived and self._following is not None:
                self._change_committee(self._following)
            if self._arrived:
                return self._arrived.popleft()
            if not self._due and not self._undecided.has_any():
                return None
            news = self._get_news()
            if news is not None:
                self._read(news)
                continue
            if self._retries and self._retries[0][0] <= self.now_ms:
                self._retry(heapq.heappop(self._retries)[2])
            elif self._due and self._due[0][0] <= self.now_ms:
                happening = heapq.heappop(self._due)[2]
                if not isinstance(happening, _Late):
                    return happening
                self._queue_up(happening.sender, happening.event)

    def send(self, sender: str, event: Event) -> None:
        """Hand an event to the sender's gate."""
        held_ms = self._held_ms.get(sender, 0)
        if held_ms:
            self._push(self.now_ms + held_ms, _Late(sender, event))
        else:
            self._queue_up(sender, event)

    def post(self, event: Event) -> None:
        """Hand in an event of the run's own clock."""
        self._queue_up(CLOCK, event)

    def wake(self, nodes: Sequence[str]) -> None:
        """Tell nodes that the run has moved on."""
        for node in nodes:
            self._push(self.now_ms, ports.WokenUp(node))

    def start(self, node: str, ticket: int, job: ports.Job | None) -> None:
        """Work is due at once: the time it takes is the time it takes."""
        self._push(self.now_ms, ports.WorkDue(node, ticket))

    def arm(self, deadline_ms: int) -> None:
        """Wake the clock at a deadline; soon, where it has passed and the order's clock is late."""
        is_late = deadline_ms <= self.now_ms
        self._push(self.now_ms + REARM_MS if is_late else deadline_ms, ports.DeadlineReached())

    def reseat(self, epoch: int, seats: Sequence[str]) -> None:
        """Begin another committee once the batch that is being read is at its end."""
        self._following = self.desk.processes.committee.make_next(epoch, seats)

    def close(self) -> None:
        """End the thread and every process; a second call does nothing."""
        self.desk.close()

    def _seat(self, committee: Committee) -> Desk:
        folder = self._folder / f"epoch-{committee.epoch}"
        desk = Desk(Processes(committee, self._keys, folder, self._settings))
        desk.open()
        return desk

    def _change_committee(self, committee: Committee) -> None:
        """End the old committee; the new one begins with what is not done."""
        self._following = None
        self.desk.close()
        self._reader.begin_epoch()
        self.desk = self._seat(committee)
        for sender, waiting in self._undecided.list_waiting():
            self._hand(sender, waiting)

    def _get_news(self) -> News | None:
        """Return what was decided; wait for it until something else is due."""
        deadlines_ms = [heap[0][0] for heap in (self._due, self._retries) if heap]
        wait_ms = min(deadlines_ms) - self.now_ms
        try:
            if wait_ms <= 0:
                return self.desk.news.get_nowait()
            return self.desk.news.get(timeout=min(wait_ms / 1000, WAIT_SECONDS_MAX))
        except queue.Empty:
            return None

    def _read(self, news: News) -> None:
        """Let the run have the events of the next batch, all before those of another one."""
        if isinstance(news, BaseException):
            raise find_cause(news)
        self._on_decided(news)
        for event, time_ms in self._reader.read(news):
            self._undecided.acknowledge(event)
            self._arrived.append(ports.Arrived(event, time_ms))

    def _queue_up(self, sender: str, event: Event) -> None:
        if self._undecided.add(sender, event):
            self._look_later(sender, event)
        self._hand(sender, [event])

    def _hand(self, sender: str, given: Sequence[Event]) -> None:
        gate = self._undecided.get_gate(sender, self.desk.processes.committee.size)
        for event in given:
            self.desk.hand(gate, event)

    def _retry(self, due: _Retry) -> None:
        """Go to the next gate with all that is undecided, if the oldest of it still is."""
        waiting = self._undecided.get(due.sender)
        if waiting and waiting[0].id == due.oldest:
            self.messages_lost += self._undecided.turn(due.sender)
            self._hand(due.sender, waiting)
        if waiting:
            self._look_later(due.sender, waiting[0])

    def _look_later(self, sender: str, oldest: Event) -> None:
        entry = (self.now_ms + RETRY_MS, next(self._numbers), _Retry(sender, oldest.id))
        heapq.heappush(self._retries, entry)

    def _push(self, at_ms: int, happening: ports.Happening | _Late) -> None:
        heapq.heappush(self._due, (at_ms, next(self._numbers), happening))


def find_cause(error: BaseException) -> BaseException:
    """Return the one error that ended a group of tasks."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
