"""What validators sign about a round, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """A validator's signature under a certificate body."""

    validator: str
    event_id: str
    body_hash: str
    model: str
    server_state: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A round that a quorum has signed: the body, its hash, and who signed it in which event."""

    round: int
    body: Mapping[str, object]
    body_hash: str
    signers: tuple[tuple[str, str], ...]  # (validator, event id)
