"""Relays of a recipient, and addresses: one spelling, and none inside our own network."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.adapters.nostr.bad_relay import run_bad_relay
from tests.adapters.nostr.trade import CUSTOMER, JOB, PROVIDER, QUICK, make_event, members

from kumiai.adapters.nostr.outbox import is_public, pick_relays
from kumiai.adapters.nostr.relays import RELAYS_MAX, Relays, normalize_url
from kumiai.base.errors import InputError
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError


def make_list(*tags, at=1_000, key=PROVIDER, kind=10_002):
    return make_event("", kind, at=at, key=key, tags=tags)


def test_the_newest_own_list_counts_and_what_it_reads() -> None:
    old = make_list(["r", "wss://old.example"], at=999)
    new = make_list(
        ["r", "wss://both.example"],
        ["r", "wss://READS.example/", "read"],
        ["r", "wss://writes.example", "write"],
        ["x", "wss://other.example"],
        ["r"],
    )
    forged = make_list(["r", "wss://evil.example"], at=2_000, key=CUSTOMER)
    assert pick_relays(PROVIDER.pubkey, [old, new, forged]) == (
        "wss://both.example",
        "wss://reads.example",
    )
    assert pick_relays(PROVIDER.pubkey, [forged]) == ()
    untrue = type(new)(**{name: getattr(new, name) for name in new.__slots__} | {"content": "x"})
    assert pick_relays(PROVIDER.pubkey, [untrue]) == ()
    assert pick_relays(PROVIDER.pubkey, [make_list(["r", "wss://a.example"], kind=10_003)]) == ()


def test_a_list_is_bounded_and_private_addresses_are_left_out() -> None:
    many = make_list(*(["r", f"wss://r{at}.example"] for at in range(50)))
    assert len(pick_relays(PROVIDER.pubkey, [many])) == 4
    inside = make_list(
        ["r", "ws://127.0.0.1:7777"],
        ["r", "ws://10.1.2.3"],
        ["r", "ws://[::1]:80"],
        ["r", "ws://localhost"],
        ["r", "ws://box.local"],
        ["r", "ws://0x7f.1"],
        ["r", "ws://localhost.:80"],
        ["r", "ws://127.0.0.1."],
        ["r", "ws://box.local."],
        ["r", "http://web.example"],
    )
    assert pick_relays(PROVIDER.pubkey, [inside]) == ()
    allowed = pick_relays(PROVIDER.pubkey, [inside], is_private_allowed=True)
    assert allowed[:2] == ("ws://127.0.0.1:7777", "ws://10.1.2.3")
    assert is_public("wss://relay.example")
    assert is_public("wss://8.8.8.8")


@pytest.mark.parametrize(
    "text",
    ["", "relay.example", "http://a.example", "wss://", "wss://u:p@a.example", "ws://a:99999",
     "wss://" + "a" * 300, "wss://a.exa\nmple", "wss://日本.example"],
)  # fmt: skip
def test_misspelt_addresses_are_refused(text) -> None:
    with pytest.raises(InputError):
        normalize_url(text)
    with pytest.raises(InputError):
        Relays([text])


def test_one_spelling() -> None:
    assert normalize_url("WSS://Relay.Example:443/") == "wss://relay.example:443"
    assert normalize_url("ws://[::1]:7777/a/") == "ws://[::1]:7777/a"
    with pytest.raises(InputError):
        Relays([])
    with pytest.raises(InputError):
        Relays([f"ws://r{at}.example" for at in range(RELAYS_MAX + 1)])


def test_an_event_goes_to_the_recipients_relays_too() -> None:
    async def play() -> None:
        patient = replace(QUICK, straggler_s=60.0)  # both are waited for
        async with (
            run_bad_relay() as own,
            run_bad_relay() as theirs,
            members(own.url, count=1, policy=patient) as (customer,),
        ):
            event = make_event("for you")
            published = await customer.publish(event, [own.url, theirs.url + "/"])
            assert set(published.accepted) == {own.url, theirs.url}
            assert event.id in theirs.events
            await customer.publish(make_event("for all"))
            assert len(theirs.events) == 1
            elsewhere = make_event("answered where a stranger asked for it")
            published = await customer.publish(elsewhere, [theirs.url])
            assert set(published.accepted) == {own.url, theirs.url}
            assert {*own.events} == {*theirs.events, *own.events}
            assert [it.url for it in customer.get_status()] == [own.url, theirs.url]
            assert len(await customer.fetch([Filter(kinds=(JOB,))])) == 3

    asyncio.run(play())


def test_a_stranger_cannot_name_relays_inside_our_network(monkeypatch) -> None:
    """Who meets others on public relays connects to no private address that a job names."""

    async def is_public(url: str) -> bool:
        return url.startswith("wss://own.")

    monkeypatch.setattr("kumiai.adapters.nostr.relays.is_public_server", is_public)

    async def play() -> None:
        async with run_bad_relay() as inside:
            relays = Relays(["wss://own.example"])
            with pytest.raises(RelayError, match="private network"):
                await relays.publish(make_event("an offer"), [inside.url])
            await relays.close()
            assert inside.connections == 0
            assert relays.urls == ("wss://own.example",)

    asyncio.run(play())
