"""A committee's validators as processes of this machine: started, looked after, and ended for sure.

Each has its own key, port and journal. One that ends by itself is started again from its journal,
`RESTARTS_MAX` times at most; then it stays away, as the others can do without it while they are a
quorum: below one, ValidatorError names who is missing. A process whose parent is gone ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.local import find_ports
from kumiai.adapters.committee.service import Service, ServiceConfig
from kumiai.base.errors import KumiaiError, RunFailedError
from kumiai.base.keys import SigningKey
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.replica import Settings

RESTARTS_MAX = 5  # of one validator
LOOK_SECONDS = 0.1  # between two looks at the processes
OPEN_SECONDS = 120.0  # until the doors are open
END_SECONDS = 2.0  # between asking a process to end and ending it
HOST = "127.0.0.1"


class ValidatorError(KumiaiError):
    """Validator processes are gone for good and the rest is no quorum: nothing can be ordered."""

    exit_code = RunFailedError.exit_code
    is_retriable = True


class Processes:
    """One process a seat; `close` ends them all."""

    def __init__(
        self,
        committee: Committee,
        keys: Mapping[str, SigningKey],
        folder: Path,
        settings: Settings,
    ) -> None:
        """keys: each goes to its own process only. folder: of the journals; made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.committee = committee
        self.addresses = tuple(Address(HOST, port) for port in find_ports(committee.size))
        self._configs = [
            ServiceConfig(committee, i, keys[key], self.addresses, folder / f"{i}.sqlite", settings)
            for i, key in enumerate(committee.replicas)
        ]
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._lock = threading.Lock()  # nobody is started again while all are ended
        self._is_closed = False
        self.restarts = [0] * committee.size

    @property
    def pids(self) -> list[int]:
        """Return the processes' numbers, by index."""
        return [self._processes[i].pid or 0 for i in range(self.committee.size)]

    def start(self) -> None:
        """Start all and wait until their doors are open.

        Raises ValidatorError where they stay shut; then, as on an interruption, all are ended.
        """
        try:
            for index in range(self.committee.size):
                self._start(index)
            self._await_doors()
        except BaseException:
            self.close()
            raise

    def look_after(self) -> None:
        """Start again who ended by itself; ValidatorError where too many did so too often."""
        with self._lock:
            if self._is_closed:
                return
            gone = [index for index in self._processes if not self._is_up(index)]
            if self.committee.size - len(gone) < self.committee.quorum:
                raise ValidatorError(self._describe(gone))

    def close(self) -> None:
        """End every process: by asking, and by force where that does not help soon."""
        with self._lock:
            self._is_closed = True
            for process in self._processes.values():
                process.terminate()
            deadline = time.monotonic() + END_SECONDS
            for process in self._processes.values():
                process.join(max(0.0, deadline - time.monotonic()))
                if process.is_alive():
                    process.kill()
                    process.join()

    def _is_up(self, index: int) -> bool:
        """Tell whether a process lives; start it again if it may."""
        if self._processes[index].is_alive():
            return True
        if self.restarts[index] == RESTARTS_MAX:
            return False
        self.restarts[index] += 1
        self._start(index)
        return True

    def _start(self, index: int) -> None:
        process = self._context.Process(
            target=run_child, args=(self._configs[index],), name=f"validator {index}", daemon=True
        )
        process.start()
        self._processes[index] = process

    def _await_doors(self) -> None:
        deadline = time.monotonic() + OPEN_SECONDS
        shut = set(range(self.committee.size))
        while shut:
            self.look_after()
            shut = {i for i in shut if not is_open(self.addresses[i])}
            if time.monotonic() > deadline:
                if self.committee.size - len(shut) >= self.committee.quorum:
                    return
                raise ValidatorError(self._describe(sorted(shut)))
            time.sleep(LOOK_SECONDS)

    def _describe(self, gone: list[int]) -> str:
        names = ", ".join(
            f"{i} ({self.committee.replicas[i][:12]}, exit code {self._processes[i].exitcode}, "
            f"port {self.addresses[i].port})"
            for i in gone
        )
        return (
            f"validator processes of epoch {self.committee.epoch} do not answer: {names}; "
            f"{self.committee.quorum} of {self.committee.size} are needed to order"
        )


def is_open(address: Address) -> bool:
    """Tell whether somebody listens there."""
    try:
        with socket.create_connection((address.host, address.port), timeout=1):
            return True
    except OSError:
        return False


def run_child(config: ServiceConfig) -> None:
    """Run a validator's service in this process until it is asked to end or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # doors are knocked at by `is_open`
    asyncio.run(_serve(config))


async def _serve(config: ServiceConfig) -> None:
    service = asyncio.ensure_future(Service(config).run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.cancel)
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop.add_reader(parent.sentinel, service.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await service
