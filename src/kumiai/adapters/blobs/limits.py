"""What a blob server allows, and what it says when it does not: one place for every limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kumiai.base.errors import InputError

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class BlobLimits:
    """Limits of one server. Sizes in bytes, times in seconds.

    members: public keys that may upload; empty for anybody. Whoever lets anybody upload should
    rely on `total_bytes_max`: keys cost nothing, so a quota per key alone holds nobody back.
    """

    blob_bytes_max: int = 4 * GIB
    quota_bytes: int = 16 * GIB  # of one key: its blobs and what it is about to upload
    total_bytes_max: int = 256 * GIB
    members: frozenset[str] = frozenset()
    partial_count_max: int = 8  # unfinished uploads kept for one key
    partial_age_s: int = 24 * 3600  # unfinished uploads older than that are dropped
    upload_count_max: int = 16  # running at the same time for one key
    header_bytes_max: int = 16 * 1024
    authorization_life_s_max: int = 7 * 24 * 3600  # between signing and expiration
    idle_s: float = 30.0  # no byte in that time: the transfer ends
    slow_after_s: float = 60.0  # from then on an upload must have come at the speed below
    bytes_per_s_min: int = 8 * 1024
    list_count_max: int = 1_000

    def __post_init__(self) -> None:
        for name in ("blob_bytes_max", "quota_bytes", "total_bytes_max", "list_count_max"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "at least 1")


@dataclass
class RefusedError(Exception):
    """A request that the server refuses: the HTTP status, a sentence for people, headers."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"
