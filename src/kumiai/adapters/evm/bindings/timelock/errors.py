"""Errors of Timelock; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class AccessControlBadConfirmation(ContractError):
    SIGNATURE: ClassVar[str] = "AccessControlBadConfirmation()"


@dataclass(frozen=True, slots=True)
class AccessControlUnauthorizedAccount(ContractError):
    account: str
    neededRole: bytes
    SIGNATURE: ClassVar[str] = (
        "AccessControlUnauthorizedAccount(address account, bytes32 neededRole)"
    )


@dataclass(frozen=True, slots=True)
class BadGuardians(ContractError):
    count: int
    maximum: int
    SIGNATURE: ClassVar[str] = "BadGuardians(uint256 count, uint256 maximum)"


@dataclass(frozen=True, slots=True)
class DelayTooShort(ContractError):
    delay: int
    minimum: int
    SIGNATURE: ClassVar[str] = "DelayTooShort(uint256 delay, uint256 minimum)"


@dataclass(frozen=True, slots=True)
class FailedCall(ContractError):
    SIGNATURE: ClassVar[str] = "FailedCall()"


@dataclass(frozen=True, slots=True)
class TimelockInsufficientDelay(ContractError):
    delay: int
    minDelay: int
    SIGNATURE: ClassVar[str] = "TimelockInsufficientDelay(uint256 delay, uint256 minDelay)"


@dataclass(frozen=True, slots=True)
class TimelockInvalidOperationLength(ContractError):
    targets: int
    payloads: int
    values: int
    SIGNATURE: ClassVar[str] = (
        "TimelockInvalidOperationLength(uint256 targets, uint256 payloads, uint256 values)"
    )


@dataclass(frozen=True, slots=True)
class TimelockUnauthorizedCaller(ContractError):
    caller: str
    SIGNATURE: ClassVar[str] = "TimelockUnauthorizedCaller(address caller)"


@dataclass(frozen=True, slots=True)
class TimelockUnexecutedPredecessor(ContractError):
    predecessorId: bytes
    SIGNATURE: ClassVar[str] = "TimelockUnexecutedPredecessor(bytes32 predecessorId)"


@dataclass(frozen=True, slots=True)
class TimelockUnexpectedOperationState(ContractError):
    operationId: bytes
    expectedStates: bytes
    SIGNATURE: ClassVar[str] = (
        "TimelockUnexpectedOperationState(bytes32 operationId, bytes32 expectedStates)"
    )


ERRORS: ErrorTypes = collect_errors(globals())
