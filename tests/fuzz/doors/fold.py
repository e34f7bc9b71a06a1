"""The whole fold: one member of a run says something else than it did, and the run goes on.

An input is a canonical array [height, content]: the event of that height gets this content, and all
later records follow. No record may raise, also long after, when a phase closes over what was
accepted. Commitments open to anything here (a traitor commits to what it will show), so that what
they bind is reached. Runs of recorded answers: with audits and juries, with masks, ordered by a
committee, with widths as rewards, with rechecks and their jury.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

from tests.fuzz.doors import Door
from tests.rounds.test_audits import VALID, World
from tests.rounds.worlds import make_driver, make_people, make_task

from kumiai.adapters.sim.world import NetworkModel
from kumiai.base import canonical, events
from kumiai.base.log import Record, append_record
from kumiai.rounds import commitments
from kumiai.rounds.run import step
from kumiai.rounds.state import RunState

SIZE_MAX = 1_000_000
SECTIONS: dict[str, dict[str, object]] = {
    "plain": {},
    "secure": {"privacy": {"mode": "secure"}},
    "ordered": {"validation": {"ordering": "committee"}},
    "aequa": {"model_rewards": {"policy": "aequa"}},
    "rechecked": {"data": {"open_holdout": True}, "validation": {"recheck_ppm": 1_000_000}},
}
LIARS = {"rechecked": {"v0": "zeros"}}  # so that there is an accusation, and a vote about it


def open_to_anything(purpose: str, fields: Sequence[object]) -> str:
    return canonical.sha256_hex(purpose.encode())


@cache
def play(kind: str) -> tuple[tuple[Record, ...], tuple[RunState, ...]]:
    """Play a run once; return its records and the state before each."""
    with patch.object(commitments, "_hash", open_to_anything):
        if kind == "audited":
            found = ("INVALID", 0, "9" * 64)
            world = World(lambda v, t: found if t == "t0" and v != "v3" else VALID, rounds=2)
            driver, _ = world.make()
        else:
            task = make_task(trainers=4, rounds=2, **SECTIONS[kind])
            driver, _ = make_driver(
                task, make_people(4), NetworkModel(), behaviours=LIARS.get(kind)
            )
        driver.run()
        records = tuple(driver.log.read())
        states = [RunState()]
        for record in records:
            states.append(step(states[-1], record).state)
    return records, tuple(states)


def say(event: events.Event, content: Any) -> events.Event:
    """Return the event with other content; who orders has checked its sender's signature."""
    text = canonical.encode(content).decode()
    named = events.compute_id(event.pubkey, event.created_at, event.kind, event.tags, text)
    return replace(event, content=text, id=named)


def make_knock(kind: str) -> Any:
    def knock(data: bytes) -> None:
        try:
            document = canonical.decode(data, SIZE_MAX)
        except ValueError:
            return
        if not (isinstance(document, list) and len(document) == 2 and type(document[0]) is int):
            return
        records, states = play(kind)
        first = document[0] % len(records)
        with patch.object(commitments, "_hash", open_to_anything):
            state = states[first]
            last = records[first - 1] if first else None
            for record in records[first:]:
                event = say(record.event, document[1]) if record is records[first] else record.event
                given = append_record(last, record.time_ms, event)
                outcome = step(state, given)
                if outcome.reject is not None:
                    assert outcome.state is state
                    if record is records[first]:
                        return  # refused: the rest is as it was
                else:
                    state, last = outcome.state, given

    return knock


def make_seeds(kind: str) -> tuple[bytes, ...]:
    records, _ = play(kind)
    return tuple(
        canonical.encode([place, events.read_content(record.event)])
        for place, record in enumerate(records)
    )


FOLDS = tuple(
    Door(f"fold-{kind}", make_seeds(kind), make_knock(kind)) for kind in ("audited", *SECTIONS)
)
