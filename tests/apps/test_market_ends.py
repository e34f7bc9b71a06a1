"""When a member may end: not while money is owed, nor before relays heard its last word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.market.small_world import Member, make_market
from tests.nodes.market.test_market_node import World as Doubles
from tests.nodes.market.toy import Go

pytest.importorskip("bolt11", reason="needs the extra `market`")

from kumiai.apps.market.customer import is_closed, is_settled
from kumiai.apps.market.provider import has_left
from kumiai.market import effects as fx
from kumiai.market.customer import Begin, Cancel, Phase
from kumiai.market.kinds import Policy
from kumiai.market.provider import Leave, Start


def without(kind: type) -> Callable[[Member, fx.Effect], fx.Effect | None]:
    return lambda _member, effect: None if isinstance(effect, kind) else effect


def test_a_provider_that_leaves_stays_for_the_pay_of_what_it_delivered() -> None:
    """The customer cancelled after the delivery: the provider ended before it took its money."""
    world, customer, providers = make_market(providers=3, rounds=2)
    for member in providers:
        member.take(Start())
    customer.twist = without(fx.Judge)
    world.run()
    customer.take(Begin())
    world.run()
    world.pass_time(15)
    customer.take(Cancel())
    providers[0].take(Leave())
    world.run()
    assert not has_left(providers[0].state)
    (judge,) = [e for e in customer.state.pending.values() if isinstance(e, fx.Judge)]
    customer.twist = lambda _member, effect: effect
    world.do_judge(customer, judge)
    world.run()
    assert providers[0].state.earned_msat == 1_000
    assert has_left(providers[0].state)


def test_a_customer_stays_until_its_closing_is_said_and_its_ecash_is_back() -> None:
    world, customer, providers = make_market((Policy.ESCROW,), rounds=1, arbiter="02" + "ab" * 32)
    for member in providers:
        member.take(Start())
        member.twist = without(fx.Train)
    world.run()
    customer.take(Begin())
    world.run()
    kept: list[fx.Effect] = []

    def hold_closing(_member: Member, effect: fx.Effect) -> fx.Effect | None:
        if effect.key not in ("publish/closing",) and not isinstance(effect, fx.RedeemToken):
            return effect
        kept.append(effect)
        return None

    customer.twist = hold_closing
    world.pass_time(1_000)
    assert customer.state.phase is Phase.CLOSED
    assert not is_closed(customer.state)
    world.do_publish(customer, kept.pop())  # type: ignore[arg-type]
    assert is_closed(customer.state)
    world.pass_time(26 * 3_600, 600)
    assert kept
    assert not is_closed(customer.state)


def test_a_dead_payment_keeps_nobody() -> None:
    """A lock that ended unsettled stayed owed in both states: neither process ever ended."""
    world, customer, providers = make_market(providers=3, rounds=1)
    for member in providers:
        member.take(Start())
        member.twist = without(fx.Settle)
    world.run()
    customer.take(Begin())
    world.run()
    world.pass_time(15)
    for name in list(world.bank.invoices):  # the wallets end what nobody settles
        world.bank.invoices[name][2] = "canceled"
        world.tell(name)
    providers[0].take(Leave())
    world.pass_time(3_000, 50)
    assert customer.state.phase is Phase.CLOSED
    assert is_settled(customer.state)
    assert has_left(providers[0].state)


def test_a_node_can_wait_until_relays_have_its_last_words() -> None:
    """Whoever stopped a node as soon as its state said so ended its last event's sending."""
    world = Doubles()
    publish, gate = world.relay.publish, asyncio.Event()

    async def publish_slowly(event: Any, relays: Any = ()) -> Any:
        await gate.wait()
        return await publish(event, relays)

    world.relay.publish = publish_slowly  # type: ignore[method-assign]

    async def main() -> None:
        node = world.make()
        running = asyncio.create_task(node.run())
        await node.say(Go())
        await asyncio.wait_for(node.wait_until(lambda s: "8-pay" in s.done), 120)
        assert not await node.wait_sent(0.01)
        asyncio.get_running_loop().call_later(0.05, gate.set)
        assert await node.wait_sent(120)
        node.stop()
        await running
        assert len(world.relay.stored) == 2

    asyncio.run(main())
