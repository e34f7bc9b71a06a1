"""Events of IDisputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, Structs, collect_events
from kumiai.adapters.evm.bindings.idisputes.structs import Case, Parameters


@dataclass(frozen=True, slots=True)
class Asked(Event):
    """Asked of IDisputes."""

    dispute: bytes
    iteration: int
    isStart: bool
    accused: bytes
    accuser: bytes
    SIGNATURE: ClassVar[str] = (
        "Asked(bytes32 indexed dispute, uint64 iteration, bool isStart, bytes32 accused, bytes32 accuser)"
    )


@dataclass(frozen=True, slots=True)
class BondBurnt(Event):
    """BondBurnt of IDisputes."""

    dispute: bytes
    token: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "BondBurnt(bytes32 indexed dispute, address indexed token, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class BondFloorSet(Event):
    """BondFloorSet of IDisputes."""

    token: str
    amount: int
    SIGNATURE: ClassVar[str] = "BondFloorSet(address indexed token, uint128 amount)"


@dataclass(frozen=True, slots=True)
class BondReturned(Event):
    """BondReturned of IDisputes."""

    dispute: bytes
    accuser: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "BondReturned(bytes32 indexed dispute, address indexed accuser, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class Decided(Event):
    """Decided of IDisputes."""

    dispute: bytes
    outcome: int
    digest: bytes
    SIGNATURE: ClassVar[str] = "Decided(bytes32 indexed dispute, uint8 outcome, bytes32 digest)"


@dataclass(frozen=True, slots=True)
class Descended(Event):
    """Descended of IDisputes."""

    dispute: bytes
    side: int
    nodes: tuple[bytes, ...]
    SIGNATURE: ClassVar[str] = (
        "Descended(bytes32 indexed dispute, uint8 indexed side, bytes32[] nodes)"
    )


@dataclass(frozen=True, slots=True)
class Enrolled(Event):
    """Enrolled of IDisputes."""

    task: bytes
    validator: str
    index: int
    SIGNATURE: ClassVar[str] = (
        "Enrolled(bytes32 indexed task, address indexed validator, uint256 index)"
    )


@dataclass(frozen=True, slots=True)
class Narrowed(Event):
    """Narrowed of IDisputes."""

    dispute: bytes
    level: int
    height: int
    position: int
    deadline: int
    SIGNATURE: ClassVar[str] = (
        "Narrowed(bytes32 indexed dispute, uint8 level, uint8 height, uint24 position, uint40 deadline)"
    )


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """Opened of IDisputes."""

    dispute: bytes
    task: bytes
    accused: str
    about: Case
    SIGNATURE: ClassVar[str] = (
        "Opened(bytes32 indexed dispute, bytes32 indexed task, address indexed accused, Case about)"
    )
    STRUCTS: ClassVar[Structs] = {"Case": Case}


@dataclass(frozen=True, slots=True)
class ParametersSet(Event):
    """ParametersSet of IDisputes."""

    parameters: Parameters
    SIGNATURE: ClassVar[str] = "ParametersSet(Parameters parameters)"
    STRUCTS: ClassVar[Structs] = {"Parameters": Parameters}


@dataclass(frozen=True, slots=True)
class Refined(Event):
    """Refined of IDisputes."""

    dispute: bytes
    side: int
    root: bytes
    digest: bytes
    agreed: bytes
    SIGNATURE: ClassVar[str] = (
        "Refined(bytes32 indexed dispute, uint8 indexed side, bytes32 root, bytes32 digest, bytes32 agreed)"
    )


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """Withdrawn of IDisputes."""

    token: str
    account: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Withdrawn(address indexed token, address indexed account, uint256 amount)"
    )


EVENTS: EventTypes = collect_events(globals())
