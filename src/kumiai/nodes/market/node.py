"""The market's only loop: what happens goes in, the machine decides, and it is carried out.

    relay, work, wallet -> inbox -> step -> journal -> effects as tasks -> results -> inbox

Persist before send: an input is in the journal before anything that follows from it is begun, and a
signed event before it goes to a relay. A node that is killed at any moment folds its journal, asks
its machine what is still pending, and goes on: events are sent again unchanged, money moves once
by its key, work is a function of its order.

Steps are taken one after another; effects run side by side, one task for each key, never two for
the same. Services that fail are asked again (`Patience`); their errors end nothing. What ends the
loop is a broken promise of our own, a journal that cannot be written, or `stop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from kumiai.base.errors import InternalError, KumiaiError, Reject, StoreError
from kumiai.base.events import Event
from kumiai.base.keys import SigningKey
from kumiai.market.effects import (
    Effect,
    Heard,
    JobOpened,
    OpenJob,
    Publish,
    Published,
    Rejected,
    Ticked,
    Woken,
)
from kumiai.market.kinds import EVENT_BYTES_MAX, Code
from kumiai.market.machine import Machine
from kumiai.market.nips.nip01 import Filter, encode_event
from kumiai.nodes.market import inbox as inbox_module
from kumiai.nodes.market.carrying import Carriers, Emit, fail
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.folding import Fold, Folded
from kumiai.nodes.market.inbox import Inbox
from kumiai.nodes.market.intake import Intake, IntakeLimits
from kumiai.nodes.market.letterbox import open_event, open_sealed, sign_draft
from kumiai.nodes.market.local import Clock, Nonces
from kumiai.nodes.market.outbox import Outbox
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.ports import MarketJournalPort, RelayPort
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import Said, replay_all

S = TypeVar("S")


class Observer(Protocol):
    """Whoever watches a node. Must not change anything, nor raise."""

    def on_step(self, state: Any, effects: Iterable[Effect]) -> None: ...

    def on_rejected(self, rejected: Rejected) -> None: ...

    def on_trouble(self, what: str, error: Exception) -> None:
        """A service failed and is asked again, or (what = "stopped") the node ends with this."""
        ...


class Silent:
    """Watches nothing."""

    def on_step(self, state: Any, effects: Iterable[Effect]) -> None: ...

    def on_rejected(self, rejected: Rejected) -> None: ...

    def on_trouble(self, what: str, error: Exception) -> None: ...


@dataclass(frozen=True, slots=True)
class NodeTimes:
    """How often; seconds. probe_s: between looks whether relays still have our events."""

    tick_s: float = 1.0
    probe_s: float = 60.0
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A task of ours ended: which, and what it raised."""

    name: str
    error: BaseException


_Answer = tuple[asyncio.Future[tuple[Reject, ...]], tuple[Reject, ...]]
_TICK: Final = Ticked()
ASLEEP_S: Final = 30  # between two ticks: longer than any step of ours takes
MARK_S: Final = 5
HEARD_BYTES_MAX: Final = 2 * EVENT_BYTES_MAX  # above that not even evidence is kept
PROBED_MAX: Final = 64  # newest events of ours that are looked for


