"""Errors of IArena; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class AmountZero(ContractError):
    """AmountZero of IArena."""

    SIGNATURE: ClassVar[str] = "AmountZero()"


@dataclass(frozen=True, slots=True)
class BadCommittee(ContractError):
    """BadCommittee of IArena."""

    SIGNATURE: ClassVar[str] = "BadCommittee()"


@dataclass(frozen=True, slots=True)
class BadOrder(ContractError):
    """BadOrder of IArena."""

    nonce: int
    SIGNATURE: ClassVar[str] = "BadOrder(uint256 nonce)"


@dataclass(frozen=True, slots=True)
class BadProof(ContractError):
    """BadProof of IArena."""

    SIGNATURE: ClassVar[str] = "BadProof()"


@dataclass(frozen=True, slots=True)
class BadSignature(ContractError):
    """BadSignature of IArena."""

    expected: str
    recovered: str
    SIGNATURE: ClassVar[str] = "BadSignature(address expected, address recovered)"


@dataclass(frozen=True, slots=True)
class BadTerms(ContractError):
    """BadTerms of IArena."""

    field: str
    SIGNATURE: ClassVar[str] = "BadTerms(string field)"


@dataclass(frozen=True, slots=True)
class EvidenceUsed(ContractError):
    """EvidenceUsed of IArena."""

    member: str
    evidence: bytes
    SIGNATURE: ClassVar[str] = "EvidenceUsed(address member, bytes32 evidence)"


@dataclass(frozen=True, slots=True)
class Expired(ContractError):
    """Expired of IArena."""

    deadline: int
    SIGNATURE: ClassVar[str] = "Expired(uint256 deadline)"


@dataclass(frozen=True, slots=True)
class IsPaused(ContractError):
    """IsPaused of IArena."""

    until: int
    SIGNATURE: ClassVar[str] = "IsPaused(uint256 until)"


@dataclass(frozen=True, slots=True)
class NoContradiction(ContractError):
    """NoContradiction of IArena."""

    SIGNATURE: ClassVar[str] = "NoContradiction()"


@dataclass(frozen=True, slots=True)
class NoQuorum(ContractError):
    """NoQuorum of IArena."""

    signatures: int
    required: int
    SIGNATURE: ClassVar[str] = "NoQuorum(uint256 signatures, uint256 required)"


@dataclass(frozen=True, slots=True)
class NotAdmitted(ContractError):
    """NotAdmitted of IArena."""

    signer: str
    SIGNATURE: ClassVar[str] = "NotAdmitted(address signer)"


@dataclass(frozen=True, slots=True)
class NotArbiter(ContractError):
    """NotArbiter of IArena."""

    arbiter: str
    SIGNATURE: ClassVar[str] = "NotArbiter(address arbiter)"


@dataclass(frozen=True, slots=True)
class NotMember(ContractError):
    """NotMember of IArena."""

    who: str
    SIGNATURE: ClassVar[str] = "NotMember(address who)"


@dataclass(frozen=True, slots=True)
class NotOwner(ContractError):
    """NotOwner of IArena."""

    owner: str
    SIGNATURE: ClassVar[str] = "NotOwner(address owner)"


@dataclass(frozen=True, slots=True)
class NothingToClaim(ContractError):
    """NothingToClaim of IArena."""

    SIGNATURE: ClassVar[str] = "NothingToClaim()"


@dataclass(frozen=True, slots=True)
class NothingToWithdraw(ContractError):
    """NothingToWithdraw of IArena."""

    SIGNATURE: ClassVar[str] = "NothingToWithdraw()"


@dataclass(frozen=True, slots=True)
class OtherRole(ContractError):
    """OtherRole of IArena."""

    role: int
    SIGNATURE: ClassVar[str] = "OtherRole(uint8 role)"


@dataclass(frozen=True, slots=True)
class Overdrawn(ContractError):
    """Overdrawn of IArena."""

    available: int
    asked: int
    SIGNATURE: ClassVar[str] = "Overdrawn(uint256 available, uint256 asked)"


@dataclass(frozen=True, slots=True)
class RootInactive(ContractError):
    """RootInactive of IArena."""

    round: int
    activeAt: int
    SIGNATURE: ClassVar[str] = "RootInactive(uint32 round, uint256 activeAt)"


@dataclass(frozen=True, slots=True)
class RootIsBlocked(ContractError):
    """RootIsBlocked of IArena."""

    round: int
    from_: int
    SIGNATURE: ClassVar[str] = "RootIsBlocked(uint32 round, uint32 from_)"


@dataclass(frozen=True, slots=True)
class RoundNotNext(ContractError):
    """RoundNotNext of IArena."""

    last: int
    given: int
    SIGNATURE: ClassVar[str] = "RoundNotNext(uint32 last, uint32 given)"


@dataclass(frozen=True, slots=True)
class SigmaFrozen(ContractError):
    """SigmaFrozen of IArena."""

    from_: int
    SIGNATURE: ClassVar[str] = "SigmaFrozen(uint256 from_)"


@dataclass(frozen=True, slots=True)
class SigmaOutside(ContractError):
    """SigmaOutside of IArena."""

    minimum: int
    maximum: int
    SIGNATURE: ClassVar[str] = "SigmaOutside(uint256 minimum, uint256 maximum)"


@dataclass(frozen=True, slots=True)
class SlashesDiffer(ContractError):
    """SlashesDiffer of IArena."""

    SIGNATURE: ClassVar[str] = "SlashesDiffer()"


@dataclass(frozen=True, slots=True)
class StakeHeld(ContractError):
    """StakeHeld of IArena."""

    holds: int
    SIGNATURE: ClassVar[str] = "StakeHeld(uint256 holds)"


@dataclass(frozen=True, slots=True)
class StakeTooSmall(ContractError):
    """StakeTooSmall of IArena."""

    stake: int
    minimum: int
    SIGNATURE: ClassVar[str] = "StakeTooSmall(uint256 stake, uint256 minimum)"


@dataclass(frozen=True, slots=True)
class TaskExists(ContractError):
    """TaskExists of IArena."""

    task: bytes
    SIGNATURE: ClassVar[str] = "TaskExists(bytes32 task)"


@dataclass(frozen=True, slots=True)
class TokenAmountDiffers(ContractError):
    """TokenAmountDiffers of IArena."""

    expected: int
    received: int
    SIGNATURE: ClassVar[str] = "TokenAmountDiffers(uint256 expected, uint256 received)"


@dataclass(frozen=True, slots=True)
class TooEarly(ContractError):
    """TooEarly of IArena."""

    from_: int
    SIGNATURE: ClassVar[str] = "TooEarly(uint256 from_)"


@dataclass(frozen=True, slots=True)
class TooManySlashes(ContractError):
    """TooManySlashes of IArena."""

    count: int
    maximum: int
    SIGNATURE: ClassVar[str] = "TooManySlashes(uint256 count, uint256 maximum)"


@dataclass(frozen=True, slots=True)
class ValueDiffers(ContractError):
    """ValueDiffers of IArena."""

    expected: int
    given: int
    SIGNATURE: ClassVar[str] = "ValueDiffers(uint256 expected, uint256 given)"


@dataclass(frozen=True, slots=True)
class WrongDocument(ContractError):
    """WrongDocument of IArena."""

    expected: bytes
    SIGNATURE: ClassVar[str] = "WrongDocument(bytes32 expected)"


@dataclass(frozen=True, slots=True)
class WrongStatus(ContractError):
    """WrongStatus of IArena."""

    task: bytes
    status: int
    SIGNATURE: ClassVar[str] = "WrongStatus(bytes32 task, uint8 status)"


ERRORS: ErrorTypes = collect_errors(globals())
