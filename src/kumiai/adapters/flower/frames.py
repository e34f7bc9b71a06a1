"""What the grid's process and its workers say to each other: a JSON head, then buffers.

    head {"parts": [size, ...], ...}    one frame, at most `HEAD_BYTES_MAX`
    part                                one frame each, as long as the head says

Only processes of one run on one machine speak so, over a pipe of their own. Records travel as
`state.encode_records` writes them: nothing is executed when a frame is read.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any

HEAD_BYTES_MAX = 2**24
PART_BYTES_MAX = 2**30
PARTS_MAX = 2


def send_frames(pipe: Connection, head: dict[str, Any], *parts: bytes) -> None:
    """Send one message; ValueError for one that is too long, OSError if nobody is there."""
    data = json.dumps({**head, "parts": [len(part) for part in parts]}).encode()
    if len(data) > HEAD_BYTES_MAX or any(len(part) > PART_BYTES_MAX for part in parts):
        raise ValueError(f"a head of {len(data)} bytes and parts of {[len(p) for p in parts]}")
    pipe.send_bytes(data)
    for part in parts:
        if part:
            pipe.send_bytes(part)


def receive_frames(pipe: Connection) -> tuple[dict[str, Any], list[bytes]]:
    """Wait for one message; EOFError or OSError once the other end is gone."""
    head = json.loads(pipe.recv_bytes(HEAD_BYTES_MAX))
    sizes = head.pop("parts")
    if len(sizes) > PARTS_MAX or any(not 0 <= size <= PART_BYTES_MAX for size in sizes):
        raise OSError(f"a message with parts of {sizes} bytes")
    return head, [pipe.recv_bytes(size) if size else b"" for size in sizes]
