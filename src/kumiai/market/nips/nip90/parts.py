"""What requests, results and feedback share: inputs, foreign tags, the end of a draft."""

from __future__ import annotations

import re

from kumiai.base.events import TAG_COUNT_MAX, Tags
from kumiai.market.nips.drafts import (
    Draft,
    check_count,
    check_text,
    get_rest,
    get_tags,
    read_hash,
)
from kumiai.market.nips.nip40 import make_expiration
from kumiai.market.nips.nip90.values import (
    INPUT_COUNT_MAX,
    NAME_CHARS_MAX,
    TEXT_CHARS_MAX,
    Encrypt,
    InputType,
    JobInput,
)
from kumiai.market.nips.urls import normalise_relay_url

_URL = re.compile(r"[a-z][a-z0-9+.-]*:[\x21-\x7e]+")


def check_inputs(inputs: tuple[JobInput, ...]) -> None:
    """Raise ValueError for an input that no `i` tag can say."""
    check_count(inputs, "i", INPUT_COUNT_MAX)
    for each in inputs:
        check_text(each.data, "i", TEXT_CHARS_MAX)
        check_text(each.marker, "i", NAME_CHARS_MAX)
        if each.type in {InputType.EVENT, InputType.JOB}:
            read_hash(each.data, "i")
        elif each.type == InputType.URL and not _URL.fullmatch(each.data):
            raise ValueError(f"i: {each.data[:80]!r} is no URL")
        if each.relay and normalise_relay_url(each.relay) != each.relay:
            raise ValueError(f"i: {each.relay!r} is not in normal form")


def check_others(others: Tags, read: frozenset[str]) -> None:
    """Raise ValueError if a tag there would be read as one of those in `read`."""
    check_count(others, "tags", TAG_COUNT_MAX)
    if len(get_rest(others, read)) != len(others):
        raise ValueError(f"others: may be empty of names and of {sorted(read)} only")


def check_cipher(is_encrypted: bool, encrypt: Encrypt | None) -> None:
    """Raise ValueError unless both or none are given: misuse by the caller."""
    if is_encrypted != (encrypt is not None):
        raise ValueError("encrypt is needed exactly if is_encrypted")


def write_inputs(inputs: tuple[JobInput, ...]) -> list[tuple[str, ...]]:
    """Return the `i` tags, without empty values at their ends."""
    tags: list[tuple[str, ...]] = []
    for each in inputs:
        parts = ["i", each.data, each.type.value, each.relay, each.marker]
        while not parts[-1]:
            parts.pop()  # the type is never empty
        tags.append(tuple(parts))
    return tags


def read_inputs(tags: Tags) -> tuple[JobInput, ...]:
    """Return the inputs of all `i` tags; ValueError for one that does not fit."""
    types = {each.value for each in InputType}
    inputs: list[JobInput] = []
    for found in get_tags(tags, "i"):
        if not 2 <= len(found) <= 4 or found[1] not in types:
            raise ValueError(f"i: not data, one of {sorted(types)}, relay and marker")
        data, kind, relay, marker = (*found, "", "")[:4]
        relay = normalise_relay_url(relay) if relay else ""
        inputs.append(JobInput(data, InputType(kind), relay, marker))
    return tuple(inputs)


def finish(
    kind: int, tags: list[tuple[str, ...]], expires_at_s: int | None, others: Tags, content: str
) -> Draft:
    """Put the expiration and the foreign tags at the end."""
    if expires_at_s is not None:
        tags = [*tags, make_expiration(expires_at_s)]
    return Draft(kind, (*tags, *others), content)
