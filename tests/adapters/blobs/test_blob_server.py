"""The server's rules over HTTP, as a client of another make would meet them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the extra `market` is not installed")
pytest.importorskip("granian", reason="the extra `market` is not installed")

import aiohttp
from tests.adapters.blobs.servers import ALICE, BOB, make_bytes, name_of

from kumiai.adapters.blobs.authorization import sign_authorization
from kumiai.adapters.blobs.limits import BlobLimits
from kumiai.adapters.blobs.serve_blob import BlobResponse
from kumiai.adapters.blobs.server import BlobServer
from kumiai.adapters.blobs.store import BlobStore
from kumiai.base.errors import InputError, StoreError
from kumiai.market.nips import nip01
from kumiai.market.nips.bud import AUTH_KIND, Verb

LIMITS = BlobLimits(
    blob_bytes_max=4 << 20, quota_bytes=8 << 20, total_bytes_max=10 << 20, partial_count_max=2
)
PATIENCE_S = 120.0  # for what must happen, however busy the machine is
DATA = make_bytes(100_000)
NAME = name_of(DATA)


class Client:
    """Requests against one server."""

    def __init__(self, server: BlobServer, session) -> None:
        self.server, self.store, self.url, self.session = server, server.store, server.url, session

    def sign(self, verb: str, *hashes: str, key=ALICE, **more) -> dict[str, str]:
        value = sign_authorization(key, Verb(verb), int(time.time()), hashes=hashes, **more)
        return {"Authorization": value}

    async def ask(self, method: str, path: str, body=None, **headers: str):
        """Return status, headers and body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.url + path, data=body, headers=named, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers, await answer.read()

    async def put(self, data: bytes, key=ALICE, **headers: str):
        signed = self.sign("upload", name_of(data), key=key)
        return await self.ask("PUT", "/upload", data, **{**signed, **headers})


def play(tmp_path: Path, scene: Callable[[Client], Awaitable[None]], limits=LIMITS, **more) -> None:
    async def go() -> None:
        server = await BlobServer.start(BlobStore(tmp_path / "store", limits), **more)
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            await scene(Client(server, session))
        await server.stop()

    asyncio.run(go())


