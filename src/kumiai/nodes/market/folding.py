"""One input after another into the machine: what is worth writing down, and what it then asks for.

The machine steps first, in memory; nothing of the step leaves this process before the caller has
written the entries. What changed nothing is not written: a journal that never saw it folds to the
same state. What was only refused is written as evidence while the intake has room for it; beyond
that the step is undone, so that replaying the journal gives exactly the state that the node had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kumiai.base.events import Event
from kumiai.market.effects import Effect, Heard, Published, Rejected
from kumiai.market.machine import Machine
from kumiai.nodes.market.intake import Intake
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import Replayed, Said, get_relays, has_changed

S = TypeVar("S")


@dataclass(slots=True)
class Folded:
    """What a batch of inputs came to: write `entries`, then do the rest."""

    entries: list[dict[str, object]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class Fold(Generic[S]):
    """The state of one machine and the time it has reached. Pure but for its own fields."""

    def __init__(self, machine: Machine[S, Any], codec: InputCodec, intake: Intake) -> None:
        self._machine, self._codec, self.intake = machine, codec, intake
        self.state = machine.begin()
        self.version = 0  # counts the inputs that changed the state
        self.at_s = 0

    def begin(self, replayed: Replayed[S]) -> None:
        """Go on from the end of a journal."""
        self.state, self.at_s = replayed.state, replayed.at_s
        self.version = replayed.entry_count
        for event, was_taken in replayed.heard:
            if was_taken:
                self.intake.take(event)
            else:
                self.intake.keep(event)

    def get_pending(self) -> Mapping[str, Effect]:
        """Return what has no final result yet."""
        return self._machine.get_pending(self.state)

    def take(self, now_s: int, item: Any, into: Folded) -> tuple[Rejected, ...]:
        """Step once. Time never runs backwards, whatever the clock says."""
        now_s = max(now_s, self.at_s)
        before = self.state
        relays = self._get_relays(item)
        outcome = self._machine.step(before, now_s, item)
        is_moved = has_changed(before, outcome)
        if isinstance(item, Heard):
            if is_moved:
                self.intake.take(item.letter.event)
            else:
                is_evidence = bool(outcome.rejected) and self.intake.keep(item.letter.event)
                self.intake.forget(item.letter, self.version)
                if not is_evidence:
                    return outcome.rejected
        elif not is_moved and not outcome.rejected:
            return ()
        into.entries.append(self._codec.encode(now_s, item))
        into.effects += outcome.effects
        into.rejected += outcome.rejected
        if relays is not None:
            into.said.append(Said(item.event, relays))
        self.state, self.at_s = outcome.state, now_s
        if is_moved:
            self.version += 1
        return outcome.rejected

    def take_waiting(self, now_s: int, into: Folded) -> None:
        """Try again what may have come too early."""
        for letter in self.intake.list_waiting(self.version):
            self.take(now_s, Heard(letter), into)

    def is_news(self, event: Event) -> bool:
        """Tell whether an event from a relay is worth opening."""
        return self.intake.is_news(event, self.version)

    def _get_relays(self, item: object) -> tuple[str, ...] | None:
        """Relays for an event of ours that was asked for; None: there is nothing to send."""
        if not isinstance(item, Published) or item.key not in self.get_pending():
            return None
        return get_relays(self._machine, self.state, item.key)
