"""Errors of Disputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors
from kumiai.adapters.evm.bindings.idisputes.errors import ERRORS as INHERITED


@dataclass(frozen=True, slots=True)
class FailedCall(ContractError):
    """FailedCall of Disputes."""

    SIGNATURE: ClassVar[str] = "FailedCall()"


@dataclass(frozen=True, slots=True)
class InsufficientBalance(ContractError):
    """InsufficientBalance of Disputes."""

    balance: int
    needed: int
    SIGNATURE: ClassVar[str] = "InsufficientBalance(uint256 balance, uint256 needed)"


@dataclass(frozen=True, slots=True)
class OwnableInvalidOwner(ContractError):
    """OwnableInvalidOwner of Disputes."""

    owner: str
    SIGNATURE: ClassVar[str] = "OwnableInvalidOwner(address owner)"


@dataclass(frozen=True, slots=True)
class OwnableUnauthorizedAccount(ContractError):
    """OwnableUnauthorizedAccount of Disputes."""

    account: str
    SIGNATURE: ClassVar[str] = "OwnableUnauthorizedAccount(address account)"


@dataclass(frozen=True, slots=True)
class ReentrancyGuardReentrantCall(ContractError):
    """ReentrancyGuardReentrantCall of Disputes."""

    SIGNATURE: ClassVar[str] = "ReentrancyGuardReentrantCall()"


@dataclass(frozen=True, slots=True)
class SafeERC20FailedOperation(ContractError):
    """SafeERC20FailedOperation of Disputes."""

    token: str
    SIGNATURE: ClassVar[str] = "SafeERC20FailedOperation(address token)"


@dataclass(frozen=True, slots=True)
class WrongStatus(ContractError):
    """WrongStatus of Disputes."""

    task: bytes
    status: int
    SIGNATURE: ClassVar[str] = "WrongStatus(bytes32 task, uint8 status)"


ERRORS: ErrorTypes = {**INHERITED, **collect_errors(globals())}
