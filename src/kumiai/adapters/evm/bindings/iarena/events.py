"""Events of IArena; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, Structs, collect_events
from kumiai.adapters.evm.bindings.iarena.structs import Terms


@dataclass(frozen=True, slots=True)
class Claimed(Event):
    """Claimed of IArena."""

    task: bytes
    account: str
    amount: int
    cumulative: int
    SIGNATURE: ClassVar[str] = (
        "Claimed(bytes32 indexed task, address indexed account, uint128 amount, uint128 cumulative)"
    )


@dataclass(frozen=True, slots=True)
class CommitteeChanged(Event):
    """CommitteeChanged of IArena."""

    task: bytes
    committee: bytes
    SIGNATURE: ClassVar[str] = "CommitteeChanged(bytes32 indexed task, bytes32 committee)"


@dataclass(frozen=True, slots=True)
class Delegated(Event):
    """Delegated of IArena."""

    task: bytes
    delegator: str
    node: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Delegated(bytes32 indexed task, address indexed delegator, address indexed node, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """Ended of IArena."""

    task: bytes
    status: int
    SIGNATURE: ClassVar[str] = "Ended(bytes32 indexed task, uint8 status)"


@dataclass(frozen=True, slots=True)
class Equivocated(Event):
    """Equivocated of IArena."""

    task: bytes
    validator: str
    round: int
    attempt: int
    SIGNATURE: ClassVar[str] = (
        "Equivocated(bytes32 indexed task, address indexed validator, uint32 round, uint32 attempt)"
    )


@dataclass(frozen=True, slots=True)
class FinalSettled(Event):
    """FinalSettled of IArena."""

    task: bytes
    round: int
    body: bytes
    submissions: bytes
    payments: bytes
    paid: int
    returned: int
    activeAt: int
    SIGNATURE: ClassVar[str] = (
        "FinalSettled(bytes32 indexed task, uint32 indexed round, bytes32 body, bytes32 submissions, bytes32 payments, uint128 paid, uint128 returned, uint40 activeAt)"
    )


@dataclass(frozen=True, slots=True)
class Funded(Event):
    """Funded of IArena."""

    task: bytes
    payer: str
    amount: int
    SIGNATURE: ClassVar[str] = "Funded(bytes32 indexed task, address indexed payer, uint128 amount)"


@dataclass(frozen=True, slots=True)
class Left(Event):
    """Left of IArena."""

    task: bytes
    member: str
    exitAt: int
    SIGNATURE: ClassVar[str] = "Left(bytes32 indexed task, address indexed member, uint40 exitAt)"


@dataclass(frozen=True, slots=True)
class Ordered(Event):
    """Ordered of IArena."""

    task: bytes
    action: int
    until: int
    reason: str
    signers: tuple[str, ...]
    SIGNATURE: ClassVar[str] = (
        "Ordered(bytes32 indexed task, uint8 indexed action, uint40 until, string reason, address[] signers)"
    )


@dataclass(frozen=True, slots=True)
class Refunded(Event):
    """Refunded of IArena."""

    task: bytes
    payer: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Refunded(bytes32 indexed task, address indexed payer, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class RootDisabled(Event):
    """RootDisabled of IArena."""

    task: bytes
    round: int
    SIGNATURE: ClassVar[str] = "RootDisabled(bytes32 indexed task, uint32 round)"


@dataclass(frozen=True, slots=True)
class RootsBlocked(Event):
    """RootsBlocked of IArena."""

    task: bytes
    fromRound: int
    SIGNATURE: ClassVar[str] = "RootsBlocked(bytes32 indexed task, uint32 fromRound)"


@dataclass(frozen=True, slots=True)
class RoundSettled(Event):
    """RoundSettled of IArena."""

    task: bytes
    round: int
    body: bytes
    submissions: bytes
    payments: bytes
    paid: int
    locked: int
    activeAt: int
    SIGNATURE: ClassVar[str] = (
        "RoundSettled(bytes32 indexed task, uint32 indexed round, bytes32 body, bytes32 submissions, bytes32 payments, uint128 paid, uint128 locked, uint40 activeAt)"
    )


@dataclass(frozen=True, slots=True)
class SigmaSet(Event):
    """SigmaSet of IArena."""

    task: bytes
    node: str
    sigma: int
    SIGNATURE: ClassVar[str] = "SigmaSet(bytes32 indexed task, address indexed node, uint24 sigma)"


@dataclass(frozen=True, slots=True)
class Slashed(Event):
    """Slashed of IArena."""

    task: bytes
    member: str
    amount: int
    delegated: int
    evidence: bytes
    SIGNATURE: ClassVar[str] = (
        "Slashed(bytes32 indexed task, address indexed member, uint128 amount, uint128 delegated, bytes32 evidence)"
    )


@dataclass(frozen=True, slots=True)
class StakeWithdrawn(Event):
    """StakeWithdrawn of IArena."""

    task: bytes
    member: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "StakeWithdrawn(bytes32 indexed task, address indexed member, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class Staked(Event):
    """Staked of IArena."""

    task: bytes
    member: str
    role: int
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Staked(bytes32 indexed task, address indexed member, uint8 role, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class Started(Event):
    """Started of IArena."""

    task: bytes
    committee: tuple[str, ...]
    SIGNATURE: ClassVar[str] = "Started(bytes32 indexed task, address[] committee)"


@dataclass(frozen=True, slots=True)
class TaskCreated(Event):
    """TaskCreated of IArena."""

    task: bytes
    owner: str
    document: bytes
    terms: Terms
    SIGNATURE: ClassVar[str] = (
        "TaskCreated(bytes32 indexed task, address indexed owner, bytes32 indexed document, Terms terms)"
    )
    STRUCTS: ClassVar[Structs] = {"Terms": Terms}


@dataclass(frozen=True, slots=True)
class Undelegated(Event):
    """Undelegated of IArena."""

    task: bytes
    delegator: str
    node: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Undelegated(bytes32 indexed task, address indexed delegator, address indexed node, uint128 amount)"
    )


EVENTS: EventTypes = collect_events(globals())
