"""Structs of Lens; generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct


@dataclass(frozen=True, slots=True)
class Member(Struct):
    stake: int
    role: int
    exitAt: int
    sigmaAt: int
    sigma: int
    holds: int
    ABI: ClassVar[str] = "(uint128,uint8,uint40,uint40,uint24,uint16)"


@dataclass(frozen=True, slots=True)
class Node(Struct):
    member: Member
    delegated: int
    ABI: ClassVar[str] = "((uint128,uint8,uint40,uint40,uint24,uint16),uint128)"
    SHAPES: ClassVar[Mapping[str, tuple[str, type[Struct]]]] = {"member": ("tuple", Member)}


@dataclass(frozen=True, slots=True)
class Root(Struct):
    payments: bytes
    activeAt: int
    isDisabled: bool
    ABI: ClassVar[str] = "(bytes32,uint40,bool)"


@dataclass(frozen=True, slots=True)
class Task(Struct):
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
