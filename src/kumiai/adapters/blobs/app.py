"""The Blossom server as an ASGI application: who may do what over HTTP, and in which words.

Source: hzrd149/blossom, BUD-01 (GET, HEAD), 02 (PUT /upload), 04 (PUT /mirror), 06 (HEAD /upload),
07 (402), 11 (authorization), 12 (list, DELETE). Refusals are JSON with `message`, and X-Reason.

An extension of ours, which plain clients never notice: uploads that go on where they broke off.
`HEAD /upload` answers `Upload-Offset`, the bytes that the server holds of that blob for that key
(its size if the blob is here), and `Upload-Complete: ?1` if nothing is left to do. `PUT /upload`
with X-SHA-256, `Upload-Offset` and `Upload-Length` (the blob's size) appends from there: 201 or 200
when it is complete, 202 with the new `Upload-Offset` before, 409 with the true one if it is
another. With the offset at the end and an empty body a key adopts a blob that is here already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kumiai.adapters.blobs import authorization
from kumiai.adapters.blobs.authorization import Authorization
from kumiai.adapters.blobs.limits import RefusedError
from kumiai.adapters.blobs.mirroring import Mirror, MirrorPolicy
from kumiai.adapters.blobs.receive import receive_body, receive_document
from kumiai.adapters.blobs.serve_blob import BlobResponse, choose_range
from kumiai.base.canonical import is_hash
from kumiai.base.errors import StoreError
from kumiai.market.nips.bud import Verb
from kumiai.nodes.market.errors import MarketError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from kumiai.adapters.blobs.catalogue import BlobEntry
    from kumiai.adapters.blobs.payment import Till
    from kumiai.adapters.blobs.store import BlobStore

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, DELETE",
    "Access-Control-Expose-Headers": "*",
    "Access-Control-Max-Age": "86400",
}
SIZE_DIGITS_MAX: Final = 16

_NAME = re.compile(r"([0-9a-f]{64})(?:\.[A-Za-z0-9]{1,16})?")
_MEDIA_TYPE = re.compile(r"[a-z0-9][\w.+-]*/[\w.+-]+(?:; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)
_OCTETS = "application/octet-stream"
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "application/pdf": ".pdf"}


def make_app(
    store: BlobStore, url: str, till: Till | None = None, mirrors: MirrorPolicy | None = None
) -> ASGIApp:
    """Return the application. url: how clients reach it, e.g. http://127.0.0.1:24242."""
    server = _Server(store, url.rstrip("/"), till, Mirror(mirrors or MirrorPolicy(), store.limits))
    routes = [
        Route("/", _guard(server.welcome), methods=["GET"]),
        Route("/upload", _guard(server.upload), methods=["PUT"]),
        Route("/upload", _guard(server.check_upload), methods=["HEAD"]),
        Route("/mirror", _guard(server.mirror), methods=["PUT"]),
        Route("/list/{pubkey}", _guard(server.list_blobs), methods=["GET"]),
        Route("/{name:path}", _guard(server.get), methods=["GET"]),
        Route("/{name:path}", _guard(server.delete), methods=["DELETE"]),
    ]
    return _Door(Starlette(routes=routes), store.limits.header_bytes_max)


class _Door:
    """Before and around all routes: the cap on headers, CORS, OPTIONS."""

    def __init__(self, app: ASGIApp, header_bytes_max: int) -> None:
        self._app = app
        self._header_bytes_max = header_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        size_bytes = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        size_bytes += len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
        response: ASGIApp
        if size_bytes > self._header_bytes_max:
            response = _refuse(
                RefusedError(431, f"headers of more than {self._header_bytes_max} bytes")
            )
        elif scope["method"] == "OPTIONS":
            response = Response(status_code=204)
        else:
            response = self._app

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in _CORS_RAW if pair[0] not in given),
                ]
            await send(message)

        await response(scope, receive, send_open)


