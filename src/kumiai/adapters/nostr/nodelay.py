"""TCP_NODELAY for a listening socket of this process that another library opened.

nostr-sdk sets it nowhere. Without it a small message waits until the one before is acknowledged,
and the other side may take 40 ms over that. Accepted connections inherit the option from the socket
that listens (Linux, BSD, macOS), so setting it there once is enough. Only a socket of exactly the
given address is touched; where the process's descriptors cannot be listed nothing happens.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))


def set_nodelay(port: int) -> bool:
    """Set the option on this process's socket that listens at `port`; tell whether one was found.

    Connections accepted before are left as they are.
    """
    is_found = False
    for descriptor in _list_descriptors():
        try:
            # A file must not even be copied: closing the copy drops the locks that this process
            # holds on it (POSIX), those of SQLite and LMDB for example.
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            copy = os.dup(descriptor)
        except OSError:  # closed since it was listed
            continue
        try:
            listening = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            continue
        with listening:
            is_found |= _set_if_listening(listening, port)
    return is_found


def _set_if_listening(it: socket.socket, port: int) -> bool:
    if it.family not in {socket.AF_INET, socket.AF_INET6} or it.type != socket.SOCK_STREAM:
        return False
    try:
        if not it.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        if it.getsockname()[1] != port:
            return False
        it.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return False
    return True


def _list_descriptors() -> list[int]:
    for folder in FOLDERS:
        try:
            return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        except OSError:
            continue
    return []
