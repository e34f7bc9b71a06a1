"""Events of IERC20; generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kumiai.adapters.evm.abi import Event, EventTypes, collect_events


@dataclass(frozen=True, slots=True)
class Approval(Event):
    """Approval of IERC20."""

    owner: str
    spender: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Approval(address indexed owner, address indexed spender, uint256 amount)"
    )


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """Transfer of IERC20."""

    sender: str
    to: str
    amount: int
    SIGNATURE: ClassVar[str] = (
        "Transfer(address indexed sender, address indexed to, uint256 amount)"
    )


EVENTS: EventTypes = collect_events(globals())
