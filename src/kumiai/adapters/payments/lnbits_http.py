"""The HTTP door to an LNbits server: bounded, and with every failure sorted by what may have moved.

Source: LNbits 1.6.2, `/api/v1` (routes and error texts read from its source). Nothing that the
server answers is believed here beyond its shape: redirects are not followed (a key would travel
along), answers are capped before they are parsed, and no key ever stands in an error or a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from kumiai.adapters.payments.checks import check_address
from kumiai.base.errors import InputError
from kumiai.nodes.market.errors import WalletError

ANSWER_BYTES_MAX: Final = 1024 * 1024  # a page of 100 payments has about 130 kB
DETAIL_CHARS_MAX: Final = 200
KEY_CHARS_MAX: Final = 256
TIMEOUT_S: Final = 30.0

_PAYMENT_ERROR: Final = 520  # LNbits' own: a JSON object with `detail` and `status`


class LnbitsError(WalletError):
    """What came instead of an answer. has_moved_nothing: the server did nothing for this request.

    status: the word of LNbits' payment errors (failed, pending, success), "" where there is none.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_retriable: bool = False,
        has_moved_nothing: bool = False,
        status: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(code, message, is_retriable=is_retriable)
        self.has_moved_nothing = has_moved_nothing
        self.status = status
        self.detail = detail


class LnbitsHttp:
    """One wallet's keys at one server. `close` it."""

    def __init__(
        self, url: str, invoice_key: str, admin_key: str, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = _check_url(url)
        self._keys = {"invoice": invoice_key or admin_key, "admin": admin_key}
        for name, key in (("invoice_key", invoice_key or admin_key), ("admin_key", admin_key)):
            _check_key(name, key)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"LnbitsHttp({self._url})"  # no keys

    @property
    def host(self) -> str:
        """Where the server is, for people."""
        return urlsplit(self._url).netloc

    @property
    def can_pay(self) -> bool:
        """Whether an admin key was given."""
        return bool(self._keys["admin"])

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask with the key that can only look; return the parsed answer or raise LnbitsError."""
        return await self._request("GET", path, "invoice", query=query)

    async def get_unnamed(self, path: str) -> Any:
        """Ask without any key: what the server tells everybody."""
        return await self._request("GET", path, "")

    async def post(self, path: str, document: Mapping[str, object], *, as_admin: bool) -> Any:
        """Send a JSON object; return the parsed answer or raise LnbitsError."""
        name = "admin" if as_admin else "invoice"
        if not self._keys[name]:
            raise LnbitsError(
                "UNAUTHORIZED", "this needs the wallet's admin key", has_moved_nothing=True
            )
        return await self._request("POST", path, name, document=document)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _request(
        self,
        method: str,
        path: str,
        key_name: str,
        *,
        query: Mapping[str, str] | None = None,
        document: Mapping[str, object] | None = None,
    ) -> Any:
        session = self._open()
        headers = {"X-Api-Key": self._keys[key_name]} if key_name else {}
        try:
            async with session.request(
                method,
                self._url + path,
                params=query,
                json=document,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                return self._read(answer.status, await _read_body(answer))
        except aiohttp.ClientConnectorError as error:
            message = f"{self.host} was not reached: {type(error).__name__}"
            raise LnbitsError(
                "OTHER", message, is_retriable=True, has_moved_nothing=True
            ) from error
        except TimeoutError as error:
            raise LnbitsError(
                "OTHER", f"{self.host} did not answer in time", is_retriable=True
            ) from error
        except aiohttp.ClientError as error:
            message = f"{self.host} broke off: {type(error).__name__}"
            raise LnbitsError("OTHER", message, is_retriable=True) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers={"Accept-Encoding": "identity"}
            )
        return self._session

    def _read(self, status: int, body: bytes) -> Any:
        """Parse a good answer; raise what a bad one means."""
        if status in {429, 401, 403}:  # said before anything is looked at
            code = "RATE_LIMITED" if status == 429 else "UNAUTHORIZED"
            raise LnbitsError(
                code,
                f"{self.host} answered {status}",
                is_retriable=status == 429,
                has_moved_nothing=True,
            )
        if 300 <= status < 400:  # a key would travel along; and what became of a POST is not known
            raise LnbitsError("OTHER", f"{self.host} redirects: give the server's own address")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            message = f"{self.host} answered {status} with something that is not JSON"
            raise LnbitsError("INTERNAL", message, is_retriable=True) from error
        if 200 <= status < 300:
            return document
        detail = self._say_detail(document)
        message = f"{self.host} answered {status}: {detail}"
        if status == _PAYMENT_ERROR and isinstance(document, dict):
            word = document.get("status")
            raise LnbitsError(
                "OTHER",
                message,
                status=word if isinstance(word, str) else "",
                detail=detail,
                is_retriable=word != "failed",
            )
        if status == 404 and detail == "Wallet not found.":
            raise LnbitsError("UNAUTHORIZED", message, has_moved_nothing=True)
        if status >= 500:
            raise LnbitsError("INTERNAL", message, is_retriable=True)
        code = "NOT_FOUND" if status == 404 else "OTHER"
        raise LnbitsError(code, message, status="failed", detail=detail)

    def _say_detail(self, document: Any) -> str:
        """Return the server's words, short, printable and without our keys."""
        detail = document.get("detail") if isinstance(document, dict) else None
        text = detail if isinstance(detail, str) else ""
        for key in self._keys.values():
            if key:
                text = text.replace(key, "***")
        return "".join(c if c.isprintable() else " " for c in text[:DETAIL_CHARS_MAX])


async def _read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer as far as the cap; LnbitsError for a longer one."""
    parts, size_bytes = [], 0
    async for part in answer.content.iter_chunked(64 * 1024):
        size_bytes += len(part)
        if size_bytes > ANSWER_BYTES_MAX:
            answer.close()
            message = f"an answer of more than {ANSWER_BYTES_MAX} bytes"
            raise LnbitsError("INTERNAL", message, is_retriable=True)
        parts.append(part)
    return b"".join(parts)


def _check_url(url: str) -> str:
    check_address("lnbits url", url)
    return url.rstrip("/")


def _check_key(name: str, key: str) -> None:
    if len(key) > KEY_CHARS_MAX or not key.isascii() or not (key.isalnum() or not key):
        raise InputError(name, "***", "an LNbits key has letters and digits only")
    if name == "invoice_key" and not key:
        raise InputError(name, "", "give the wallet's invoice key, its admin key, or both")