class MarketNode(Generic[S]):
    """One machine of one member. Make it within the event loop that runs it; `run` it once.

    carriers: what carries out which effect (carry_blobs, carry_work, carry_money, carry_ecash); the
    node itself publishes and opens sealed jobs. The journal belongs to this node alone.
    """

    def __init__(
        self,
        machine: Machine[S, Any],
        codec: InputCodec,
        journal: MarketJournalPort,
        relay: RelayPort,
        key: SigningKey,
        carriers: Carriers,
        clock: Clock,
        nonces: Nonces,
        *,
        times: NodeTimes | None = None,
        limits: IntakeLimits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._machine, self._codec, self._journal = machine, codec, journal
        self._relay, self._key, self._clock, self._nonces = relay, key, clock, nonces
        self._carriers: Carriers = {
            **carriers,
            Publish: self._publish,
            OpenJob: self._open_job,
        }
        self._times = times or NodeTimes()
        self._observer = observer or Silent()
        self._fold: Fold[S] = Fold(machine, codec, Intake(limits))
        self._state: S = self._fold.state  # behind the fold while a step is being written
        self._inbox = Inbox()
        self._outbox = Outbox(relay, clock, self._times.patience, self._observer.on_trouble)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._filters: tuple[Filter, ...] = ()
        self._ticked_s = self._marked_s = 0
        self._moved = asyncio.Condition()
        self._is_stopping = False
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="market-journal")
        self._answers: set[asyncio.Future[tuple[Reject, ...]]] = set()

    @property
    def state(self) -> S:
        """The state after the last step that is in the journal; before `run`, the beginning."""
        return self._state

    async def run(self) -> None:
        """Go on where the journal ends, until `stop`.

        Raises StoreError where the journal fails, InternalError where a promise of ours was broken;
        both are told to the observer first. Everything that was started is ended before it returns.
        """
        try:
            self._begin()
            while not self._is_stopping:
                await self._take(await self._inbox.take())
        except Exception as error:
            self._observer.on_trouble("stopped", error)
            if isinstance(error, KumiaiError):
                raise
            raise InternalError(f"the market node stopped: {error!r}") from error
        finally:
            await self._end_tasks()
            self._disk.shutdown()

    def stop(self) -> None:
        """End `run` after the step under way; nothing is lost, another run goes on from here."""
        self._is_stopping = True
        self._inbox.put(_TICK)

    async def say(self, command: Any) -> tuple[Reject, ...]:
        """Give the owner's command; returns what was refused, once it is in the journal."""
        answer: asyncio.Future[tuple[Reject, ...]] = asyncio.get_running_loop().create_future()
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        self._inbox.put(inbox_module.Command(command, answer))
        return await answer

    async def wait_until(self, holds: Any) -> S:
        """Wait for a state of which `holds(state)` is true."""
        async with self._moved:
            await self._moved.wait_for(lambda: holds(self.state))
        return self.state

    async def wait_sent(self, limit_s: float) -> bool:
        """Wait until relays have what was said so far, for that long at most; tell if they do."""
        sending = [task for name, task in self._tasks.items() if name.startswith("send/")]
        if not sending:
            return True
        _, waiting = await asyncio.wait(sending, timeout=limit_s)
        return not waiting

    async def republish(self) -> int:
        """Send again whatever of ours still matters and no relay has; return how many events.

        Raises RelayError if no relay answers what it has.
        """
        said = self._outbox.list_mattering()
        return await self._outbox.send_all(await self._outbox.find_missing(said))

    # -- one batch of inputs --

    def _begin(self) -> None:
        replayed = replay_all(self._machine, self._codec, self._journal.read())
        self._fold.begin(replayed)
        self._state = self._fold.state
        if replayed.entry_count:
            awake_s = max(replayed.at_s, self._journal.find_mark())
            self._ticked_s = min(awake_s, self._clock())  # it may have been set back
        for said in replayed.said:
            self._outbox.remember(said)
        self._listen()
        self._start("node/tick", self._tick())
        self._start("node/probe", self._probe())
        for effect in self._fold.get_pending().values():
            self._carry(effect)

    async def _take(self, batch: list[Any]) -> None:
        folded, answers = self._step(batch)
        await self._write(folded.entries)
        self._state = self._fold.state
        for said in folded.said:
            self._outbox.remember(said)
            self._send(said)
        pending = self._fold.get_pending()
        for effect in folded.effects:
            if effect.key in pending:
                self._carry(effect)
        self._drop_unwanted(pending)
        for rejected in folded.rejected:
            self._observer.on_rejected(rejected)
        for answer, refused in answers:
            if not answer.done():
                answer.set_result(refused)
        if self._ticked_s >= self._marked_s + MARK_S:
            self._marked_s = self._ticked_s
            self._journal.mark(self._ticked_s)
        if folded.entries:
            self._listen()
            self._observer.on_step(self.state, folded.effects)
            async with self._moved:
                self._moved.notify_all()

    def _step(self, batch: list[Any]) -> tuple[Folded, list[_Answer]]:
        folded, answers = Folded(), []
        now_s = self._clock()
        if now_s > self._ticked_s:  # what time does is not laid to a stranger's letter
            if self._ticked_s and now_s - self._ticked_s > ASLEEP_S:
                self._fold.take(now_s, Woken(now_s - self._ticked_s), folded)
            self._ticked_s = now_s
            self._fold.take(now_s, _TICK, folded)
            self._fold.take_waiting(now_s, folded)
        for item in batch:
            if isinstance(item, _Ended):
                raise item.error
            if isinstance(item, inbox_module.Command):
                refused = self._fold.take(now_s, item.command, folded)
                answers.append((item.answer, tuple(one.reject for one in refused)))
            elif not isinstance(item, Event):
                self._fold.take(now_s, item, folded)
            elif self._fold.is_news(item):
                self._fold.take(now_s, Heard(open_event(self._key, item)), folded)
        return folded, answers

    async def _write(self, entries: list[dict[str, object]]) -> None:
        """All or nothing; nothing goes on before it is done."""
        if not entries:
            return
        for wait_s in self._times.patience.waits():
            try:
                await self._append(entries)
                return
            except StoreError as error:
                if not error.is_retriable:
                    raise
                self._observer.on_trouble("writing the journal", error)
            await self._times.patience.sleep(wait_s)

    async def _append(self, entries: list[dict[str, object]]) -> None:
        """Wait for the disk in a thread: what comes in meanwhile shares the next write."""
        writing = asyncio.wrap_future(self._disk.submit(self._journal.append, entries))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})  # whoever ends us closes the journal next
            raise

    # -- effects --

    def _carry(self, effect: Effect) -> None:
        name = f"effect/{effect.key}"
        running = self._tasks.get(name)
        if running is not None and not running.done():
            return
        carrier = self._carriers.get(type(effect))
        if carrier is None:
            raise ValueError(f"{type(effect).__name__}: nothing here carries that out")
        self._start(name, carrier(effect, self._inbox.put))

    def _drop_unwanted(self, pending: Any) -> None:
        """End what the machine no longer waits for."""
        for name in [name for name in self._tasks if name.startswith("effect/")]:
            if name.removeprefix("effect/") not in pending:
                self._tasks.pop(name).cancel()

    async def _publish(self, effect: Publish, emit: Emit) -> None:
        try:
            event = sign_draft(self._key, effect.draft, self._clock(), self._nonces)
        except ValueError as error:
            emit(fail(effect.key, Code.TOO_BIG, error))
            return
        emit(Published(effect.key, event))

    async def _open_job(self, effect: OpenJob, emit: Emit) -> None:
        try:
            emit(JobOpened(effect.key, open_sealed(effect.event, effect.job_key)))
        except ValueError as error:
            emit(fail(effect.key, Code.MALFORMED, error))

    # -- tasks --

    def _send(self, said: Said) -> None:
        self._start(f"send/{said.event.id}", self._outbox.send(said))

    def _listen(self) -> None:
        """Subscribe to what the machine asks for now.

        Relays give what they have stored before what is new, so nothing is missed in between.
        """
        filters = self._machine.list_filters(self.state)
        if filters == self._filters:
            return
        self._filters = filters
        old = self._tasks.pop("node/listen", None)
        self._start("node/listen", self._hear(filters))
        if old is not None:
            old.cancel()

    async def _hear(self, filters: tuple[Filter, ...]) -> None:
        waits = self._times.patience.waits()
        while True:
            try:
                async with aclosing(self._relay.subscribe(filters)) as stream:
                    async for event in stream:
                        if len(encode_event(event)) <= HEARD_BYTES_MAX:
                            await self._inbox.put_event(event)
            except RelayError as error:
                self._observer.on_trouble("listening", error)
            await self._times.patience.sleep(next(waits))

    async def _tick(self) -> None:
        while True:
            await self._times.patience.sleep(self._times.tick_s)
            self._inbox.put(_TICK)

    async def _probe(self) -> None:
        """What a crash kept from being sent, or a relay has lost, is sent (again).

        All of it is looked for at the start; later only the newest, and the rest if one is missing.
        """
        is_first, waits = True, self._times.patience.waits()
        while True:
            try:
                said = self._outbox.list_mattering()
                if is_first or await self._outbox.find_missing(said[-PROBED_MAX:]):
                    for missing in await self._outbox.find_missing(said):
                        self._send(missing)  # one that no relay takes holds up nothing else
                    is_first = False
                wait_s = self._times.probe_s
            except RelayError as error:
                self._observer.on_trouble("looking for our events", error)
                wait_s = next(waits)
            await self._times.patience.sleep(wait_s)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        name = task.get_name()
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._inbox.put(_Ended(name, error))

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        for answer in list(self._answers):
            answer.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
