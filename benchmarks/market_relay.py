"""Relays of the market: a job's round trip, acknowledged events, 1,000 providers at one relay.

    python benchmarks/market_relay.py [--rounds 300] [--events 6000] [--save FOLDER]

A round trip: the customer publishes a job, three providers answer with a feedback and a result
each; the clock runs from the call of `publish` to the third result handed out, every event checked
on both sides; no training. "one process": relay, customer and providers share a Python process;
"apart": five processes on loopback. Acknowledged: distinct signed events published by one member,
so many at a time, until the relay's OK for each; signing is not counted. Addressed: jobs to
providers picked by chance, each connected by itself and asking for its own `#p` only.
Peers in the same run: nostr-sdk's own client and relay, as they come, in one process; nostr-relay
1.14 (PyPI, SQLite), where `make services` installed it, with our client.
Goals: p50 <= 15 ms and p99 <= 60 ms; >= 3,000 acknowledged events a second; no job lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOB, RESULT, FEEDBACK = 5_900, 6_900, 7_000
RESULTS_EACH = 3
CONNECTS_AT_ONCE = 50
LOST_AFTER_S = 20.0


def pick(values: list[float], share: float) -> float:
    """The value below which `share` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def sign(key: SigningKey, kind: int, text: str, tags: list[list[str]]) -> Event:
    return nip01.sign_text(key, kind, int(time.time()), text, tags)


async def answer(relays: Relays, key: SigningKey, filters: list[Filter], ready: object) -> None:
    """A provider that does no work: a feedback and a result for each job, until cancelled."""
    subscription = relays.subscribe(filters)
    await subscription.wait_ready()
    ready()
    async for job in subscription:
        tags = [["e", job.id], ["p", job.pubkey]]
        await asyncio.gather(
            relays.publish(sign(key, FEEDBACK, "", [*tags, ["status", "processing"]])),
            relays.publish(sign(key, RESULT, '{"loss":"0.1"}', [*tags, ["amount", "1000"]])),
        )


async def measure_trips(url: str, rounds: int) -> list[float]:
    """Milliseconds from request to the third result."""
    key = derive_key(b"bench", "customer")
    relays = Relays([url], key)
    wanted = Filter(kinds=(RESULT, FEEDBACK), tags={"p": (key.pubkey,)}, since=int(time.time()))
    subscription = relays.subscribe([wanted])
    await subscription.wait_ready()
    trips = []
    for at in range(rounds + 20):
        job = sign(key, JOB, f'{{"job":{at}}}', [["bid", "1000"], ["t", "bench"]])
        start = time.perf_counter()
        publishing = asyncio.create_task(relays.publish(job))
        missing = RESULTS_EACH
        while missing:
            event = await asyncio.wait_for(anext(subscription), LOST_AFTER_S)
            missing -= event.kind == RESULT and ["e", job.id] in map(list, event.tags)
        trips.append((time.perf_counter() - start) * 1e3)
        await publishing
    await relays.close()
    return trips[20:]  # the first ones warm up


async def measure_acknowledged(url: str, count: int, at_once: int) -> float:
    """Events a second, from the first publish to the last OK."""
    key = derive_key(b"bench", f"publisher {at_once} {time.time_ns()}")
    stream = [sign(key, JOB + 1, f"{at} " + "x" * 200, [["t", "bench"]]) for at in range(count)]
    relays = Relays([url], key)
    await relays.publish(sign(key, JOB + 1, "first", []))
    slots = asyncio.Semaphore(at_once)

    async def one(event: Event) -> None:
        async with slots:
            await relays.publish(event)

    start = time.perf_counter()
    await asyncio.gather(*map(one, stream))
    seconds = time.perf_counter() - start
    await relays.close()
    return count / seconds


