"""Relays that misbehave: members lose nothing that one honest relay has, and believe nothing."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

import pytest
from tests.adapters.nostr.bad_relay import BadRelay, never, run_bad_relay
from tests.adapters.nostr.trade import (
    CUSTOMER,
    JOB,
    PATIENCE_S,
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
from websockets.asyncio.server import serve

from kumiai.adapters.nostr import library
from kumiai.adapters.nostr.connection import open_connection
from kumiai.adapters.nostr.link import BAD_MAX, CHALLENGES_MAX, LinkPolicy
from kumiai.adapters.nostr.relays import Relays
from kumiai.adapters.nostr.subscription import SubscriptionPolicy
from kumiai.market.nips import nip01
from kumiai.market.nips.nip01 import Filter
from kumiai.nodes.market.errors import RelayError

JOBS = Filter(kinds=(JOB,))
HASTY = replace(QUICK, publish_timeout_s=0.3)  # where no answer comes at all


def test_the_honest_one_is_honest() -> None:
    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url) as (customer, provider):
            subscription = await stand(provider, JOBS)
            event = make_event("hello")
            assert (await customer.publish(event)).accepted == (relay.url,)
            assert await read(subscription, 1) == [event]
            assert await provider.fetch([JOBS]) == [event]

    asyncio.run(play())


def test_drops_duplicates_and_disorder() -> None:
    """One relay drops half of all, doubles and shuffles the rest; the other drops other events."""

    async def play() -> None:
        dice = random.Random(5)

        def spoil(relay: BadRelay, parity: int) -> None:
            late: list = []

            async def on_event(socket, event) -> None:
                await relay.send(socket, ["OK", event.id, True, ""])
                if int(event.id, 16) % 2 == parity:
                    late.append(event)
                if len(late) >= 10:
                    dice.shuffle(late)
                    for other, requests in list(relay.open.items()):
                        for name in requests:
                            for it in late + late[:5]:
                                await relay.send(other, ["EVENT", name, nip01.to_mapping(it)])
                    late.clear()

            relay.on_event = on_event

        stream = make_events(200)
        padding = make_events(60, JOB + 1)
        async with run_bad_relay() as one, run_bad_relay() as two:
            spoil(one, 0)
            spoil(two, 1)
            async with members(one.url, two.url) as (customer, provider):
                subscription = await stand(provider, JOBS, Filter(kinds=(JOB + 1,)))
                await until(lambda: all(any(it.open.values()) for it in (one, two)))
                await publish_all(customer, [*stream, *padding])
                got = []
                while not ids(stream) <= ids(got):
                    got += await read(subscription, 1)
                assert len(ids(got)) == len(got)  # each once

    asyncio.run(play())


def test_forged_and_unasked_events_are_not_handed_out() -> None:
    async def play() -> None:
        true = make_event("true")
        other = make_event("of another kind", JOB + 1)
        flip = "0" if true.sig[0] != "0" else "1"
        lies = [
            {**nip01.to_mapping(true), "content": "changed"},
            {**nip01.to_mapping(true), "sig": flip + true.sig[1:]},
            {**nip01.to_mapping(true), "pubkey": "ab" * 32},
            {**nip01.to_mapping(true), "id": "cd" * 32},
            {**nip01.to_mapping(true), "tags": [["p", 5]]},
            {**nip01.to_mapping(true), "created_at": "1"},
            {**nip01.to_mapping(true), "created_at": -1},
            {"id": true.id},
            nip01.to_mapping(other),
        ]
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):

            async def lie(socket, name, _filters) -> None:
                for document in lies:
                    await relay.send(socket, ["EVENT", name, document])
                for text in ("", "[]", "{}", '["EVENT"]', '["OK","x","yes"]', "[" * 5000, '"'):
                    await socket.send(text)
                await socket.send(b"\x00\xff")
                await relay.send(socket, ["EVENT", "nobody's", nip01.to_mapping(true)])
                await relay.send(socket, ["EOSE", name])
                await relay.send(socket, ["EVENT", name, nip01.to_mapping(true)])

            relay.on_request = lie
            subscription = provider.subscribe([JOBS])
            assert await read(subscription, 1) == [true]  # after all the lies by its id
            assert await is_quiet(subscription)
            assert provider.get_status()[0].bad >= len(lies) + 9

    asyncio.run(play())


def test_who_lies_too_much_is_cut_off() -> None:
    async def play() -> None:
        once = replace(QUICK, link=LinkPolicy(pause_first_s=600.0, pause_max_s=600.0))
        async with (
            run_bad_relay() as relay,
            members(relay.url, count=1, policy=once) as (provider,),
        ):

            async def flood(socket, name, _filters) -> None:
                while socket in relay.open:
                    await relay.send(socket, ["EVENT", name, {"id": "ab" * 32}])

            relay.on_request = flood
            provider.subscribe([JOBS])
            await until(lambda: provider.get_status()[0].failures >= 1)
            health = provider.get_status()[0]
            assert BAD_MAX <= health.bad <= BAD_MAX + 1
            assert "no honest relay" in health.last_error

    asyncio.run(play())


def test_wrong_answers_to_a_publish() -> None:
    """An OK for another event is none; a refusal says why; a put-off event is sent again."""

    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, policy=HASTY) as (customer, _):
            event = make_event("hello")

            async def wrong(socket, _event) -> None:
                await relay.send(socket, ["OK", "ab" * 32, True, ""])

            relay.on_event = wrong
            with pytest.raises(RelayError) as caught:
                await customer.publish(event)
            assert caught.value.is_retriable

            async def refuse(socket, event) -> None:
                await relay.send(socket, ["OK", event.id, False, "invalid: we do not like it"])

            relay.on_event = refuse
            customer._policy = QUICK
            with pytest.raises(RelayError, match="we do not like it") as caught:
                await customer.publish(make_event("other"))
            assert not caught.value.is_retriable
            tries = 0

            async def put_off(socket, event) -> None:
                nonlocal tries
                tries += 1
                if tries == 1:
                    await relay.send(socket, ["OK", event.id, False, "rate-limited: slow down"])
                else:
                    await relay.take_event(socket, event)

            relay.on_event = put_off
            assert (await customer.publish(make_event("third"))).accepted == (relay.url,)
            assert tries == 2

    asyncio.run(play())


def test_one_that_never_answers_does_not_hold_up_the_other() -> None:
    async def play() -> None:
        async with run_bad_relay() as mute, run_bad_relay() as good:
            mute.on_event = mute.on_request = never
            patient = replace(QUICK, publish_timeout_s=600.0)
            async with (
                asyncio.timeout(PATIENCE_S),
                members(mute.url, good.url, policy=patient) as (customer, provider),
            ):
                subscription = await stand(provider, JOBS)
                event = make_event("hello")
                published = await customer.publish(event)
                assert published.accepted == (good.url,)
                assert [url for url, _ in published.refused] == [mute.url]
                assert await read(subscription, 1) == [event]
                assert await provider.fetch([JOBS], timeout_s=600.0) == [event]

    asyncio.run(play())


def test_all_mute_is_an_error() -> None:
    async def play() -> None:
        async with run_bad_relay() as mute, members(mute.url, policy=HASTY) as (customer, _):
            mute.on_event = mute.on_request = never
            with pytest.raises(RelayError) as caught:
                await customer.publish(make_event("hello"))
            assert caught.value.is_retriable
            with pytest.raises(RelayError):
                await customer.fetch([JOBS], timeout_s=0.2)
        async with members("ws://127.0.0.1:9", policy=HASTY) as (customer, _):
            with pytest.raises(RelayError):
                await customer.publish(make_event("hello"))
            with pytest.raises(RelayError):
                await customer.fetch([JOBS], timeout_s=0.2)

    asyncio.run(play())


def test_giant_frames() -> None:
    """One over the event's cap is passed over; one over the frame's cap ends the connection."""

    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):
            true = make_event("true")
            turns = 0

            async def giant(socket, name, filters) -> None:
                nonlocal turns
                turns += 1
                document = {**nip01.to_mapping(true), "content": "x" * 100_000}
                await relay.send(socket, ["EVENT", name, document])
                if turns == 1:
                    await relay.send(socket, ["EVENT", name, {"content": "x" * 3_000_000}])
                await relay.take_request(socket, name, filters)

            relay.on_request = giant
            relay.events[true.id] = true
            subscription = provider.subscribe([JOBS])
            assert await read(subscription, 1) == [true]
            assert relay.connections >= 2

    asyncio.run(play())


def test_closed_in_the_middle_of_a_message() -> None:
    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url) as (customer, provider):
            cut = 0

            async def on_event(socket, event) -> None:
                nonlocal cut
                if cut < 3:
                    cut += 1
                    text = nip01.encode_event(event)
                    socket.transport.write(b"\x81\x7e\x10\x00" + text[:40])  # 4,096 announced
                    socket.transport.abort()
                else:
                    await relay.take_event(socket, event)

            relay.on_event = on_event
            subscription = await stand(provider, JOBS)
            event = make_event("hello")
            assert (await customer.publish(event)).accepted == (relay.url,)
            assert cut == 3
            assert await read(subscription, 1) == [event]

    asyncio.run(play())


def test_a_slow_reader_loses_nothing_that_relays_keep() -> None:
    """The queue holds 10; 900 events pass while nobody reads."""

    async def play() -> None:
        small = replace(
            QUICK, subscription=SubscriptionPolicy(queue_events_max=10, second_look_s=0.1)
        )
        async with run_bad_relay() as relay, members(relay.url, policy=small) as (a, b):
            subscription = await stand(b, JOBS, Filter(kinds=(20_001,)))
            stream = make_events(900)
            await publish_all(a, stream)
            await publish_all(a, [make_event(f"{at}", 20_001) for at in range(20)])
            got = []
            while not ids(stream) <= ids(got):
                got += await read(subscription, 1)
            assert len(ids(got)) == len(got)
            assert subscription.lost_count >= 1

    asyncio.run(play())


def test_a_relay_that_ends_connections_after_some_messages() -> None:
    """Before it does, the link has moved to the next one: nothing is lost, not even ephemeral."""

    async def play() -> None:
        policy = replace(QUICK, link=LinkPolicy(pause_first_s=0.02, messages_per_connection=50))
        async with run_bad_relay() as relay, members(relay.url, policy=policy) as (a, b):
            counts: dict = {}
            plain = relay.take_event

            async def on_event(socket, event) -> None:
                counts[socket] = counts.get(socket, 0) + 1
                if counts[socket] > 200:
                    await socket.close()
                else:
                    await plain(socket, event)

            relay.on_event = on_event
            subscription = await stand(b, Filter(kinds=(20_001,)))
            stream = make_events(700, 20_001)
            published = await publish_all(a, stream, 8)
            assert all(it.accepted for it in published)
            assert ids(await read(subscription, len(stream))) == ids(stream)
            health = a.get_status()[0]
            assert health.rotations >= 3
            assert health.failures == 0

    asyncio.run(play())


def test_a_limit_holds_over_lost_connections() -> None:
    """Who asked for the newest two, or for new ones only, gets no older ones later."""

    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):
            now = int(time.time())
            old = [make_event(f"{at}", at=now - 10 - at) for at in range(30)]
            relay.events.update({it.id: it for it in old})
            two = provider.subscribe([replace(JOBS, limit=2)])
            none = provider.subscribe([replace(JOBS, limit=0)])
            newest = old[:2]
            assert ids(await read(two, 2)) == ids(newest)
            await until(lambda: not two._lanes[0]._fills and two._lanes[0]._is_standing)
            provider._links[relay.url]._connection.cut("the test")
            missed = make_event("missed", at=now + 1)
            relay.events[missed.id] = missed
            assert await read(two, 1) == [missed]
            assert await read(none, 1) == [missed]
            assert await is_quiet(two)
            assert await is_quiet(none)

    asyncio.run(play())


def test_small_pages_that_end_exclusively() -> None:
    """The relay gives 30 at once, four a second, and takes `until` as exclusive."""

    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):
            relay.page_max = 30
            now = int(time.time())
            old = [make_event(f"{at}", at=now - at // 4) for at in range(200)]
            relay.events.update({it.id: it for it in old})
            plain = relay.take_request

            async def on_request(socket, name, filters) -> None:
                filters = [
                    it if it.until is None else replace(it, until=it.until - 1) for it in filters
                ]
                await plain(socket, name, filters)

            relay.on_request = on_request
            assert ids(await provider.fetch([JOBS])) == ids(old)
            subscription = provider.subscribe([JOBS])
            assert ids(await read(subscription, len(old))) == ids(old)

    asyncio.run(play())


def test_no_redirection_is_followed() -> None:
    async def play() -> None:
        async with run_bad_relay() as inside:

            def send_elsewhere(connection, _request):
                answer = connection.respond(302, "")
                answer.headers["Location"] = inside.url
                return answer

            async with serve(never, "127.0.0.1", 0, process_request=send_elsewhere) as server:
                url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
                async with members(url, count=1, policy=HASTY) as (customer,):
                    with pytest.raises(RelayError):
                        await customer.publish(make_event("hello"))
                    await until(lambda: "302" in customer.get_status()[0].last_error)
            assert inside.connections == 0

    asyncio.run(play())


def test_late_events_reach_a_relay_that_was_away() -> None:
    async def play() -> None:
        async with run_bad_relay() as good, members(good.url, "ws://127.0.0.1:9") as (customer, _):
            await customer.publish(make_event("first"))
            away = customer._links["ws://127.0.0.1:9"]
            async with run_bad_relay() as back:
                event, brief = make_event("second"), make_event("brief", 20_001)
                published = await customer.publish(event)
                assert published.accepted == (good.url,)
                await customer.publish(brief)
                away.url = back.url  # it is back, at last
                await until(lambda: event.id in back.events)
                assert len(back.events) == 2
                assert brief.id not in back.events  # worth nothing later

    asyncio.run(play())


def test_authentication_is_asked_for_and_given() -> None:
    async def play() -> None:
        async with run_bad_relay() as relay:
            known: dict = {}
            plain_event, plain_request = relay.take_event, relay.take_request

            async def on_open(socket) -> None:
                await relay.send(socket, ["AUTH", "prove it"])

            async def on_event(socket, event) -> None:
                if socket in known:
                    await plain_event(socket, event)
                else:
                    reason = "auth-required: who are you?"
                    await relay.send(socket, ["OK", event.id, False, reason])

            async def on_request(socket, name, filters) -> None:
                if socket in known:
                    await plain_request(socket, name, filters)
                else:
                    await relay.send(socket, ["CLOSED", name, "auth-required: who are you?"])

            async def read_auth() -> None:
                done = 0
                while True:
                    for message in relay.received[done:]:
                        if message[0] == "AUTH":
                            event = nip01.read_event(message[1])
                            assert event.kind == 22_242
                            assert nip01.check_event(event) is None
                            assert nip01.get_value(event.tags, "challenge") == "prove it"
                            assert nip01.get_value(event.tags, "relay") == relay.url
                            for socket in list(relay.open):
                                known[socket] = event.pubkey
                                await relay.send(socket, ["OK", event.id, True, ""])
                        done += 1
                    await asyncio.sleep(0.05)

            relay.on_open, relay.on_event, relay.on_request = on_open, on_event, on_request
            keeper = asyncio.create_task(read_auth())
            async with members(relay.url, count=1) as (customer,):
                event = make_event("hello")
                assert (await customer.publish(event)).accepted == (relay.url,)
                assert await customer.fetch([JOBS]) == [event]
                assert customer.get_status()[0].is_authenticated
                assert set(known.values()) == {CUSTOMER.pubkey}
            keeper.cancel()
            known.clear()
            nameless = Relays([relay.url], None, QUICK)
            with pytest.raises(RelayError, match="auth-required"):
                await nameless.publish(make_event("other"))
            await nameless.close()

    asyncio.run(play())


@pytest.mark.parametrize("text", ["\\ud800", "a\\u0000b"], ids=["half", "control"])
def test_a_challenge_that_is_no_text_ends_nothing(text: str) -> None:
    """JSON may hold half of a character, or a control one: such a challenge cannot be signed."""

    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):

            async def challenge(socket) -> None:
                await socket.send(f'["AUTH","{text}"]')

            relay.on_open = challenge
            true = make_event("true")
            relay.events[true.id] = true
            assert await read(provider.subscribe([JOBS]), 1) == [true]
            health = provider.get_status()[0]
            assert (health.connects, health.failures, health.bad) == (1, 0, 1)

    asyncio.run(play())


def test_who_challenges_without_end_is_not_answered_without_end() -> None:
    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):

            async def challenge(socket) -> None:
                for number in range(CHALLENGES_MAX + BAD_MAX + 50):
                    await relay.send(socket, ["AUTH", f"c{number}"])

            relay.on_open = challenge
            provider.subscribe([JOBS])
            await until(lambda: provider.get_status()[0].failures >= 1)
            answers = [it for it in relay.received if it[0] == "AUTH"]
            assert len(answers) <= relay.connections * CHALLENGES_MAX
            assert provider.get_status()[0].bad >= BAD_MAX

    asyncio.run(play())


def test_who_closes_a_subscription_without_end_is_asked_again_once() -> None:
    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):

            async def close(socket, name, _filters) -> None:
                for _ in range(500):
                    await relay.send(socket, ["CLOSED", name, "error: no"])

            relay.on_request = close
            provider.subscribe([JOBS])
            await until(lambda: provider.get_status()[0].received >= 500)
            waiting = provider._links[relay.url]._tasks
            assert len(waiting) < 10

    asyncio.run(play())


def test_a_connection_that_ends_while_the_next_is_opened_leaves_one(monkeypatch) -> None:
    async def play() -> None:
        async with run_bad_relay() as relay, members(relay.url, count=1) as (provider,):
            await stand(provider, JOBS)
            link = provider._links[relay.url]
            old, is_first = link._connection, True
            assert old is not None

            async def open_late(url, timeout_s):
                nonlocal is_first
                opened = await open_connection(url, timeout_s)
                if is_first:
                    is_first = False
                    old.cut("the test")
                    await until(lambda: link._connection not in (None, old))
                return opened

            monkeypatch.setattr("kumiai.adapters.nostr.link.open_connection", open_late)
            old.sent_count = link._policy.messages_per_connection
            link._change_if_due()
            await until(lambda: not link._is_changing)
            await until(lambda: len(link._open) == len(relay.open) == 1)
            assert link.is_connected

    asyncio.run(play())


def test_a_reconciliation_that_never_ends_is_given_up(monkeypatch) -> None:
    async def play() -> None:
        await library.find_missing_ids("ws://127.0.0.1:9", "{}", {})

    async def never_ends(*_: object) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(library, "_reconcile", never_ends)
    monkeypatch.setattr(library, "RECONCILE_S", 0.05)
    with pytest.raises(RelayError, match="no end"):
        asyncio.run(play())
