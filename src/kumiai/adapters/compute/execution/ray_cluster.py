"""This process's connection to Ray and the workers it keeps there.

Ray allows one connection a process: engines share it, and the last to leave ends what we started.
With an address (`host:port`, or "auto" for this machine's) an existing cluster is joined; it keeps
running when we leave. Without one, a Ray of our own is started that listens on 127.0.0.1 only, asks
for a token known to this process alone, reports nothing to anybody, shows no dashboard, and leaves
no process and no folder behind. A Ray that the calling program connected to before is used and
never shut down.

Whoever can send work to a Ray cluster can run code on it, as Ray's own documents say: join only a
cluster whose users may do so. Ray is an extra: without it the error says how to get it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from kumiai.adapters.compute.execution.process import WorkerError
from kumiai.adapters.compute.execution.ray_worker import RayWorker
from kumiai.adapters.cores import count_cores
from kumiai.base.errors import InputError

FIELD = "training.backend"
LOCALHOST = "127.0.0.1"
START_SECONDS_MAX = 60.0  # for a worker to be given a core, to start and to import PyTorch
KNOCK_SECONDS_MAX = 5.0

# What a Ray of our own is started under. The second makes it bind to 127.0.0.1 (its name tells
# where that is the default); token: see `start_own`.
OWN_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}
TOKEN = secrets.token_hex(32)


@dataclass(frozen=True)
class RayOptions:
    """address: of an existing cluster, "" for a Ray of our own. worker_count: by default one a core
    (of the cluster: one a CPU that it offers). store_bytes_max: shared memory of our own Ray, None
    for what Ray takes (a third of the machine's, used as needed).
    """

    address: str = ""
    worker_count: int | None = None
    store_bytes_max: int | None = None


@dataclass
class Worker:
    """A Ray actor: its handle, the answer that says it is up, and its process id once it is."""

    name: str
    actor: Any
    up: Any
    pid: int | None = None
    opened: set[str] = field(default_factory=set)


class RayCluster:
    """The connection: `get_workers` starts them, `drop` buries one that died."""

    def __init__(self, ray: ModuleType, options: RayOptions) -> None:
        self.ray, self.options = ray, options
        self.leases = 0
        self._own_dir: str | None = None
        self._workers: list[Worker] = []
        self._count = 0
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._connect()
        self._actor_class = ray.remote(num_cpus=1, max_restarts=0)(RayWorker)

    @property
    def worker_count_max(self) -> int:
        """How many workers the options or the cluster's CPUs allow."""
        offered = int(self.ray.cluster_resources().get("CPU", 1))
        return max(1, self.options.worker_count or offered)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are up, on whichever machine."""
        return tuple(worker.pid for worker in self._workers if worker.pid is not None)

    def get_workers(self, count: int) -> list[Worker]:
        """Return up to `count` workers that are up, starting those that lack.

        Waits for new ones START_SECONDS_MAX at most; those that come later serve later rounds.
        Raises WorkerError when there is none.
        """
        wanted = min(count, self.worker_count_max)
        lacking = wanted - len(self._workers)
        for _ in range(lacking):
            self._start()
        self._greet(START_SECONDS_MAX if lacking > 0 else 0.0)
        if not self.worker_pids:
            self._greet(START_SECONDS_MAX)
        ready = [worker for worker in self._workers if worker.pid is not None][:wanted]
        if not ready:
            free = int(self.ray.available_resources().get("CPU", 0))
            raise WorkerError(
                f"Ray gave no worker within {START_SECONDS_MAX:.0f} s: {free} of "
                f"{self.worker_count_max} CPUs are free; wait for other work, or free some"
            )
        return ready

    def drop(self, worker: Worker) -> None:
        """Forget a worker that died, and make sure that it is dead."""
        self._workers = [one for one in self._workers if one is not worker]
        self.ray.kill(worker.actor)

    def forget(self, key: str) -> None:
        """Let every worker drop what it keeps under `key`; nobody waits for it."""
        for worker in self._workers:
            if key in worker.opened:
                worker.opened.discard(key)
                worker.actor.forget.remote(key)

    def close(self) -> None:
        """End our workers, and our Ray if it is ours; leave the cluster that was there before."""
        for worker in list(self._workers):
            self.drop(worker)
        if self._is_ours:
            self.ray.shutdown()
        if self._own_dir:
            shutil.rmtree(self._own_dir, ignore_errors=True)

    def _start(self) -> None:
        self._count += 1
        actor = self._actor_class.remote()
        self._workers.append(Worker(f"worker-{self._count}", actor, actor.get_pid.remote()))

    def _greet(self, seconds_max: float) -> None:
        """Note who is up by now, waiting for all until the time is over."""
        asked = {worker.up: worker for worker in self._workers if worker.pid is None}
        if not asked:
            return
        done, _ = self.ray.wait(list(asked), num_returns=len(asked), timeout=seconds_max)
        for up in done:
            try:
                asked[up].pid = self.ray.get(up)
            except self.ray.exceptions.RayError as error:
                self.drop(asked[up])
                first = str(error).strip().splitlines()
                raise WorkerError(
                    f"a Ray worker could not start: {' '.join(first)[:500]}"
                ) from error

    def _connect(self) -> None:
        address = self.options.address
        quiet: dict[str, Any] = {
            "log_to_driver": False,
            "configure_logging": False,
            "logging_level": "ERROR",
        }
        if not address:
            self._own_dir = start_own(self.ray, self.options, quiet)
            return
        try:
            if address != "auto":
                knock(address)
            self.ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            fix = f"no Ray cluster can be joined there ({first_line(error)}); see `ray status`"
            raise InputError("KUMIAI_RAY_ADDRESS", address, fix) from error


def start_own(ray: ModuleType, options: RayOptions, quiet: dict[str, Any]) -> str:
    """Start a Ray on 127.0.0.1 in a folder of its own, and return that folder.

    Raises InputError where it cannot be confined to this machine, or does not start.
    """
    if not process.has_own_settings:
        fix = (
            "this program imported Ray before, with settings under which a new one would listen on "
            "the network; call ray.init() yourself first, or set KUMIAI_RAY_ADDRESS"
        )
        raise InputError(FIELD, "ray", fix)
    folder = tempfile.mkdtemp(prefix="kumiai-ray-")
    try:
        with environment({**OWN_SETTINGS, "RAY_AUTH_TOKEN": TOKEN}):
            ray.init(
                address="local",
                num_cpus=options.worker_count or count_cores(),
                num_gpus=0,
                object_store_memory=options.store_bytes_max,
                include_dashboard=False,
                _temp_dir=folder,
                **quiet,
            )
        address = ray.util.get_node_ip_address()
        if address != LOCALHOST:
            ray.shutdown()
            raise InputError(FIELD, "ray", f"Ray would listen on {address}: start it yourself")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        fix = f"Ray does not start here: {first_line(error)}"
        raise InputError(FIELD, "ray", fix) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


@dataclass
class Process:
    """What is true of this process: it has one connection or none, Ray's own rule, and Ray was
    imported under OWN_SETTINGS or, for another cluster or by somebody else, not.
    """

    joined: RayCluster | None = None
    has_own_settings: bool = False


process = Process()


def join_cluster(options: RayOptions) -> RayCluster:
    """Return this process's connection, made if there is none; pair each call with `leave_cluster`.

    Raises InputError without Ray or cluster, ValueError for two addresses in one process.
    """
    if process.joined is None:
        process.joined = RayCluster(import_ray(options.address), options)
    cluster = process.joined
    if options.address not in ("", cluster.options.address):
        raise ValueError(
            f"this process is connected to Ray at {cluster.options.address or 'its own'!r}, "
            f"{options.address!r} was asked for: one process has one connection"
        )
    cluster.leases += 1
    return cluster


def leave_cluster(cluster: RayCluster) -> None:
    """Give the connection back; the last one out closes it."""
    cluster.leases -= 1
    if cluster.leases <= 0 and process.joined is cluster:
        process.joined = None
        cluster.close()


def check_ray(address: str) -> None:
    """Raise InputError, with the fix, where Ray is not installed or the address is of no use."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(FIELD, "ray", "Ray is not installed: pip install 'kumiai[ray]'")
    if "://" in address or (address not in ("", "auto") and ":" not in address):
        fix = "write host:port of the cluster's head, or auto; Ray Client's ray:// is not served"
        raise InputError("KUMIAI_RAY_ADDRESS", address, fix)


def knock(address: str) -> None:
    """Raise OSError or ValueError unless somebody listens there: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS_MAX):
        pass


def import_ray(address: str) -> ModuleType:
    """Import Ray, which takes a second and reads the environment as it does.

    OWN_SETTINGS are for a Ray of our own only: with them, no other machine's Ray would be found.
    """
    is_own = not address and "ray" not in sys.modules
    with environment(OWN_SETTINGS if is_own else {}):
        import ray
        import ray.exceptions
        import ray.util
    process.has_own_settings |= is_own
    return ray


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Set variables that have no value yet, for the processes started meanwhile."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
