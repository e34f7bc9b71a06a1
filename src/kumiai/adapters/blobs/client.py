"""`RemoteBlobPort` over HTTP: Blossom servers that are not trusted, several at once.

What is believed: nothing but the sha256. Bodies are read up to the size that is expected and no
further, never decompressed; redirects are followed to addresses that name the same blob only
(BUD-01). Any Blossom server does; one of ours also lets an upload go on where it broke off.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kumiai.adapters.blobs.authorization import sign_authorization
from kumiai.adapters.blobs.blocks import hash_file
from kumiai.adapters.blobs.fetching import (
    Fetch,
    LyingServerError,
    MissingBlobError,
    Sink,
    fetch_to,
)
from kumiai.adapters.blobs.mirroring import is_public_server
from kumiai.adapters.blobs.options import ClientOptions
from kumiai.adapters.blobs.sending import Sending, Upload, describe_refusal
from kumiai.adapters.blobs.shelves import check_name
from kumiai.base.errors import InputError
from kumiai.base.keys import SigningKey
from kumiai.market.nips.bud import Verb
from kumiai.nodes.market.errors import BlobError
from kumiai.nodes.market.ports import BlobLocation

if TYPE_CHECKING:
    import aiohttp

_SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpBlobs:
    """Blobs of one member: `servers` are those that it uploads to, base URLs.

    pay: called with (server, BOLT11 invoice) where a server wants money (BUD-07); it returns when
    that is paid, or raises. Without it such a server is a server that refuses.
    """

    def __init__(
        self,
        key: SigningKey,
        servers: Sequence[str],
        options: ClientOptions | None = None,
        pay: Callable[[str, str], Awaitable[None]] | None = None,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self._key = key
        self._servers = tuple(_check_server(text) for text in servers)
        self._options = options or ClientOptions()
        self._pay = pay
        self._now_s = now_s
        self._session: aiohttp.ClientSession | None = None

    async def upload(
        self, path: Path, media_type: str = "application/octet-stream", sha256: str = ""
    ) -> BlobLocation:
        """As the port says. A server that is much slower than the first is left out."""
        if not self._servers:
            raise InputError("servers", "", "name at least one blob server to upload to")
        try:
            if sha256:
                size_bytes = path.stat().st_size
            else:
                hasher, size_bytes = await asyncio.to_thread(hash_file, path)
                sha256 = hasher.hexdigest()
        except OSError as error:
            raise BlobError(f"{path}: {error.strerror}") from error
        upload = Upload(path, check_name(sha256), size_bytes, media_type)
        sending = Sending(
            self._get_session(), self._options, self.authorize, self._pay, self._now_s
        )
        tasks = {
            asyncio.create_task(sending.send(upload, server)): server for server in self._servers
        }
        try:
            timeout_s: float | None = None
            waiting = set(tasks)
            while waiting:
                ended, waiting = await asyncio.wait(
                    waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not ended:
                    break
                if any(task.exception() is None for task in ended):
                    timeout_s = self._options.straggler_s
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        have = [it for it, result in zip(tasks.values(), results, strict=True) if result is None]
        if not have:
            faults = [it for it in results if isinstance(it, Exception)]
            if others := [it for it in faults if not isinstance(it, BlobError)]:
                raise others[0]
            told = "; ".join(str(fault) for fault in faults)
            can_retry = any(getattr(fault, "is_retriable", False) for fault in faults)
            raise BlobError(f"no server took blob {upload.sha256}: {told}", is_retriable=can_retry)
        return BlobLocation(upload.sha256, size_bytes, tuple(have))

    async def download(self, wanted: BlobLocation, path: Path, size_bytes_max: int) -> None:
        """As the port says. What a killed process had begun beside `path` is gone on with."""
        check_name(wanted.sha256)
        if wanted.size_bytes > size_bytes_max:
            raise BlobError(
                f"blob {wanted.sha256}: {wanted.size_bytes} bytes, more than the"
                f" {size_bytes_max} allowed"
            )
        partial = path.with_name(f".{path.name}.{wanted.sha256[:16]}.partial")
        servers = await self._choose(wanted)
        await fetch_to(Fetch(self, wanted, partial, self._options, servers), path)

    async def _choose(self, wanted: BlobLocation) -> list[str]:
        """Servers to ask: our own, and of those that a stranger names the public ones.

        A stranger must not make us knock at machines of our own network. A name is looked up once
        more when it is used: who runs both the name and a server can answer differently then, and
        gains a GET for a sha256 at an address of its choice.
        """
        servers = [_check_server(text) for text in wanted.servers]
        kept = [s for s in servers if self._is_trusted(s) or await is_public_server(s)]
        if servers and not kept:
            fix = "name it with --blobs if you trust it, or allow private addresses"
            raise BlobError(f"blob {wanted.sha256}: {servers[0]} is no public server: {fix}")
        return kept

    def _is_trusted(self, server: str) -> bool:
        return self._options.is_private_allowed or server.rstrip("/") in self._servers

    async def has(self, wanted: BlobLocation) -> bool:
        """Tell whether one of the blob's servers says that it has it."""
        check_name(wanted.sha256)
        for server in wanted.servers:
            try:
                async with self._open("HEAD", server, wanted.sha256, {}) as answer:
                    length = answer.headers.get("Content-Length")
                    if answer.status == 200 and length in {None, str(wanted.size_bytes)}:
                        return True
            except BlobError:
                continue
        return False

    async def delete(self, wanted: BlobLocation) -> None:
        """Delete it on all its servers; BlobError names those where it did not work."""
        import aiohttp

        check_name(wanted.sha256)
        faults: list[str] = []
        for server in wanted.servers:
            url = f"{_check_server(server)}/{wanted.sha256}"
            headers = self.authorize(server, Verb.DELETE, wanted.sha256)
            try:
                async with self._get_session().delete(
                    url, headers=headers, allow_redirects=False
                ) as answer:
                    if answer.status not in {200, 202, 204, 404}:
                        faults.append(f"{server}: {describe_refusal(answer)}")
            except (aiohttp.ClientError, TimeoutError) as error:
                faults.append(f"{server}: {error or type(error).__name__}")
        if faults:
            raise BlobError(f"blob {wanted.sha256} not deleted: {'; '.join(faults)}")

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def authorize(self, server: str, verb: Verb, sha256: str) -> dict[str, str]:
        """Return the headers that let this member do something with a blob on one server."""
        value = sign_authorization(
            self._key,
            verb,
            self._now_s(),
            hashes=[sha256],
            servers=[server],
            life_s=self._options.authorization_life_s,
        )
        return {"Authorization": value}

    async def pull(
        self, server: str, sha256: str, start: int, end: int, total: int, to: Sink
    ) -> None:
        """As `fetching.RangeSource` says."""
        import aiohttp

        headers = {} if (start, end) == (0, total) else {"Range": f"bytes={start}-{end - 1}"}
        async with self._open("GET", server, sha256, headers) as answer:
            skip = _check_answer(answer, start, end, total)
            try:
                await self._read(answer, skip, end - start, to)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise BlobError(
                    f"broke off: {error or type(error).__name__}", is_retriable=True
                ) from error
            finally:
                answer.close()  # never reads what is left

    async def _read(
        self, answer: aiohttp.ClientResponse, skip: int, size_bytes: int, to: Sink
    ) -> None:
        """Hand on exactly `size_bytes` after the first `skip`, watching size and speed."""
        options, loop = self._options, asyncio.get_running_loop()
        begun, received = loop.time(), 0
        async for part in answer.content.iter_any():
            received += len(part)
            if received > skip + size_bytes:
                raise LyingServerError("sent more bytes than the blob has")
            if skip and received - len(part) < skip:
                part = part[max(0, skip - (received - len(part))) :]  # noqa: PLW2901
            await to.write(part)
            passed_s = loop.time() - begun
            if passed_s > options.slow_after_s and received < passed_s * options.bytes_per_s_min:
                raise BlobError("is too slow", is_retriable=True)
        if received != skip + size_bytes:
            raise BlobError(
                f"ended after {received} of {skip + size_bytes} bytes", is_retriable=True
            )

    @asynccontextmanager
    async def _open(
        self, method: str, server: str, sha256: str, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request for a blob, following redirects that name it; BlobError if none works."""
        import aiohttp
        from yarl import URL

        url = URL(f"{_check_server(server)}/{sha256}")
        for _ in range(self._options.redirects_max + 1):
            try:
                answer = await self._get_session().request(
                    method, url, headers=headers, allow_redirects=False
                )
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise BlobError(str(error) or type(error).__name__, is_retriable=True) from error
            if answer.status not in _REDIRECTS:
                async with answer:
                    yield answer
                return
            target = answer.headers.get("Location", "")[:2_048]
            answer.close()
            try:
                url = url.join(URL(target))
            except ValueError as error:
                raise BlobError("redirects to no address") from error
            if sha256 not in url.path or url.scheme not in {"http", "https"}:
                raise BlobError("redirects to what is not this blob")
            if not (self._is_trusted(server) or await is_public_server(str(url))):
                raise BlobError("redirects into a network of our own")
        raise BlobError("redirects without end")

    def _get_session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            options = self._options
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=options.connect_s, sock_read=options.idle_s
                ),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                read_bufsize=1 << 20,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=8_190,
                max_field_size=8_190,
                trust_env=False,
            )
        return self._session


def _check_answer(answer: aiohttp.ClientResponse, start: int, end: int, total: int) -> int:
    """Return how many bytes come before the wanted ones; BlobError for another answer."""
    if answer.status in {404, 410}:
        raise MissingBlobError("has no such blob", is_retriable=True)
    if answer.status not in {200, 206}:
        is_retriable = answer.status in {408, 425, 429} or answer.status >= 500
        raise BlobError(describe_refusal(answer), is_retriable=is_retriable)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise LyingServerError("sent the blob in another encoding")
    if answer.status == 206:
        match = _SPAN.fullmatch(answer.headers.get("Content-Range", "").strip())
        if match is None or [int(text) for text in match.groups()] != [start, end - 1, total]:
            raise LyingServerError("sent another range than was asked for")
        expected, skip = end - start, 0
    else:
        expected, skip = total, start
    if answer.content_length not in {None, expected}:
        raise LyingServerError(f"sent {answer.content_length} bytes, {expected} expected")
    if answer.status == 200 and end != total:
        raise BlobError("knows no ranges")
    return skip


def _check_server(text: str) -> str:
    from yarl import URL

    is_one = re.fullmatch(r"https?://[A-Za-z0-9.\-_\[\]:]+(?:/[A-Za-z0-9._~/-]*)?", text)
    try:
        is_one = is_one and URL(text).port
    except ValueError:  # brackets that hold no address, a port that is none
        is_one = None
    if not is_one:
        raise BlobError(f"{text!r:.100} is no address of a blob server")
    return text.rstrip("/")
