"""What the relay tests share: keys, events of now, and reading a subscription with a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from kumiai.adapters.nostr.link import LinkPolicy
from kumiai.adapters.nostr.relays import Relays, RelaysPolicy
from kumiai.adapters.nostr.subscription import SubscriptionPolicy
from kumiai.base.keys import SigningKey, derive_key
from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import Event, Filter

CUSTOMER = derive_key(b"relay tests", "customer")
PROVIDER = derive_key(b"relay tests", "provider")
JOB = 5_900
PATIENCE_S = 180.0  # a test that waits longer has failed

QUICK = RelaysPolicy(
    publish_timeout_s=60.0,
    straggler_s=0.3,
    subscription=SubscriptionPolicy(second_look_s=0.2),
    link=LinkPolicy(pause_first_s=0.02, pause_max_s=0.2),
)


def make_event(
    text: str,
    kind: int = JOB,
    *,
    at: int | None = None,
    key: SigningKey = CUSTOMER,
    tags: Sequence = (),
) -> Event:
    return nip01.sign_text(key, kind, int(time.time()) if at is None else at, text, tags)


def make_events(count: int, kind: int = JOB, spread_s: int = 600) -> list[Event]:
    """Events spread over the last minutes, so that pages by time can tell them apart."""
    now = int(time.time())
    return [make_event(f"{at}", kind, at=now - at * spread_s // count) for at in range(count)]


@asynccontextmanager
async def members(*urls: str, count: int = 2, policy: RelaysPolicy = QUICK) -> AsyncIterator[list]:
    """Members with the same relays; closed at the end."""
    opened = [Relays(urls, key, policy) for key in (CUSTOMER, PROVIDER)[:count]]
    try:
        yield opened
    finally:
        for it in opened:
            await it.close()


async def read(subscription, count: int) -> list[Event]:
    """The next `count` events."""
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(subscription) for _ in range(count)]


async def is_quiet(subscription, for_s: float = 0.3) -> bool:
    """Tell that nothing more comes for a while."""
    try:
        async with asyncio.timeout(for_s):
            await anext(subscription)
    except TimeoutError:
        return True
    return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def stand(relays: Relays, *filters: Filter):
    """A subscription that stands at one relay at least."""
    subscription = relays.subscribe(filters)
    async with asyncio.timeout(PATIENCE_S):
        await subscription.wait_ready()
    return subscription


async def publish_all(relays: Relays, events: Sequence[Event], at_once: int = 64) -> list:
    slots = asyncio.Semaphore(at_once)

    async def one(event: Event):
        async with slots:
            return await relays.publish(event)

    return await asyncio.gather(*map(one, events))


def ids(events: Sequence[Event]) -> set[str]:
    return {it.id for it in events}
