"""A member of a simulated market: the real fold and journal rules around any machine, and crashes.

What a crash takes is what it takes from a process: the state in memory, inputs on their way, and
whatever was being carried out. What it leaves is the journal. Requests that were under way to a
service may still arrive there, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kumiai.base.events import Event
from kumiai.base.keys import SigningKey
from kumiai.market.effects import Effect
from kumiai.nodes.market.folding import Fold, Folded
from kumiai.nodes.market.intake import Intake
from kumiai.nodes.market.own_events import OwnEvents
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import replay_all

Twist = Callable[[Effect], Effect | None]


class PlainCodec(InputCodec):
    """Keeps inputs as they are: a thousand worlds need no disk. Frozen values cannot change."""

    def encode(self, at_s: int, item: object) -> dict[str, object]:
        """As `InputCodec.encode`, without writing the fields down."""
        return {"at_s": at_s, "type": type(item).__name__, "value": item}

    def decode(self, entry: Mapping[str, object]) -> tuple[int, Any]:
        """Return (time, input)."""
        return int(str(entry["at_s"])), entry["value"]


class SimMember:
    """twist: what a dishonest or broken member does instead of an effect (None: nothing)."""

    def __init__(
        self,
        name: str,
        key: SigningKey,
        machine: Any,
        codec: InputCodec,
        twist: Twist = lambda effect: effect,
    ) -> None:
        self.name, self.key, self.machine, self.codec, self.twist = name, key, machine, codec, twist
        self.journal: list[dict[str, object]] = []
        self.fold: Fold[Any] = Fold(machine, codec, Intake())
        self.own = OwnEvents()
        self.is_up = True
        self.life = 0  # counts crashes: what an earlier life began means nothing to this one
        self.running: dict[str, int] = {}  # effect key -> number of the program that carries it out
        self.delivered: set[str] = set()
        self.steps = 0

    @property
    def state(self) -> Any:
        """The machine's state, as of the last step."""
        return self.fold.state

    def step(self, now_s: int, item: Any) -> Folded:
        """Take one input in memory; `write` what comes of it before acting on it."""
        self.steps += 1
        folded = Folded()
        self.fold.take(now_s, item, folded)
        return folded

    def write(self, folded: Folded) -> None:
        """Append the entries: from here on they survive."""
        self.journal += folded.entries

    def crash(self) -> None:
        """Lose everything but the journal."""
        self.is_up = False
        self.life += 1
        self.running.clear()
        self.delivered.clear()

    def restart(self) -> list[Effect]:
        """Fold the journal; return what is pending."""
        replayed = replay_all(self.machine, self.codec, self.journal)
        self.fold = Fold(self.machine, self.codec, Intake())
        self.fold.begin(replayed)
        self.own = OwnEvents()
        for said in replayed.said:
            self.own.remember(said)
        self.is_up = True
        return list(self.fold.get_pending().values())

    def wants(self, event: Event) -> bool:
        """Tell whether the subscription of now matches."""
        filters = self.machine.list_filters(self.fold.state)
        return any(one.has(event) for one in filters)
