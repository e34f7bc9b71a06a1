"""What every relay must do for a market, through `Relays`: run over each relay we can start.

`Place` starts the relay under test; a test may stop it and start it again at the same address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import pytest
from tests.adapters.nostr.trade import (
    CUSTOMER,
    JOB,
    PROVIDER,
    QUICK,
    ids,
    is_quiet,
    make_event,
    make_events,
    members,
    publish_all,
    read,
    stand,
    until,
)
from tests.services.ports import reserve_port

from kumiai.adapters.nostr import library
from kumiai.base.events import check_event
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError

EPHEMERAL = 23_194


@dataclass(frozen=True)
class Place:
    """A relay that can be started: `run(port)` gives its URL; each start has an empty store unless
    `keeps` says that the same folder is used again."""

    name: str
    run: Callable[[int], AbstractAsyncContextManager[str]]
    run_empty: Callable[[int], AbstractAsyncContextManager[str]]
    keeps_over_restart: bool
    more_than_a_page: int = 620
    stores_ephemeral: bool = False  # a fault of that relay, which members must live with
    takes_expired: bool = False
    has_negentropy: bool = True


class RelayContract:
    """The tests; a subclass gives the fixture `place`."""

    def test_an_event_reaches_who_asked_for_it_once(self, place: Place) -> None:
        async def play() -> None:
            async with place.run(0) as url, members(url) as (customer, provider):
                early = make_event("early")
                assert (await customer.publish(early)).accepted == (url,)
                subscription = await stand(provider, Filter(kinds=(JOB,)))
                late = make_event("late")
                await customer.publish(late)
                assert (await customer.publish(late)).accepted == (url,)  # again: harmless
                await customer.publish(make_event("another kind", JOB + 1))
                assert ids(await read(subscription, 2)) == ids([early, late])
                assert await is_quiet(subscription)

        asyncio.run(play())

    def test_filters_are_kept(self, place: Place) -> None:
        async def play() -> None:
            now = int(time.time())
            mine = make_event("mine", at=now - 50, tags=[["p", PROVIDER.pubkey], ["t", "a"]])
            theirs = make_event("theirs", at=now - 20, key=PROVIDER, tags=[["t", "b"]])
            result = make_event("result", JOB + 1_000, at=now - 10, tags=[["e", mine.id]])
            async with place.run(0) as url, members(url) as (customer, provider):
                await publish_all(customer, [mine, theirs, result])
                for wanted, found in (
                    (Filter(kinds=(JOB,)), [mine, theirs]),
                    (Filter(authors=(PROVIDER.pubkey,)), [theirs]),
                    (Filter(ids=(result.id,)), [result]),
                    (Filter(tags={"p": (PROVIDER.pubkey,)}), [mine]),
                    (Filter(tags={"e": (mine.id,)}), [result]),
                    (Filter(kinds=(JOB,), tags={"t": ("b", "c")}), [theirs]),
                    (Filter(authors=(CUSTOMER.pubkey,), since=now - 30), [result]),
                    (Filter(kinds=(JOB,), until=now - 30), [mine]),
                    (Filter(kinds=(JOB,), limit=1), [theirs]),
                    (Filter(kinds=(1,)), []),
                ):
                    assert await provider.fetch([wanted]) == found, wanted
                both = [Filter(kinds=(JOB,)), Filter(kinds=(JOB + 1_000,))]
                assert await provider.fetch(both) == [mine, theirs, result]

        asyncio.run(play())

    def test_more_than_a_page_is_fetched_whole(self, place: Place) -> None:
        async def play() -> None:
            stored = make_events(place.more_than_a_page)
            async with place.run(0) as url, members(url) as (customer, provider):
                await publish_all(customer, stored)
                found = await provider.fetch([Filter(kinds=(JOB,))])
                assert ids(found) == ids(stored)
                assert all(check_event(it) is None for it in found)
                assert found == sorted(found, key=lambda it: (it.created_at, it.id))
                subscription = provider.subscribe([Filter(kinds=(JOB,))])
                assert ids(await read(subscription, len(stored))) == ids(stored)
                assert await is_quiet(subscription)

        asyncio.run(play())

    def test_ephemeral_events_are_handed_on(self, place: Place) -> None:
        async def play() -> None:
            async with place.run(0) as url, members(url) as (customer, provider):
                subscription = await stand(provider, Filter(kinds=(EPHEMERAL,)))
                event = make_event("now or never", EPHEMERAL)
                await customer.publish(event)
                assert await read(subscription, 1) == [event]
                stored = await provider.fetch([Filter(kinds=(EPHEMERAL,))])
                assert stored == ([event] if place.stores_ephemeral else [])

        asyncio.run(play())

    def test_expired_events_are_not_served(self, place: Place) -> None:
        async def play() -> None:
            past, future = str(int(time.time()) - 60), str(int(time.time()) + 3_600)
            expired = make_event("expired", tags=[["expiration", past]])
            valid = make_event("valid", tags=[["expiration", future]])
            async with place.run(0) as url, members(url) as (customer, provider):
                assert (await customer.publish(valid)).accepted == (url,)
                if place.takes_expired:
                    await customer.publish(expired)
                else:
                    with pytest.raises(RelayError) as caught:
                        await customer.publish(expired)
                    assert "expired" in str(caught.value)
                    assert await provider.fetch([Filter(kinds=(JOB,))]) == [valid]

        asyncio.run(play())

    def test_what_came_while_the_relay_was_away_is_fetched(self, place: Place) -> None:
        """The relay stops; another publishes when it is back; the provider comes last."""

        async def play() -> None:
            port = reserve_port()
            if not place.keeps_over_restart:
                pytest.skip("this relay keeps nothing when it stops")
            async with place.run(port) as url, members(url) as (customer, provider):
                subscription = await stand(provider, Filter(kinds=(JOB,)))
                first = make_event("first")
                await customer.publish(first)
                assert await read(subscription, 1) == [first]
            async with members(url, count=1) as (other,), place.run(port):
                missed = make_event("missed")
                await other.publish(missed)
            async with members(url, count=1) as (provider,):
                subscription = provider.subscribe([Filter(kinds=(JOB,))])
                async with place.run(port):
                    assert ids(await read(subscription, 2)) == ids([first, missed])

        asyncio.run(play())

    def test_a_standing_subscription_outlives_a_restart(self, place: Place) -> None:
        async def play() -> None:
            port = reserve_port()
            url = f"ws://127.0.0.1:{port}"
            async with members(url) as (customer, provider):
                subscription = provider.subscribe([Filter(kinds=(JOB,))])
                sent = []
                for at in range(3):
                    async with place.run(port):
                        event = make_event(f"start {at}")
                        sent.append(event)
                        await customer.publish(event)
                        assert await read(subscription, 1) == [event]
                assert await is_quiet(subscription)
                assert provider.get_status()[0].connects >= 3

        asyncio.run(play())

    def test_two_relays_one_dies_and_nothing_is_lost(self, place: Place) -> None:
        async def play() -> None:
            stream = make_events(120)
            async with place.run(0) as stays:
                dying = place.run_empty(0)
                dies = await dying.__aenter__()
                try:
                    patient = replace(QUICK, straggler_s=5.0)  # the busy one is waited for too
                    async with members(stays, dies, policy=patient) as (customer, provider):
                        subscription = await stand(provider, Filter(kinds=(JOB,)))
                        await until(lambda: all(it.connects for it in provider.get_status()))
                        publishing = asyncio.create_task(publish_all(customer, stream, 8))
                        got = await read(subscription, 40)
                        await dying.__aexit__(None, None, None)
                        got += await read(subscription, len(stream) - 40)
                        assert ids(got) == ids(stream)
                        assert all(stays in it.accepted for it in await publishing)
                        assert await is_quiet(subscription)
                finally:
                    await dying.__aexit__(None, None, None)

        asyncio.run(play())

    def test_a_wiped_relay_is_filled_again_from_the_publishers_log(self, place: Place) -> None:
        async def play() -> None:
            port = reserve_port()
            log = make_events(210)  # more than are asked for at once
            async with members(f"ws://127.0.0.1:{port}") as (customer, provider):
                async with place.run_empty(port):
                    await publish_all(customer, log)
                    assert await customer.republish(log) == 0  # nothing was lost yet
                async with place.run_empty(port):
                    assert await provider.fetch([Filter(kinds=(JOB,))]) == []
                    assert await customer.republish(log) == len(log)
                    assert ids(await provider.fetch([Filter(kinds=(JOB,))])) == ids(log)

        asyncio.run(play())

    def test_a_gap_of_many_events_is_closed(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many events while the connection was cut, with many known before."""
        if place.has_negentropy:  # it will say so, however busy the machine is
            monkeypatch.setattr(library, "NEGENTROPY_WAIT_S", 60.0)

        async def play() -> None:
            known, missed = make_events(130), make_events(150, spread_s=500)
            missed = [it for it in missed if it.id not in ids(known)]
            async with place.run(0) as url, members(url) as (customer, provider):
                await publish_all(customer, known)
                subscription = provider.subscribe([Filter(kinds=(JOB,))])
                assert ids(await read(subscription, len(known))) == ids(known)
                link = provider._links[url]
                (lane,) = subscription._lanes
                await until(lambda: lane._is_standing and not lane._fills)
                link._policy = type(link._policy)(pause_first_s=1.0, pause_max_s=1.0)
                link._connection.cut("the test")
                await publish_all(customer, missed)
                assert ids(await read(subscription, len(missed))) == ids(missed)
                assert await is_quiet(subscription)
                await until(lambda: link.health.has_negentropy is not None)
                assert link.health.has_negentropy is place.has_negentropy

        asyncio.run(play())
