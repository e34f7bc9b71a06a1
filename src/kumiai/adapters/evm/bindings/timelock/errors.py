"""Errors of Timelock; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class AccessControlBadConfirmation(ContractError):
    """AccessControlBadConfirmation of Timelock."""

    SIGNATURE: ClassVar[str] = "AccessControlBadConfirmation()"


@dataclass(frozen=True, slots=True)
class AccessControlUnauthorizedAccount(ContractError):
    """AccessControlUnauthorizedAccount of Timelock."""

    account: str
    neededRole: bytes
    SIGNATURE: ClassVar[str] = (
        "AccessControlUnauthorizedAccount(address account, bytes32 neededRole)"
    )


@dataclass(frozen=True, slots=True)
class BadGuardians(ContractError):
    """BadGuardians of Timelock."""

    count: int
    maximum: int
    SIGNATURE: ClassVar[str] = "BadGuardians(uint256 count, uint256 maximum)"


@dataclass(frozen=True, slots=True)
class DelayTooShort(ContractError):
    """DelayTooShort of Timelock."""

    delay: int
    minimum: int
    SIGNATURE: ClassVar[str] = "DelayTooShort(uint256 delay, uint256 minimum)"


@dataclass(frozen=True, slots=True)
class FailedCall(ContractError):
    """FailedCall of Timelock."""

    SIGNATURE: ClassVar[str] = "FailedCall()"


@dataclass(frozen=True, slots=True)
class TimelockInsufficientDelay(ContractError):
    """TimelockInsufficientDelay of Timelock."""

    delay: int
    minDelay: int
    SIGNATURE: ClassVar[str] = "TimelockInsufficientDelay(uint256 delay, uint256 minDelay)"


@dataclass(frozen=True, slots=True)
class TimelockInvalidOperationLength(ContractError):
    """TimelockInvalidOperationLength of Timelock."""

    targets: int
    payloads: int
    values: int
    SIGNATURE: ClassVar[str] = (
        "TimelockInvalidOperationLength(uint256 targets, uint256 payloads, uint256 values)"
    )


@dataclass(frozen=True, slots=True)
class TimelockUnauthorizedCaller(ContractError):
    """TimelockUnauthorizedCaller of Timelock."""

    caller: str
    SIGNATURE: ClassVar[str] = "TimelockUnauthorizedCaller(address caller)"


@dataclass(frozen=True, slots=True)
class TimelockUnexecutedPredecessor(ContractError):
    """TimelockUnexecutedPredecessor of Timelock."""

    predecessorId: bytes
    SIGNATURE: ClassVar[str] = "TimelockUnexecutedPredecessor(bytes32 predecessorId)"


@dataclass(frozen=True, slots=True)
class TimelockUnexpectedOperationState(ContractError):
    """TimelockUnexpectedOperationState of Timelock."""

    operationId: bytes
    expectedStates: bytes
    SIGNATURE: ClassVar[str] = (
        "TimelockUnexpectedOperationState(bytes32 operationId, bytes32 expectedStates)"
    )


ERRORS: ErrorTypes = collect_errors(globals())
