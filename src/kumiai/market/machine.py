"""What the market's machines have in common: one step at a time, and what is still to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kumiai.market.effects import Effect, Heard, Rejected, Result, Ticked
from kumiai.market.nips.nip01 import Filter

S = TypeVar("S")
C_contra = TypeVar("C_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S]):
    """The next state, what to do, in order, and what was refused."""

    state: S
    effects: tuple[Effect, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class Machine(Protocol[S, C_contra]):
    """A role: a frozen description with a pure `step`.

    `C_contra` is what the role's owner can say: its commands. The same input twice, a result for a
    key that is not pending, an event heard again: the state stays as it is.
    """

    def begin(self) -> S:
        """The state before the first input."""
        ...

    def step(
        self, state: S, now_s: int, item: Heard | Ticked | Result | C_contra
    ) -> Outcome[S]: ...

    def get_pending(self, state: S) -> Mapping[str, Effect]:
        """Return effects without a final result, in the order they were asked for."""
        ...

    def list_filters(self, state: S) -> tuple[Filter, ...]:
        """Return what to subscribe to; it may grow with the state."""
        ...