def test_a_blob_is_described_as_the_documents_say(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        status, headers, body = await client.put(DATA, Content_Type="image/png")
        described = json.loads(body)
        assert status == 201 and headers["Access-Control-Allow-Origin"] == "*"
        assert set(described) == {"url", "sha256", "size", "type", "uploaded"}
        assert described["url"] == f"{client.url}/{NAME}.png"
        assert (described["sha256"], described["size"]) == (NAME, len(DATA))
        assert (await client.put(DATA))[0] == 200
        for path in (f"/{NAME}", f"/{NAME}.png", f"/{NAME}.whatever1"):
            status, headers, body = await client.ask("GET", path)
            assert (status, body) == (200, DATA)
            assert headers["Content-Type"] == "image/png"
            assert headers["X-Content-Type-Options"] == "nosniff"
            status, headers, body = await client.ask("HEAD", path)
            assert (status, headers["Content-Length"], body) == (200, str(len(DATA)), b"")
        assert (await client.ask("HEAD", "/" + "0" * 64))[0] == 404
        assert (await client.ask("GET", f"/{NAME}", If_None_Match=f'"{NAME}"'))[0] == 304

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("wanted", "status", "span"),
    [
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=5-99", 206, (5, 100)),
        ("bytes=99990-", 206, (99_990, 100_000)),
        ("bytes=-10", 206, (99_990, 100_000)),
        ("bytes=-1000000", 206, (0, 100_000)),
        ("bytes=50-999999", 206, (50, 100_000)),
        ("bytes=100000-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-5", 200, None),
        ("bytes=1-2,5-6", 200, None),
        ("bytes=-", 200, None),
        ("lines=1-2", 200, None),
        ("bytes=1-2x", 200, None),
        ("bytes=" + "9" * 40 + "-", 200, None),
    ],
)
def test_ranges(tmp_path: Path, wanted: str, status: int, span) -> None:
    async def scene(client: Client) -> None:
        await client.put(DATA)
        got, headers, body = await client.ask("GET", f"/{NAME}", Range=wanted)
        assert got == status
        if span is not None:
            assert body == DATA[span[0] : span[1]]
            assert headers["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/100000"
        elif status == 416:
            assert headers["Content-Range"] == "bytes */100000"
        else:
            assert body == DATA
        stale = await client.ask("GET", f"/{NAME}", Range=wanted, If_Range='"other"')
        assert stale[0] == 200 and stale[2] == DATA

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret", "/..%2fsecret", "/%2e%2e/secret", "/..%5csecret",
        "/" + "0" * 64 + "/../secret",
        f"/{NAME}/..", f"/{NAME}%00", f"/{NAME}.a/b", f"/{NAME}..", f"/{NAME[:-1]}G", f"/{NAME}0",
        f"/{NAME.upper()}", "/partial/x", "/catalogue.sqlite", f"//{NAME}", "/%2fetc%2fpasswd",
        f"/ab/{NAME}", f"/./{NAME}", f"/{NAME}%0a",
    ],
)  # fmt: skip
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")

    async def scene(client: Client) -> None:
        await client.put(DATA)
        host, port = client.url[7:].split(":")
        for method in ("GET", "HEAD", "DELETE"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            reply = await reader.read()
            writer.close()
            assert int(reply.split()[1]) in {400, 401, 404, 405}, reply[:200]
            assert b"secret" not in reply and DATA[:32] not in reply

    play(tmp_path, scene)
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_authorizations_that_do_not_hold(tmp_path: Path) -> None:
    now = int(time.time())

    def event(kind=AUTH_KIND, at=now, tags=()):
        signed = nip01.sign_text(ALICE, kind, at, "x", tags)
        return "Nostr " + base64.b64encode(nip01.encode_event(signed)).decode()

    good = [["t", "upload"], ["x", NAME], ["expiration", str(now + 60)]]
    forged = json.loads(base64.b64decode(event(tags=good)[6:]))
    forged["pubkey"] = BOB.pubkey
    cases = {
        "no authorization": "",
        "not 'Nostr '": "Bearer abc",
        "no event": "Nostr !!!",
        "is a JSON object": "Nostr " + base64.b64encode(b"[1]").decode(),
        "kind 1,": event(1, tags=good),
        "not an authorisation to upload": event(tags=[["t", "delete"], *good[1:]]),
        "id does not match": "Nostr " + base64.b64encode(json.dumps(forged).encode()).decode(),
        "expired, or": event(tags=[*good[:2], ["expiration", str(now - 1)]]),
        "without expiration": event(tags=good[:2]),
        "2 tags 'expiration'": event(tags=[*good, ["expiration", str(now + 90)]]),
        "created in the future": event(
            at=now + 3600, tags=[*good[:2], ["expiration", str(now + 7200)]]
        ),
        "lives longer": event(tags=[*good[:2], ["expiration", str(now + 10**7)]]),
        "another server": event(tags=[*good, ["server", "cdn.example.com"]]),
        "sha256 each": event(tags=[*good, ["x", "nonsense"]]),
    }

    async def scene(client: Client) -> None:
        for reason, header in cases.items():
            status, headers, body = await client.ask("PUT", "/upload", DATA, Authorization=header)
            assert status == 401, reason
            assert reason in headers["X-Reason"], (reason, headers["X-Reason"])
            assert json.loads(body)["message"] == headers["X-Reason"]
        host = client.url[7:]
        for header in (
            event(tags=good),
            event(tags=[*good, ["server", host]]),
            event(tags=good).rstrip("=").replace("+", "-").replace("/", "_"),
        ):
            assert (await client.ask("PUT", "/upload", DATA, Authorization=header))[0] in {200, 201}
        other = event(tags=[["t", "upload"], ["x", "0" * 64], good[2]])
        assert (await client.ask("PUT", "/upload", b"else", Authorization=other))[0] == 409
        two = event(tags=[["t", "upload"], ["x", "0" * 64], ["x", "1" * 64], good[2]])
        assert (await client.ask("PUT", "/upload", b"else", Authorization=two))[0] == 403
        none = event(tags=[good[0], good[2]])
        assert (await client.ask("PUT", "/upload", b"else", Authorization=none))[0] == 401
        assert client.store.find(name_of(b"else")) is None

    play(tmp_path, scene)


def test_an_upload_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        big = make_bytes((4 << 20) + 1)
        assert (await client.put(big))[0] == 413
        wrong = {"X_SHA_256": name_of(b"else")}
        assert (await client.put(DATA, **wrong))[0] == 403  # not what was signed
        signed = client.sign("upload", NAME)
        status, _, _ = await client.ask("PUT", "/upload", DATA[:-1], **signed, X_SHA_256=NAME)
        assert status == 409
        assert (await client.put(DATA, X_SHA_256="nonsense"))[0] == 400
        assert [(await client.put(make_bytes(4 << 20, at)))[0] for at in range(3)] == [
            201,
            201,
            429,
        ]
        assert (await client.put(make_bytes(3 << 20, 5), key=BOB))[0] == 507  # 10 MiB in all
        assert (await client.put(make_bytes(1 << 20, 6), key=BOB))[0] == 201
        assert not list((tmp_path / "store" / "partial").iterdir())

    play(tmp_path, scene)


def test_members_only(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert (await client.put(DATA))[0] == 201
        assert (await client.put(b"from bob", key=BOB))[0] == 403
        assert (await client.ask("GET", f"/{NAME}"))[2] == DATA  # reading is for all

    play(tmp_path, scene, BlobLimits(members=frozenset({ALICE.pubkey})))


def test_what_an_upload_would_meet(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        signed = client.sign("upload", NAME)

        async def head(**headers: str) -> tuple[int, dict]:
            status, got, _body = await client.ask("HEAD", "/upload", None, **signed, **headers)
            return status, got

        size = {"X_Content_Length": str(len(DATA))}
        status, headers = await head(X_SHA_256=NAME, **size)
        assert (status, headers["Upload-Offset"]) == (200, "0")
        assert (await head(X_SHA_256=NAME))[0] == 411
        assert (await head(X_SHA_256="x", **size))[0] == 400
        assert (await head(X_SHA_256=NAME, X_Content_Length="-5"))[0] == 400
        status, headers = await head(X_SHA_256=NAME, X_Content_Length=str(5 << 20))
        assert status == 413 and "at most" in headers["X-Reason"]
        assert (await client.ask("HEAD", "/upload", None, X_SHA_256=NAME, **size))[0] == 401
        await client.put(DATA)
        status, headers = await head(X_SHA_256=NAME, **size)
        assert headers["Upload-Complete"] == "?1"

    play(tmp_path, scene)


def test_an_upload_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    total = {"Upload_Length": str(len(DATA)), "X_SHA_256": NAME}

    async def scene(client: Client) -> None:
        status, headers, _ = await client.put(
            DATA[:40_000], **signed(client), Upload_Offset="0", **total
        )
        assert (status, headers["Upload-Offset"]) == (202, "40000")
        status, headers, _ = await client.put(b"", **signed(client), Upload_Offset="5", **total)
        assert (status, headers["Upload-Offset"]) == (409, "40000")
        _, headers, _ = await client.ask(
            "HEAD",
            "/upload",
            None,
            **signed(client),
            X_SHA_256=NAME,
            X_Content_Length=str(len(DATA)),
        )
        assert headers["Upload-Offset"] == "40000"
        bob = client.sign("upload", NAME, key=BOB)
        _, headers, _ = await client.ask(
            "HEAD", "/upload", None, **bob, X_SHA_256=NAME, X_Content_Length=str(len(DATA))
        )
        assert headers["Upload-Offset"] == "0"  # to each key its own
        await broken(client)
        status, _, _ = await client.put(
            DATA[60_000:], **signed(client), Upload_Offset="60000", **total
        )
        assert status == 201
        assert (await client.ask("GET", f"/{NAME}"))[2] == DATA
        status, _, _ = await client.ask(
            "PUT", "/upload", b"", **bob, Upload_Offset=str(len(DATA)), **total
        )
        assert status == 200 and client.store.catalogue.is_owner(BOB.pubkey, NAME)

    async def broken(client: Client) -> None:
        """20,000 more bytes, then the line is cut."""
        head = ["PUT /upload HTTP/1.1", "Host: x", "Content-Length: 60000", "Upload-Offset: 40000"]
        head += [f"Upload-Length: {len(DATA)}", f"X-SHA-256: {NAME}"]
        head += [f"Authorization: {signed(client)['Authorization']}", "", ""]
        host, port = client.url[7:].split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        writer.write("\r\n".join(head).encode() + DATA[40_000:60_000])
        await writer.drain()
        writer.close()
        while client.store.get_offset(ALICE.pubkey, NAME) != 60_000 or client.store._writers:
            await asyncio.sleep(0.01)

    def signed(client: Client) -> dict[str, str]:
        return client.sign("upload", NAME)

    play(tmp_path, scene)
    store = BlobStore(tmp_path / "store", LIMITS)
    assert store.catalogue.list_partials() == []
    assert not list((tmp_path / "store" / "partial").iterdir())
    asyncio.run(store.close())


def test_unfinished_uploads_are_few_and_grow_old(tmp_path: Path) -> None:
    blobs = [make_bytes(1_000, at) for at in range(4)]

    async def scene(client: Client) -> None:
        async def begin(at: int) -> int:
            name = name_of(blobs[at])
            return (
                await client.ask(
                    "PUT", "/upload", blobs[at][:500], **client.sign("upload", name),
                    X_SHA_256=name, Upload_Offset="0", Upload_Length="1000",
                )
            )[0]  # fmt: skip

        assert [await begin(at) for at in range(3)] == [202, 202, 429]
        assert client.store.catalogue.count_bytes(ALICE.pubkey) == 2_000  # their whole sizes
        client.store.now_s = lambda: int(time.time()) + LIMITS.partial_age_s + 10
        client.sign = lambda verb, *hashes, **_: {
            "Authorization": sign_authorization(
                ALICE, Verb(verb), client.store.now_s(), hashes=hashes
            )
        }
        assert await begin(3) == 202
        assert len(client.store.catalogue.list_partials(ALICE.pubkey)) == 1

    play(tmp_path, scene)


def test_bytes_that_were_begun_wrongly_do_not_stay(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        head = {"X_SHA_256": NAME, "Upload_Length": str(len(DATA)), **client.sign("upload", NAME)}
        assert (await client.ask("PUT", "/upload", bytes(50_000), Upload_Offset="0", **head))[
            0
        ] == 202
        status, *_ = await client.ask(
            "PUT", "/upload", DATA[50_000:], Upload_Offset="50000", **head
        )
        assert status == 409
        assert client.store.get_offset(ALICE.pubkey, NAME) == 0
        assert (await client.ask("PUT", "/upload", DATA, Upload_Offset="0", **head))[0] == 201

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("limits", "sent", "told"),
    [
        (BlobLimits(idle_s=0.5), (len(DATA), 0, 0), b"no byte came"),
        (BlobLimits(idle_s=0.5), (len(DATA), 1, 0), b"no byte came"),
        (BlobLimits(slow_after_s=0.5, bytes_per_s_min=1 << 20), (len(DATA), 400, 0.1),
         b"slower than"),
        (LIMITS, (100, 1, 0), b" 409 "),  # fewer bytes, another hash
    ],
    ids=["silent", "stalled", "crawling", "lying"],
)  # fmt: skip
def test_stalled_crawling_and_lying_uploads_end(
    tmp_path: Path, limits: BlobLimits, sent: tuple[int, int, float], told: bytes
) -> None:
    async def scene(client: Client) -> None:
        host, port = client.url[7:].split(":")

        async def send(announced: int, parts: int, pause_s: float) -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            signed = client.sign("upload", NAME)["Authorization"]
            writer.write(
                f"PUT /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {signed}\r\n"
                f"Content-Length: {announced}\r\n\r\n".encode()
            )
            reply = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
            try:
                for _ in range(parts):
                    writer.write(DATA[:100])
                    await asyncio.wait([reply], timeout=pause_s)
                    if reply.done():
                        break
                return await asyncio.wait_for(reply, PATIENCE_S)
            finally:
                writer.transport.abort()

        assert told in await send(*sent)
        while client.store._running:
            await asyncio.sleep(0.01)
        assert not list((tmp_path / "store" / "partial").iterdir())
        assert client.store.catalogue.count_bytes() == 0 and not client.store._reserved

    play(tmp_path, scene, limits)


@pytest.mark.parametrize("wanted", ["", "Range: bytes=1-\r\n"])
def test_a_reader_that_stops_reading_loses_the_connection(
    tmp_path: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_bytes(60 << 20)  # more than sockets and buffers hold
    answer = BlobResponse.__call__
    has_ended: list[bool] = []

    async def watched(response: BlobResponse, *more) -> None:
        try:
            await answer(response, *more)
        finally:
            has_ended.append(True)

    monkeypatch.setattr(BlobResponse, "__call__", watched)

    async def scene(client: Client) -> None:
        assert (await client.put(data))[0] == 201
        host, port = client.url[7:].split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
        writer.write(f"GET /{name_of(data)} HTTP/1.1\r\nHost: x\r\n{wanted}\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            while not has_ended:
                await asyncio.sleep(0.01)
        count = 0
        with suppress(ConnectionError):
            while part := await asyncio.wait_for(reader.read(1 << 20), PATIENCE_S):
                count += len(part)
        writer.close()
        assert 0 < count < len(data)

    play(tmp_path, scene, BlobLimits(idle_s=0.5))


def test_listing_and_deleting(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        names = []
        for at in range(4):
            data = make_bytes(100 + at, at)
            names.append(name_of(data))
            client.store.now_s = lambda at=at: int(time.time()) - 10 + at
            assert (await client.put(data))[0] == 201
        client.store.now_s = lambda: int(time.time())

        async def listed(query: str = "") -> list[str]:
            status, _, body = await client.ask("GET", f"/list/{ALICE.pubkey}{query}")
            assert status == 200
            return [it["sha256"] for it in json.loads(body)]

        assert await listed() == names[::-1]
        assert await listed("?limit=1") == names[3:]
        assert await listed(f"?cursor={names[3]}&limit=2") == [names[2], names[1]]
        assert await listed("?since=99999999999") == []
        assert await listed("?until=5") == []
        for query in ("?limit=abc", "?since=-1", "?cursor=x"):
            assert (await client.ask("GET", f"/list/{ALICE.pubkey}{query}"))[0] == 400
        assert (await client.ask("GET", "/list/nobody"))[0] == 400
        assert await client.ask("GET", f"/list/{BOB.pubkey}") != []
        path = f"/{names[0]}"
        assert (await client.ask("DELETE", path))[0] == 401
        assert (await client.ask("DELETE", path, **client.sign("upload", names[0])))[0] == 401
        assert (await client.ask("DELETE", path, **client.sign("delete", names[1])))[0] == 403
        stranger = client.sign("delete", names[0], key=BOB)
        assert (await client.ask("DELETE", path, **stranger))[0] == 403
        both = client.sign("delete", names[0], names[1])
        assert (await client.ask("DELETE", path, **both))[0] == 204
        assert await listed() == [names[3], names[2], names[1]]  # one only
        assert (await client.ask("DELETE", path, **both))[0] == 404

    play(tmp_path, scene)


def test_headers_and_origins(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        status, headers, _ = await client.ask("OPTIONS", "/upload")
        assert status == 204 and "PUT" in headers["Access-Control-Allow-Methods"]
        assert (await client.ask("GET", "/", X_Long="y" * 7_000, X_More="y" * 7_000))[0] == 200
        many = {f"X_{at}": "y" * 4_000 for at in range(5)}
        assert (await client.ask("GET", "/", **many))[0] == 431
        status, _, body = await client.put(b"<script>", Content_Type="text/html\x80; x")
        assert json.loads(body)["type"] == "application/octet-stream"

    play(tmp_path, scene)


def test_one_port_and_one_folder_belong_to_one_server(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        with pytest.raises(StoreError, match="another process"):
            BlobStore(tmp_path / "store")
        other = BlobStore(tmp_path / "other")
        with pytest.raises(InputError, match="cannot listen"):
            await BlobServer.start(other, port=int(client.url.rsplit(":", 1)[1]))
        await other.close()

    play(tmp_path, scene)
