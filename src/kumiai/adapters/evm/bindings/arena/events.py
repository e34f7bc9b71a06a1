"""Events of Arena; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, Structs, collect_events
from kumiai.adapters.evm.bindings.iarena.events import EVENTS as INHERITED
from kumiai.adapters.evm.bindings.tasks.structs import Bounds


@dataclass(frozen=True, slots=True)
class BoundsSet(Event):
    """BoundsSet of Arena."""

    bounds: Bounds
    SIGNATURE: ClassVar[str] = "BoundsSet(Bounds bounds)"
    STRUCTS: ClassVar[Structs] = {"Bounds": Bounds}


@dataclass(frozen=True, slots=True)
class OwnershipTransferStarted(Event):
    """OwnershipTransferStarted of Arena."""

    previousOwner: str
    newOwner: str
    SIGNATURE: ClassVar[str] = (
        "OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner)"
    )


@dataclass(frozen=True, slots=True)
class OwnershipTransferred(Event):
    """OwnershipTransferred of Arena."""

    previousOwner: str
    newOwner: str
    SIGNATURE: ClassVar[str] = (
        "OwnershipTransferred(address indexed previousOwner, address indexed newOwner)"
    )


EVENTS: EventTypes = {**INHERITED, **collect_events(globals())}