class _Server:
    """The handlers."""

    def __init__(self, store: BlobStore, url: str, till: Till | None, mirror: Mirror) -> None:
        self._store = store
        self._url = url
        self._till = till
        self._mirror = mirror

    async def welcome(self, _request: Request) -> Response:
        return JSONResponse({"name": "kumiai blobs", "buds": [1, 2, 4, 6, 7, 11, 12]})

    async def get(self, request: Request) -> Response:
        """GET and HEAD /<sha256>[.ext]."""
        entry = self._find(_read_path(request))
        name = entry.sha256
        kept = await self._store.shelf.get_size(name)
        if kept != entry.size_bytes:
            raise StoreError(f"blob {name}: {kept} bytes on the shelf, not {entry.size_bytes}")
        etag = f'"{name}"'
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": "public, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",  # whoever uploads a page
        }
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        size_bytes = entry.size_bytes
        span = choose_range(
            request.headers.get("range"), request.headers.get("if-range"), etag, size_bytes
        )
        start, end = span or (0, size_bytes)
        headers["Content-Length"] = str(end - start)
        if span is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
        is_head = request.method == "HEAD"
        return BlobResponse(
            206 if span is not None else 200,
            headers | {"Content-Type": entry.media_type},
            (lambda: self._store.read(name, start, end)) if not is_head else None,
            self._store.limits.idle_s,
        )

    async def upload(self, request: Request) -> Response:
        """PUT /upload, whole or from an offset on."""
        may = self._authorize(request, Verb.UPLOAD)
        name = self._read_name(request, may)
        length = _read_size(request, "content-length")
        media_type = _read_media_type(request.headers.get("content-type"))
        offset = _read_size(request, "upload-offset")
        if offset is not None:
            return await self._append(request, may, name, offset, length, media_type)
        self._store.check_room(may.pubkey, name, length or 0)
        await self._charge(may.pubkey, name, length)
        incoming = await self._store.begin(may.pubkey, name, length)
        try:
            await receive_body(request, incoming, self._store.limits)
            entry, is_new = await incoming.finish(media_type, may.hashes)
        finally:
            await incoming.close()
        return self._describe(entry, 201 if is_new else 200)

    async def _append(
        self,
        request: Request,
        may: Authorization,
        name: str | None,
        offset: int,
        length: int | None,
        media_type: str,
    ) -> Response:
        total = _read_size(request, "upload-length")
        if name is None or total is None or length is None:
            raise RefusedError(
                400, "Upload-Offset needs X-SHA-256, Upload-Length and Content-Length"
            )
        if offset + length > total:
            raise RefusedError(400, f"{offset} + {length} bytes, more than {total}")
        here = self._store.find(name)
        if here is not None and here.size_bytes != total:  # who adopts it pays for all of it
            raise RefusedError(400, f"Upload-Length {total}: the blob has {here.size_bytes} bytes")
        self._store.check_room(may.pubkey, name, total)
        await self._charge(may.pubkey, name, total)
        if length == 0 and offset == total:
            entry = self._store.adopt(may.pubkey, name, media_type)
            if entry is not None:
                return self._describe(entry, 200)
        incoming = await self._store.resume(may.pubkey, name, offset, total)
        try:
            try:
                await receive_body(request, incoming, self._store.limits)
            finally:
                await incoming.flush()  # also what came before the connection broke
            if incoming.size_bytes < total:
                offset_here = {"Upload-Offset": str(incoming.size_bytes)}
                return Response(status_code=202, headers=offset_here)
            entry, is_new = await incoming.finish(media_type, may.hashes)
        finally:
            await incoming.close()
        return self._describe(entry, 201 if is_new else 200)

    async def check_upload(self, request: Request) -> Response:
        """HEAD /upload (BUD-06): whether an upload would be taken, and from which byte on."""
        may = self._authorize(request, Verb.UPLOAD)
        name = self._read_name(request, may)
        size_bytes = _read_size(request, "x-content-length")
        if name is None:
            raise RefusedError(400, "X-SHA-256 is missing")
        if size_bytes is None:
            raise RefusedError(411, "X-Content-Length is missing")
        self._store.check_room(may.pubkey, name, size_bytes)
        headers = {"Upload-Offset": str(self._store.get_offset(may.pubkey, name))}
        if self._store.catalogue.is_owner(may.pubkey, name):
            headers["Upload-Complete"] = "?1"
        else:
            await self._charge(may.pubkey, name, size_bytes)
        return Response(status_code=200, headers=headers)

    async def mirror(self, request: Request) -> Response:
        """PUT /mirror: fetch a blob from another server."""
        may = self._authorize(request, Verb.UPLOAD)
        document = await receive_document(request, self._store.limits)
        url = document.get("url") if isinstance(document, dict) else None
        if not isinstance(url, str):
            raise RefusedError(400, 'the body is a JSON object with a text "url"')
        name = self._read_name(request, may)
        if name is not None and self._store.catalogue.is_owner(may.pubkey, name):
            entry = self._store.find(name)
            if entry is not None:
                return self._describe(entry, 200)
        self._store.check_room(may.pubkey, name, 0)
        async with self._mirror.fetch(url) as source:
            if source.size_bytes is not None:
                self._store.check_room(may.pubkey, name, source.size_bytes)
            await self._charge(may.pubkey, name, source.size_bytes)
            incoming = await self._store.begin(may.pubkey, name, source.size_bytes)
            try:
                async for part in source.read():
                    await incoming.write(part)
                media_type = _read_media_type(source.media_type)
                entry, is_new = await incoming.finish(media_type, may.hashes)
            finally:
                await incoming.close()
        return self._describe(entry, 201 if is_new else 200)

    async def list_blobs(self, request: Request) -> Response:
        """GET /list/<pubkey>, newest first."""
        pubkey = request.path_params["pubkey"]
        if not is_hash(pubkey):
            raise RefusedError(400, "a public key is 64 lower-case hex digits")
        query = request.query_params
        cursor = query.get("cursor")
        if cursor is not None and not is_hash(cursor):
            raise RefusedError(400, "cursor is the sha256 of the last blob seen")
        since_s, until_s, limit = (
            _read_number(query.get(word), word) for word in ("since", "until", "limit")
        )
        most = self._store.limits.list_count_max
        entries = self._store.catalogue.list_owned(
            pubkey, most if limit is None else min(limit, most), since_s, until_s, cursor
        )
        return JSONResponse([self._to_document(entry) for entry in entries])

    async def delete(self, request: Request) -> Response:
        """DELETE /<sha256> by an owner."""
        match = _NAME.fullmatch(_read_path(request))
        if match is None:
            raise RefusedError(404, "there is no such blob")
        may = self._authorize(request, Verb.DELETE)
        may.check_hash(match[1])
        await self._store.remove(may.pubkey, match[1])
        return Response(status_code=204)

    def _find(self, text: str) -> BlobEntry:
        match = _NAME.fullmatch(text)
        entry = self._store.find(match[1]) if match is not None else None
        if entry is None:
            raise RefusedError(404, "there is no such blob")
        return entry

    def _authorize(self, request: Request, verb: Verb) -> Authorization:
        return authorization.read_authorization(
            request.headers.get("authorization"),
            verb,
            self._store.now_s(),
            self._url,
            self._store.limits.authorization_life_s_max,
        )

    def _read_name(self, request: Request, may: Authorization) -> str | None:
        name = request.headers.get("x-sha-256")
        if name is None:
            return may.hashes[0] if len(may.hashes) == 1 else None
        if not is_hash(name):
            raise RefusedError(400, "X-SHA-256 is 64 lower-case hex digits")
        may.check_hash(name)
        return name

    async def _charge(self, pubkey: str, name: str | None, size_bytes: int | None) -> None:
        if self._till is not None:
            await self._till.charge(pubkey, name, size_bytes)

    def _describe(self, entry: BlobEntry, status: int) -> Response:
        return JSONResponse(self._to_document(entry), status_code=status)

    def _to_document(self, entry: BlobEntry) -> dict[str, object]:
        ending = _ENDINGS.get(entry.media_type, ".bin")
        return {
            "url": f"{self._url}/{entry.sha256}{ending}",
            "sha256": entry.sha256,
            "size": entry.size_bytes,
            "type": entry.media_type,
            "uploaded": entry.uploaded_at_s,
        }


