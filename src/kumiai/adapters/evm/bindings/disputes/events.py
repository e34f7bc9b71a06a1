"""Events of Disputes; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, collect_events
from kumiai.adapters.evm.bindings.idisputes.events import EVENTS as INHERITED


@dataclass(frozen=True, slots=True)
class OwnershipTransferStarted(Event):
    """OwnershipTransferStarted of Disputes."""

    previousOwner: str
    newOwner: str
    SIGNATURE: ClassVar[str] = (
        "OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner)"
    )


@dataclass(frozen=True, slots=True)
class OwnershipTransferred(Event):
    """OwnershipTransferred of Disputes."""

    previousOwner: str
    newOwner: str
    SIGNATURE: ClassVar[str] = (
        "OwnershipTransferred(address indexed previousOwner, address indexed newOwner)"
    )


EVENTS: EventTypes = {**INHERITED, **collect_events(globals())}
