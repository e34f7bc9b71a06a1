"""What the market's machines have in common: one step at a time, and what is still to be done."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from kumiai.market.effects import Effect, Heard, Rejected, Result, Ticked, Woken
from kumiai.market.nips.nip01 import Filter

REJECTED_KEPT_MAX = 1_000

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
        self, state: S, now_s: int, item: Heard | Ticked | Woken | Result | C_contra
    ) -> Outcome[S]: ...

    def get_pending(self, state: S) -> Mapping[str, Effect]:
        """Return effects without a final result, in the order they were asked for."""
        ...

    def list_filters(self, state: S) -> tuple[Filter, ...]:
        """Return what to subscribe to; it may grow with the state."""
        ...


class Scratch(Generic[S]):
    """A state under change, for one step: a frozen dataclass whose mappings are dictionaries.

    A mapping is copied when it is first written to; the others stay the very same objects, so that
    a step costs what it changes, and whoever compares two states can begin with `is`.
    """

    def __init__(self, state: S) -> None:
        self.s = state
        self._own: set[str] = set()

    def set(self, **fields: Any) -> None:
        """Change fields of the state."""
        self.s = replace(self.s, **fields)  # type: ignore[type-var]  # S is a dataclass

    def keep(self, mapping: str, key: str, value: object) -> None:
        """Set one entry of one of the state's mappings."""
        self._get_own(mapping)[key] = value

    def forget(self, mapping: str, key: str) -> None:
        """Remove one entry of one of the state's mappings, if it is there."""
        if key in getattr(self.s, mapping):
            del self._get_own(mapping)[key]

    def _get_own(self, mapping: str) -> dict[str, Any]:
        if mapping not in self._own:
            self._own.add(mapping)
            self.set(**{mapping: dict(getattr(self.s, mapping))})
        own: dict[str, Any] = getattr(self.s, mapping)
        return own


def keep_evidence(
    kept: tuple[Rejected, ...], item: Rejected, partners: Container[str]
) -> tuple[Rejected, ...]:
    """Add one to what was refused; beyond the bound the oldest of a stranger gives way.

    So nobody hides what a partner did under a flood of nonsense from keys that cost nothing.
    """
    if len(kept) < REJECTED_KEPT_MAX:
        return (*kept, item)
    events = (one.event for one in kept)
    strangers = (at for at, event in enumerate(events) if not event or event.pubkey not in partners)
    at = next(strangers, 0)
    return (*kept[:at], *kept[at + 1 :], item)
