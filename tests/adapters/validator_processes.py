"""Validators as processes: tests kill, stop and start them, ask them, and read their journals."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal

from websockets.asyncio.client import connect

from kumiai.adapters.committee.journal import Journal
from kumiai.adapters.committee.local import make_local_configs
from kumiai.adapters.committee.service import run_service
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import KeySigner, Schnorr
from kumiai.consensus.pbft.proofs import is_decided
from kumiai.consensus.pbft.replica import Settings
from kumiai.consensus.pbft.safety import Entry

CLIENT = KeySigner(derive_key(b"service", "client"))
SETTINGS = Settings(timeout_ms=1_500, resend_ms=200, heartbeat_ms=500)
CONTEXT = multiprocessing.get_context("spawn")


class Validators:
    """n processes; the test kills, stops and starts them."""

    def __init__(self, size, folder) -> None:
        clients = frozenset({CLIENT.pubkey})
        self.configs = make_local_configs("service", size, clients, folder, SETTINGS)
        self.processes: dict[int, object] = {}
        self.count = 0

    def start_all(self) -> None:
        for index in range(len(self.configs)):
            self.start(index)

    def start(self, index, target=run_service, *more) -> None:
        process = CONTEXT.Process(target=target, args=(self.configs[index], *more))
        process.start()
        self.processes[index] = process

    def signal(self, index, number) -> None:
        os.kill(self.processes[index].pid, number)
        if number == signal.SIGKILL:
            self.processes[index].join()

    def end(self) -> None:
        for process in self.processes.values():
            if process.is_alive():
                os.kill(process.pid, signal.SIGCONT)
                os.kill(process.pid, signal.SIGKILL)
            process.join()

    async def dial(self, index):
        while True:
            try:
                return await connect(
                    self.configs[index].addresses[index].make_url(), open_timeout=5
                )
            except (OSError, TimeoutError):
                await asyncio.sleep(0.1)

    async def order(self, count, down=()) -> None:
        """Send requests to all that are up; return when `witness`es show them all."""
        up = [i for i in self.processes if i not in down]
        links = [await self.dial(i) for i in up]
        reader = await self.dial(up[0])
        await reader.send(b"follow 1")
        wanted = set()
        for _ in range(count):
            self.count += 1
            request = m.sign_request(CLIENT, self.count, f"operation {self.count}")
            wanted.add(self.count)
            for link in links:
                await link.send(wire.encode(request))
        while wanted:
            decided = wire.decode(await reader.recv())
            assert isinstance(decided, m.Decided)
            wanted -= {request.timestamp for request in decided.batch.requests}
        for link in (reader, *links):
            await link.close()

    async def order_quietly(self, index) -> None:
        """Send one request; whether it is ordered, others look."""
        self.count += 1
        link = await self.dial(index)
        await link.send(wire.encode(m.sign_request(CLIENT, self.count, "quiet")))
        await link.close()

    def read(self, index) -> list[m.Decided]:
        return self._read(index)[0]

    def read_entries(self, index) -> list[Entry]:
        return self._read(index)[1]

    def _read(self, index) -> tuple[list[m.Decided], list[Entry]]:
        config = self.configs[index]
        journal = Journal(config.journal, config.committee.name)
        found = list(journal.read_decided()), list(journal.read_entries())
        journal.close()
        return found


def check_one_order(validators, least) -> None:
    """Every journal holds the same batches, each proven; no request was executed twice."""
    orders = [validators.read(i) for i in validators.processes]
    longest = max(orders, key=len)
    committee = validators.configs[0].committee
    assert all(order == longest[: len(order)] or same(order, longest) for order in orders)
    assert all(is_decided(committee, Schnorr(), decided.proof) for decided in longest)
    assert [d.proof.sequence for d in longest] == list(range(1, len(longest) + 1))
    done, last = [], 0
    for decided in longest:
        for request in decided.batch.requests:
            if request.timestamp > last:
                last = request.timestamp
                done.append(last)
    assert done == list(range(1, validators.count + 1))
    assert sum(len(order) == len(longest) for order in orders) >= least


def same(order, longest) -> bool:
    """Tell whether the batches are the same, whichever quorum's signatures prove them."""
    return all(
        (a.batch, a.proof.digest) == (b.batch, b.proof.digest)
        for a, b in zip(order, longest, strict=False)
    )


async def wait_until(is_true) -> None:
    while not is_true():
        await asyncio.sleep(0.2)
