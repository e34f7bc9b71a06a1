"""The bytes of a journal's entries, and the chain that ties each to all before it.

head_0 = sha256("kumiai market journal v1"), head_n = sha256(head_{n-1} | n | sha256(entry n)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kumiai.base import canonical

ENTRY_BYTES_MAX: Final = 4 * 1024 * 1024  # tokens and judgements are the longest
GENESIS_HEAD: Final = canonical.sha256_hex(b"kumiai market journal v1")


def encode_entry(entry: Mapping[str, object]) -> bytes:
    """Return canonical JSON; ValueError for what has no such form or is too long."""
    body = canonical.encode_checked(dict(entry))
    if len(body) > ENTRY_BYTES_MAX:
        raise ValueError(f"an entry of {len(body)} bytes, more than {ENTRY_BYTES_MAX}")
    return body


def decode_entry(body: bytes) -> Mapping[str, object]:
    """Read what `encode_entry` wrote; ValueError for anything else."""
    document = canonical.decode(body, ENTRY_BYTES_MAX)
    if not isinstance(document, dict):
        raise ValueError("an entry is a JSON object")
    return document


def compute_head(previous: str, number: int, body: bytes) -> str:
    """Return the hash that stands for all entries up to this one; numbers count from 1."""
    return canonical.sha256_hex(f"{previous}|{number}|{canonical.sha256_hex(body)}".encode())
