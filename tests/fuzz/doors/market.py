"""Letters of the market: an event of any form and its opened tags, read, then heard by machines.

An input is the event's JSON object and a list of hidden tags (or null). The machines stand where a
whole job has left them after each of its steps, so that a letter meets many states.
"""

from __future__ import annotations

from typing import Any

from tests.fuzz.doors import Door
from tests.market.hostile import begin, make_attacked
from tests.market.letters_by_chance import make_letters
from tests.market.small_world import Member

from kumiai.base import canonical
from kumiai.base.errors import Reject
from kumiai.base.keys import derive_key
from kumiai.market import effects as fx
from kumiai.market.judge import JudgePolicy, Judging
from kumiai.market.kinds import Policy
from kumiai.market.letters import Letter
from kumiai.market.nips.nip01 import read_event, to_mapping
from kumiai.market.reading import read_message

JUDGE = derive_key(b"fuzz market", "judge")
STATES_A_MACHINE = 12
SIZE_MAX = 200_000


def encode(letter: Letter) -> bytes:
    hidden = [list(tag) for tag in letter.hidden] if letter.hidden is not None else None
    return canonical.encode([to_mapping(letter.event), hidden])


def play_a_job() -> tuple[list[Letter], list[tuple[Any, Any]], int]:
    world, customer, providers = make_attacked(
        Policy.HOLD, committee=(JUDGE.pubkey,), jury=(JUDGE.pubkey,), quorum=1
    )
    judge = world.add("judge", Judging(JudgePolicy(JUDGE.pubkey, JUDGE.secret.hex())), JUDGE)
    states: dict[str, list[tuple[Any, Any]]] = {}

    def watch(member: Member) -> None:
        take = member.take

        def seen(item: Any) -> None:
            take(item)
            states.setdefault(member.name, []).append((member.machine, member.state))

        member.take = seen  # type: ignore[method-assign]

    for member in (customer, providers[0], judge):
        watch(member)
    begin(world, customer, providers)
    world.pass_time(30)
    letters = [*world.letters, *make_letters(customer, providers, JUDGE, world.now_s)]
    spread = [
        pair
        for found in states.values()
        for pair in found[:: max(1, len(found) // STATES_A_MACHINE)]
    ]
    return letters, spread, world.now_s


LETTERS, STATES, NOW = play_a_job()


def knock_letter(data: bytes) -> None:
    try:
        document = canonical.decode(data, SIZE_MAX)
        event = read_event(document[0])
        tags = document[1]
        hidden = None if tags is None else tuple(tuple(map(str, tag)) for tag in tags)
    except (ValueError, TypeError, KeyError, IndexError):
        return  # no letter: the node hands none to its machine
    letter = Letter(event, hidden)
    found = read_message(letter, NOW)
    assert not isinstance(found, Reject) or (found.reason and found.evidence["event"] == event.id)
    at = sum(data) % len(STATES)
    for machine, state in (STATES[at], STATES[at - 1], STATES[-1]):
        outcome = machine.step(state, NOW, fx.Heard(letter))
        machine.step(outcome.state, NOW + 1, fx.Ticked())
        if isinstance(found, Reject) and outcome.rejected:
            assert not outcome.effects or outcome.rejected[0].event is event


LETTER = Door("market", tuple(encode(letter) for letter in LETTERS), knock_letter)
DOORS = (LETTER,)
