"""Events of Credit; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, collect_events


@dataclass(frozen=True, slots=True)
class Approval(Event):
    """Approval of Credit."""

    owner: str
    spender: str
    value: int
    SIGNATURE: ClassVar[str] = (
        "Approval(address indexed owner, address indexed spender, uint256 value)"
    )


@dataclass(frozen=True, slots=True)
class EIP712DomainChanged(Event):
    """EIP712DomainChanged of Credit."""

    SIGNATURE: ClassVar[str] = "EIP712DomainChanged()"


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """Transfer of Credit."""

    from_: str
    to: str
    value: int
    SIGNATURE: ClassVar[str] = "Transfer(address indexed from_, address indexed to, uint256 value)"


EVENTS: EventTypes = collect_events(globals())
