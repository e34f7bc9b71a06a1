"""A subscription over several relays: events checked, each once, from a bounded queue.

Policy when the queue is full (its reader is slow): the event is set aside, not the connection
stopped, because answers to what the reader publishes come over the same connection. Once the reader
has taken half of the queue, what was set aside is asked for again. Ephemeral events cannot be asked
for again: they are counted in `lost_count`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kumiai.adapters.nostr import catch_up, frames
from kumiai.adapters.nostr.events import PAGE_EVENTS, is_ephemeral, read_wanted
from kumiai.adapters.nostr.link import Link
from kumiai.adapters.nostr.one_shot import PAGE_LEAST
from kumiai.market.nips.nip01 import Event, Filter

SEEN_MAX: Final = 32_768  # ids remembered: an event older than that many may come twice
OVERLAP_S: Final = 900  # fetched again after a lost connection: clocks of senders differ
WRAP_OVERLAP_S: Final = 2 * 86_400 + OVERLAP_S  # NIP-59 dates wraps back by up to two days
WRAP_KIND: Final = 1_059
REOPEN_S: Final = 5.0  # before a request that a relay closed is made again; doubles
REOPEN_MAX_S: Final = 300.0
RECONCILE_LEAST: Final = 100  # events known: fewer are fetched again faster than reconciled


@dataclass(frozen=True, slots=True)
class SubscriptionPolicy:
    """queue_events_max: read ahead of the reader. second_look_s: after a subscription stands.

    Some relays lose an event to a subscriber that comes while they store it; the second look, over
    the last minutes, finds it.
    """

    queue_events_max: int = 4_096
    second_look_s: float = 2.0


class Subscription:
    """An async iterator of events; `aclose` ends it. Relays are asked at once, not at first read.

    lost_count: ephemeral events that found the queue full.
    """

    def __init__(
        self,
        number: int,
        filters: Sequence[Filter],
        on_close: Callable[[Subscription], None],
        policy: SubscriptionPolicy,
    ) -> None:
        self.filters = tuple(filters)
        self.id = f"s{number}"
        self.lost_count = 0
        self._on_close = on_close
        self._queue: deque[Event] = deque()
        self.policy = policy
        self._queue_max = policy.queue_events_max
        self._full_enough = max(self._queue_max // 2 + 1, self._queue_max - PAGE_EVENTS)
        self._seen: dict[str, int] = {}  # id -> created_at, oldest first
        self._set_aside_since: int | None = None
        self._lanes: list[Lane] = []
        self._has_event = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_ready = asyncio.Event()
        self._is_closed = False

    def add(self, link: Link) -> None:
        """Ask this relay too."""
        lane = Lane(self, link)
        self._lanes.append(lane)
        link.open(lane)

    async def wait_ready(self) -> None:
        """Wait until the subscription stands at one relay: what is published later will come."""
        await self._is_ready.wait()

    async def wait_room(self) -> None:
        """Wait until there is room for a page of stored events."""
        await self._has_room.wait()

    async def aclose(self) -> None:
        """End it; the iterator then stops."""
        if not self._is_closed:
            self._is_closed = True
            for lane in self._lanes:
                lane.stop()
            self._on_close(self)
            self._has_event.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._is_closed:
                raise StopAsyncIteration
            self._has_event.clear()
            await self._has_event.wait()
        event = self._queue.popleft()
        if not self._has_room.is_set() and len(self._queue) <= self._queue_max // 2:
            self._has_room.set()
            self._ask_again()
        return event

    def take(self, document: dict[str, Any], filters: Sequence[Filter]) -> int:
        """Queue an event unless it was handed out; return its created_at. ValueError: a fault."""
        event_id = document.get("id")
        known = self._seen.get(event_id) if isinstance(event_id, str) else None
        if known is not None:
            return known  # the event by that id was checked; whatever this one is, it adds nothing
        event = read_wanted(document, filters)
        if self._is_closed:
            return event.created_at
        if len(self._queue) >= self._queue_max:
            self._set_aside(event)
            return event.created_at
        self._seen[event.id] = event.created_at
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._queue.append(event)
        self._has_event.set()
        if len(self._queue) >= self._full_enough:
            self._has_room.clear()
        return event.created_at

    def get_known(self, since: int) -> dict[str, int]:
        """Return what was handed out or is queued and no older than `since`: id -> created_at."""
        return {event_id: at for event_id, at in self._seen.items() if at >= since}

    def count_known(self) -> int:
        """Return how many events are remembered."""
        return len(self._seen)

    def mark_ready(self) -> None:
        """A relay has said that stored events end: the subscription stands there."""
        self._is_ready.set()

    def _set_aside(self, event: Event) -> None:
        self._has_room.clear()
        if is_ephemeral(event):
            self.lost_count += 1
        elif self._set_aside_since is None or event.created_at < self._set_aside_since:
            self._set_aside_since = event.created_at

    def _ask_again(self) -> None:
        since, self._set_aside_since = self._set_aside_since, None
        if since is not None:
            for lane in self._lanes:
                lane.refill(since)


class Lane:
    """A subscription at one relay: the standing request, and what was missed before it."""

    def __init__(self, subscription: Subscription, link: Link) -> None:
        self.id = subscription.id
        self._subscription = subscription
        self._link = link
        self._since: int | None = None  # what came before is not missing; None: all may be
        self._began = self._asked_at = int(time.time())
        self._stored_count = 0
        self._is_standing = False  # stored events have ended: new ones come as they are published
        self._fills: set[asyncio.Task[None]] = set()
        self._closed_count = 0

    def make_frame(self) -> str:
        """Ask for the newest page and all that is to come."""
        self._note_gap()
        self._asked_at = int(time.time())
        return frames.encode_request(self.id, [_limit(it) for it in self._asked()])

    def on_event(self, document: dict[str, Any]) -> str | None:
        try:
            self._subscription.take(document, self._subscription.filters)
        except ValueError as error:
            return str(error)
        self._stored_count += not self._is_standing
        return None

    def on_end(self) -> None:
        if self._is_standing:
            return
        self._is_standing = True
        self._closed_count = 0
        self._subscription.mark_ready()
        if self._stored_count >= PAGE_LEAST:  # there may be more than the relay gave at once
            is_again = self._since is not None
            self._fill([it for it in self._asked() if it.limit is None], is_again=is_again)
        again = _overlap(self._subscription.filters, self._asked_at, self._began)
        self._fill(again, after_s=self._subscription.policy.second_look_s)

    def on_closed(self, reason: str) -> None:
        self._link.health.last_error = f"subscription closed: {reason}"
        self._note_gap()
        pause_s = min(REOPEN_MAX_S, REOPEN_S * 2 ** min(self._closed_count, 10))
        self._closed_count += 1
        self._link.reopen(self, pause_s)

    def on_lost(self) -> None:
        self._note_gap()

    def refill(self, since: int) -> None:
        """Fetch again what the full queue could not take."""
        if self._since is not None:  # should this be broken off, the next time begins early enough
            self._since = min(self._since, since + OVERLAP_S)
        filters = self._subscription.filters
        self._fill([replace(it, since=max(since, it.since or 0), limit=None) for it in filters])

    def stop(self) -> None:
        """End the request and what fetches for it."""
        self._link.drop(self)
        for task in self._fills:
            task.cancel()

    def _note_gap(self) -> None:
        """From now on events may be missed, unless they still are from before."""
        if self._is_standing and not self._fills:
            self._since = int(time.time())
        self._is_standing = False
        self._stored_count = 0
        for task in self._fills:
            task.cancel()
        self._fills.clear()

    def _asked(self) -> list[Filter]:
        """The filters for this time: all, or from the overlap before the gap on."""
        if self._since is None:
            return list(self._subscription.filters)
        return _overlap(self._subscription.filters, self._since, self._began)

    def _fill(
        self, filters: Sequence[Filter], *, is_again: bool = False, after_s: float = 0.0
    ) -> None:
        subscription = self._subscription
        is_again = is_again and subscription.count_known() >= RECONCILE_LEAST
        task = self._link.run(catch_up.fill(self._link, subscription, filters, is_again, after_s))
        self._fills.add(task)
        task.add_done_callback(self._fills.discard)


def _overlap(filters: Sequence[Filter], since: int, began: int) -> list[Filter]:
    """The filters for what may have been missed since then, by the clocks of the senders.

    A filter with a limit has had its stored events: nothing from before the beginning is added.
    """
    asked = []
    for it in filters:
        has_wraps = not it.kinds or WRAP_KIND in it.kinds
        start = since - (WRAP_OVERLAP_S if has_wraps else OVERLAP_S)
        if it.limit is not None:
            start = max(start, began)
        asked.append(replace(it, since=max(start, it.since or 0), limit=None))
    return asked


def _limit(wanted: Filter) -> Filter:
    return wanted if wanted.limit is not None else replace(wanted, limit=PAGE_EVENTS)
