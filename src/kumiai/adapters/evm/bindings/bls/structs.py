"""Structs of BLS; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct


@dataclass(frozen=True, slots=True)
class G2Point(Struct):
    """G2Point of BLS."""

    x_c0_a: bytes
    x_c0_b: bytes
    x_c1_a: bytes
    x_c1_b: bytes
    y_c0_a: bytes
    y_c0_b: bytes
    y_c1_a: bytes
    y_c1_b: bytes
    ABI: ClassVar[str] = "(bytes32,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32)"


@dataclass(frozen=True, slots=True)
class G1Point(Struct):
    """G1Point of BLS."""

    x_a: bytes
    x_b: bytes
    y_a: bytes
    y_b: bytes
    ABI: ClassVar[str] = "(bytes32,bytes32,bytes32,bytes32)"