def _guard(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Turn refusals and faults into answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError as error:
            return _refuse(error)
        except StoreError as error:
            status = 503 if error.is_retriable else 500
            return _refuse(RefusedError(status, "the store failed: try again later"))
        except MarketError:
            return _refuse(RefusedError(503, "the wallet failed: try again later"))

    return answer


def _refuse(error: RefusedError) -> Response:
    reason = re.sub(r"[^\x20-\x7e]", "?", error.reason)[:500]
    return Response(
        json.dumps({"message": reason}),
        status_code=error.status,
        media_type="application/json",
        headers={"X-Reason": reason, **error.headers},
    )


def _read_path(request: Request) -> str:
    """The whole path: the router's own parameter would lack a line's end."""
    return str(request.scope["path"]).removeprefix("/")


def _read_size(request: Request, name: str) -> int | None:
    return _read_number(request.headers.get(name), name)


def _read_number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= SIZE_DIGITS_MAX):
        raise RefusedError(400, f"{name} is a whole number")
    return int(text)


def _read_media_type(text: str | None) -> str:
    text = (text or "").strip().lower()
    return text if len(text) <= 128 and _MEDIA_TYPE.fullmatch(text) else _OCTETS


_CORS_RAW = [(name.lower().encode(), value.encode()) for name, value in CORS.items()]
