"""The contract of relays over: the embedded one in memory and in a folder, and another author's."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("nostr_sdk", reason="nostr-sdk is not installed: pip install 'kumiai[market]'")

from tests.adapters.nostr.relay_contract import Place, RelayContract
from tests.adapters.nostr.second_relay import PROGRAM, REASON, run_second_relay

from kumiai.adapters.nostr import embedded

SMALL = embedded.RelayLimits(page_events_max=100)  # a disk's sync an event: fewer events there


@pytest.fixture(params=["memory", "lmdb", "nostr-relay"])
def place(request, tmp_path) -> Place:
    numbers = itertools.count()

    def folder(name: str | None = None):
        path = tmp_path / (name or f"empty{next(numbers)}")
        path.mkdir(exist_ok=True)
        return path

    @asynccontextmanager
    async def in_memory(port: int):
        async with await embedded.start(port=port) as relay:
            yield relay.url

    def on_disk(path):
        @asynccontextmanager
        async def run(port: int):
            async with await embedded.start(port=port, folder=path(), limits=SMALL) as relay:
                yield relay.url

        return run

    if request.param == "memory":
        return Place("memory", in_memory, in_memory, keeps_over_restart=False)
    if request.param == "lmdb":
        return Place("lmdb", on_disk(lambda: folder("kept")), on_disk(folder), True, 150)
    if not PROGRAM.exists():
        pytest.skip(REASON)
    return Place(
        "nostr-relay",
        lambda port: run_second_relay(folder("kept"), port),
        lambda port: run_second_relay(folder(), port),
        keeps_over_restart=True,
        stores_ephemeral=True,
        takes_expired=True,
        has_negentropy=False,
    )


class TestRelays(RelayContract):
    """See `RelayContract`."""
