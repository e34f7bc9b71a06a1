"""The market's loop over doubles: order, duplicates, restarts, floods, wiped relays."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.nodes.market.toy import ANSWERS, FRIEND, ME, PLAN, Errand, Forget, Go, MemoryRelay

from kumiai.adapters.memory.market_journal import MemoryMarketJournal
from kumiai.base.errors import InternalError, StoreError
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.kinds import Kind
from kumiai.market.nips.nip01 import sign_text
from kumiai.nodes.market.intake import IntakeLimits
from kumiai.nodes.market.node import MarketNode, NodeTimes, Silent
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import replay, replay_all

CODEC = InputCodec(Go, Forget)
FAST = Patience(first_s=0.001, last_s=0.01)
PATIENCE_S = 120.0  # for what must happen, however busy the machine is


class World:
    """What outlives a node: its journal, the relay, and what was carried out."""

    def __init__(self) -> None:
        self.journal, self.relay = MemoryMarketJournal(), MemoryRelay()
        self.carried: list[str] = []
        self.running: Counter[str] = Counter()
        self.now_s = 1_000
        self.hold: asyncio.Event | None = None
        self.troubles: list[tuple[str, Exception]] = []

    async def carry(self, effect: Any, emit: Any) -> None:
        self.running[effect.key] += 1
        assert self.running[effect.key] == 1, "one key twice at once"
        try:
            self.carried.append(effect.key)
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            if isinstance(effect, fx.Pay):
                emit(fx.PaymentSeen(effect.key, "pending"))
                await asyncio.sleep(0)
            emit(ANSWERS[type(effect)](effect))
        finally:
            self.running[effect.key] -= 1

    def make(self, machine: Errand | None = None, **options: Any) -> MarketNode[Any]:
        watching = Silent()
        watching.on_trouble = lambda what, error: self.troubles.append((what, error))  # type: ignore[method-assign]
        return MarketNode(
            machine or Errand(),
            options.pop("codec", CODEC),
            options.pop("journal", self.journal),
            self.relay,
            ME,
            options.pop("carriers", dict.fromkeys(ANSWERS, self.carry)),
            lambda: self.now_s,
            os.urandom,
            times=options.pop("times", NodeTimes(0.005, 0.02, FAST)),
            observer=watching,
            **options,
        )


def play(node: MarketNode[Any], act: Callable[[], Awaitable[None]]) -> None:
    """Run the node while `act` happens, then stop it; both must end well."""

    async def both() -> None:
        running = asyncio.create_task(node.run())
        acting = asyncio.create_task(act())
        await asyncio.wait(
            {running, acting}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S
        )
        node.stop()
        await asyncio.wait_for(running, PATIENCE_S)
        await asyncio.wait_for(acting, PATIENCE_S)

    asyncio.run(both())


def run_errand(world: World, **options: Any) -> Any:
    async def main() -> Any:
        node = world.make(**options)
        running = asyncio.create_task(node.run())
        await node.say(Go())
        await asyncio.wait_for(node.wait_until(lambda s: "8-pay" in s.done), PATIENCE_S)
        if not world.relay.is_down:
            assert await node.wait_sent(PATIENCE_S)
        await asyncio.sleep(0.03)  # nothing is done a second time
        node.stop()
        await running
        return node.state

    return asyncio.run(main())


def friend_says(word: str, at_s: int = 1_000) -> Any:
    tags = [["v", "1"], ["t", "training"], ["word", word], ["p", ME.pubkey]]
    return sign_text(FRIEND, int(Kind.FEEDBACK), at_s, "", tags)


def test_every_effect_is_carried_out_once_and_in_order() -> None:
    world = World()
    state = run_errand(world)
    assert state.done == tuple(effect.key for effect in PLAN)
    not_own = [effect.key for effect in PLAN if not isinstance(effect, fx.Publish)]
    assert world.carried == not_own
    assert [seen.state for seen in state.seen] == ["pending", "settled"]
    assert not world.troubles


def test_what_is_sent_is_in_the_journal_before() -> None:
    world = World()
    seen_too_early = []
    publish = world.relay.publish

    async def watched(event: Any, relays: Any = ()) -> Any:
        said = replay_all(Errand(), CODEC, world.journal.read()).said
        seen_too_early.extend(event.id for _ in [0] if event.id not in {s.event.id for s in said})
        return await publish(event, relays)

    world.relay.publish = watched  # type: ignore[method-assign]
    run_errand(world)
    assert not seen_too_early
    assert [relays for _, relays in world.relay.sent] == [("ws://127.0.0.1:2",), ()]


def test_the_journal_alone_gives_the_state() -> None:
    world = World()
    state = run_errand(world)
    assert replay(Errand(), CODEC, world.journal.read()) == state


def test_ticks_and_junk_leave_no_entry() -> None:
    world = World()

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        for _ in range(10):
            world.now_s += 1
            await asyncio.sleep(0.01)
        world.relay.inject(friend_says(""))
        await asyncio.sleep(0.05)
        node.stop()
        await running

    asyncio.run(main())
    assert world.journal.read() == []


def test_duplicates_are_dropped_before_the_journal() -> None:
    world = World()

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        await asyncio.sleep(0.02)
        for word in ("a", "b", "a"):
            world.relay.inject(friend_says(word), copies=5)
        await asyncio.wait_for(node.wait_until(lambda s: s.words == ("a", "b")), PATIENCE_S)
        await asyncio.sleep(0.05)
        node.stop()
        await running

    asyncio.run(main())
    assert len(world.journal.read()) == 2
    asyncio.run(_run_for(world.make(), 0.05))  # the relay gives all of it again
    assert len(world.journal.read()) == 2


async def _run_for(node: MarketNode[Any], seconds: float) -> None:
    running = asyncio.create_task(node.run())
    await asyncio.sleep(seconds)
    node.stop()
    await running


async def _run_until(node: MarketNode[Any], holds: Callable[[], bool]) -> None:
    running = asyncio.create_task(node.run())
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.005)
    node.stop()
    await running


def test_a_letter_that_came_too_early_is_tried_again() -> None:
    world = World()

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        await asyncio.sleep(0.02)
        world.relay.inject(friend_says("after:x"))
        await asyncio.sleep(0.03)
        world.relay.inject(friend_says("x"))
        await asyncio.wait_for(node.wait_until(lambda s: "x" in s.words), PATIENCE_S)
        world.now_s += 1
        await asyncio.wait_for(node.wait_until(lambda s: "after:x" in s.words), PATIENCE_S)
        node.stop()
        await running

    asyncio.run(main())


@pytest.mark.parametrize("count", range(len(PLAN) + 2))
def test_a_restart_asks_again_for_what_is_pending_and_nothing_else(count: int) -> None:
    """Cut the journal anywhere: the errand is finished from there."""
    world = World()
    state = run_errand(world)
    entries = world.journal.read()
    again = World()
    again.relay = world.relay
    again.journal.append(entries[: 1 + count])
    pending = replay(Errand(), CODEC, again.journal.read()).pending

    async def main() -> Any:
        node = again.make()
        running = asyncio.create_task(node.run())
        await asyncio.wait_for(node.wait_until(lambda s: "8-pay" in s.done), PATIENCE_S)
        node.stop()
        await running
        return node.state

    assert asyncio.run(main()).done == state.done
    assert list(pending)[:1] == again.carried[:1] or "2-post" in pending or "7-answer" in pending
    assert max(Counter(again.carried).values(), default=1) == 1


def test_a_retired_effect_is_ended_and_its_late_result_changes_nothing() -> None:
    world = World()

    async def main() -> None:
        world.hold = asyncio.Event()
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        while world.carried != ["1-store"]:
            await asyncio.sleep(0.001)
        await node.say(Forget("1-store"))
        async with asyncio.timeout(PATIENCE_S):
            while world.running["1-store"]:  # it is ended, not left to wait
                await asyncio.sleep(0.001)
        world.hold.set()
        await asyncio.sleep(0.03)
        assert node.state.done == ()
        assert not world.running["1-store"]
        node.stop()
        await running

    asyncio.run(main())


def test_an_effect_that_runs_is_not_begun_again() -> None:
    world = World()

    async def main() -> None:
        world.hold = asyncio.Event()
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        for _ in range(3):
            for effect in node.state.pending.values():
                node._carry(effect)
            await asyncio.sleep(0.005)
        assert world.carried == ["1-store"]
        node.stop()
        await running

    asyncio.run(main())


def test_events_are_sent_until_a_relay_takes_them() -> None:
    world = World()
    world.relay.is_down = True

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        await asyncio.wait_for(node.wait_until(lambda s: "8-pay" in s.done), PATIENCE_S)
        assert not world.relay.sent
        world.relay.is_down = False
        while len(world.relay.stored) < 2:
            await asyncio.sleep(0.005)
        node.stop()
        await running

    asyncio.run(main())
    assert any(what.startswith("sending") for what, _ in world.troubles)


def test_a_node_killed_before_sending_sends_the_same_event_later() -> None:
    world = World()
    world.relay.is_down = True
    state = run_errand(world)
    said = [s.event.id for s in replay_all(Errand(), CODEC, world.journal.read()).said]
    assert len(said) == 2
    assert state.done
    world.relay.is_down = False
    asyncio.run(_run_until(world.make(), lambda: len(world.relay.stored) >= len(said)))
    assert sorted(world.relay.stored) == sorted(said)


def test_a_wiped_relay_is_given_everything_again() -> None:
    world = World()

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        await asyncio.wait_for(node.wait_until(lambda s: "8-pay" in s.done), PATIENCE_S)
        while len(world.relay.stored) < 2:
            await asyncio.sleep(0.005)
        had = sorted(world.relay.stored)
        world.relay.wipe()
        while sorted(world.relay.stored) != had:
            await asyncio.sleep(0.005)
        node.stop()
        await running

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_expired_events_are_not_sent_again() -> None:
    world = World()
    run_errand(world)
    world.relay.wipe()
    world.now_s += 31 * 24 * 3600
    asyncio.run(_run_for(world.make(), 0.1))
    assert not world.relay.stored


def test_a_flood_of_strangers_fills_neither_journal_nor_memory() -> None:
    world = World()
    limits = IntakeLimits(4, 2, 20, 1 << 20, 16, 2)
    crowd = [derive_key(b"crowd", str(number)) for number in range(30)]

    async def main() -> None:
        node = world.make(limits=limits)
        running = asyncio.create_task(node.run())
        await asyncio.sleep(0.02)
        for number in range(600):
            tags = [["p", ME.pubkey], ["word", str(number)]]
            key = crowd[number % len(crowd)]
            world.relay.inject(sign_text(key, int(Kind.FEEDBACK), 1_000, "", tags))
        world.relay.inject(friend_says("still heard"))
        await asyncio.wait_for(node.wait_until(lambda s: s.words == ("still heard",)), PATIENCE_S)
        assert len(node._fold.intake._waiting) <= limits.waiting
        node.stop()
        await running

    asyncio.run(main())
    entries = world.journal.read()
    assert len(entries) == limits.evidence_of_strangers + 1
    authors = Counter(entry["value"]["letter"]["event"]["pubkey"] for entry in entries)  # type: ignore[index]
    assert max(authors.values()) <= limits.evidence_of_stranger
    before = world.journal.read()
    asyncio.run(_run_for(world.make(limits=limits), 0.2))  # the relay still has all the junk
    assert world.journal.read() == before


class _Failing(MemoryMarketJournal):
    """A disk that is full for a while, or broken."""

    def __init__(self, error: StoreError, times: int) -> None:
        super().__init__()
        self.error, self.times = error, times

    def append(self, entries: Any) -> None:
        if self.times:
            self.times -= 1
            raise self.error
        super().append(entries)


def test_a_full_disk_is_waited_out_and_nothing_is_carried_out_before() -> None:
    world = World()
    journal = _Failing(StoreError("full", is_retriable=True), 3)
    state = run_errand(world, journal=journal)
    assert state.done == tuple(effect.key for effect in PLAN)
    assert [what for what, _ in world.troubles] == ["writing the journal"] * 3


def test_a_broken_journal_ends_the_node_before_any_effect() -> None:
    world = World()

    async def main() -> None:
        node = world.make(journal=_Failing(StoreError("broken"), 1))
        running = asyncio.create_task(node.run())
        with pytest.raises(asyncio.CancelledError):
            await node.say(Go())
        with pytest.raises(StoreError):
            await running

    asyncio.run(main())
    assert not world.carried
    assert world.troubles[-1][0] == "stopped"


def test_a_bug_in_a_carrier_ends_the_node_and_is_told() -> None:
    world = World()

    async def broken(effect: Any, emit: Any) -> None:
        raise ZeroDivisionError("a bug")

    async def main() -> None:
        node = world.make(carriers=dict.fromkeys(ANSWERS, broken))
        running = asyncio.create_task(node.run())
        await node.say(Go())
        with pytest.raises(InternalError, match="a bug"):
            await running

    asyncio.run(main())


def test_time_never_runs_backwards_in_a_journal() -> None:
    world = World()
    run_errand(world)
    world.now_s = 10
    world.relay.inject(friend_says("late"))
    asyncio.run(_run_for(world.make(), 0.1))
    times = [entry["at_s"] for entry in world.journal.read()]
    assert times == sorted(times)
    assert min(times) >= 1_000


def test_a_node_that_was_away_is_told_for_how_long_before_time_is_judged() -> None:
    world = World()

    async def main() -> list[tuple[int, ...]]:
        told = []
        for away_s in (0, 500, 20):  # a beginning, a night, a quick restart
            world.now_s += away_s
            node = world.make()
            running = asyncio.create_task(node.run())
            await node.say(Go())
            await _wait_ticked(world, node)
            told.append(node.state.missed_s)
            node.stop()
            await running
        return told

    assert asyncio.run(main()) == [(), (500,), (500,)]


def test_a_node_whose_machine_slept_is_told_so_and_a_clock_set_back_is_no_sleep() -> None:
    world = World()

    async def main() -> tuple[int, ...]:
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        for step_s in (1, 100, -50, 10, 30):
            world.now_s += step_s
            await _wait_ticked(world, node)
        node.stop()
        await running
        found: tuple[int, ...] = node.state.missed_s
        return found

    assert asyncio.run(main()) == (100,)


async def _wait_ticked(world: World, node: MarketNode[Any]) -> None:
    """Until the node has looked at the clock: a command is answered by the step that does."""
    await asyncio.wait_for(node.say(Forget(str(world.now_s))), PATIENCE_S)


class _Slow(MemoryMarketJournal):
    """A disk that takes until it is let go; `is_closed` as its owner would set it."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.is_closed = self.was_late = False

    def append(self, entries: Any) -> None:
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S)
        self.was_late = self.is_closed
        super().append(entries)


