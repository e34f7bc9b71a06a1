"""How a relay has behaved towards this member, for `status` and for whoever chooses relays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LinkState(StrEnum):
    """Where the connection to a relay stands."""

    IDLE = "idle"  # not asked for anything yet
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"  # before the next attempt
    CLOSED = "closed"


@dataclass(slots=True)
class Health:
    """Counts since start. since_s: when `state` began, seconds; latency_ms: last publish to OK."""

    url: str
    state: LinkState = LinkState.IDLE
    since_s: float = 0.0
    connects: int = 0
    failures: int = 0
    rotations: int = 0
    received: int = 0
    accepted: int = 0
    refused: int = 0
    bad: int = 0  # messages that no honest relay sends
    waiting_events: int = 0  # published, not yet answered
    is_authenticated: bool = False
    has_negentropy: bool | None = None  # None: not tried yet
    latency_ms: float | None = None
    last_error: str = ""
