"""One suite over the twin without a socket, a server on a folder, and a server on S3."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("granian", reason="the extra `market` is not installed")
pytest.importorskip("aiohttp", reason="the extra `market` is not installed")

from tests.adapters.blobs.servers import ALICE, BOB, QUICK, make_bytes, name_of, run_s3

from kumiai.adapters.blobs.bucket import open_bucket
from kumiai.adapters.blobs.client import HttpBlobs
from kumiai.adapters.blobs.limits import BlobLimits
from kumiai.adapters.blobs.local import LocalBlobServers
from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.base.keys import SigningKey
from kumiai.nodes.market.errors import BlobError
from kumiai.nodes.market.ports import BlobLocation, RemoteBlobPort

LIMITS = BlobLimits(blob_bytes_max=20 << 20, quota_bytes=30 << 20)


@dataclass
class World:
    """Two servers, and members of them."""

    stores: list[BlobStore]
    join: Callable[[SigningKey], RemoteBlobPort]
    folder: Path


@asynccontextmanager
async def _open_local(folder: Path, shelves) -> AsyncIterator[World]:
    stores = [BlobStore(folder / f"s{at}", LIMITS, shelf) for at, shelf in enumerate(shelves)]
    named = {f"local:{at}": store for at, store in enumerate(stores)}
    yield World(stores, lambda key: LocalBlobServers(named, key.pubkey), folder)
    for store in stores:
        await store.close()


@asynccontextmanager
async def _open_http(folder: Path, shelves) -> AsyncIterator[World]:
    stores = [BlobStore(folder / f"s{at}", LIMITS, shelf) for at, shelf in enumerate(shelves)]
    servers = [await BlobServer.start(store) for store in stores]
    urls = [server.url for server in servers]
    members = []

    def join(key: SigningKey) -> HttpBlobs:
        members.append(HttpBlobs(key, urls, QUICK))
        return members[-1]

    yield World(stores, join, folder)
    for member in members:
        await member.close()
    for server in servers:
        await server.stop()


@contextmanager
def _make_shelves(kind: str, folder: Path):
    if not kind.endswith("s3"):
        yield (None, None)
        return
    with run_s3(folder / "s3") as endpoint:
        yield [
            open_bucket(
                "s3://blobs", endpoint=endpoint, access_key="k", secret_key="s", prefix=f"{at}/"
            )
            for at in range(2)
        ]


@pytest.fixture(params=["twin", "folder", "s3"])
def play(request, tmp_path: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    """Runs a test's coroutine in a world of the parameter's kind."""
    kind = request.param
    opening = _open_local if kind == "twin" else _open_http

    def run(scene: Callable[[World], Awaitable[None]]) -> None:
        async def go() -> None:
            async with opening(tmp_path, shelves) as world:
                await scene(world)

        with _make_shelves(kind, tmp_path) as shelves:
            asyncio.run(go())

    return run


def write(world: World, data: bytes, name: str = "source") -> Path:
    path = world.folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, 1 << 20, (9 << 20) + 1])
def test_what_was_put_comes_back(play, size_bytes: int) -> None:
    data = make_bytes(size_bytes)

    async def scene(world: World) -> None:
        alice, bob = world.join(ALICE), world.join(BOB)
        location = await alice.upload(write(world, data), "image/png")
        assert (location.sha256, location.size_bytes) == (name_of(data), size_bytes)
        assert len(location.servers) == 2
        assert await bob.has(location)
        target = world.folder / "target"
        target.write_bytes(b"old")
        await bob.download(location, target, size_bytes)
        assert target.read_bytes() == data
        for store in world.stores:
            assert store.find(location.sha256).media_type == "image/png"
            assert await store.shelf.get_size(location.sha256) == size_bytes
        left = {path.name for path in world.folder.iterdir()}
        assert left <= {"source", "target", "s0", "s1", "s3"}

    play(scene)


def test_a_file_whose_name_is_known_already(play) -> None:
    data = make_bytes(3_000_000)

    async def scene(world: World) -> None:
        alice = world.join(ALICE)
        location = await alice.upload(write(world, data), sha256=name_of(data))
        assert (location.sha256, location.size_bytes) == (name_of(data), len(data))
        with pytest.raises(BlobError, match=f"the bytes have sha256 {name_of(b'other')}"):
            await alice.upload(write(world, b"other"), sha256=name_of(b"promised"))
        for store in world.stores:
            assert store.find(name_of(b"promised")) is None
            assert store.find(name_of(b"other")) is None
            assert store.catalogue.count_bytes(ALICE.pubkey) == len(data)
        with pytest.raises(ValueError, match="is no sha256"):
            await alice.upload(write(world, b"other"), sha256="../../etc")

    play(scene)


def test_the_same_again_changes_nothing(play) -> None:
    async def scene(world: World) -> None:
        alice = world.join(ALICE)
        path = write(world, make_bytes(3_000_000))
        assert await alice.upload(path) == await alice.upload(path)
        for store in world.stores:
            assert store.catalogue.count_bytes(ALICE.pubkey) == 3_000_000
            assert len(store.catalogue.list_owned(ALICE.pubkey, 10)) == 1

    play(scene)


def test_a_blob_is_gone_when_its_last_owner_deletes_it(play) -> None:
    async def scene(world: World) -> None:
        alice, bob = world.join(ALICE), world.join(BOB)
        path = write(world, b"of both")
        location = await alice.upload(path)
        with pytest.raises(BlobError):
            await bob.delete(location)
        await bob.upload(path)
        await alice.delete(location)
        assert await bob.has(location)
        await bob.delete(location)
        assert not await bob.has(location)
        await bob.delete(location)  # twice is harmless
        for store in world.stores:
            assert await store.shelf.get_size(location.sha256) is None
        with pytest.raises(BlobError) as caught:
            await alice.download(location, world.folder / "none", 100)
        assert caught.value.is_retriable
        assert not (world.folder / "none").exists()

    play(scene)


def test_a_blob_that_is_too_big_is_not_asked_for(play) -> None:
    async def scene(world: World) -> None:
        alice = world.join(ALICE)
        location = await alice.upload(write(world, bytes(1_000)))
        with pytest.raises(BlobError, match="more than the 999 allowed"):
            await alice.download(location, world.folder / "target", 999)
        assert not (world.folder / "target").exists()

    play(scene)


def test_a_location_with_another_size_is_refused(play) -> None:
    async def scene(world: World) -> None:
        alice = world.join(ALICE)
        location = await alice.upload(write(world, bytes(5_000)))
        for size_bytes in (4_999, 5_001, 0):
            wrong = replace(location, size_bytes=size_bytes)
            assert not await alice.has(wrong)
            with pytest.raises(BlobError):
                await alice.download(wrong, world.folder / "target", 10_000)
            assert not (world.folder / "target").exists()

    play(scene)


def test_size_and_quota_are_kept(play) -> None:
    async def scene(world: World) -> None:
        alice, bob = world.join(ALICE), world.join(BOB)
        with pytest.raises(BlobError, match="no server took"):
            await alice.upload(write(world, bytes((20 << 20) + 1)))
        await alice.upload(write(world, make_bytes(18 << 20, 1)))
        with pytest.raises(BlobError, match="no server took"):
            await alice.upload(write(world, make_bytes(13 << 20, 2)))
        await bob.upload(write(world, make_bytes(13 << 20, 2)))  # each key has its own
        await alice.upload(write(world, make_bytes(18 << 20, 1)))  # it counts already

    play(scene)


def test_names_that_are_no_hash_reach_nothing(play) -> None:
    async def scene(world: World) -> None:
        alice = world.join(ALICE)
        location = await alice.upload(write(world, b"x"))
        for name in ("../../etc/passwd", "A" * 64, "0" * 63, ""):
            wrong = BlobLocation(name, 1, location.servers)
            for call in (
                alice.has(wrong),
                alice.delete(wrong),
                alice.download(wrong, world.folder / "target", 10),
            ):
                with pytest.raises(ValueError, match="no sha256"):
                    await call

    play(scene)


def test_stray_bytes_are_tidied(play) -> None:
    async def scene(world: World) -> None:
        alice = world.join(ALICE)
        location = await alice.upload(write(world, b"kept"))
        store = world.stores[0]
        stray = write(world, b"stray", "s0/partial/stray")
        await store.shelf.put(name_of(b"stray"), stray)
        assert await store.tidy() == 1
        assert await store.shelf.get_size(name_of(b"stray")) is None
        assert await store.shelf.get_size(location.sha256) == 4

    play(scene)
