"""Blossom's documents that concern events: where a member's blobs lie, blob URIs, authorisation.

Source: hzrd149/blossom, BUD-03 (kind 10063), BUD-10 (`blossom:` URIs), BUD-11 (kind 24242). The
HTTP of BUD-01, 02, 04, 06, 07 and 12 is in the adapters. Deviations: an authorisation with server
scope names the server's host, with its port where that is not the default one; a `xs` without
scheme is read as https. The clock of who signs may be ahead by a minute.

Guarantee: `check_auth` passes only what the key signed, unexpired, for this verb, this blob if one
is named, and this server if the author named any. An authorisation is a bearer's token: until it
expires, whoever sees it can use it again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from kumiai.base.canonical import is_hash
from kumiai.base.events import Event, check_event
from kumiai.market.nips.drafts import Draft, check_count, check_text, read_hash, read_number
from kumiai.market.nips.nip01 import decode_event, encode_event, get_values
from kumiai.market.nips.nip40 import get_expiration, make_expiration
from kumiai.market.nips.urls import normalise_server_url

SERVERS_KIND: Final = 10_063
AUTH_KIND: Final = 24_242
SERVER_COUNT_MAX: Final = 16
AUTHOR_COUNT_MAX: Final = 16
HASH_COUNT_MAX: Final = 32
URI_CHARS_MAX: Final = 8_192
HEADER_CHARS_MAX: Final = 12_288
CLOCK_SKEW_S_MAX: Final = 60

_SCHEME: Final = "blossom:"
_HEADER: Final = "Nostr "
_EXTENSION = re.compile(r"[a-z0-9]{1,16}")
_CONTENT_CHARS_MAX: Final = 1_024


class Verb(StrEnum):
    """What an authorisation allows. A mirrored blob is uploaded, too."""

    GET = "get"
    UPLOAD = "upload"
    LIST = "list"
    DELETE = "delete"
    MEDIA = "media"


_NEEDS_HASH: Final = (Verb.UPLOAD, Verb.DELETE, Verb.MEDIA)


@dataclass(frozen=True, slots=True)
class BlobUri:
    """A blob by its hash; servers and authors: where it may be found, in order."""

    sha256: str
    extension: str = "bin"
    servers: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    size_bytes: int | None = None


def encode_servers(servers: Sequence[str]) -> Draft:
    """Return the list of a member's blob servers, the best first; ValueError for none."""
    check_count(servers, "server", SERVER_COUNT_MAX)
    if not servers:
        raise ValueError("server: at least one is needed")
    return Draft(SERVERS_KIND, tuple(("server", normalise_server_url(each)) for each in servers))


def decode_servers(event: Event) -> tuple[str, ...]:
    """Return the first servers of a list that are well formed; ValueError for another kind."""
    if event.kind != SERVERS_KIND:
        raise ValueError(f"kind {event.kind} is not a list of blob servers ({SERVERS_KIND})")
    found: list[str] = []
    for text in get_values(event.tags, "server"):
        try:
            url = normalise_server_url(text)
        except ValueError:
            continue
        if url not in found and len(found) < SERVER_COUNT_MAX:
            found.append(url)
    return tuple(found)


def encode_uri(uri: BlobUri) -> str:
    """Return the `blossom:` URI; ValueError names the part that does not fit."""
    _check_uri(uri)
    fields = [("xs", quote(url.removeprefix("https://"), safe=":/[]")) for url in uri.servers]
    fields += [("as", author) for author in uri.authors]
    if uri.size_bytes is not None:
        fields.append(("sz", str(uri.size_bytes)))
    query = "&".join(f"{name}={value}" for name, value in fields)
    return f"{_SCHEME}{uri.sha256}.{uri.extension}" + (f"?{query}" if query else "")


def parse_uri(text: str) -> BlobUri:
    """Read a `blossom:` URI; ValueError if it is none. Unknown fields are ignored."""
    if len(text) > URI_CHARS_MAX or not text.startswith(_SCHEME):
        raise ValueError(f"{text[:80]!r} is not a {_SCHEME} URI, or too long")
    name, _, query = text[len(_SCHEME) :].partition("?")
    sha256, _, extension = name.partition(".")
    field_count_max = SERVER_COUNT_MAX + AUTHOR_COUNT_MAX + 8
    fields = parse_qsl(query, keep_blank_values=True, max_num_fields=field_count_max)
    sizes = [value for name, value in fields if name == "sz"]
    if len(sizes) > 1:
        raise ValueError("sz: given twice")
    servers = [value for name, value in fields if name == "xs"]
    uri = BlobUri(
        sha256=sha256,
        extension=extension,
        servers=tuple(
            normalise_server_url(each if "://" in each else f"https://{each}") for each in servers
        ),
        authors=tuple(value for name, value in fields if name == "as"),
        size_bytes=read_number(sizes[0], "sz") if sizes else None,
    )
    _check_uri(uri)
    return uri


