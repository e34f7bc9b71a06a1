"""A validator's connections and its journal: frames of any kind, rows of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.consensus.pbft.loyal import BATCHES
from tests.fuzz.doors import Door
from tests.fuzz.doors.pbft_wire import DIGEST, MESSAGES, PREPARED

from kumiai.adapters.committee.journal import decode_entry, encode_entry
from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.service import FOLLOWERS_MAX, Service, ServiceConfig
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee
from kumiai.consensus.pbft.proofs import BEGINNING
from kumiai.consensus.pbft.safety import BatchPrepared, Stabilised, ViewEntered, Voted

KEY = derive_key(b"fuzz", "validator")
KINDS = (b"view", b"voted", b"prepared", b"stable")


class Connection:
    """Brings frames and goes away; notes what it was told."""

    def __init__(self, frames: list[bytes | str]) -> None:
        self._frames = frames
        self.closed: list[int] = []

    async def __aiter__(self) -> AsyncIterator[bytes | str]:
        for frame in self._frames:
            yield frame

    async def close(self, code: int, reason: str) -> None:
        self.closed.append(code)

    async def wait_closed(self) -> None:
        return

    async def send(self, data: bytes) -> None:
        raise AssertionError("nothing was decided, so nothing is sent")


class Frames:
    """One validator whose loop does not run: what comes in stays in its queue."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.service: Any = None

    def knock(self, data: bytes) -> None:
        """Bring the data as one binary frame, and as a text frame where it is text."""
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            committee = Committee("fuzz", 1, (KEY.pubkey,), frozenset())
            address = (Address("127.0.0.1", 1),)
            config = ServiceConfig(committee, 0, KEY, address, Path(":memory:"))
            self.service = Service(config)
        frames: list[bytes | str] = [data]
        if not any(byte > 127 for byte in data):
            frames.append(data.decode())
        connection = Connection(frames)
        self.loop.run_until_complete(self.service._links._receive(connection))
        while not self.service._inputs.empty():
            assert wire.encode(self.service._inputs.get_nowait().message) == data
        assert len(self.service._followers) == 0 < FOLLOWERS_MAX
        assert set(connection.closed) <= {1008}


def knock_entry(data: bytes) -> None:
    """The first byte chooses the kind of row."""
    kind = KINDS[data[0] % len(KINDS)].decode() if data else "none"
    try:
        entry = decode_entry(kind, data[1:])
    except ValueError:
        return
    assert encode_entry(entry)[0] == kind
    assert encode_entry(entry)[2] == data[1:]


ENTRIES = (
    ViewEntered(1, True, ((1, DIGEST),)),
    Voted("pre-prepare", 0, 1, DIGEST, BATCHES[1]),
    Voted("commit", 0, 1, DIGEST),
    BatchPrepared(PREPARED, BATCHES[1]),
    Stabilised(BEGINNING),
)


def write_row(entry: Any) -> bytes:
    kind, _, body = encode_entry(entry)
    return bytes([KINDS.index(kind.encode())]) + body


FRAMES = Door(
    "frames",
    (b"follow 1", b"follow 999999999999999", b"follow ", *map(wire.encode, MESSAGES)),
    Frames().knock,
)
ENTRY = Door("journal", tuple(map(write_row, ENTRIES)), knock_entry)
