"""Three loyal replicas in states that the input chooses, and a traitor who signs what it likes.

An input is a canonical array of actions [kind, number, message]:

    0   the mail with this number arrives, and may arrive again
    1   so many milliseconds pass for all
    2   the message, an array as `wire` writes it, is said to replica 1 + number % 3; what names
        the traitor as its sender gets the traitor's real signature
    3   the mail with this number arrives and is gone

No step may raise; memory, agreement and proofs are looked at after each (`Loyal`).
"""

from __future__ import annotations

from typing import Any

from tests.consensus.pbft.loyal import COMMITTEE, REQUESTS, SIGNERS, TRAITOR, Loyal
from tests.fuzz.doors import Door
from tests.fuzz.doors.pbft_wire import MESSAGES

from kumiai.base import canonical
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.effects import Received, TimePassed

ACTIONS_MAX = 60
TIME_MAX_MS = 3_000
SIZE_MAX = 1_000_000


def sign_again(message: m.Message) -> m.Message:
    """Give the traitor's own words, and the proposal within them, its signature."""
    if isinstance(message, m.Signed) and message.sender == TRAITOR:
        return m.sign(COMMITTEE, SIGNERS[TRAITOR], TRAITOR, message.body)
    if isinstance(message, m.Proposal) and isinstance(message.order.body, m.PrePrepare):
        place = message.order.body
        body = m.PrePrepare(place.view, place.sequence, message.batch.digest)
        return m.Proposal(m.sign(COMMITTEE, SIGNERS[TRAITOR], TRAITOR, body), message.batch)
    return message


def play(world: Loyal, kind: Any, number: int, said: Any) -> None:
    if kind == 1:
        world.now_ms += number % TIME_MAX_MS
        for index in world.replicas:
            world.give(index, TimePassed())
    elif kind == 2:
        try:
            message = wire.decode(canonical.encode(said))
        except ValueError:
            return
        world.give(1 + number % 3, Received(sign_again(message)))
    elif world.mail:
        place = number % len(world.mail)
        index, message = world.mail[place]
        if kind == 3:
            del world.mail[place]
        world.give(index, Received(message))


def knock(data: bytes) -> None:
    try:
        actions = canonical.decode(data, SIZE_MAX)
    except ValueError:
        return
    if not isinstance(actions, list):
        return
    world = Loyal()
    for action in actions[:ACTIONS_MAX]:
        if isinstance(action, list) and len(action) == 3 and type(action[1]) is int:
            play(world, *action)


def make_seeds() -> tuple[bytes, ...]:
    said = [canonical.decode(wire.encode(message), SIZE_MAX) for message in MESSAGES]
    forged = [
        ["signed", [*each[1][:2], sender, each[1][3]]]
        for each in said
        if each[0] == "signed"
        for sender in (1, 2, 3)
    ]
    requests = [canonical.decode(wire.encode(request), SIZE_MAX) for request in REQUESTS]
    talk = [[2, place, each] for place in range(3) for each in said]
    mail = [[3, 0, None]] * 12
    change = [[2, index, requests[0]] for index in range(3)] + [[1, 1_100, None]] * 2
    return tuple(
        canonical.encode(actions[:ACTIONS_MAX])
        for actions in (
            talk,
            change + mail + talk,
            change + mail * 3,
            [[2, place + 1, each] for place, each in enumerate(forged)] + mail,
            [[2, 0, said[1]], [2, 1, said[1]], [2, 2, said[1]], *mail * 2, *talk],
        )
    )


REPLICA = Door("replica", make_seeds(), knock)
