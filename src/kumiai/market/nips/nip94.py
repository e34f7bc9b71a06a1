"""NIP-94: what a file is and where it lies, so that others can find it by its hash.

Source: nostr-protocol/nips, 94.md. What counts is `sha256`: whoever fetches the file must check it.
Pictures' fields (dim, blurhash, thumb, image) are kept in `others`, unread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kumiai.base.events import Event, Tags
from kumiai.market.nips.drafts import (
    Draft,
    check_count,
    check_text,
    get_needed,
    get_rest,
    read_hash,
    read_number,
)
from kumiai.market.nips.nip01 import get_value, get_values

KIND: Final = 1_063
URL_CHARS_MAX: Final = 2_048
FALLBACK_COUNT_MAX: Final = 16
TEXT_CHARS_MAX: Final = 4_096
MEDIA_TYPE_CHARS_MAX: Final = 128

_URL = re.compile(r"[a-z][a-z0-9+.-]*:[\x21-\x7e]+")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_READ: Final = ("url", "m", "x", "ox", "size", "magnet", "fallback", "service", "summary")


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """sha256: of the bytes at `url`; original_sha256: before a server changed them."""

    url: str
    media_type: str
    sha256: str
    original_sha256: str = ""
    size_bytes: int | None = None
    fallbacks: tuple[str, ...] = ()
    magnet: str = ""
    service: str = ""
    summary: str = ""
    description: str = ""
    others: Tags = ()


def encode_file(file: FileMetadata) -> Draft:
    """Return the draft; ValueError names the field that does not fit."""
    _check(file)
    tags = [("url", file.url), ("m", file.media_type), ("x", file.sha256)]
    optional = (
        ("ox", file.original_sha256),
        ("size", "" if file.size_bytes is None else str(file.size_bytes)),
        ("magnet", file.magnet),
        ("service", file.service),
        ("summary", file.summary),
    )
    tags += [(name, text) for name, text in optional if text]
    tags += [("fallback", url) for url in file.fallbacks]
    return Draft(KIND, (*tags, *file.others), file.description)


def decode_file(event: Event) -> FileMetadata:
    """Read the metadata; ValueError names the tag that does not fit."""
    if event.kind != KIND:
        raise ValueError(f"kind {event.kind} is not file metadata ({KIND})")
    tags, size = event.tags, get_value(event.tags, "size")
    file = FileMetadata(
        url=get_needed(tags, "url"),
        media_type=get_needed(tags, "m"),
        sha256=get_needed(tags, "x"),
        original_sha256=get_value(tags, "ox") or "",
        size_bytes=None if size is None else read_number(size, "size"),
        fallbacks=tuple(get_values(tags, "fallback")),
        magnet=get_value(tags, "magnet") or "",
        service=get_value(tags, "service") or "",
        summary=get_value(tags, "summary") or "",
        description=event.content,
        others=get_rest(tags, _READ),
    )
    _check(file)
    return file


def _check(file: FileMetadata) -> None:
    read_hash(file.sha256, "x")
    if file.original_sha256:
        read_hash(file.original_sha256, "ox")
    if file.size_bytes is not None:
        read_number(str(file.size_bytes), "size")
    check_count(file.fallbacks, "fallback", FALLBACK_COUNT_MAX)
    check_text(file.media_type, "m", MEDIA_TYPE_CHARS_MAX)
    if not _MEDIA_TYPE.fullmatch(file.media_type):
        raise ValueError(f"m: {file.media_type!r} is not a media type in lower case")
    for url in (file.url, *file.fallbacks, *filter(None, (file.magnet,))):
        if len(url) > URL_CHARS_MAX or not _URL.fullmatch(url):
            raise ValueError(f"url: {url[:80]!r} is no URL, or too long")
    for text in (file.service, file.summary, file.description):
        check_text(text, "text", TEXT_CHARS_MAX)
    if len(get_rest(file.others, _READ)) != len(file.others):
        raise ValueError(f"others: has one of {_READ}, or a tag without a name")
