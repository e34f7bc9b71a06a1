"""Errors of Arena; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class AmountZero(ContractError):
    SIGNATURE: ClassVar[str] = "AmountZero()"


@dataclass(frozen=True, slots=True)
class BadCommittee(ContractError):
    SIGNATURE: ClassVar[str] = "BadCommittee()"


@dataclass(frozen=True, slots=True)
class BadOrder(ContractError):
    nonce: int
    SIGNATURE: ClassVar[str] = "BadOrder(uint256 nonce)"


@dataclass(frozen=True, slots=True)
class BadProof(ContractError):
    SIGNATURE: ClassVar[str] = "BadProof()"


@dataclass(frozen=True, slots=True)
class BadSignature(ContractError):
    expected: str
    recovered: str
    SIGNATURE: ClassVar[str] = "BadSignature(address expected, address recovered)"


@dataclass(frozen=True, slots=True)
class BadTerms(ContractError):
    field: str
    SIGNATURE: ClassVar[str] = "BadTerms(string field)"


@dataclass(frozen=True, slots=True)
class EvidenceUsed(ContractError):
    member: str
    evidence: bytes
    SIGNATURE: ClassVar[str] = "EvidenceUsed(address member, bytes32 evidence)"


@dataclass(frozen=True, slots=True)
class Expired(ContractError):
    deadline: int
    SIGNATURE: ClassVar[str] = "Expired(uint256 deadline)"


@dataclass(frozen=True, slots=True)
class FailedCall(ContractError):
    SIGNATURE: ClassVar[str] = "FailedCall()"


@dataclass(frozen=True, slots=True)
class InsufficientBalance(ContractError):
    balance: int
    needed: int
    SIGNATURE: ClassVar[str] = "InsufficientBalance(uint256 balance, uint256 needed)"


@dataclass(frozen=True, slots=True)
class InvalidShortString(ContractError):
    SIGNATURE: ClassVar[str] = "InvalidShortString()"


@dataclass(frozen=True, slots=True)
class IsPaused(ContractError):
    until: int
    SIGNATURE: ClassVar[str] = "IsPaused(uint256 until)"


@dataclass(frozen=True, slots=True)
class NoContradiction(ContractError):
    SIGNATURE: ClassVar[str] = "NoContradiction()"


@dataclass(frozen=True, slots=True)
class NoQuorum(ContractError):
    signatures: int
    required: int
    SIGNATURE: ClassVar[str] = "NoQuorum(uint256 signatures, uint256 required)"


@dataclass(frozen=True, slots=True)
class NotAdmitted(ContractError):
    signer: str
    SIGNATURE: ClassVar[str] = "NotAdmitted(address signer)"


@dataclass(frozen=True, slots=True)
class NotArbiter(ContractError):
    arbiter: str
    SIGNATURE: ClassVar[str] = "NotArbiter(address arbiter)"


@dataclass(frozen=True, slots=True)
class NotMember(ContractError):
    who: str
    SIGNATURE: ClassVar[str] = "NotMember(address who)"


@dataclass(frozen=True, slots=True)
class NotOwner(ContractError):
    owner: str
    SIGNATURE: ClassVar[str] = "NotOwner(address owner)"


@dataclass(frozen=True, slots=True)
class NothingToClaim(ContractError):
    SIGNATURE: ClassVar[str] = "NothingToClaim()"


@dataclass(frozen=True, slots=True)
class NothingToWithdraw(ContractError):
    SIGNATURE: ClassVar[str] = "NothingToWithdraw()"


@dataclass(frozen=True, slots=True)
class OtherRole(ContractError):
    role: int
    SIGNATURE: ClassVar[str] = "OtherRole(uint8 role)"


@dataclass(frozen=True, slots=True)
class Overdrawn(ContractError):
    available: int
    asked: int
    SIGNATURE: ClassVar[str] = "Overdrawn(uint256 available, uint256 asked)"


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
class RootInactive(ContractError):
    round: int
    activeAt: int
    SIGNATURE: ClassVar[str] = "RootInactive(uint32 round, uint256 activeAt)"


@dataclass(frozen=True, slots=True)
class RootIsBlocked(ContractError):
    round: int
    from_: int
    SIGNATURE: ClassVar[str] = "RootIsBlocked(uint32 round, uint32 from_)"


@dataclass(frozen=True, slots=True)
class RoundNotNext(ContractError):
    last: int
    given: int
    SIGNATURE: ClassVar[str] = "RoundNotNext(uint32 last, uint32 given)"


@dataclass(frozen=True, slots=True)
class SafeCastOverflowedUintDowncast(ContractError):
    bits: int
    value: int
    SIGNATURE: ClassVar[str] = "SafeCastOverflowedUintDowncast(uint8 bits, uint256 value)"


@dataclass(frozen=True, slots=True)
class SafeERC20FailedOperation(ContractError):
    token: str
    SIGNATURE: ClassVar[str] = "SafeERC20FailedOperation(address token)"


@dataclass(frozen=True, slots=True)
class SigmaFrozen(ContractError):
    from_: int
    SIGNATURE: ClassVar[str] = "SigmaFrozen(uint256 from_)"


@dataclass(frozen=True, slots=True)
class SigmaOutside(ContractError):
    minimum: int
    maximum: int
    SIGNATURE: ClassVar[str] = "SigmaOutside(uint256 minimum, uint256 maximum)"


@dataclass(frozen=True, slots=True)
class SlashesDiffer(ContractError):
    SIGNATURE: ClassVar[str] = "SlashesDiffer()"


@dataclass(frozen=True, slots=True)
class StakeHeld(ContractError):
    holds: int
    SIGNATURE: ClassVar[str] = "StakeHeld(uint256 holds)"


@dataclass(frozen=True, slots=True)
class StakeTooSmall(ContractError):
    stake: int
    minimum: int
    SIGNATURE: ClassVar[str] = "StakeTooSmall(uint256 stake, uint256 minimum)"


@dataclass(frozen=True, slots=True)
class StringTooLong(ContractError):
    str: str
    SIGNATURE: ClassVar[str] = "StringTooLong(string str)"


@dataclass(frozen=True, slots=True)
class TaskExists(ContractError):
    task: bytes
    SIGNATURE: ClassVar[str] = "TaskExists(bytes32 task)"


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
class TooManySlashes(ContractError):
    count: int
    maximum: int
    SIGNATURE: ClassVar[str] = "TooManySlashes(uint256 count, uint256 maximum)"


@dataclass(frozen=True, slots=True)
class ValueDiffers(ContractError):
    expected: int
    given: int
    SIGNATURE: ClassVar[str] = "ValueDiffers(uint256 expected, uint256 given)"


@dataclass(frozen=True, slots=True)
class WrongDocument(ContractError):
    expected: bytes
    SIGNATURE: ClassVar[str] = "WrongDocument(bytes32 expected)"


@dataclass(frozen=True, slots=True)
class WrongStatus(ContractError):
    task: bytes
    status: int
    SIGNATURE: ClassVar[str] = "WrongStatus(bytes32 task, uint8 status)"


ERRORS: ErrorTypes = collect_errors(globals())
