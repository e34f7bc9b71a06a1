"""Stored events of one relay, once: a page at a time, back through time until they end.

A relay gives as many as it likes of the newest that match, and does not say whether there are
more. So the next page ends just after the second where the last one began, until one is nearly
empty. More events in one second than the relay gives in a page are lost to this way; NIP-77 finds
them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from kumiai.adapters.nostr import frames
from kumiai.adapters.nostr.events import PAGE_EVENTS
from kumiai.adapters.nostr.link import Link
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError

PAGES_MAX: Final = 1_000
PAGE_LEAST: Final = 20  # no relay gives less in a page, as long as it has more
IDS_AT_ONCE: Final = 200
SURPLUS_MAX: Final = 10_000  # events of one page, whatever was asked: more is a flood

Take = Callable[[dict[str, Any], Filter], int]
_NUMBERS = itertools.count(1)


class OneShot:
    """One request for stored events.

    `take` gets each and returns its created_at; ValueError from it blames the relay.
    """

    def __init__(self, wanted: Filter, take: Take) -> None:
        self.id = f"f{next(_NUMBERS)}"
        self.oldest: int | None = None
        self.count = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted = wanted
        self._take = take
        self._raw_count = 0

    def make_frame(self) -> str:
        return frames.encode_request(self.id, [self._wanted])

    def on_event(self, document: dict[str, Any]) -> str | None:
        if self.done.done():
            return None
        self._raw_count += 1
        if self._raw_count > SURPLUS_MAX:
            self.on_closed(f"more than {SURPLUS_MAX} events at once")
            return "a flood"
        try:
            created_at = self._take(document, self._wanted)
        except ValueError as error:
            return str(error)
        self.oldest = created_at if self.oldest is None else min(self.oldest, created_at)
        self.count += 1
        return None

    def on_end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def on_closed(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RelayError(f"refused: {reason}", is_retriable=True))

    def on_lost(self) -> None:
        pass  # asked again on the next connection


async def ask(link: Link, wanted: Filter, take: Take) -> OneShot:
    """Ask once and wait for the end; RelayError if refused. The caller keeps the time."""
    request = OneShot(wanted, take)
    link.open(request)
    try:
        await request.done
    finally:
        link.drop(request)
    return request


async def ask_all(
    link: Link, wanted: Filter, take: Take, wait_room: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Ask for all that match (or the newest `limit`), page after page; RelayError if refused.

    wait_room is awaited before each page.
    """
    if wanted.limit is not None:
        await ask(link, wanted, take)
        return
    if wanted.ids:
        await _ask_ids(link, wanted, take, wait_room)
        return
    until = wanted.until
    for _ in range(PAGES_MAX):
        if wait_room is not None:
            await wait_room()
        page = await ask(link, replace(wanted, until=until, limit=PAGE_EVENTS), take)
        if page.oldest is None or page.count < PAGE_LEAST:
            return
        older = page.oldest + 1  # some relays take `until` as exclusive
        until = older if until is None or older < until else until - 1
        if until < (wanted.since or 0):
            return


async def _ask_ids(
    link: Link, wanted: Filter, take: Take, wait_room: Callable[[], Awaitable[None]] | None
) -> None:
    """Ask by name, some at a time, again for those that did not fit into the relay's page."""
    for at in range(0, len(wanted.ids), IDS_AT_ONCE):
        rest = dict.fromkeys(wanted.ids[at : at + IDS_AT_ONCE])

        def note(document: dict[str, Any], page: Filter, rest: dict[str, None] = rest) -> int:
            created_at = take(document, page)
            rest.pop(document["id"], None)
            return created_at

        size = len(rest) + 1
        while rest and len(rest) < size:
            size = len(rest)
            if wait_room is not None:
                await wait_room()
            page = await ask(link, replace(wanted, ids=tuple(rest)), note)
            if page.count < PAGE_LEAST:
                break  # no relay gives less, as long as it has more
