"""Servers that lie, stall, crawl, send without end or fail: the client gets the blob or says no."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("granian", reason="the extra `market` is not installed")
pytest.importorskip("aiohttp", reason="the extra `market` is not installed")

from tests.adapters.blobs.servers import ALICE, QUICK, Naughty, answer, make_bytes, name_of

from kumiai.adapters.blobs import client as client_module
from kumiai.adapters.blobs.client import HttpBlobs
from kumiai.adapters.blobs.options import ClientOptions
from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.nodes.market.errors import BlobError
from kumiai.nodes.market.ports import BlobLocation

DATA = make_bytes(200_000)
LONG = make_bytes(16 << 20, 5)  # more than sockets hold
BIG = make_bytes(7 << 20, 3)


async def flipped(request: str, writer: asyncio.StreamWriter) -> None:
    """The right size, the wrong bytes: ranges too."""
    data = BIG if name_of(BIG) in request else DATA
    wrong = bytes([data[0] ^ 1]) + data[1:]
    for line in request.split("\r\n"):
        if line.lower().startswith("range: bytes="):
            first, last = line.split("=")[1].split("-")
            part = wrong[int(first) : int(last) + 1]
            span = f"bytes {first}-{last}/{len(data)}"
            writer.write(answer("206 Partial Content", part, Content_Range=span))
            return
    writer.write(answer("200 OK", wrong))


async def short(_request: str, writer: asyncio.StreamWriter) -> None:
    """Announces all, ends early."""
    writer.write(answer("200 OK", DATA[:1_000], Content_Length=str(len(DATA))))


async def cut(_request: str, writer: asyncio.StreamWriter) -> None:
    """Announces nothing, ends early: no error of HTTP's."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA[:1_000])


async def longer(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA + b"!"))


