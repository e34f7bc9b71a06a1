"""Inputs that are nearly right: bytes changed at random, or a document with one part changed.

Doors that take canonical JSON refuse almost every changed byte at once. What reaches further is
another canonical document: one node of it replaced, removed, doubled or swapped with another's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from kumiai.base import canonical

SIZE_MAX = 1_000_000
TOP_SHARE = 0.02  # of changes that replace the whole document
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 100, 2**31, 2**53 - 1, "", "0", "-1", "ab" * 32, "AB" * 32,
    "x" * 200, "1" * 50, "\u3042", [], [[]], [0], [0, ""], {}, {"a": 0}, [[0, "00"]] * 70,
)  # fmt: skip


def mutate(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return a changed input; a first byte that no JSON begins with is kept before a document."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        split = 0 if data[:1] in {b"[", b"{"} else 1
        document = _read(data[split:]) if rng.random() < 0.8 else None
        if document is None:
            data = _change_bytes(data, seeds, rng)
        else:
            other = _read(rng.choice(seeds)[split:])
            data = data[:split] + canonical.encode(_change(document, other, rng))
    return data


def _read(data: bytes) -> Any:
    try:
        document = canonical.decode(data.removesuffix(b"\n"), SIZE_MAX)
    except ValueError:
        return None
    return document if isinstance(document, list | dict) else None


def _list_nodes(document: Any) -> list[tuple[Any, Any]]:
    """Return (container, key) of every node below the top."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            keys = list(each) if isinstance(each, dict) else list(range(len(each)))
            found += [(each, key) for key in keys]
            waiting += [each[key] for key in keys]
    return found


def _change(document: Any, other: Any, rng: random.Random) -> Any:
    nodes = _list_nodes(document)
    if not nodes or rng.random() < TOP_SHARE:
        return rng.choice(ODD)
    container, key = rng.choice(nodes)
    value = container[key]
    way = rng.randrange(6)
    if way == 0:
        del container[key]
    elif way == 1 and isinstance(container, list):
        container.insert(key, value)
    elif way == 2 and isinstance(value, int):
        container[key] = max(-(2**53) + 1, min(2**53 - 1, value + rng.choice((-1, 1, 2))))
    elif way == 3:
        there = rng.choice(_list_nodes(other) or nodes)
        container[key] = canonical.decode(canonical.encode(there[0][there[1]]), SIZE_MAX)
    elif way == 4:
        there = rng.choice(nodes)
        container[key] = canonical.decode(canonical.encode(there[0][there[1]]), SIZE_MAX)
    else:
        container[key] = rng.choice(ODD)
    return document


def _change_bytes(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    changed = bytearray(data)
    place = rng.randrange(len(changed) + 1)
    way = rng.randrange(5)
    if way == 0 and place < len(changed):
        changed[place] ^= 1 << rng.randrange(8)
    elif way == 1:
        changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
    elif way == 2:
        del changed[place : place + rng.choice((1, 4, 64))]
    elif way == 3:
        other = rng.choice(seeds)
        changed[place:] = other[rng.randrange(len(other) + 1) :]
    elif place < len(changed):
        changed[place] = rng.choice(b'0"[]{},:\\\n\xff')
    return bytes(changed)
