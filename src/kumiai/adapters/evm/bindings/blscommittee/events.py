"""Events of BlsCommittee; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, Structs, collect_events
from kumiai.adapters.evm.bindings.bls.structs import G2Point


@dataclass(frozen=True, slots=True)
class Registered(Event):
    """Registered of BlsCommittee."""

    member: str
    key: G2Point
    SIGNATURE: ClassVar[str] = "Registered(address indexed member, G2Point key)"
    STRUCTS: ClassVar[Structs] = {"G2Point": G2Point}


@dataclass(frozen=True, slots=True)
class Sealed(Event):
    """Sealed of BlsCommittee."""

    committee: bytes
    SIGNATURE: ClassVar[str] = "Sealed(bytes32 committee)"


EVENTS: EventTypes = collect_events(globals())