async def measure_members(url: str, rounds: int, events: int, is_alone: bool) -> dict[str, float]:
    """All figures of one relay; is_alone: the providers run here too."""
    async with AsyncExitStack() as stack:
        providers = []
        for at in range(RESULTS_EACH if is_alone else 0):
            key = derive_key(b"bench", f"provider {at}")
            relays = Relays([url], key)
            stack.push_async_callback(relays.close)
            ready = asyncio.Event()
            wanted = [Filter(kinds=(JOB,), since=int(time.time()))]
            providers.append(asyncio.create_task(answer(relays, key, wanted, ready.set)))
            await ready.wait()
        trips = await measure_trips(url, rounds)
        for task in providers:
            task.cancel()
    figures = {"round trip p50, ms": pick(trips, 0.5), "round trip p99, ms": pick(trips, 0.99)}
    for at_once in (1, 32, 256):
        count = events // 8 if at_once == 1 else events
        name = f"acknowledged events/s, {at_once} at a time"
        figures[name] = await measure_acknowledged(url, count, at_once)
    return figures


async def measure_alone(rounds: int, events: int) -> dict[str, float]:
    async with await embedded.start() as relay:
        return await measure_members(relay.url, rounds, events, is_alone=True)


@contextmanager
def run_role(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Another process of this script and the first line that it says."""
    command = [sys.executable, __file__, "--role", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.stdin.close()  # what it waits for
        process.wait(20)


def measure_apart(url: str, rounds: int, events: int) -> dict[str, float]:
    """Every member in a process of its own."""
    with Roles() as roles:
        for at in range(RESULTS_EACH):
            assert roles.start("provider", url, str(at)) == "ready"
        return json.loads(roles.start("customer", url, str(rounds), str(events)))


class Roles:
    """Processes that end together."""

    def __enter__(self) -> Roles:
        self.open = []
        self.pids: list[int] = []
        return self

    def start(self, *arguments: str) -> str:
        context = run_role(*arguments)
        self.open.append(context)
        process, said = context.__enter__()
        self.pids.append(process.pid)
        return said

    def __exit__(self, *_: object) -> None:
        for context in reversed(self.open):
            context.__exit__(None, None, None)


def read_rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def measure_crowd(url: str, providers: int, jobs: int, per_second: int) -> dict[str, float]:
    """Jobs for some of many providers, each of which is connected and listens for itself alone."""
    key = derive_key(b"bench", "customer of many")
    relays = Relays([url], key)
    wanted = Filter(kinds=(RESULT,), tags={"p": (key.pubkey,)}, since=int(time.time()))
    subscription = relays.subscribe([wanted])
    await subscription.wait_ready()
    dice = random.Random(6)
    sent: dict[str, float] = {}
    trips: dict[str, float] = {}

    async def collect() -> None:
        async for event in subscription:
            (about,) = nip01.get_values(event.tags, "e")
            trips.setdefault(about, (time.perf_counter() - sent[about]) * 1e3)

    collecting = asyncio.create_task(collect())
    publishing = []
    for at in range(jobs):
        who = derive_key(b"bench", f"one of many {dice.randrange(providers)}").pubkey
        job = sign(key, JOB, f"{at}", [["p", who]])
        sent[job.id] = time.perf_counter()
        publishing.append(asyncio.create_task(relays.publish(job)))
        await asyncio.sleep(1 / per_second)
    await asyncio.gather(*publishing)
    until = time.perf_counter() + LOST_AFTER_S
    while len(trips) < jobs and time.perf_counter() < until:
        await asyncio.sleep(0.05)
    collecting.cancel()
    await relays.close()
    return {
        "jobs sent": jobs,
        "jobs lost": jobs - len(trips),
        "round trip p50, ms": pick(list(trips.values()), 0.5),
        "round trip p99, ms": pick(list(trips.values()), 0.99),
    }


# --- roles: the other processes ---


async def until_closed() -> None:
    """Wait for the end of standard input."""
    await asyncio.to_thread(sys.stdin.read)


async def play_relay() -> None:
    async with await embedded.start() as relay:
        print(relay.url, flush=True)
        await until_closed()


async def play_provider(url: str, number: str) -> None:
    key = derive_key(b"bench", f"provider {number}")
    relays = Relays([url], key)
    wanted = [Filter(kinds=(JOB,), since=int(time.time()))]
    working = asyncio.create_task(answer(relays, key, wanted, lambda: print("ready", flush=True)))
    await until_closed()
    working.cancel()
    await relays.close()


async def play_customer(url: str, rounds: str, events: str) -> None:
    figures = await measure_members(url, int(rounds), int(events), is_alone=False)
    print(json.dumps(figures), flush=True)


async def play_crowd(url: str, count: str) -> None:
    slots = asyncio.Semaphore(CONNECTS_AT_ONCE)
    working = []

    async def start(at: int) -> Relays:
        key = derive_key(b"bench", f"one of many {at}")
        relays = Relays([url], key)
        wanted = [Filter(kinds=(JOB,), tags={"p": (key.pubkey,)}, since=int(time.time()))]
        ready = asyncio.Event()
        async with slots:
            working.append(asyncio.create_task(answer(relays, key, wanted, ready.set)))
            await ready.wait()
        return relays

    crowd = await asyncio.gather(*map(start, range(int(count))))
    failures = sum(it.get_status()[0].failures for it in crowd)
    print(json.dumps({"connections tried again": failures}), flush=True)
    await until_closed()


async def play_sdk(rounds: str, events: str) -> None:
    """nostr-sdk's client and relay as they come, in this process."""
    from benchmarks.peers.sdk_relay import measure_sdk

    print(json.dumps(await measure_sdk(int(rounds), int(events))), flush=True)


ROLES = {
    "relay": play_relay,
    "provider": play_provider,
    "customer": play_customer,
    "crowd": play_crowd,
    "sdk": play_sdk,
}


def measure_second(rounds: int, events: int) -> dict[str, float]:
    async def play() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            async with run_second_relay(Path(folder)) as url:
                return await asyncio.to_thread(measure_apart, url, rounds, events)

    return asyncio.run(play())


def main(options: argparse.Namespace) -> None:
    """Print both tables."""
    rounds, events = options.rounds, options.events
    columns = {"one process": asyncio.run(measure_alone(rounds, events))}
    with run_role("relay") as (process, url):
        columns["apart"] = measure_apart(url, rounds, events)
        columns["apart"]["RSS of the relay, MB"] = read_rss_mb(process.pid)
    with run_role("sdk", str(rounds), str(events)) as (_, said):
        columns["nostr-sdk alone"] = json.loads(said)
    if PROGRAM.exists():
        columns["nostr-relay 1.14, apart"] = measure_second(rounds, events // 4)
    out = Printout("market_relay", options.save)
    table = Table(title=f"One job, three results: {rounds} rounds; {events} events acknowledged")
    table.add_column("figure")
    for head in columns:
        table.add_column(head, justify="right")
    for name in columns["apart"]:
        cells = [f"{it[name]:,.1f}" if name in it else "" for it in columns.values()]
        table.add_row(name, *cells)
    out.show(table)
    if not PROGRAM.exists():
        out.say(f"{REASON}; not measured.")
    crowd: dict[str, float] = {}
    with Roles() as roles:
        url = roles.start("relay")
        crowd |= json.loads(roles.start("crowd", url, str(options.providers)))
        crowd |= asyncio.run(measure_crowd(url, options.providers, 300, 50))
        crowd["RSS of the relay, MB"] = read_rss_mb(roles.pids[0])
    table = Table(title=f"{options.providers} providers connected to one relay, 50 jobs a second")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in crowd.items():
        table.add_row(name, f"{value:,.1f}")
    out.show(table)
    out.save({"relays": {name: dict(it) for name, it in columns.items()}, "crowd": crowd})


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from rich.table import Table
    from tests.adapters.nostr.second_relay import PROGRAM, REASON, run_second_relay

    from kumiai.adapters.nostr import embedded
    from kumiai.adapters.nostr.relays import Relays
    from kumiai.base.keys import SigningKey, derive_key
    from kumiai.market.nips import nip01
    from kumiai.market.nips.nip01 import Event, Filter
    from saved_tables import Printout, add_save_option

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--events", type=int, default=6_000)
    parser.add_argument("--providers", type=int, default=1_000)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    add_save_option(parser, "market_relay")
    given = parser.parse_args()
    if given.role:
        asyncio.run(ROLES[given.role[0]](*given.role[1:]))
    else:
        main(given)
