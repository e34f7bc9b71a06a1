"""Events of Timelock; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, collect_events


@dataclass(frozen=True, slots=True)
class CallExecuted(Event):
    """CallExecuted of Timelock."""

    id: bytes
    index: int
    target: str
    value: int
    data: bytes
    SIGNATURE: ClassVar[str] = (
        "CallExecuted(bytes32 indexed id, uint256 indexed index, address target, uint256 value, bytes data)"
    )


@dataclass(frozen=True, slots=True)
class CallSalt(Event):
    """CallSalt of Timelock."""

    id: bytes
    salt: bytes
    SIGNATURE: ClassVar[str] = "CallSalt(bytes32 indexed id, bytes32 salt)"


@dataclass(frozen=True, slots=True)
class CallScheduled(Event):
    """CallScheduled of Timelock."""

    id: bytes
    index: int
    target: str
    value: int
    data: bytes
    predecessor: bytes
    delay: int
    SIGNATURE: ClassVar[str] = (
        "CallScheduled(bytes32 indexed id, uint256 indexed index, address target, uint256 value, bytes data, bytes32 predecessor, uint256 delay)"
    )


@dataclass(frozen=True, slots=True)
class Cancelled(Event):
    """Cancelled of Timelock."""

    id: bytes
    SIGNATURE: ClassVar[str] = "Cancelled(bytes32 indexed id)"


@dataclass(frozen=True, slots=True)
class MinDelayChange(Event):
    """MinDelayChange of Timelock."""

    oldDuration: int
    newDuration: int
    SIGNATURE: ClassVar[str] = "MinDelayChange(uint256 oldDuration, uint256 newDuration)"


@dataclass(frozen=True, slots=True)
class RoleAdminChanged(Event):
    """RoleAdminChanged of Timelock."""

    role: bytes
    previousAdminRole: bytes
    newAdminRole: bytes
    SIGNATURE: ClassVar[str] = (
        "RoleAdminChanged(bytes32 indexed role, bytes32 indexed previousAdminRole, bytes32 indexed newAdminRole)"
    )


@dataclass(frozen=True, slots=True)
class RoleGranted(Event):
    """RoleGranted of Timelock."""

    role: bytes
    account: str
    sender: str
    SIGNATURE: ClassVar[str] = (
        "RoleGranted(bytes32 indexed role, address indexed account, address indexed sender)"
    )


@dataclass(frozen=True, slots=True)
class RoleRevoked(Event):
    """RoleRevoked of Timelock."""

    role: bytes
    account: str
    sender: str
    SIGNATURE: ClassVar[str] = (
        "RoleRevoked(bytes32 indexed role, address indexed account, address indexed sender)"
    )


EVENTS: EventTypes = collect_events(globals())
