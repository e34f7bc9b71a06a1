"""Structs of IArena; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct


@dataclass(frozen=True, slots=True)
class Terms(Struct):
    """Terms of IArena."""

    document: bytes
    token: str
    admission: str
    endsAt: int
    grace: int
    activationDelay: int
    coolDown: int
    sigmaFreeze: int
    sigmaMin: int
    sigmaMax: int
    slash: int
    delegationSlash: int
    slashToTask: bool
    guardiansRequired: int
    trainerStakeMin: int
    validatorStakeMin: int
    guardians: tuple[str, ...]
    ABI: ClassVar[str] = (
        "(bytes32,address,address,uint40,uint32,uint32,uint32,uint32,uint24,uint24,uint24,uint24,bool,uint8,uint128,uint128,address[])"
    )


@dataclass(frozen=True, slots=True)
class Claim(Struct):
    """Claim of IArena."""

    account: str
    cumulative: int
    proof: tuple[bytes, ...]
    ABI: ClassVar[str] = "(address,uint128,bytes32[])"


@dataclass(frozen=True, slots=True)
class Certificate(Struct):
    """Certificate of IArena."""

    task: bytes
    round: int
    attempt: int
    isFinal: bool
    body: bytes
    submissions: bytes
    payments: bytes
    paid: int
    locked: int
    slashes: bytes
    nextCommittee: bytes
    ABI: ClassVar[str] = (
        "(bytes32,uint32,uint32,bool,bytes32,bytes32,bytes32,uint128,uint128,bytes32,bytes32)"
    )


@dataclass(frozen=True, slots=True)
class Member(Struct):
    """Member of IArena."""

    stake: int
    role: int
    exitAt: int
    sigmaAt: int
    sigma: int
    holds: int
    ABI: ClassVar[str] = "(uint128,uint8,uint40,uint40,uint24,uint16)"


@dataclass(frozen=True, slots=True)
class Task(Struct):
    """Task of IArena."""

    owner: str
    status: int
    endedAt: int
    round: int
    escrow: int
    locked: int
    unclaimed: int
    burnt: int
    paid: int
    bonus: int
    contributed: int
    pausedUntil: int
    orders: int
    committee: bytes
    ABI: ClassVar[str] = (
        "(address,uint8,uint40,uint32,uint128,uint128,uint128,uint128,uint128,uint128,uint128,uint40,uint32,bytes32)"
    )


@dataclass(frozen=True, slots=True)
class Quorum(Struct):
    """Quorum of IArena."""

    members: tuple[str, ...]
    signers: int
    signatures: bytes
    ABI: ClassVar[str] = "(address[],uint256,bytes)"


@dataclass(frozen=True, slots=True)
class Slash(Struct):
    """Slash of IArena."""

    member: str
    amount: int
    evidence: bytes
    ABI: ClassVar[str] = "(address,uint128,bytes32)"
