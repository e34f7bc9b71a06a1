"""nostr-sdk's own client and relay, as its examples use them: a peer of market_relay.py."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import nostr_sdk as sdk

JOB, RESULT, FEEDBACK = 5_900, 6_900, 7_000
RESULTS_EACH = 3


async def measure_sdk(rounds: int, events: int) -> dict[str, float]:
    """The figures of `market_relay.measure_members`, all in this process."""
    limit = sdk.RateLimit(max_reqs=1_000, notes_per_minute=2_000_000_000)
    relay = sdk.LocalRelayBuilder().rate_limit(limit).build()
    await relay.run()
    url = await relay.url()
    providers = []
    for _ in range(RESULTS_EACH):
        ready = asyncio.Event()
        providers.append(asyncio.create_task(provide(url, ready)))
        await ready.wait()
    await asyncio.sleep(0.5)
    trips = sorted(await measure_trips(url, rounds))
    for task in providers:
        task.cancel()
    figures = {
        "round trip p50, ms": trips[len(trips) // 2],
        "round trip p99, ms": trips[int(len(trips) * 0.99)],
    }
    events = min(events, 2_500)  # its connection ends after 6,000 messages
    for at_once in (1, 32, 256):
        count = events // 8 if at_once == 1 else events
        name = f"acknowledged events/s, {at_once} at a time"
        figures[name] = await measure_acknowledged(url, count, at_once)
    return figures


async def connect(url: object) -> object:
    client = sdk.Client()
    await client.add_relay(url)
    await client.connect(and_wait=timedelta(seconds=3))
    return client


def sign(keys: object, kind: int, text: str, tags: list[list[str]]) -> object:
    parsed = [sdk.Tag.parse(tag) for tag in tags]
    return sdk.EventBuilder(sdk.Kind(kind), text).tags(parsed).finalize(keys)


async def provide(url: object, ready: asyncio.Event) -> None:
    keys, client = sdk.Keys.generate(), await connect(url)
    stream = client.notifications()
    wanted = sdk.Filter().kind(sdk.Kind(JOB)).since(sdk.Timestamp.now())
    await client.subscribe(sdk.ReqTarget.auto([wanted]))
    ready.set()
    while (it := await stream.next()) is not None:
        if it.is_NEW_EVENT():
            job = it.event
            tags = [["e", job.id().to_hex()], ["p", job.author().to_hex()]]
            feedback = sign(keys, FEEDBACK, "", [*tags, ["status", "processing"]])
            result = sign(keys, RESULT, '{"loss":"0.1"}', [*tags, ["amount", "1000"]])
            await asyncio.gather(client.send_event(feedback), client.send_event(result))


async def measure_trips(url: object, rounds: int) -> list[float]:
    keys, client = sdk.Keys.generate(), await connect(url)
    stream = client.notifications()
    kinds = [sdk.Kind(RESULT), sdk.Kind(FEEDBACK)]
    wanted = sdk.Filter().kinds(kinds).pubkey(keys.public_key())
    await client.subscribe(sdk.ReqTarget.auto([wanted]))
    await asyncio.sleep(0.3)
    trips = []
    for at in range(rounds + 20):
        job = sign(keys, JOB, f'{{"job":{at}}}', [["bid", "1000"], ["t", "bench"]])
        name = ["e", job.id().to_hex()]
        start = time.perf_counter()
        publishing = asyncio.create_task(client.send_event(job))
        missing = RESULTS_EACH
        while missing:
            it = await asyncio.wait_for(stream.next(), 20)
            if it.is_NEW_EVENT() and it.event.kind().as_u16() == RESULT:
                missing -= any(tag.to_vec()[:2] == name for tag in it.event.tags())
        trips.append((time.perf_counter() - start) * 1e3)
        await publishing
    return trips[20:]


async def measure_acknowledged(url: object, count: int, at_once: int) -> float:
    keys, client = sdk.Keys.generate(), await connect(url)
    body = "x" * 200
    made = [sign(keys, JOB + 1, f"{at} {body}", [["t", "bench"]]) for at in range(count)]
    slots = asyncio.Semaphore(at_once)

    async def one(event: object) -> None:
        async with slots:
            await client.send_event(event)

    start = time.perf_counter()
    await asyncio.gather(*map(one, made))
    return count / (time.perf_counter() - start)
