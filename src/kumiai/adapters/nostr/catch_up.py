"""What a subscription missed at one relay: by NIP-77 where the relay has it, else page by page.

NIP-77 tells exactly which events we lack, however many of the others we have; it runs over a
connection of its own (nostr-sdk). Its answer is a claim of the relay: the events are then fetched
and checked like all others.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from kumiai.adapters.nostr import library, one_shot
from kumiai.adapters.nostr.link import Link
from kumiai.base.errors import InputError
from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError

if TYPE_CHECKING:
    from kumiai.adapters.nostr.subscription import Subscription

MISSING_MAX: Final = 100_000  # ids that one reconciliation may name
PAUSE_FIRST_S: Final = 1.0
PAUSE_MAX_S: Final = 300.0


async def fill(
    link: Link,
    subscription: Subscription,
    filters: Sequence[Filter],
    is_again: bool,
    after_s: float = 0.0,
) -> None:
    """Fetch all stored events of `filters`; tried again, ever more slowly, until it is done.

    is_again: we have most of them already, so reconciliation is worth a connection.
    """
    await asyncio.sleep(after_s * random.uniform(0.75, 1.25))
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            for wanted in filters:
                if not (is_again and await _reconcile(link, subscription, wanted)):
                    await _fetch_pages(link, subscription, wanted)
            return
        except RelayError as error:
            link.health.last_error = f"stored events: {error}"
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(PAUSE_MAX_S, 2 * pause_s)


async def _fetch_pages(link: Link, subscription: Subscription, wanted: Filter) -> None:
    def take(document: dict[str, Any], page: Filter) -> int:
        return subscription.take(document, [page])

    await one_shot.ask_all(link, wanted, take, subscription.wait_room)


async def _reconcile(link: Link, subscription: Subscription, wanted: Filter) -> bool:
    """Fetch exactly what is missing; False where the relay cannot tell."""
    if link.health.has_negentropy is False:
        return False
    document = json.dumps(nip01.encode_filter(replace(wanted, limit=None)))
    known = subscription.get_known(wanted.since or 0)
    secret = None if link.key is None else link.key.secret
    try:
        missing = await library.find_missing_ids(link.url, document, known, secret)
    except (RelayError, InputError) as error:
        link.health.has_negentropy = False
        link.health.last_error = str(error)
        return False
    link.health.has_negentropy = True

    def take(document: dict[str, Any], page: Filter) -> int:
        if document.get("id") not in page.ids:
            raise ValueError("an event that was not asked for")
        return subscription.take(document, [wanted])

    if missing:
        ids = tuple(missing[:MISSING_MAX])
        await one_shot.ask_all(link, Filter(ids=ids), take, subscription.wait_room)
    return True
