"""Errors of BlsCommittee; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import ContractError, ErrorTypes, collect_errors


@dataclass(frozen=True, slots=True)
class AlreadyRegistered(ContractError):
    """AlreadyRegistered of BlsCommittee."""

    member: str
    SIGNATURE: ClassVar[str] = "AlreadyRegistered(address member)"


@dataclass(frozen=True, slots=True)
class AlreadySealed(ContractError):
    """AlreadySealed of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "AlreadySealed()"


@dataclass(frozen=True, slots=True)
class BadAggregate(ContractError):
    """BadAggregate of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "BadAggregate()"


@dataclass(frozen=True, slots=True)
class BadKey(ContractError):
    """BadKey of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "BadKey()"


@dataclass(frozen=True, slots=True)
class BadMembers(ContractError):
    """BadMembers of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "BadMembers()"


@dataclass(frozen=True, slots=True)
class BadProof(ContractError):
    """BadProof of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "BadProof()"


@dataclass(frozen=True, slots=True)
class BadSigners(ContractError):
    """BadSigners of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "BadSigners()"


@dataclass(frozen=True, slots=True)
class NoQuorum(ContractError):
    """NoQuorum of BlsCommittee."""

    signatures: int
    required: int
    SIGNATURE: ClassVar[str] = "NoQuorum(uint256 signatures, uint256 required)"


@dataclass(frozen=True, slots=True)
class NotMember(ContractError):
    """NotMember of BlsCommittee."""

    who: str
    SIGNATURE: ClassVar[str] = "NotMember(address who)"


@dataclass(frozen=True, slots=True)
class NotRegistered(ContractError):
    """NotRegistered of BlsCommittee."""

    member: str
    SIGNATURE: ClassVar[str] = "NotRegistered(address member)"


@dataclass(frozen=True, slots=True)
class NotSealed(ContractError):
    """NotSealed of BlsCommittee."""

    SIGNATURE: ClassVar[str] = "NotSealed()"


ERRORS: ErrorTypes = collect_errors(globals())
