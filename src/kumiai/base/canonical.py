"""Canonical bytes: one document, one encoding, one hash (RFC 8785, JSON Canonicalization Scheme).

Documents that are hashed hold only objects with text keys, arrays, text, integers below 2**53,
booleans and null; no floats, so that every machine and language computes the same hash.
Larger integers travel as decimal text.

`encode` is the fast path used for every event: the C encoder of the standard library, whose output
equals RFC 8785 on this restricted set of values (shown against the `rfc8785` package, which serves
as the oracle, in tests). `decode` is the door: it refuses what is not canonical, so a document has
exactly one byte form and a changed byte is always a changed document.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NoReturn

INTEGER_MAX = 2**53 - 1  # RFC 8785 section 3.2.2.3 inherits I-JSON's safe integers
DEPTH_MAX = 32

_HASH = re.compile(r"[0-9a-f]{64}")
_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False
)


def _refuse_float(text: str) -> NoReturn:
    raise ValueError(f"number {text} is not an integer: hashed documents hold integers only")


_decoder = json.JSONDecoder(parse_float=_refuse_float, parse_constant=_refuse_float)


def encode(document: Any) -> bytes:
    """Return the canonical bytes of `document`, which the caller knows to have them."""
    return _encoder.encode(document).encode("utf-8")


def encode_checked(document: Any) -> bytes:
    """As `encode`, but walks the document first and refuses floats, big integers and odd keys."""
    _check(document, depth=0)
    return encode(document)


def decode(data: bytes, size_bytes_max: int) -> Any:
    """Parse canonical bytes; raises ValueError when too big, malformed, or not canonical."""
    if not isinstance(data, bytes):  # a database may hold anything in a column of bytes
        raise ValueError(f"{type(data).__name__}, not bytes")
    if len(data) > size_bytes_max:
        raise ValueError(f"{len(data)} bytes, more than the {size_bytes_max} allowed")
    try:
        document = _decoder.decode(data.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error}") from error
    if encode_checked(document) != data:
        raise ValueError("not in canonical form (RFC 8785)")
    return document


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_document(document: Any) -> str:
    """Return sha256 over the canonical bytes of `document`."""
    return sha256_hex(encode_checked(document))


def is_hash(value: object) -> bool:
    """Tell whether `value` looks like the output of `sha256_hex`."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _check(value: Any, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} levels")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate has no UTF-8 form
        return
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise ValueError(f"integer {value} exceeds 2**53 - 1: write it as decimal text")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError(f"key {key!r} is not ASCII text")
            _check(item, depth + 1)
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
        return
    raise ValueError(f"{type(value).__name__} {value!r} has no canonical form")
