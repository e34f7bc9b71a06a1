"""Structs of Lens; generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct
from kumiai.adapters.evm.bindings.iarena.structs import Member


@dataclass(frozen=True, slots=True)
class Node(Struct):
    """Node of Lens."""

    member: Member
    delegated: int
    ABI: ClassVar[str] = "((uint128,uint8,uint40,uint40,uint24,uint16),uint128)"
    SHAPES: ClassVar[Mapping[str, tuple[str, type[Struct]]]] = {"member": ("tuple", Member)}


@dataclass(frozen=True, slots=True)
class Root(Struct):
    """Root of Lens."""

    payments: bytes
    activeAt: int
    isDisabled: bool
    ABI: ClassVar[str] = "(bytes32,uint40,bool)"
