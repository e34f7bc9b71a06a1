"""Errors of IDisputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class BadAgreed(ContractError):
    """BadAgreed of IDisputes."""

    SIGNATURE: ClassVar[str] = "BadAgreed()"


@dataclass(frozen=True, slots=True)
class BadCommittee(ContractError):
    """BadCommittee of IDisputes."""

    SIGNATURE: ClassVar[str] = "BadCommittee()"


@dataclass(frozen=True, slots=True)
class BadEnds(ContractError):
    """BadEnds of IDisputes."""

    SIGNATURE: ClassVar[str] = "BadEnds()"


@dataclass(frozen=True, slots=True)
class BadLeaf(ContractError):
    """BadLeaf of IDisputes."""

    side: int
    SIGNATURE: ClassVar[str] = "BadLeaf(uint256 side)"


@dataclass(frozen=True, slots=True)
class BadLength(ContractError):
    """BadLength of IDisputes."""

    iterations: int
    every: int
    SIGNATURE: ClassVar[str] = "BadLength(uint256 iterations, uint256 every)"


@dataclass(frozen=True, slots=True)
class BadNodes(ContractError):
    """BadNodes of IDisputes."""

    side: int
    SIGNATURE: ClassVar[str] = "BadNodes(uint256 side)"


@dataclass(frozen=True, slots=True)
class BadParameters(ContractError):
    """BadParameters of IDisputes."""

    field: str
    SIGNATURE: ClassVar[str] = "BadParameters(string field)"


@dataclass(frozen=True, slots=True)
class BadSignature(ContractError):
    """BadSignature of IDisputes."""

    expected: str
    recovered: str
    SIGNATURE: ClassVar[str] = "BadSignature(address expected, address recovered)"


@dataclass(frozen=True, slots=True)
class BadVerdict(ContractError):
    """BadVerdict of IDisputes."""

    expected: int
    SIGNATURE: ClassVar[str] = "BadVerdict(uint8 expected)"


@dataclass(frozen=True, slots=True)
class Duplicate(ContractError):
    """Duplicate of IDisputes."""

    SIGNATURE: ClassVar[str] = "Duplicate()"


@dataclass(frozen=True, slots=True)
class ListFull(ContractError):
    """ListFull of IDisputes."""

    maximum: int
    SIGNATURE: ClassVar[str] = "ListFull(uint256 maximum)"


@dataclass(frozen=True, slots=True)
class NoQuorum(ContractError):
    """NoQuorum of IDisputes."""

    signatures: int
    required: int
    SIGNATURE: ClassVar[str] = "NoQuorum(uint256 signatures, uint256 required)"


@dataclass(frozen=True, slots=True)
class NobodySilent(ContractError):
    """NobodySilent of IDisputes."""

    SIGNATURE: ClassVar[str] = "NobodySilent()"


@dataclass(frozen=True, slots=True)
class NotCertified(ContractError):
    """NotCertified of IDisputes."""

    SIGNATURE: ClassVar[str] = "NotCertified()"


@dataclass(frozen=True, slots=True)
class NotParty(ContractError):
    """NotParty of IDisputes."""

    signer: str
    SIGNATURE: ClassVar[str] = "NotParty(address signer)"


@dataclass(frozen=True, slots=True)
class NotValidator(ContractError):
    """NotValidator of IDisputes."""

    who: str
    SIGNATURE: ClassVar[str] = "NotValidator(address who)"


@dataclass(frozen=True, slots=True)
class NothingDiffers(ContractError):
    """NothingDiffers of IDisputes."""

    SIGNATURE: ClassVar[str] = "NothingDiffers()"


@dataclass(frozen=True, slots=True)
class NothingGiven(ContractError):
    """NothingGiven of IDisputes."""

    SIGNATURE: ClassVar[str] = "NothingGiven()"


@dataclass(frozen=True, slots=True)
class NothingToWithdraw(ContractError):
    """NothingToWithdraw of IDisputes."""

    SIGNATURE: ClassVar[str] = "NothingToWithdraw()"


@dataclass(frozen=True, slots=True)
class TokenAmountDiffers(ContractError):
    """TokenAmountDiffers of IDisputes."""

    expected: int
    received: int
    SIGNATURE: ClassVar[str] = "TokenAmountDiffers(uint256 expected, uint256 received)"


@dataclass(frozen=True, slots=True)
class TooEarly(ContractError):
    """TooEarly of IDisputes."""

    from_: int
    SIGNATURE: ClassVar[str] = "TooEarly(uint256 from_)"


@dataclass(frozen=True, slots=True)
class TooLate(ContractError):
    """TooLate of IDisputes."""

    deadline: int
    SIGNATURE: ClassVar[str] = "TooLate(uint256 deadline)"


@dataclass(frozen=True, slots=True)
class TooManyDisputes(ContractError):
    """TooManyDisputes of IDisputes."""

    maximum: int
    SIGNATURE: ClassVar[str] = "TooManyDisputes(uint256 maximum)"


@dataclass(frozen=True, slots=True)
class ValueDiffers(ContractError):
    """ValueDiffers of IDisputes."""

    expected: int
    given: int
    SIGNATURE: ClassVar[str] = "ValueDiffers(uint256 expected, uint256 given)"


@dataclass(frozen=True, slots=True)
class WindowClosed(ContractError):
    """WindowClosed of IDisputes."""

    activeAt: int
    SIGNATURE: ClassVar[str] = "WindowClosed(uint256 activeAt)"


@dataclass(frozen=True, slots=True)
class WrongLevel(ContractError):
    """WrongLevel of IDisputes."""

    level: int
    SIGNATURE: ClassVar[str] = "WrongLevel(uint8 level)"


@dataclass(frozen=True, slots=True)
class WrongTask(ContractError):
    """WrongTask of IDisputes."""

    document: bytes
    SIGNATURE: ClassVar[str] = "WrongTask(bytes32 document)"


ERRORS: ErrorTypes = collect_errors(globals())
