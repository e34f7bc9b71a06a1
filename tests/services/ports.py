"""Ports for servers that are told theirs before they listen, or that come back to the same one."""

from __future__ import annotations

import random
import socket
import sys

_HELD: list[socket.socket] = []  # as long as this process lives


def reserve_port() -> int:
    """Return a port of 127.0.0.1 that nobody else is given as long as this process lives.

    It stays bound here without being listened at, so the system gives it to no other server and to
    no outgoing connection; a server that reuses addresses (SO_REUSEADDR: as good as all do) can
    listen there, be killed, and come back. It lies below those that the system gives to outgoing
    connections, for systems where a bound port cannot be listened at by others.
    """
    while True:
        port = random.randrange(12_000, 30_000)
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            with socket.socket() as probe:  # does not reuse: whoever holds the port is noticed
                probe.bind(("127.0.0.1", port))
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        if sys.platform == "linux":
            _HELD.append(holder)
        else:
            holder.close()
        return port
