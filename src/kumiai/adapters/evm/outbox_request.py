"""What a caller of the outbox says and hears: requests, the policy, outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field

from kumiai.adapters.evm.fees import FeePolicy
from kumiai.adapters.evm.outbox_table import Row


@dataclass(frozen=True, slots=True)
class Request:
    """One transaction. gas None: estimated, with the policy's margin. value in wei."""

    key: str
    to: str | None
    data: bytes = b""
    value: int = 0
    gas: int | None = None


@dataclass(frozen=True, slots=True)
class OutboxPolicy:
    """When is it settled, how much is under way, how long is waited."""

    confirmations: int = 3  # blocks, its own counted
    is_finalized_asked: bool = False  # settled by the chain's own `finalized` tag instead
    in_flight_max: int = 64  # signed and not mined, of one sender: what geth's pool keeps
    patience_seconds: float = 30.0  # then the lowest nonces are replaced with a higher fee
    rebroadcast_seconds: float = 15.0
    poll_seconds: float = 0.5
    gas_margin_ppm: int = 200_000
    fees: FeePolicy = field(default_factory=FeePolicy)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a transaction stands; `hash`, `block` and `is_success` once it was mined."""

    key: str
    state: str  # queued, pending, mined, settled, refused
    nonce: int | None
    hash: str | None
    block: int | None
    is_success: bool | None
    refusal: str | None


def outcome_of(row: Row) -> Outcome:
    """Return what a caller sees of a row."""
    return Outcome(row.key, row.state, row.nonce, row.hash, row.block, row.is_success, row.refusal)
