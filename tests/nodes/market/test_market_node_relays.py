"""What relays do to a node: its streams are closed, one refused event holds up nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.nodes.market.test_market_node import CODEC, World
from tests.nodes.market.toy import FRIEND, ME, Errand, Go, MemoryRelay

from kumiai.market import effects as fx
from kumiai.market.kinds import Kind
from kumiai.market.nips.nip01 import Filter, sign_text
from kumiai.nodes.market.carrying import DETAIL_CHARS_MAX, fail
from kumiai.nodes.market.errors import RelayError
from kumiai.nodes.market.ports import Published
from kumiai.nodes.market.replay import replay_all


class Stream:
    """What the real relays give: an iterator with `aclose`, and no generator."""

    def __init__(self, relay: StreamingRelay, inner: Any) -> None:
        self.relay, self.inner = relay, inner
        relay.open.add(self)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        return await self.inner.__anext__()

    async def aclose(self) -> None:
        self.relay.open.discard(self)
        await self.inner.aclose()


class StreamingRelay(MemoryRelay):
    """At most two streams at a time: one, and the one that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[Stream] = set()
        self.begun = 0

    def subscribe(self, filters: Any) -> Any:
        if len(self.open) >= 2:
            raise RelayError("too many subscriptions are open")
        self.begun += 1
        return Stream(self, super().subscribe(filters))


class Listener(Errand):
    """Asks for something else after every word."""

    def list_filters(self, state: Any) -> tuple[Filter, ...]:
        kinds = (int(Kind.FEEDBACK), *range(7_000 + 1, 7_001 + len(state.words)))
        return (Filter(kinds=kinds, tags={"p": (ME.pubkey,)}),)


def say(word: str) -> Any:
    tags = [["v", "1"], ["t", "training"], ["word", word], ["p", ME.pubkey]]
    return sign_text(FRIEND, int(Kind.FEEDBACK), 1_000, "", tags)


def test_a_stream_that_is_listened_to_no_more_is_closed() -> None:
    """Each new customer left one open: the 64th ended the node, and all events came 64 times."""
    world = World()
    world.relay = relay = StreamingRelay()
    count = 20

    async def main() -> None:
        node = world.make(Listener())
        running = asyncio.create_task(node.run())
        for number in range(count):
            relay.inject(say(f"word {number}"))
            waiting = asyncio.create_task(node.wait_until(lambda s, n=number: len(s.words) > n))
            await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            while len(relay.open) > 1:
                await asyncio.sleep(0.001)
        node.stop()
        await running

    asyncio.run(asyncio.wait_for(main(), 60))
    assert relay.begun > count
    assert not relay.open
    assert not world.troubles


def test_relays_that_take_no_subscription_are_asked_again() -> None:
    world = World()
    world.relay = relay = StreamingRelay()
    strangers = [Stream(relay, MemoryRelay.subscribe(relay, ())) for _ in range(2)]

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        while not any(what == "listening" for what, _ in world.troubles):
            assert not running.done()
            await asyncio.sleep(0.001)
        relay.open.difference_update(strangers)
        relay.inject(say("heard"))
        await node.wait_until(lambda s: s.words == ("heard",))
        node.stop()
        await running

    asyncio.run(asyncio.wait_for(main(), 60))


class PickyRelay(MemoryRelay):
    """Refuses one event for ever."""

    refused = ""

    async def publish(self, event: Any, relays: Any = ()) -> Published:
        if event.id == self.refused:
            raise RelayError("invalid: not this one", is_retriable=False)
        return await super().publish(event, relays)


def test_an_event_that_no_relay_takes_holds_up_no_other() -> None:
    """The look for what a relay lost waited for it: nothing else was ever given again."""
    world = World()
    world.relay = relay = PickyRelay()

    async def first() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        await node.wait_until(lambda s: "8-pay" in s.done)
        node.stop()
        await running

    async def second() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        for _ in range(2):
            relay.wipe()
            while list(relay.stored) != [kept]:
                await asyncio.sleep(0.001)
        node.stop()
        await running

    asyncio.run(asyncio.wait_for(first(), 60))
    relay.refused, kept = (
        one.event.id for one in replay_all(Errand(), CODEC, world.journal.read()).said
    )
    asyncio.run(asyncio.wait_for(second(), 60))


@pytest.mark.parametrize(
    "said", ["no\ud800", "\x1b[2Jcleared", "two\nlines", "\x00", "x" * 9_999, "\u202egnp.exe"]
)
def test_why_something_failed_can_be_written_down_and_told(said: str) -> None:
    """A server's own words are in it: what has no form in UTF-8 ended the node at the journal."""
    failed = fail("key", "code", ValueError(said))
    assert CODEC.decode(CODEC.encode(5, failed)) == (5, failed)
    failed.detail.encode()
    sign_text(ME, int(Kind.FEEDBACK), 1, failed.detail)
    assert failed.detail.isprintable()
    assert len(failed.detail) <= DETAIL_CHARS_MAX
    assert isinstance(failed, fx.Failed)