async def endless(_request: str, writer: asyncio.StreamWriter) -> None:
    """No length, and bytes as long as somebody takes them."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    with suppress(ConnectionError):
        for _ in range(1_000):
            writer.write(DATA)
            await writer.drain()
        raise AssertionError("the client read 200 MB of a blob of 200 kB")


async def endless_chunks(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(ConnectionError):
        while True:
            writer.write(b"%x\r\n" % len(DATA) + DATA + b"\r\n")
            await writer.drain()


async def silent(_request: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def stalling(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA[:1_000], Content_Length=str(len(DATA))))
    await writer.drain()
    await asyncio.sleep(30)


async def crawling(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", b"", Content_Length=str(len(DATA))))
    with suppress(ConnectionError):
        for at in range(300):
            writer.write(DATA[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0.1)


async def failing(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("500 Oops", b"<html>" * 10_000, X_Reason="out of \x01order" + "!" * 3_000))


async def packed(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA, Content_Encoding="gzip"))


async def other_range(_request: str, writer: asyncio.StreamWriter) -> None:
    span = f"bytes 0-9/{len(DATA)}"
    writer.write(answer("206 Partial Content", DATA[:10], Content_Range=span))


async def circling(request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("302 Found", b"", Location=request.split()[1] + "?again"))


async def straying(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("302 Found", b"", Location="http://169.254.169.254/latest/meta-data"))


async def long_header(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA, X_Long="y" * 100_000))


async def nonsense(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01\x02\r\n\r\n")


async def deaf(request: str, writer: asyncio.StreamWriter) -> None:
    """Would take an upload, and then reads nothing of it."""
    if request.startswith("HEAD"):
        writer.write(answer("200 OK"))
    else:
        writer.transport.pause_reading()
        await asyncio.sleep(30)


# Of those that only take time little is borne; all others are given as much as they may need.
HASTY = {
    silent: replace(QUICK, idle_s=1.0),
    stalling: replace(QUICK, idle_s=1.0),
    crawling: replace(QUICK, slow_after_s=1.0),
    deaf: replace(QUICK, idle_s=1.0),
}
EVIL = [
    flipped, short, cut, longer, endless, endless_chunks, silent, stalling, crawling, failing,
    packed, other_range, circling, straying, long_header, nonsense,
]  # fmt: skip


def play(
    tmp_path: Path,
    scene: Callable[[HttpBlobs, BlobServer], Awaitable[None]],
    options: ClientOptions = QUICK,
) -> None:
    async def go() -> None:
        server = await BlobServer.start(BlobStore(tmp_path / "store"))
        client = HttpBlobs(ALICE, [server.url], options)
        await scene(client, server)
        await client.close()
        await server.stop()

    asyncio.run(go())


@pytest.mark.parametrize("evil", EVIL, ids=lambda it: it.__name__)
def test_another_server_makes_up_for_it(tmp_path: Path, evil) -> None:
    (tmp_path / "source").write_bytes(DATA)

    async def scene(client: HttpBlobs, server: BlobServer) -> None:
        location = await client.upload(tmp_path / "source")
        async with Naughty(evil) as naughty:
            both = BlobLocation(location.sha256, location.size_bytes, (naughty.url, server.url))
            await client.download(both, tmp_path / "target", 1 << 20)
            assert naughty.requests
        assert (tmp_path / "target").read_bytes() == DATA

    play(tmp_path, scene, HASTY.get(evil, QUICK))


@pytest.mark.parametrize("evil", EVIL, ids=lambda it: it.__name__)
def test_alone_it_is_an_error_and_leaves_nothing(tmp_path: Path, evil) -> None:
    async def scene() -> None:
        client = HttpBlobs(ALICE, [], HASTY.get(evil, QUICK))
        async with Naughty(evil) as naughty:
            location = BlobLocation(name_of(DATA), len(DATA), (naughty.url,))
            with pytest.raises(BlobError) as caught:
                await client.download(location, tmp_path / "target", 1 << 20)
            assert len(str(caught.value)) < 700
        await client.close()
        assert not list(tmp_path.iterdir())

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("evil", "reason"),
    [
        (crawling, "is too slow|knows no ranges"), (straying, "redirects to what is not this blob"),
        (other_range, "sent another range"), (endless, "more bytes than the blob"),
        (circling, "redirects without end"), (packed, "in another encoding"),
    ],
)  # fmt: skip
def test_the_error_says_what_was_wrong(tmp_path: Path, evil, reason: str) -> None:
    async def scene() -> None:
        client = HttpBlobs(ALICE, [], replace(HASTY.get(evil, QUICK), attempts=1))
        async with Naughty(evil) as naughty:
            location = BlobLocation(name_of(DATA), len(DATA), (naughty.url,))
            with pytest.raises(BlobError, match=reason):
                await client.download(location, tmp_path / "target", 1 << 20)
        await client.close()

    asyncio.run(scene())


def test_a_liar_is_told_from_a_bad_line(tmp_path: Path) -> None:
    async def scene() -> None:
        client = HttpBlobs(ALICE, [], QUICK)
        for evil, is_retriable in ((flipped, False), (longer, False), (short, True), (cut, True)):
            async with Naughty(evil) as naughty:
                location = BlobLocation(name_of(DATA), len(DATA), (naughty.url,))
                with pytest.raises(BlobError) as caught:
                    await client.download(location, tmp_path / "target", 1 << 20)
                assert caught.value.is_retriable is is_retriable, evil
                assert len(naughty.requests) == (QUICK.attempts if is_retriable else 1)
        await client.close()

    asyncio.run(scene())


@pytest.mark.parametrize("evil", [flipped, short, silent, failing], ids=lambda it: it.__name__)
def test_pieces_from_several_mirrors(tmp_path: Path, evil) -> None:
    """Two honest mirrors and one that is not, each asked for pieces at once."""
    (tmp_path / "source").write_bytes(BIG)

    async def scene(client: HttpBlobs, server: BlobServer) -> None:
        second = await BlobServer.start(BlobStore(tmp_path / "second"))
        both = HttpBlobs(ALICE, [server.url, second.url], QUICK)
        location = await both.upload(tmp_path / "source")
        await client.download(location, tmp_path / "target", 8 << 20)
        assert (tmp_path / "target").read_bytes() == BIG
        async with Naughty(evil) as naughty:
            servers = (naughty.url, *location.servers)
            three = BlobLocation(location.sha256, location.size_bytes, servers)
            await client.download(three, tmp_path / "target", 8 << 20)
            assert any("range: bytes=" in it.lower() for it in naughty.requests)
        assert (tmp_path / "target").read_bytes() == BIG
        await both.close()
        await second.stop()

    play(tmp_path, scene)


def test_pieces_come_from_all_mirrors(tmp_path: Path) -> None:
    async def honest(request: str, writer: asyncio.StreamWriter) -> None:
        first, last = request.lower().split("range: bytes=")[1].split("\r\n")[0].split("-")
        span = f"bytes {first}-{last}/{len(BIG)}"
        part = BIG[int(first) : int(last) + 1]
        writer.write(answer("206 Partial Content", part, Content_Range=span))
        await writer.drain()

    async def scene() -> None:
        client = HttpBlobs(ALICE, [], QUICK)
        async with Naughty(honest) as one, Naughty(honest) as two:
            location = BlobLocation(name_of(BIG), len(BIG), (one.url, two.url))
            await client.download(location, tmp_path / "target", 8 << 20)
            assert one.requests and two.requests
            assert len(one.requests) + len(two.requests) >= 7
        await client.close()
        assert (tmp_path / "target").read_bytes() == BIG

    asyncio.run(scene())


def test_a_server_without_ranges_is_gone_on_with(tmp_path: Path) -> None:
    """It sends the whole again; what is here already is passed over."""

    async def forgetful(_request: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", DATA))

    async def scene() -> None:
        client = HttpBlobs(ALICE, [], QUICK)
        (tmp_path / f".target.{name_of(DATA)[:16]}.partial").write_bytes(DATA[:70_001])
        async with Naughty(forgetful) as naughty:
            location = BlobLocation(name_of(DATA), len(DATA), (naughty.url,))
            await client.download(location, tmp_path / "target", 1 << 20)
            assert len(naughty.requests) == 1
        await client.close()
        assert (tmp_path / "target").read_bytes() == DATA

    asyncio.run(scene())


def test_what_an_earlier_process_left_is_used_or_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)

    async def scene(client: HttpBlobs, server: BlobServer) -> None:
        location = await client.upload(tmp_path / "source")
        left = tmp_path / f".target.{location.sha256[:16]}.partial"
        asked: list[int] = []
        pull = client.pull

        async def watched(where, sha256, start, end, total, to):
            asked.append(start)
            await pull(where, sha256, start, end, total, to)

        client.pull = watched
        for kept, starts in ((DATA[:50_000], [50_000]), (bytes(50_000), [50_000, 0])):
            asked.clear()
            left.write_bytes(kept)
            await client.download(location, tmp_path / "target", 1 << 20)
            assert (tmp_path / "target").read_bytes() == DATA
            assert asked == starts
            assert not left.exists()
        left.write_bytes(DATA + b"more")  # too long: cut
        await client.download(location, tmp_path / "target", 1 << 20)
        assert (tmp_path / "target").read_bytes() == DATA

    play(tmp_path, scene)


def test_an_upload_to_servers_that_misbehave(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(LONG)

    async def scene(client: HttpBlobs, server: BlobServer) -> None:
        for evil in (silent, failing, nonsense, circling, deaf):
            async with Naughty(evil) as naughty:
                both = HttpBlobs(ALICE, [naughty.url, server.url], replace(QUICK, straggler_s=0.5))
                location = await both.upload(tmp_path / "source")
                assert location.servers == (server.url,)
                await both.close()
                alone = HttpBlobs(ALICE, [naughty.url], HASTY.get(evil, QUICK))
                with pytest.raises(BlobError, match="no server took"):
                    await alone.upload(tmp_path / "source")
                await alone.close()

    play(tmp_path, scene)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.1.2.3"])
def test_a_stranger_cannot_make_us_knock_at_our_own_network(tmp_path, host):
    async def play():
        client = HttpBlobs(ALICE, [], replace(QUICK, is_private_allowed=False))
        wanted = BlobLocation("ab" * 32, 10, (f"http://{host}:1",))
        with pytest.raises(BlobError, match="no public server"):
            await client.download(wanted, tmp_path / "blob", 100)
        await client.close()

    asyncio.run(play())
    assert not list(tmp_path.iterdir())


def test_a_public_server_cannot_send_us_into_our_own_network(tmp_path, monkeypatch):
    """Where it redirects to was asked, whatever it was, as long as it named the blob."""
    asked: list[str] = []

    async def inner(request: str, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        writer.write(answer("200 OK", DATA))

    async def play():
        async with Naughty(inner) as inside:

            async def redirect(request: str, writer: asyncio.StreamWriter) -> None:
                writer.write(answer("302 Found", b"", Location=f"{inside.url}/{name_of(DATA)}"))

            async with Naughty(redirect) as stranger:
                is_stranger = stranger.url.rpartition(":")[2]

                async def seems_public(origin: str) -> bool:
                    return is_stranger in origin

                monkeypatch.setattr(client_module, "is_public_server", seems_public)
                wanted = BlobLocation(name_of(DATA), len(DATA), (stranger.url,))
                for own, is_had in (([], False), ([stranger.url], True)):
                    options = replace(QUICK, is_private_allowed=False)
                    client = HttpBlobs(ALICE, own, options)
                    with nullcontext() if is_had else pytest.raises(BlobError, match="network of"):
                        await client.download(wanted, tmp_path / "blob", len(DATA))
                    await client.close()
                    assert bool(asked) is is_had

    asyncio.run(play())


@pytest.mark.parametrize(
    "text",
    ["http://[", "http://[]", "http://[::1", "http://::::", "http://a:99999", "http://:80",
     "http://a:b:c", "http://[1.2.3.4]", "http://]", "http://8.8.8.8:0", "http://8.8.8.8:-1"],
)  # fmt: skip
@pytest.mark.parametrize("is_private_allowed", [True, False])
def test_an_address_that_is_none_is_a_blob_error(tmp_path, text, is_private_allowed):
    """Any other error ends the node that asks: strangers name these addresses."""

    async def play():
        options = replace(QUICK, is_private_allowed=is_private_allowed)
        client = HttpBlobs(ALICE, [], options)
        with pytest.raises(BlobError):
            await client.download(BlobLocation("ab" * 32, 10, (text,)), tmp_path / "blob", 100)
        await client.close()

    asyncio.run(play())


def test_our_own_server_may_be_private(tmp_path):
    async def play():
        client = HttpBlobs(ALICE, ["http://127.0.0.1:1"], replace(QUICK, is_private_allowed=False))
        wanted = BlobLocation("ab" * 32, 10, ("http://127.0.0.1:1",))
        with pytest.raises(BlobError) as caught:
            await client.download(wanted, tmp_path / "blob", 100)
        assert "no public server" not in str(caught.value)
        await client.close()

    asyncio.run(play())
