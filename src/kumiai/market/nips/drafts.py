"""An event before it is signed, and how the values of tags are read: one text for one value.

Tags come from strangers. Every reader here takes exactly one spelling (decimal numbers without sign
or leading zeros, lower-case hex) and names the tag that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kumiai.base.canonical import INTEGER_MAX, is_hash
from kumiai.base.events import Event, Tags
from kumiai.base.keys import SigningKey
from kumiai.market.nips.nip01 import get_value, sign_text

NUMBER_CHARS_MAX: Final = 16  # 2**53 - 1 has 16 digits

_DECIMAL = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Draft:
    """What an author decides; the time, the key and the id come with the signature."""

    kind: int
    tags: Tags = ()
    content: str = ""


def sign_draft(key: SigningKey, draft: Draft, created_at: int) -> Event:
    """Sign a draft at `created_at` (seconds); ValueError for one that checks refuse."""
    return sign_text(key, draft.kind, created_at, draft.content, draft.tags)


def has_tag(tags: Tags, name: str) -> bool:
    """Tell whether there is a tag of that name, with or without a value."""
    return any(tag and tag[0] == name for tag in tags)


def get_tags(tags: Tags, name: str) -> list[tuple[str, ...]]:
    """Return what follows the name in every tag called `name`."""
    return [tag[1:] for tag in tags if tag and tag[0] == name]


def get_tag(tags: Tags, name: str) -> tuple[str, ...] | None:
    """Return what follows the name in the only tag called `name`; ValueError if there are more."""
    found = get_tags(tags, name)
    if len(found) > 1:
        raise ValueError(f"{len(found)} tags {name!r}, at most one is allowed")
    return found[0] if found else None


def get_needed(tags: Tags, name: str) -> str:
    """Return the value of the only tag called `name`; ValueError if it is missing or doubled."""
    value = get_value(tags, name)
    if value is None:
        raise ValueError(f"the tag {name!r} is missing")
    return value


def get_rest(tags: Tags, read: Iterable[str]) -> Tags:
    """Return the tags that none of the names in `read` covers, in their order."""
    names = frozenset(read)
    return tuple(tag for tag in tags if tag and tag[0] not in names)


def read_number(text: str, name: str, maximum: int = INTEGER_MAX) -> int:
    """Read a decimal number from 0 to `maximum` (at most 2**53 - 1); ValueError names the tag."""
    if len(text) > NUMBER_CHARS_MAX or not _DECIMAL.fullmatch(text) or int(text) > maximum:
        raise ValueError(f"{name}: {text[:40]!r} is no number from 0 to {maximum}")
    return int(text)


def read_hash(text: str, name: str) -> str:
    """Return `text` if it is 64 lower-case hex digits; ValueError names the tag."""
    if not is_hash(text):
        raise ValueError(f"{name}: {text[:80]!r} is not 64 lower-case hex digits")
    return text


def check_text(text: str, name: str, chars_max: int) -> str:
    """Return `text` unless it is longer than `chars_max`; ValueError names the tag."""
    if len(text) > chars_max:
        raise ValueError(f"{name}: {len(text)} characters, more than the {chars_max} allowed")
    return text


def check_count(values: Sequence[object], name: str, count_max: int) -> None:
    """Raise ValueError if there are more than `count_max` values."""
    if len(values) > count_max:
        raise ValueError(f"{name}: {len(values)}, more than the {count_max} allowed")
