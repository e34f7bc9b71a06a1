"""kill -9 of the server in the middle of an upload or a download; then it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("granian", reason="the extra `market` is not installed")
pytest.importorskip("aiohttp", reason="the extra `market` is not installed")

from dataclasses import replace

from tests.adapters.blobs.servers import (
    ALICE,
    QUICK,
    ServerProcess,
    make_bytes,
    name_of,
    run_process,
)

from kumiai.adapters.blobs import sending
from kumiai.adapters.blobs.client import HttpBlobs
from kumiai.adapters.blobs.store import BlobStore
from kumiai.market.nips.bud import Verb

DATA = make_bytes(24 << 20)
PATIENT = replace(QUICK, attempts=300, retry_s=0.2, retry_s_max=1.0, split_above_bytes=1 << 30)


def test_an_upload_survives_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(DATA)
    offsets: list[int] = []
    sent: list[int] = []
    read_blocks = sending.read_blocks

    async def go(server: ServerProcess) -> None:
        def read(path, start, end, *more):
            offsets.append(start)
            return watched(read_blocks(path, start, end, *more))

        async def watched(blocks):
            async for block in blocks:
                sent.append(len(block))
                if len(sent) == 14:
                    await has_taken(8 << 20)
                    await asyncio.to_thread(server.restart)
                yield block

        async def has_taken(size_bytes: int) -> None:
            partial = tmp_path / "store" / "partial"
            while not any(path.stat().st_size >= size_bytes for path in partial.iterdir()):
                await asyncio.sleep(0.01)

        monkeypatch.setattr(sending, "read_blocks", read)
        client = HttpBlobs(ALICE, [server.url], PATIENT)
        location = await client.upload(tmp_path / "source")
        assert location.servers == (server.url,)
        await client.download(location, tmp_path / "target", len(DATA))
        await client.close()

    with run_process(tmp_path / "store") as server:
        asyncio.run(go(server))
        assert server.stop() == 0
    assert (tmp_path / "target").read_bytes() == DATA
    assert offsets[0] == 0 and len(offsets) > 1
    assert offsets[-1] > 0, "it began again from the first byte"
    assert sum(sent) < 2 * len(DATA)
    _check_store(tmp_path / "store")


def test_a_download_survives_the_server(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)
    starts: list[int] = []

    async def go(server: ServerProcess) -> None:
        client = HttpBlobs(ALICE, [server.url], PATIENT)
        location = await client.upload(tmp_path / "source")
        pull = client.pull

        class Watched:
            def __init__(self, to) -> None:
                self.to = to

            async def write(self, part: bytes) -> None:
                await self.to.write(part)
                if len(starts) == 1 and self.to.size_bytes > 8 << 20:
                    starts.append(-1)
                    await asyncio.to_thread(server.restart)

        async def watched(where, sha256, start, end, total, to):
            starts.append(start)
            await pull(where, sha256, start, end, total, Watched(to))

        client.pull = watched
        await client.download(location, tmp_path / "target", len(DATA))
        await client.close()

    with run_process(tmp_path / "store") as server:
        asyncio.run(go(server))
    assert (tmp_path / "target").read_bytes() == DATA
    assert starts[:2] == [0, -1] and starts[2] > 8 << 20
    _check_store(tmp_path / "store")


def test_a_plain_upload_that_was_killed_leaves_nothing(tmp_path: Path) -> None:
    async def go(server: ServerProcess) -> None:
        host, port = server.url[7:].split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        client = HttpBlobs(ALICE, [server.url], PATIENT)
        signed = client.authorize(server.url, Verb.UPLOAD, name_of(DATA))["Authorization"]
        head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n"
        writer.write(f"{head}Authorization: {signed}\r\n\r\n".encode() + DATA[: 8 << 20])
        await writer.drain()
        partial = tmp_path / "store" / "partial"
        while not [path for path in partial.iterdir() if path.stat().st_size]:
            await asyncio.sleep(0.01)
        server.kill()
        writer.transport.abort()
        await client.close()
        assert list(partial.iterdir())
        server.start()
        assert not list(partial.iterdir())

    with run_process(tmp_path / "store") as server:
        asyncio.run(go(server))


def _check_store(folder: Path) -> None:
    store = BlobStore(folder)
    assert [it.sha256 for it in store.catalogue.list_owned(ALICE.pubkey, 10)] == [name_of(DATA)]
    assert store.catalogue.list_partials() == []
    assert not list((folder / "partial").iterdir())
    asyncio.run(store.close())
