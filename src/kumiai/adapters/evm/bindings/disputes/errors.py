"""Errors of Disputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class BadAgreed(ContractError):
    SIGNATURE: ClassVar[str] = "BadAgreed()"


@dataclass(frozen=True, slots=True)
class BadCommittee(ContractError):
    SIGNATURE: ClassVar[str] = "BadCommittee()"


@dataclass(frozen=True, slots=True)
class BadEnds(ContractError):
    SIGNATURE: ClassVar[str] = "BadEnds()"


@dataclass(frozen=True, slots=True)
class BadLeaf(ContractError):
    side: int
    SIGNATURE: ClassVar[str] = "BadLeaf(uint256 side)"


@dataclass(frozen=True, slots=True)
class BadLength(ContractError):
    iterations: int
    every: int
    SIGNATURE: ClassVar[str] = "BadLength(uint256 iterations, uint256 every)"


@dataclass(frozen=True, slots=True)
class BadNodes(ContractError):
    side: int
    SIGNATURE: ClassVar[str] = "BadNodes(uint256 side)"


@dataclass(frozen=True, slots=True)
class BadParameters(ContractError):
    field: str
    SIGNATURE: ClassVar[str] = "BadParameters(string field)"


@dataclass(frozen=True, slots=True)
class BadSignature(ContractError):
    expected: str
    recovered: str
    SIGNATURE: ClassVar[str] = "BadSignature(address expected, address recovered)"


@dataclass(frozen=True, slots=True)
class BadVerdict(ContractError):
    expected: int
    SIGNATURE: ClassVar[str] = "BadVerdict(uint8 expected)"


@dataclass(frozen=True, slots=True)
class Duplicate(ContractError):
    SIGNATURE: ClassVar[str] = "Duplicate()"


@dataclass(frozen=True, slots=True)
class FailedCall(ContractError):
    SIGNATURE: ClassVar[str] = "FailedCall()"


@dataclass(frozen=True, slots=True)
class InsufficientBalance(ContractError):
    balance: int
    needed: int
    SIGNATURE: ClassVar[str] = "InsufficientBalance(uint256 balance, uint256 needed)"


@dataclass(frozen=True, slots=True)
class ListFull(ContractError):
    maximum: int
    SIGNATURE: ClassVar[str] = "ListFull(uint256 maximum)"


@dataclass(frozen=True, slots=True)
class NoQuorum(ContractError):
    signatures: int
    required: int
    SIGNATURE: ClassVar[str] = "NoQuorum(uint256 signatures, uint256 required)"


@dataclass(frozen=True, slots=True)
class NobodySilent(ContractError):
    SIGNATURE: ClassVar[str] = "NobodySilent()"


@dataclass(frozen=True, slots=True)
class NotCertified(ContractError):
    SIGNATURE: ClassVar[str] = "NotCertified()"


@dataclass(frozen=True, slots=True)
class NotParty(ContractError):
    signer: str
    SIGNATURE: ClassVar[str] = "NotParty(address signer)"


@dataclass(frozen=True, slots=True)
class NotValidator(ContractError):
    who: str
    SIGNATURE: ClassVar[str] = "NotValidator(address who)"


@dataclass(frozen=True, slots=True)
class NothingDiffers(ContractError):
    SIGNATURE: ClassVar[str] = "NothingDiffers()"


@dataclass(frozen=True, slots=True)
class NothingGiven(ContractError):
    SIGNATURE: ClassVar[str] = "NothingGiven()"


@dataclass(frozen=True, slots=True)
class NothingToWithdraw(ContractError):
    SIGNATURE: ClassVar[str] = "NothingToWithdraw()"


@dataclass(frozen=True, slots=True)
class OwnableInvalidOwner(ContractError):
    owner: str
    SIGNATURE: ClassVar[str] = "OwnableInvalidOwner(address owner)"


@dataclass(frozen=True, slots=True)
class OwnableUnauthorizedAccount(ContractError):
    account: str
    SIGNATURE: ClassVar[str] = "OwnableUnauthorizedAccount(address account)"


@dataclass(frozen=True, slots=True)
class ReentrancyGuardReentrantCall(ContractError):
    SIGNATURE: ClassVar[str] = "ReentrancyGuardReentrantCall()"


@dataclass(frozen=True, slots=True)
class SafeERC20FailedOperation(ContractError):
    token: str
    SIGNATURE: ClassVar[str] = "SafeERC20FailedOperation(address token)"


@dataclass(frozen=True, slots=True)
class TokenAmountDiffers(ContractError):
    expected: int
    received: int
    SIGNATURE: ClassVar[str] = "TokenAmountDiffers(uint256 expected, uint256 received)"


@dataclass(frozen=True, slots=True)
class TooEarly(ContractError):
    from_: int
    SIGNATURE: ClassVar[str] = "TooEarly(uint256 from_)"


@dataclass(frozen=True, slots=True)
class TooLate(ContractError):
    deadline: int
    SIGNATURE: ClassVar[str] = "TooLate(uint256 deadline)"


@dataclass(frozen=True, slots=True)
class TooManyDisputes(ContractError):
    maximum: int
    SIGNATURE: ClassVar[str] = "TooManyDisputes(uint256 maximum)"


@dataclass(frozen=True, slots=True)
class ValueDiffers(ContractError):
    expected: int
    given: int
    SIGNATURE: ClassVar[str] = "ValueDiffers(uint256 expected, uint256 given)"


@dataclass(frozen=True, slots=True)
class WindowClosed(ContractError):
    activeAt: int
    SIGNATURE: ClassVar[str] = "WindowClosed(uint256 activeAt)"


@dataclass(frozen=True, slots=True)
class WrongLevel(ContractError):
    level: int
    SIGNATURE: ClassVar[str] = "WrongLevel(uint8 level)"


@dataclass(frozen=True, slots=True)
class WrongStatus(ContractError):
    task: bytes
    status: int
    SIGNATURE: ClassVar[str] = "WrongStatus(bytes32 task, uint8 status)"


@dataclass(frozen=True, slots=True)
class WrongSubmission(ContractError):
    SIGNATURE: ClassVar[str] = "WrongSubmission()"


@dataclass(frozen=True, slots=True)
class WrongTask(ContractError):
    document: bytes
    SIGNATURE: ClassVar[str] = "WrongTask(bytes32 document)"


ERRORS: ErrorTypes = collect_errors(globals())
