"""What a journal says: the machine's state, made anew from its inputs, in their order.

The node that runs, `kumiai market status` and whoever checks an account all fold the same way, so
they see the same. Nothing is carried out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar

from kumiai.base.errors import StoreError
from kumiai.base.events import Event
from kumiai.market.effects import Heard, Publish, Published, Rejected
from kumiai.market.machine import Machine, Outcome
from kumiai.nodes.market.record import InputCodec

S = TypeVar("S")
REJECTED_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Said:
    """An event of our own, and the relays beside our own that it was meant for."""

    event: Event
    relays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Replayed(Generic[S]):
    """The end of a journal.

    said: every event that this member ever signed for the market, oldest first. heard: (id, author,
    whether it changed the state) of each that was written down. rejected: peers' faults, at most
    REJECTED_KEPT_MAX of them. at_s: the last entry's time, 0 for an empty journal.
    """

    state: S
    at_s: int
    entry_count: int
    said: tuple[Said, ...]
    heard: tuple[tuple[Event, bool], ...]
    rejected: tuple[Rejected, ...]


def replay(machine: Machine[S, Any], codec: InputCodec, entries: Iterable[Mapping[str, Any]]) -> S:
    """Return the state at the end of a journal; StoreError for an entry that is none."""
    return replay_all(machine, codec, entries).state


def replay_all(
    machine: Machine[S, Any], codec: InputCodec, entries: Iterable[Mapping[str, Any]]
) -> Replayed[S]:
    """Fold a journal; StoreError names the entry that cannot be read or goes back in time."""
    state, at_s, count = machine.begin(), 0, 0
    said: list[Said] = []
    heard: list[tuple[Event, bool]] = []
    rejected: list[Rejected] = []
    for number, entry in enumerate(entries, 1):
        try:
            entry_at_s, item = codec.decode(entry)
        except ValueError as error:
            raise StoreError(f"journal: damaged: entry {number}: {error}") from error
        if entry_at_s < at_s:
            raise StoreError(f"journal: damaged: entry {number}: time {entry_at_s} after {at_s}")
        at_s, count = entry_at_s, number
        if isinstance(item, Published) and item.key in machine.get_pending(state):
            said.append(Said(item.event, get_relays(machine, state, item.key)))
        outcome = machine.step(state, at_s, item)
        if isinstance(item, Heard):
            heard.append((item.letter.event, has_changed(state, outcome)))
        rejected.extend(outcome.rejected[: REJECTED_KEPT_MAX - len(rejected)])
        state = outcome.state
    return Replayed(state, at_s, count, tuple(said), tuple(heard), tuple(rejected))


def has_changed(before: object, outcome: Outcome[Any]) -> bool:
    """Tell whether a step did more than keep a peer's fault as evidence."""
    return bool(outcome.effects) or not _is_same(before, outcome.state)


def _is_same(before: object, after: object) -> bool:
    """Equal in all but the field `rejected`, where machines keep what they refused."""
    if before is after:
        return True
    if type(before) is not type(after) or not is_dataclass(before):
        return before == after
    names = [one.name for one in fields(before) if one.name != "rejected"]
    pairs = ((getattr(before, name), getattr(after, name)) for name in names)
    # what a step did not touch is the same object: two dictionaries compare each of their entries
    return all(one is other or one == other for one, other in pairs)


def get_relays(machine: Machine[S, Any], state: S, key: str) -> tuple[str, ...]:
    """Return the relays that a pending publication names beside our own."""
    effect = machine.get_pending(state).get(key)
    return effect.relays if isinstance(effect, Publish) else ()
