"""Structs of IDisputes; generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct


@dataclass(frozen=True, slots=True)
class Submission(Struct):
    """Submission of IDisputes."""

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
class Case(Struct):
    """Case of IDisputes."""

    task: bytes
    submission: Submission
    accuser: str
    claimed: bytes
    token: str
    bond: int
    slash: int
    jurors: int
    answerTime: int
    juryTime: int
    arity: int
    nonce: int
    ABI: ClassVar[str] = (
        "(bytes32,(bytes32,uint32,uint32,bytes32,address,bytes32,uint64,uint64),address,bytes32,address,uint128,uint24,uint16,uint32,uint32,uint8,uint64)"
    )
    SHAPES: ClassVar[Mapping[str, tuple[str, type[Struct]]]] = {"submission": ("tuple", Submission)}


@dataclass(frozen=True, slots=True)
class Parameters(Struct):
    """Parameters of IDisputes."""

    bondShare: int
    arity: int
    answerTime: int
    juryTime: int
    ABI: ClassVar[str] = "(uint24,uint8,uint32,uint32)"


@dataclass(frozen=True, slots=True)
class Dispute(Struct):
    """Dispute of IDisputes."""

    level: int
    answered: int
    height: int
    rounds: int
    arity: int
    isFine: bool
    outcome: int
    leftHeight: int
    position: int
    size: int
    deadline: int
    answerTime: int
    segment: int
    every: int
    iterations: int
    nodes: tuple[bytes, ...]
    left: bytes
    ABI: ClassVar[str] = (
        "(uint8,uint8,uint8,uint8,uint8,bool,uint8,uint8,uint24,uint24,uint40,uint32,uint16,uint16,uint32,bytes32[2],bytes32)"
    )


@dataclass(frozen=True, slots=True)
class Place(Struct):
    """Place of IDisputes."""

    index: int
    size: int
    path: tuple[bytes, ...]
    ABI: ClassVar[str] = "(uint32,uint32,bytes32[])"


@dataclass(frozen=True, slots=True)
class Refinement(Struct):
    """Refinement of IDisputes."""

    digest: bytes
    agreed: bytes
    agreedPath: tuple[bytes, ...]
    root: bytes
    firstPath: tuple[bytes, ...]
    lastPath: tuple[bytes, ...]
    ABI: ClassVar[str] = "(bytes32,bytes32,bytes32[],bytes32,bytes32[],bytes32[])"
