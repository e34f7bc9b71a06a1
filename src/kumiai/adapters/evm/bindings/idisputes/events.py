"""Events of IDisputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, Structs, collect_events
from kumiai.adapters.evm.bindings.idisputes.structs import Parameters, Submission


@dataclass(frozen=True, slots=True)
class Asked(Event):
    dispute: bytes
    iteration: int
    agreed: bytes
    accused: bytes
    accuser: bytes
    deadline: int
    SIGNATURE: ClassVar[str] = (
        "Asked(bytes32 indexed dispute, uint64 iteration, bytes32 agreed, bytes32 accused, bytes32 accuser, uint40 deadline)"
    )


@dataclass(frozen=True, slots=True)
class BondBurnt(Event):
    dispute: bytes
    token: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "BondBurnt(bytes32 indexed dispute, address indexed token, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class BondFloorSet(Event):
    token: str
    amount: int
    SIGNATURE: ClassVar[str] = "BondFloorSet(address indexed token, uint128 amount)"


@dataclass(frozen=True, slots=True)
class BondReturned(Event):
    dispute: bytes
    accuser: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "BondReturned(bytes32 indexed dispute, address indexed accuser, uint128 amount)"
    )


@dataclass(frozen=True, slots=True)
class Decided(Event):
    dispute: bytes
    outcome: int
    digest: bytes
    SIGNATURE: ClassVar[str] = "Decided(bytes32 indexed dispute, uint8 outcome, bytes32 digest)"


@dataclass(frozen=True, slots=True)
class Descended(Event):
    dispute: bytes
    accused: tuple[bytes, ...]
    accuser: tuple[bytes, ...]
    SIGNATURE: ClassVar[str] = (
        "Descended(bytes32 indexed dispute, bytes32[] accused, bytes32[] accuser)"
    )


@dataclass(frozen=True, slots=True)
class Enrolled(Event):
    task: bytes
    validator: str
    index: int
    SIGNATURE: ClassVar[str] = (
        "Enrolled(bytes32 indexed task, address indexed validator, uint256 index)"
    )


@dataclass(frozen=True, slots=True)
class Narrowed(Event):
    dispute: bytes
    level: int
    height: int
    position: int
    deadline: int
    SIGNATURE: ClassVar[str] = (
        "Narrowed(bytes32 indexed dispute, uint8 level, uint8 height, uint32 position, uint40 deadline)"
    )


@dataclass(frozen=True, slots=True)
class Opened(Event):
    dispute: bytes
    task: bytes
    accused: str
    accuser: str
    submission: Submission
    claimed: bytes
    bond: int
    SIGNATURE: ClassVar[str] = (
        "Opened(bytes32 indexed dispute, bytes32 indexed task, address indexed accused, address accuser, Submission submission, bytes32 claimed, uint128 bond)"
    )
    STRUCTS: ClassVar[Structs] = {"Submission": Submission}


@dataclass(frozen=True, slots=True)
class ParametersSet(Event):
    parameters: Parameters
    SIGNATURE: ClassVar[str] = "ParametersSet(Parameters parameters)"
    STRUCTS: ClassVar[Structs] = {"Parameters": Parameters}


@dataclass(frozen=True, slots=True)
class Refined(Event):
    dispute: bytes
    party: str
    root: bytes
    digest: bytes
    agreed: bytes
    SIGNATURE: ClassVar[str] = (
        "Refined(bytes32 indexed dispute, address indexed party, bytes32 root, bytes32 digest, bytes32 agreed)"
    )


@dataclass(frozen=True, slots=True)
class Shown(Event):
    dispute: bytes
    accused: bytes
    accuser: bytes
    SIGNATURE: ClassVar[str] = "Shown(bytes32 indexed dispute, bytes32 accused, bytes32 accuser)"


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    token: str
    account: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Withdrawn(address indexed token, address indexed account, uint256 amount)"
    )


EVENTS: EventTypes = collect_events(globals())
