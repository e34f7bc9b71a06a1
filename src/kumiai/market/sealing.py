"""How long a sealed file is: docs/nip-training.md, section 7."""

from __future__ import annotations

HEADER_BYTES = 48
CHUNK_BYTES = 1 << 20
TAG_BYTES = 16


def compute_sealed_bytes_max(plain_bytes: int) -> int:
    """Return how long the sealed form of at most so many plain bytes may be."""
    return HEADER_BYTES + plain_bytes + (plain_bytes // CHUNK_BYTES + 1) * TAG_BYTES