def make_auth(
    verb: Verb,
    expires_at_s: int,
    content: str,
    hashes: Sequence[str] = (),
    servers: Sequence[str] = (),
) -> Draft:
    """Return an authorisation; `hashes`: of which blobs, `servers`: addresses it is good for.

    ValueError for an upload or deletion that names no blob, which would allow any.
    """
    check_text(content, "content", _CONTENT_CHARS_MAX)
    check_count(hashes, "x", HASH_COUNT_MAX)
    check_count(servers, "server", SERVER_COUNT_MAX)
    if verb in _NEEDS_HASH and not hashes:
        raise ValueError(f"x: {verb.value} names its blobs")
    tags = [("t", verb.value), make_expiration(expires_at_s)]
    tags += [("x", read_hash(each, "x")) for each in hashes]
    tags += [("server", get_scope(each)) for each in servers]
    return Draft(AUTH_KIND, tuple(tags), content)


def get_scope(server_url: str) -> str:
    """Return how a server is named in an authorisation: its host, and port if not default."""
    return urlsplit(normalise_server_url(server_url)).netloc


def check_auth(
    event: Event,
    verb: Verb,
    now_s: int,
    server_url: str,
    sha256: str | None = None,
    *,
    needs_scope: bool = False,
) -> str | None:
    """Return why `event` does not allow this, or None: its `pubkey` may.

    sha256: the blob that is asked for; None for a list. needs_scope: refuse what names no server,
    as it could be replayed at others.
    """
    if event.kind != AUTH_KIND:
        return f"kind {event.kind}, not {AUTH_KIND}"
    if event.created_at > now_s + CLOCK_SKEW_S_MAX:
        return "created in the future"
    try:
        expires_at_s = get_expiration(event.tags)
    except ValueError as error:
        return str(error)
    if expires_at_s is None or expires_at_s <= now_s:
        return "expired, or without expiration"
    if get_values(event.tags, "t") != [verb.value]:
        return f"not an authorisation to {verb.value}"
    hashes, scopes = get_values(event.tags, "x"), get_values(event.tags, "server")
    if verb in _NEEDS_HASH and not hashes:
        return f"an authorisation to {verb.value} names its blobs"
    if sha256 is not None and hashes and sha256 not in hashes:
        return "for another blob"
    if scopes and get_scope(server_url) not in [scope.lower() for scope in scopes]:
        return "for another server"
    if needs_scope and not scopes:
        return "names no server: it could be replayed at others"
    return check_event(event)


def encode_header(event: Event) -> str:
    """Return the value of HTTP's `Authorization` header: base64url without padding."""
    return _HEADER + base64.urlsafe_b64encode(encode_event(event)).decode().rstrip("=")


def decode_header(text: str) -> Event:
    """Read an `Authorization` header, also one in older base64; ValueError if it holds no event."""
    if len(text) > HEADER_CHARS_MAX or text[: len(_HEADER)].lower() != _HEADER.lower():
        raise ValueError(f"authorisation: not {_HEADER!r} and an event, or too long")
    encoded = text[len(_HEADER) :].strip().rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"authorisation: not base64: {error}") from error
    return decode_event(data)


def _check_uri(uri: BlobUri) -> None:
    read_hash(uri.sha256, "blossom")
    if not _EXTENSION.fullmatch(uri.extension):
        raise ValueError(f"blossom: the extension {uri.extension[:40]!r} is not 1 to 16 of a-z0-9")
    check_count(uri.servers, "xs", SERVER_COUNT_MAX)
    check_count(uri.authors, "as", AUTHOR_COUNT_MAX)
    for server in uri.servers:
        if normalise_server_url(server) != server:
            raise ValueError(f"xs: {server!r} is not in normal form")
    for author in uri.authors:
        if not is_hash(author):
            raise ValueError(f"as: {author[:80]!r} is no public key")
    if uri.size_bytes is not None:
        read_number(str(uri.size_bytes), "sz")