async def _begin_writing(
    node: MarketNode[Any], journal: _Slow
) -> tuple[asyncio.Task[None], asyncio.Task[Any]]:
    """A node whose first write is under way: its loop, and the command that is written."""
    running = asyncio.create_task(node.run())
    going = asyncio.create_task(node.say(Go()))
    while not journal.begun.is_set():
        await asyncio.sleep(0.001)  # this very loop is not held up
    return running, going


def test_while_the_disk_is_slow_the_loop_goes_on_and_nothing_is_carried_out() -> None:
    world, journal = World(), _Slow()

    async def main() -> None:
        node = world.make(journal=journal)
        running, going = await _begin_writing(node, journal)
        assert not going.done() and not world.carried, "carried out before it was on the disk"
        assert not node.state.pending, "told before it was on the disk"
        others = [asyncio.create_task(node.say(Forget(str(i)))) for i in range(5)]
        await asyncio.sleep(0.01)
        assert not any(other.done() for other in others)
        journal.may_end.set()
        await asyncio.wait_for(asyncio.gather(going, *others), PATIENCE_S)
        node.stop()
        await running

    asyncio.run(main())


def test_a_cancelled_node_leaves_no_write_under_way() -> None:
    world, journal = World(), _Slow()

    async def main() -> None:
        running, going = await _begin_writing(world.make(journal=journal), journal)
        running.cancel()
        await asyncio.sleep(0.01)
        assert not running.done()
        journal.may_end.set()
        await asyncio.wait({running, going}, timeout=PATIENCE_S)
        journal.is_closed = True
        assert running.cancelled()

    asyncio.run(main())
    assert journal.read() and not journal.was_late
