"""How fast a committee orders: real processes on loopback, real keys, every vote on the disk.

    python benchmarks/order_speed.py [--sizes 4 10] [--batches 1 100] [--seconds 10] [--save FOLDER]

Each validator is a process with a SQLite journal (synchronous) and WebSockets to the others. One
client signs requests of 200 bytes beforehand, keeps as many under way as the row says, sends each
to one validator, and counts it when f + 1 validators' orders show it. Latency is from sending to
that.
"at once 1" is the ordering of one event with nothing else going on: what a round's event waits.
The goals: >= 2,000 requests a second with 4 validators in batches of 100, <= 50 ms median for one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.table import Table

from saved_tables import Printout, add_save_option

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from websockets.asyncio.client import ClientConnection, connect

from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.local import make_local_configs
from kumiai.adapters.committee.service import ServiceConfig, run_service
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import KeySigner
from kumiai.consensus.pbft.replica import Settings
from kumiai.consensus.quorum import compute_fault_tolerance

OPERATION = "x" * 200
CLIENT = KeySigner(derive_key(b"order speed", "client"))
START_SECONDS_MAX = 30.0


@dataclass
class Client:
    """Keeps `under_way` requests on their way; seconds: how long each took."""

    requests: list[m.Request]
    enough: int
    sent: dict[int, float] = field(default_factory=dict)
    shown: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    is_free: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, link: ClientConnection) -> None:
        """Read one validator's order."""
        await link.send(b"follow 1")
        async for data in link:
            _, (_, batch), _ = json.loads(data)  # as it is: the client shares the cores
            now = time.perf_counter()
            for _, timestamp, _, _ in batch:
                self.shown[timestamp] += 1
                if self.shown[timestamp] == self.enough:
                    self.seconds.append(now - self.sent[timestamp])
                    self.is_free.set()

    async def send(self, link: ClientConnection, under_way: int, seconds: float) -> float:
        """Send for so long; return how long it took until all that was sent was ordered."""
        started = time.perf_counter()
        for request in self.requests:
            if time.perf_counter() - started > seconds:
                break
            while len(self.sent) - len(self.seconds) >= under_way:
                self.is_free.clear()
                await self.is_free.wait()
            self.sent[request.timestamp] = time.perf_counter()
            await link.send(wire.encode(request))
        while len(self.seconds) < len(self.sent):
            self.is_free.clear()
            await self.is_free.wait()
        return time.perf_counter() - started


def make_configs(size: int, batch: int, folder: Path) -> list[ServiceConfig]:
    """Return a committee's configurations."""
    settings = Settings(batch_count_max=batch, timeout_ms=20_000, heartbeat_ms=60_000)
    clients = frozenset({CLIENT.pubkey})
    return make_local_configs("order speed", size, clients, folder, settings)


async def dial(address: Address) -> ClientConnection:
    """Connect as soon as a validator listens."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            return await connect(
                address.make_url(), compression=None, max_size=wire.MESSAGE_BYTES_MAX
            )
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def measure(
    addresses: tuple[Address, ...], under_way: int, seconds: float, count: int
) -> tuple[float, list[float]]:
    """Return requests a second, and every request's latency in seconds."""
    requests = [m.sign_request(CLIENT, number, OPERATION) for number in range(1, count + 1)]
    client = Client(requests, compute_fault_tolerance(len(addresses)) + 1)
    links = [await dial(address) for address in addresses[: client.enough + 1]]
    tasks = [asyncio.create_task(client.follow(link)) for link in links[: client.enough]]
    door = await dial(addresses[0])
    taken = await client.send(door, under_way, seconds)
    for task in tasks:
        task.cancel()
    for link in [*links, door]:
        await link.close()
    return len(client.seconds) / taken, client.seconds


def run_row(size: int, batch: int, under_way: int, seconds: float, count: int) -> list[str]:
    """Start a committee, measure, end it."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        configs = make_configs(size, batch, Path(folder))
        processes = [context.Process(target=run_service, args=(config,)) for config in configs]
        try:
            for process in processes:
                process.start()
            rate, latencies = asyncio.run(measure(configs[0].addresses, under_way, seconds, count))
        finally:
            for process in processes:
                if process.pid:
                    os.kill(process.pid, signal.SIGKILL)
                process.join()
    latencies.sort()
    return [
        str(size),
        str(batch),
        str(under_way),
        f"{len(latencies):,}",
        f"{rate:,.0f}",
        f"{1000 * statistics.median(latencies):.1f}",
        f"{1000 * latencies[int(len(latencies) * 0.99)]:.1f}",
    ]


def main() -> None:
    """Print a row a committee and load."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 10])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=30_000, help="requests at most")
    add_save_option(parser, "order_speed")
    given = parser.parse_args()
    table = Table(title="ordering on loopback, one process a validator")
    for head in ("n", "batch", "at once", "requests", "a second", "median ms", "99 % ms"):
        table.add_column(head, justify="right")
    for size in given.sizes:
        for batch in given.batches:
            loads = (1, 10) if batch == 1 else (1, 800)
            for load in loads:
                row = run_row(size, batch, load, given.seconds, given.count)
                print(" ".join(row), flush=True)
                table.add_row(*row)
    printout = Printout("order_speed", given.save, 90)
    printout.show(table)
    printout.save()


if __name__ == "__main__":
    main()
