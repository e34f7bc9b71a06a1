"""PUT /mirror (BUD-04): copies a blob from elsewhere, and is nobody's tool to reach others."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the extra `market` is not installed")
pytest.importorskip("granian", reason="the extra `market` is not installed")

import aiohttp
from tests.adapters.blobs.servers import ALICE, BOB, Naughty, answer, make_bytes, name_of

from kumiai.adapters.blobs import mirroring
from kumiai.adapters.blobs.authorization import sign_authorization
from kumiai.adapters.blobs.limits import BlobLimits
from kumiai.adapters.blobs.mirroring import MirrorPolicy, is_public
from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.market.nips.bud import Verb

DATA = make_bytes(300_000)
NAME = name_of(DATA)
LIMITS = BlobLimits(blob_bytes_max=1 << 20)
HASTY = BlobLimits(blob_bytes_max=1 << 20, idle_s=0.5)


async def whole(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA, Content_Type="image/png"))


async def endless(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(1_000):
        writer.write(DATA)
        await writer.drain()
    raise AssertionError("the server read 300 MB")


async def too_big(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA, Content_Length=str(2 << 20)))


async def short(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA[:1_000], Content_Length=str(len(DATA))))


async def stalling(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA[:1_000], Content_Length=str(len(DATA))))
    await writer.drain()
    await asyncio.sleep(10)


async def wrong(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA[::-1]))


async def leading_on(request: str, writer: asyncio.StreamWriter) -> None:
    """What is allowed leads elsewhere; here the blob itself is there."""
    if "/elsewhere" in request:
        await whole(request, writer)
    else:
        writer.write(answer("302 Found", b"", Location="/elsewhere"))


async def packed(_request: str, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", DATA, Content_Encoding="gzip"))


async def mirror(server: BlobServer, body: object, name: str = NAME, key=ALICE, verb=Verb.UPLOAD):
    signed = sign_authorization(key, verb, int(time.time()), hashes=[name])
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.put(server.url + "/mirror", data=data, headers={"Authorization": signed}) as reply,
    ):
        return reply.status, await reply.json()


def play(tmp_path: Path, scene, policy: MirrorPolicy | None = None) -> None:
    """Play `scene(server)`."""

    async def go() -> None:
        server = await BlobServer.start(BlobStore(tmp_path / "store", LIMITS), mirrors=policy)
        await scene(server)
        assert not list((tmp_path / "store" / "partial").iterdir())
        await server.stop()

    asyncio.run(go())


def play_with(tmp_path: Path, source_does, scene, limits: BlobLimits = LIMITS) -> None:
    """Play `scene(server, source)` where the operator allows that source."""

    async def go() -> None:
        async with Naughty(source_does) as source:
            policy = MirrorPolicy(frozenset({source.url + "/"}))
            store = BlobStore(tmp_path / "store", limits)
            server = await BlobServer.start(store, mirrors=policy)
            await scene(server, source)
            assert not list((tmp_path / "store" / "partial").iterdir())
            await server.stop()

    asyncio.run(go())


def test_a_blob_is_copied_from_an_allowed_server(tmp_path: Path) -> None:
    async def scene(server: BlobServer, source: Naughty) -> None:
        status, told = await mirror(server, {"url": f"{source.url}/{NAME}.png"})
        assert (status, told["sha256"], told["type"]) == (201, NAME, "image/png")
        assert (await mirror(server, {"url": f"{source.url}/{NAME}"}))[0] == 200
        assert len(source.requests) == 1  # what is ours already is not fetched
        assert (await mirror(server, {"url": f"{source.url}/{NAME}"}, key=BOB))[0] == 200
        assert "authorization" not in source.requests[0].lower()
        assert server.store.catalogue.is_owner(BOB.pubkey, NAME)

    play_with(tmp_path, whole, scene)


@pytest.mark.parametrize(
    ("evil", "status"),
    [(endless, 413), (too_big, 413), (short, 502), (stalling, 502), (wrong, 409),
     (leading_on, 502), (packed, 502)],
    ids=lambda it: getattr(it, "__name__", ""),
)  # fmt: skip
def test_what_comes_is_checked(tmp_path: Path, evil, status: int) -> None:
    async def scene(server: BlobServer, source: Naughty) -> None:
        got, told = await mirror(server, {"url": f"{source.url}/{NAME}"})
        assert got == status, told
        assert server.store.find(NAME) is None

    play_with(tmp_path, evil, scene, HASTY if evil is stalling else LIMITS)


def test_bad_requests(tmp_path: Path) -> None:
    async def scene(server: BlobServer) -> None:
        for body in (b"not json", b"[" * 5_000, [], {}, {"url": 5}, {"url": "ftp://x/y"},
                     {"url": "http://"}, {"url": "http://a:b@c/d"}, {"url": "file:///etc/passwd"},
                     {"url": "http://x:99999/"}, {"url": "http://" + "x" * 3_000}):  # fmt: skip
            assert (await mirror(server, body))[0] == 400, body
        assert (await mirror(server, {"url": "x" * 20_000}))[0] == 413
        assert (await mirror(server, {"url": "http://x/y"}, verb=Verb.DELETE))[0] == 401
        url = f"https://nonexistent.invalid/{NAME}"
        assert (await mirror(server, {"url": url}))[0] == 502

    play(tmp_path, scene, MirrorPolicy(is_public=True))


@pytest.mark.parametrize("policy", [MirrorPolicy(), MirrorPolicy(is_public=True)])
def test_private_places_are_not_reached(tmp_path: Path, policy: MirrorPolicy) -> None:
    async def scene(server: BlobServer) -> None:
        async with Naughty(whole) as source:
            port = source.url.rsplit(":", 1)[1]
            for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0",
                         "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "192.168.1.1",
                         "169.254.169.254", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]",
                         "100.64.0.1", "224.0.0.1"):  # fmt: skip
                status, told = await mirror(server, {"url": f"http://{host}:{port}/{NAME}"})
                assert status in {400, 403, 502}, (host, told)
            assert source.requests == []

    play(tmp_path, scene, policy)


def test_a_name_that_changes_its_answer_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is checked, this machine when it is connected to."""

    async def scene(server: BlobServer) -> None:
        loop = asyncio.get_running_loop()
        answers: list[str] = []
        resolve = loop.getaddrinfo

        async def getaddrinfo(host, port, **more):
            if host == "turncoat.example":
                answers.append("asked")
                where = "192.0.2.1" if len(answers) > 1 else "127.0.0.1"
                return [(2, 1, 6, "", (where, port))]
            return await resolve(host, port, **more)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(mirroring, "is_public", lambda address: address == "127.0.0.1")
        async with Naughty(whole) as source:
            port = source.url.rsplit(":", 1)[1]
            status, told = await mirror(server, {"url": f"http://turncoat.example:{port}/{NAME}"})
            assert status == 201, told  # it went to the address that was checked
            assert answers == ["asked"]  # and nobody asked again

    play(tmp_path, scene, MirrorPolicy(is_public=True))


def test_nothing_is_fetched_unless_the_operator_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(server: BlobServer) -> None:
        monkeypatch.setattr(mirroring, "is_public", lambda _address: True)
        async with Naughty(whole) as source:
            assert (await mirror(server, {"url": f"{source.url}/{NAME}"}))[0] == 403
            assert source.requests == []

    for policy in (None, MirrorPolicy(frozenset({"http://127.0.0.1:1", "https://127.0.0.1"}))):
        play(tmp_path, scene, policy)


@pytest.mark.parametrize(
    ("address", "is_it"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.0.1", False), ("169.254.1.1", False), ("::1", False),
        ("::", False), ("fe80::1%eth0", False), ("fc00::1", False), ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False), ("64:ff9b::a00:1", False),
        ("224.0.0.1", False), ("255.255.255.255", False), ("100.64.1.1", False), ("x", False),
        ("ff02::1", False), ("192.0.2.1", False), ("240.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, is_it: bool) -> None:
    assert is_public(address) is is_it
