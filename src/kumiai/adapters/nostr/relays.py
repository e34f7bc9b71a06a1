"""Several relays as one: `RelayPort` of a market member.

An event goes to all relays; what comes back is handed out once, checked (id, signature, filter).
One relay that lives is enough for everything. See `Link` for connections, `Subscription` for what
happens when a reader is slow, `docs/adr/0041` for why `websockets` carries this and not nostr-sdk.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from kumiai.adapters.blobs.mirroring import is_public_server
from kumiai.adapters.nostr import events, one_shot
from kumiai.adapters.nostr.health import Health, LinkState
from kumiai.adapters.nostr.link import Link, LinkPolicy
from kumiai.adapters.nostr.one_shot import IDS_AT_ONCE
from kumiai.adapters.nostr.outgoing import NO_ANSWER, Answer
from kumiai.adapters.nostr.subscription import Subscription, SubscriptionPolicy
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey
from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import EVENT_BYTES_MAX, Event, Filter
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.ports import Published

RELAYS_MAX: Final = 16
GUESTS_MAX: Final = 16  # connections to relays of others, for `publish(relays=...)`
SUBSCRIPTIONS_MAX: Final = 64
EVENTS_FETCHED_MAX: Final = 100_000
URL_CHARS_MAX: Final = 256
PERMANENT: Final = ("invalid:", "blocked:", "pow:", "restricted:")  # NIP-01: the same again is vain


@dataclass(frozen=True, slots=True)
class RelaysPolicy:
    """Patience in seconds, and bounds.

    publish_timeout_s: for a relay's answer. straggler_s: how long the others are waited for once
    one relay has answered; what they have not taken by then is still sent to them later.
    """

    publish_timeout_s: float = 10.0
    straggler_s: float = 1.0
    subscription: SubscriptionPolicy = field(default_factory=SubscriptionPolicy)
    link: LinkPolicy = field(default_factory=LinkPolicy)


class Relays:
    """A member's relays. `key` answers NIP-42 challenges; without it relays that ask are closed.

    on_connect is told the URL at each new connection: the moment to `republish`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        key: SigningKey | None = None,
        policy: RelaysPolicy | None = None,
        on_connect: Callable[[str], None] | None = None,
    ) -> None:
        if not urls or len(urls) > RELAYS_MAX:
            raise InputError("relays", list(urls), f"name 1 to {RELAYS_MAX} relays")
        self._key = key
        self._policy = policy or RelaysPolicy()
        self._on_connect = on_connect
        self._links = {url: self._make_link(url) for url in map(normalize_url, urls)}
        self._guests: dict[str, Link] = {}
        self._subscriptions: set[Subscription] = set()
        self._numbers = itertools.count(1)
        self._is_closed = False

    async def publish(self, event: Event, relays: Sequence[str] = ()) -> Published:
        """See `RelayPort.publish`. ValueError for an event that no relay would take for its size.

        A relay that did not answer counts as refused here and gets the event later all the same
        (regular kinds only: what is ephemeral is worth nothing later). Named relays inside a
        private network are refused unless one of our own is there too: strangers choose them.
        """
        text = nip01.encode_event(event).decode()
        if len(text.encode()) > EVENT_BYTES_MAX:
            raise ValueError(f"an event of {len(text)} bytes, at most {EVENT_BYTES_MAX}")
        self._check_open()
        links, barred = await self._get_links(relays)
        is_kept = not events.is_ephemeral(event)
        timeout_s = self._policy.publish_timeout_s

        def hand_over(link: Link) -> Coroutine[Any, Any, Answer]:
            return link.publish(event.id, text, timeout_s, is_kept=is_kept)

        if len(links) == 1:
            answers = {links[0].url: await hand_over(links[0])}
        else:
            answers = await self._gather(links, hand_over)
        answers |= dict.fromkeys(barred, (False, "blocked: inside a private network"))
        accepted = tuple(url for url, answer in answers.items() if answer[0])
        refused = tuple((url, answer[1]) for url, answer in answers.items() if not answer[0])
        if not accepted:
            said = "; ".join(f"{url}: {reason}" for url, reason in refused)
            is_retriable = not all(reason.startswith(PERMANENT) for _, reason in refused)
            raise RelayError(
                f"no relay took event {event.id[:12]}: {said}", is_retriable=is_retriable
            )
        return Published(accepted, refused)

    def subscribe(self, filters: Sequence[Filter]) -> Subscription:
        """See `RelayPort.subscribe`; the relays are asked now, in the running loop."""
        self._check_open()
        if not filters:
            raise ValueError("a subscription needs a filter")
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise RelayError(f"{SUBSCRIPTIONS_MAX} subscriptions are open: close one (aclose)")
        subscription = Subscription(
            next(self._numbers), filters, self._subscriptions.discard, self._policy.subscription
        )
        self._subscriptions.add(subscription)
        for link in self._links.values():
            subscription.add(link)
        return subscription

    async def fetch(self, filters: Sequence[Filter], timeout_s: float = 10.0) -> list[Event]:
        """See `RelayPort.fetch`; a filter's limit counts over all relays together."""
        self._check_open()
        found: dict[str, Event] = {}

        def take(document: dict[str, Any], wanted: Filter) -> int:
            event_id = document.get("id")
            known = found.get(event_id) if isinstance(event_id, str) else None
            if known is not None:
                return known.created_at
            event = events.read_wanted(document, [wanted])
            if len(found) >= EVENTS_FETCHED_MAX:
                raise ValueError(f"more than {EVENTS_FETCHED_MAX} events")
            found[event.id] = event
            return event.created_at

        async def ask(link: Link) -> Answer:
            link.start()
            try:
                async with asyncio.timeout(timeout_s):
                    for wanted in filters:
                        await one_shot.ask_all(link, wanted, take)
            except TimeoutError:
                return False, f"no answer within {timeout_s:g} s; {link.health.last_error}"
            except RelayError as error:
                return False, str(error)
            return True, ""

        answers = await self._gather(list(self._links.values()), ask)
        if not any(is_answered for is_answered, _ in answers.values()):
            said = "; ".join(f"{url}: {reason}" for url, (_, reason) in answers.items())
            raise RelayError(f"no relay answered: {said}", is_retriable=True)
        return _cut(found.values(), filters)

    async def republish(self, mine: Sequence[Event], timeout_s: float = 10.0) -> int:
        """Give each relay what it lacks of `mine` (a relay may have lost its store).

        Returns how many were sent, over all relays; a relay that does not answer is left out.
        """
        self._check_open()
        counts = await asyncio.gather(
            *(self._restore(link, mine, timeout_s) for link in self._links.values())
        )
        return sum(counts)

    @property
    def urls(self) -> tuple[str, ...]:
        """Our own relays, without those that others named."""
        return tuple(self._links)

    def get_status(self) -> list[Health]:
        """Return how each relay does, own ones first."""
        links = [*self._links.values(), *self._guests.values()]
        return [replace(link.get_health()) for link in links]

    async def close(self) -> None:
        """End all subscriptions and connections; twice is harmless."""
        self._is_closed = True
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        links = [*self._links.values(), *self._guests.values()]
        await asyncio.gather(*(link.close() for link in links))

    async def _restore(self, link: Link, mine: Sequence[Event], timeout_s: float) -> int:
        link.start()
        sent = 0
        for at in range(0, len(mine), IDS_AT_ONCE):
            chunk = {event.id: event for event in mine[at : at + IDS_AT_ONCE]}
            there: set[str] = set()

            def take(document: dict[str, Any], wanted: Filter, there: set[str] = there) -> int:
                event = events.read_wanted(document, [wanted])
                there.add(event.id)
                return event.created_at

            try:
                async with asyncio.timeout(timeout_s):
                    await one_shot.ask_all(link, Filter(ids=tuple(chunk)), take)
            except (TimeoutError, RelayError):
                return sent
            lacking = [event for event in chunk.values() if event.id not in there]
            answers = await asyncio.gather(
                *(
                    link.publish(it.id, nip01.encode_event(it).decode(), timeout_s, is_kept=True)
                    for it in lacking
                )
            )
            sent += sum(is_taken for is_taken, _ in answers)
        return sent

    async def _gather(
        self, links: Sequence[Link], work: Callable[[Link], Coroutine[Any, Any, Answer]]
    ) -> dict[str, Answer]:
        """Run `work` at all links; done when each has answered.

        Once one succeeded the others have `straggler_s`, and those without a connection no time.
        """
        tasks = {asyncio.ensure_future(work(link)): link for link in links}
        waiting = set(tasks)
        left_s: float | None = None
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                if any(task.result()[0] for task in done):
                    left_s = self._policy.straggler_s
                    waiting = {it for it in waiting if tasks[it].health.state in _HOPEFUL}
        finally:
            for task in tasks:
                task.cancel()
        return {
            link.url: task.result() if task.done() and not task.cancelled() else (False, NO_ANSWER)
            for task, link in tasks.items()
        }

    async def _get_links(self, relays: Sequence[str]) -> tuple[list[Link], list[str]]:
        """Our own and those named beside them, as what is said only elsewhere is lost with it; and
        the named ones that are not connected to.
        """
        if len(relays) > RELAYS_MAX:
            raise InputError("relays", list(relays), f"name at most {RELAYS_MAX}")
        named = [url for url in dict.fromkeys(map(normalize_url, relays)) if url not in self._links]
        allowed = await asyncio.gather(*map(self._is_allowed, named))
        barred = [url for url, may in zip(named, allowed, strict=True) if not may]
        guests = [self._get_guest(url) for url in named if url not in barred]
        return [*self._links.values(), *guests], barred

    async def _is_allowed(self, url: str) -> bool:
        if url in self._guests or await is_public_server(url):
            return True
        return not all([await is_public_server(own) for own in self._links])

    def _get_guest(self, url: str) -> Link:
        link = self._guests.pop(url, None) or self._make_link(url)
        self._guests[url] = link  # the latest used last
        if len(self._guests) > GUESTS_MAX:
            oldest = self._guests.pop(next(iter(self._guests)))
            link.run(oldest.close())
        return link

    def _make_link(self, url: str) -> Link:
        return Link(url, self._key, self._policy.link, self._on_connect)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RelayError("these relays were closed")


def normalize_url(url: str) -> str:
    """Return the one spelling of a relay's address; InputError for what is none."""
    fix = "give an address like wss://relay.example or ws://127.0.0.1:7777"
    if len(url) > URL_CHARS_MAX or not url.isascii() or not url.isprintable():
        raise InputError("relay", url, fix)
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise InputError("relay", url, fix) from error
    if parts.scheme not in {"ws", "wss"} or not parts.hostname or "@" in parts.netloc:
        raise InputError("relay", url, fix)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    where = host if port is None else f"{host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}{query}"


def _cut(found: Any, filters: Sequence[Filter]) -> list[Event]:
    """Oldest first; of a filter with a limit only the newest so many."""
    ordered = sorted(found, key=lambda it: (it.created_at, it.id))
    kept: dict[str, Event] = {}
    for wanted in filters:
        matching = [it for it in ordered if wanted.has(it)]
        limit = len(matching) if wanted.limit is None else wanted.limit
        kept.update((it.id, it) for it in matching[len(matching) - min(limit, len(matching)) :])
    return [it for it in ordered if it.id in kept]


_HOPEFUL = {LinkState.CONNECTED, LinkState.CONNECTING}
