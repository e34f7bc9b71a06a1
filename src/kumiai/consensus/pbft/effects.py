"""What a replica is told and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from kumiai.base.errors import Reject
from kumiai.consensus.pbft.messages import Decided, Message, Request
from kumiai.consensus.pbft.proofs import Equivocation
from kumiai.consensus.pbft.safety import Entry


@dataclass(frozen=True, slots=True)
class Received:
    """A message came from wherever; who said it, its signature tells."""

    message: Message


@dataclass(frozen=True, slots=True)
class Submitted:
    """A request of this process's own client."""

    request: Request


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time that `next_deadline_ms` named has come."""


Input = Received | Submitted | TimePassed


@dataclass(frozen=True, slots=True)
class Persist:
    """Write these down, and make them last, before any effect after this one."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Execute:
    """The next batch of the order, with its proof; requests: those of it that were not executed
    before; time_ms: the order's clock. Write it down, then apply them.
    """

    decided: Decided
    requests: tuple[Request, ...]
    time_ms: int


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to all other replicas."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one replica."""

    replica: int
    message: Message


@dataclass(frozen=True, slots=True)
class Serve:
    """Send a replica what was decided from this place on, as far as it is a help."""

    replica: int
    sequence: int
    count_max: int


@dataclass(frozen=True, slots=True)
class Accuse:
    """A replica said two things where it may say one: here is the proof."""

    found: Equivocation


@dataclass(frozen=True, slots=True)
class Refuse:
    """A message was not believed and changed nothing."""

    reject: Reject


Effect = Persist | Execute | Broadcast | Send | Serve | Accuse | Refuse
