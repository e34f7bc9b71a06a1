"""Errors of Arena; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS as INHERITED


@dataclass(frozen=True, slots=True)
class FailedCall(ContractError):
    """FailedCall of Arena."""

    SIGNATURE: ClassVar[str] = "FailedCall()"


@dataclass(frozen=True, slots=True)
class InsufficientBalance(ContractError):
    """InsufficientBalance of Arena."""

    balance: int
    needed: int
    SIGNATURE: ClassVar[str] = "InsufficientBalance(uint256 balance, uint256 needed)"


@dataclass(frozen=True, slots=True)
class OwnableInvalidOwner(ContractError):
    """OwnableInvalidOwner of Arena."""

    owner: str
    SIGNATURE: ClassVar[str] = "OwnableInvalidOwner(address owner)"


@dataclass(frozen=True, slots=True)
class OwnableUnauthorizedAccount(ContractError):
    """OwnableUnauthorizedAccount of Arena."""

    account: str
    SIGNATURE: ClassVar[str] = "OwnableUnauthorizedAccount(address account)"


@dataclass(frozen=True, slots=True)
class ReentrancyGuardReentrantCall(ContractError):
    """ReentrancyGuardReentrantCall of Arena."""

    SIGNATURE: ClassVar[str] = "ReentrancyGuardReentrantCall()"


@dataclass(frozen=True, slots=True)
class SafeCastOverflowedUintDowncast(ContractError):
    """SafeCastOverflowedUintDowncast of Arena."""

    bits: int
    value: int
    SIGNATURE: ClassVar[str] = "SafeCastOverflowedUintDowncast(uint8 bits, uint256 value)"


@dataclass(frozen=True, slots=True)
class SafeERC20FailedOperation(ContractError):
    """SafeERC20FailedOperation of Arena."""

    token: str
    SIGNATURE: ClassVar[str] = "SafeERC20FailedOperation(address token)"


ERRORS: ErrorTypes = {**INHERITED, **collect_errors(globals())}
