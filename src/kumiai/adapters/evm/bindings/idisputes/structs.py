"""Structs of IDisputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct


@dataclass(frozen=True, slots=True)
class Submission(Struct):
    document: bytes
    round: int
    attempt: int
    member: bytes
    account: str
    trace: bytes
    iterations: int
    every: int
    ABI: ClassVar[str] = "(bytes32,uint32,uint32,bytes32,address,bytes32,uint64,uint64)"


@dataclass(frozen=True, slots=True)
class Parameters(Struct):
    bondShare: int
    arity: int
    answerTime: int
    juryTime: int
    ABI: ClassVar[str] = "(uint24,uint8,uint32,uint32)"


@dataclass(frozen=True, slots=True)
class Dispute(Struct):
    task: bytes
    submission: bytes
    accused: str
    round: int
    deadline: int
    level: int
    answered: int
    height: int
    accuser: str
    answerTime: int
    juryTime: int
    arity: int
    rounds: int
    outcome: int
    isFine: bool
    bond: int
    size: int
    position: int
    segment: int
    every: int
    token: str
    slash: int
    iterations: int
    jurors: int
    nodes: tuple[bytes, ...]
    roots: tuple[bytes, ...]
    agreed: bytes
    digests: tuple[bytes, ...]
    ABI: ClassVar[str] = (
        "(bytes32,bytes32,address,uint32,uint40,uint8,uint8,uint8,address,uint32,uint32,uint8,uint8,uint8,bool,uint128,uint32,uint32,uint32,uint32,address,uint24,uint40,uint16,bytes32[2],bytes32[2],bytes32,bytes32[2])"
    )


@dataclass(frozen=True, slots=True)
class Place(Struct):
    index: int
    size: int
    path: tuple[bytes, ...]
    ABI: ClassVar[str] = "(uint32,uint32,bytes32[])"


@dataclass(frozen=True, slots=True)
class Refinement(Struct):
    digest: bytes
    agreed: bytes
    agreedPath: tuple[bytes, ...]
    root: bytes
    firstPath: tuple[bytes, ...]
    lastPath: tuple[bytes, ...]
    ABI: ClassVar[str] = "(bytes32,bytes32,bytes32[],bytes32,bytes32[],bytes32[])"
