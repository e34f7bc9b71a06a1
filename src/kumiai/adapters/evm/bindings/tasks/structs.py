"""Structs of Tasks; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Struct


@dataclass(frozen=True, slots=True)
class Bounds(Struct):
    """Bounds of Tasks."""

    coolDownMin: int
    coolDownMax: int
    activationDelayMin: int
    activationDelayMax: int
    graceMin: int
    graceMax: int
    durationMin: int
    durationMax: int
    ABI: ClassVar[str] = "(uint32,uint32,uint32,uint32,uint32,uint32,uint32,uint32)"
