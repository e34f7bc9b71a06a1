"""The part of CBOR (RFC 8949) that Cashu tokens consist of, and nothing else.

Unsigned integers, byte strings, text, arrays, maps with text keys, null. What comes from a peer is
refused as soon as it is anything else: tags, floats, negative or indefinite items, a length beyond
the input, a key twice, items after the end. Integers need not be in their shortest form: other
wallets write them as they like.
"""

from __future__ import annotations

from typing import TypeAlias

Item: TypeAlias = "int | bytes | str | list[Item] | dict[str, Item] | None"

DEPTH_MAX = 8
_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5
_NULL = 0xF6


def encode(item: Item) -> bytes:
    """Return the shortest encoding; raises ValueError for what this part of CBOR does not have."""
    if item is None:
        return bytes([_NULL])
    if isinstance(item, bytes):
        return _head(_BYTES, len(item)) + item
    if isinstance(item, str):
        raw = item.encode()
        return _head(_TEXT, len(raw)) + raw
    if isinstance(item, list):
        return _head(_ARRAY, len(item)) + b"".join(encode(part) for part in item)
    if isinstance(item, dict):
        parts = (encode(key) + encode(value) for key, value in item.items())
        return _head(_MAP, len(item)) + b"".join(parts)
    if isinstance(item, bool) or not 0 <= item < 2**64:
        raise ValueError(f"{item!r} is no unsigned integer of 64 bits")
    return _head(_UNSIGNED, item)


def decode(data: bytes) -> Item:
    """Parse one item that fills `data`; ValueError otherwise. The caller caps the size."""
    item, end = _decode(data, 0, 0)
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes after the end")
    return item


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for code, size_bytes in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size_bytes:
            return bytes([major << 5 | code]) + value.to_bytes(size_bytes, "big")
    raise ValueError(f"{value} has no CBOR head")


def _decode(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} levels")
    if at >= len(data):
        raise ValueError("ends within an item")
    if data[at] == _NULL:
        return None, at + 1
    major = data[at] >> 5
    value, at = _decode_head(data, at)
    if major == _UNSIGNED:
        return value, at
    if major in {_BYTES, _TEXT}:
        raw = data[at : at + value]
        if len(raw) != value:
            raise ValueError("a text or byte string is longer than the input")
        return (raw if major == _BYTES else raw.decode()), at + value
    if value > len(data) - at:  # every part takes a byte at least
        raise ValueError("an array or map is longer than the input")
    if major == _ARRAY:
        items: list[Item] = []
        for _ in range(value):
            item, at = _decode(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == _MAP:
        return _decode_map(data, at, value, depth)
    raise ValueError(f"CBOR major type {major} is not used in tokens")


def _decode_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[str, Item], int]:
    result: dict[str, Item] = {}
    for _ in range(count):
        key, at = _decode(data, at, depth + 1)
        if not isinstance(key, str) or key in result:
            raise ValueError("a key is not text or comes twice")
        result[key], at = _decode(data, at, depth + 1)
    return result, at


def _decode_head(data: bytes, at: int) -> tuple[int, int]:
    code = data[at] & 0x1F
    if code < 24:
        return code, at + 1
    if code > 27:
        raise ValueError("an item of indefinite length")
    size_bytes = 1 << (code - 24)
    raw = data[at + 1 : at + 1 + size_bytes]
    if len(raw) != size_bytes:
        raise ValueError("ends within a length")
    return int.from_bytes(raw, "big"), at + 1 + size_bytes
