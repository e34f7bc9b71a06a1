"""Fetching a blob from another server for a client (BUD-04), without becoming its tool.

The address comes from a stranger. By default nothing is fetched. The operator names servers that
are allowed, or allows all that are public: then the name is resolved here, every address that it
has must be a public one, and the connection goes to those addresses and no others, so that a name
that changes its answer gains nothing. Redirects are never followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from kumiai.adapters.blobs.limits import BlobLimits, RefusedError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

URL_CHARS_MAX = 2_048
CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """From where a server may fetch.

    origins: servers that are allowed wherever they are, e.g. http://127.0.0.1:3000. is_public: any
    other server too, if its addresses are public.
    """

    origins: frozenset[str] = frozenset()
    is_public: bool = False


class Source:
    """A blob on its way from another server."""

    def __init__(self, answer: aiohttp.ClientResponse, limits: BlobLimits) -> None:
        self._answer = answer
        self._limits = limits
        self.media_type = answer.headers.get("Content-Type", "")
        self.size_bytes = answer.content_length

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the body; RefusedError 502 if it stalls, crawls or breaks off."""
        import aiohttp

        loop = asyncio.get_running_loop()
        begun, size_bytes, limits = loop.time(), 0, self._limits
        try:
            async for part in self._answer.content.iter_any():
                size_bytes += len(part)
                passed_s = loop.time() - begun
                if passed_s > limits.slow_after_s and (
                    size_bytes < passed_s * limits.bytes_per_s_min
                ):
                    raise RefusedError(502, "the other server is too slow")
                yield part
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RefusedError(502, "the other server broke off") from error


class Mirror:
    """Fetches what the policy allows."""

    def __init__(self, policy: MirrorPolicy, limits: BlobLimits) -> None:
        self._policy = policy
        self._limits = limits

    @asynccontextmanager
    async def fetch(self, text: str) -> AsyncIterator[Source]:
        """Open the address. RefusedError 400, 403 (not allowed), 502 (it did not work there)."""
        import aiohttp

        url = _parse(text)
        addresses = await self._resolve(url)
        resolver = _FixedResolver(addresses)
        connector = aiohttp.TCPConnector(
            resolver=cast("aiohttp.abc.AbstractResolver", resolver), use_dns_cache=False, limit=1
        )
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_S, sock_read=self._limits.idle_s
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            read_bufsize=1 << 20,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            try:
                answer = await session.get(
                    url, allow_redirects=False, headers={"Accept-Encoding": "identity"}
                )
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise RefusedError(502, "the other server did not answer") from error
            async with answer:
                if answer.status != 200 or "Content-Encoding" in answer.headers:
                    raise RefusedError(502, f"the other server answered {answer.status}")
                yield Source(answer, self._limits)
                answer.close()  # never reads what is left

    async def _resolve(self, url: URL) -> list[tuple[str, int]]:
        """Return the addresses to connect to; RefusedError unless all of them are allowed."""
        policy = self._policy
        origin = str(url.origin())
        is_named = origin in {text.rstrip("/").lower() for text in policy.origins}
        if not is_named and not policy.is_public:
            raise RefusedError(403, "this server does not fetch from there")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await loop.getaddrinfo(
                    url.host, url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise RefusedError(502, "the other server's name leads nowhere") from error
        addresses = [(str(item[4][0]), int(item[0])) for item in found]
        if not is_named and not all(is_public(address) for address, _family in addresses):
            raise RefusedError(403, "that address is not a public one")
        return addresses


async def is_public_server(origin: str) -> bool:
    """Tell whether an http(s) address leads to public addresses only; False if it leads nowhere."""
    from yarl import URL

    try:
        url = URL(origin)
        async with asyncio.timeout(CONNECT_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                url.host, url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
    except (OSError, TimeoutError, ValueError):  # UnicodeError is one, for a name that is none
        return False
    return bool(found) and all(is_public(str(item[4][0])) for item in found)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public Internet, also when wrapped in IPv6."""
    try:
        ip = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if wrapped is None and ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _parse(text: str) -> URL:
    from yarl import URL

    try:
        url = URL(text) if len(text) <= URL_CHARS_MAX else URL()
        is_fit = url.scheme in {"http", "https"} and bool(url.host) and url.user is None
    except ValueError:
        is_fit, url = False, URL()
    if not is_fit or not url.port:
        raise RefusedError(400, "url is an http or https address of a blob")
    return url


class _FixedResolver:
    """Answers with the addresses that were checked, whatever the name means a moment later."""

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        """As aiohttp's resolvers."""
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": kind,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address, kind in self._addresses
            if family in {0, kind}
        ]

    async def close(self) -> None:
        """Nothing is open."""


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
