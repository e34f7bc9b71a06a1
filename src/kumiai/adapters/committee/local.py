"""A committee of processes on one machine: keys from a name, free ports, a journal each."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.service import ServiceConfig
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.replica import Settings


def make_local_configs(
    cluster: str, size: int, clients: frozenset[str], folder: Path, settings: Settings
) -> list[ServiceConfig]:
    """Return what each of `size` validators is started with. The keys are no secret."""
    keys = [derive_key(cluster.encode(), f"replica {i}") for i in range(size)]
    committee = Committee(cluster, 1, tuple(key.pubkey for key in keys), clients)
    addresses = tuple(Address("127.0.0.1", port) for port in find_ports(size))
    return [
        ServiceConfig(committee, i, key, addresses, folder / f"{i}.sqlite", settings)
        for i, key in enumerate(keys)
    ]


def find_ports(count: int) -> list[int]:
    """Return ports that are free now; another process may take one before it is used."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
