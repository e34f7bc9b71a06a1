"""Whom one follows is not believed: forged or skipped batches, rubbish and silence end it."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from websockets.asyncio.server import serve

from kumiai.adapters.committee import following
from kumiai.adapters.committee.following import Follower
from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.local import find_ports
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner

SIGNERS = [KeySigner(derive_key(b"following", f"validator {i}")) for i in range(2)]
KEYS = tuple(signer.pubkey for signer in SIGNERS)
COMMITTEE = Committee("following", 1, KEYS, frozenset(KEYS))
OTHERS = dataclasses.replace(COMMITTEE, epoch=2)
COUNT = 3
PATIENCE_SECONDS = 30


def decide(place: int, committee: Committee = COMMITTEE, text: str = "x") -> m.Decided:
    batch = m.Batch((m.sign_request(SIGNERS[0], place, text),), 1_000 * place)
    body = m.Commit(0, place, batch.digest)
    commits = tuple((i, m.sign(committee, s, i, body).signature) for i, s in enumerate(SIGNERS))
    return m.Decided(batch, m.CommitProof(0, place, batch.digest, commits))


GOOD = [decide(place) for place in range(1, COUNT + 1)]
SECOND = GOOD[1]
LIES = {
    "one vote": dataclasses.replace(
        SECOND, proof=dataclasses.replace(SECOND.proof, commits=SECOND.proof.commits[:1])
    ),
    "another batch": dataclasses.replace(SECOND, batch=decide(2, text="y").batch),
    "another committee": decide(2, OTHERS),
    "a place left out": GOOD[2],
    "the same again": GOOD[0],
    "no batch": m.sign_request(SIGNERS[0], 1, "x"),
}


def follow(second: bytes | None) -> tuple[list[m.Decided], list[bytes]]:
    """What a follower brings whose first validator says `second` after a good batch (None: goes
    silent), and whose second one is honest; and what it asked the two for."""
    found: list[m.Decided] = []
    asked: list[bytes] = []

    async def lie(connection) -> None:
        asked.append(await connection.recv(decode=False))
        await connection.send(wire.encode(GOOD[0]))
        if second is not None:
            await connection.send(second)
        await connection.wait_closed()

    async def be_honest(connection) -> None:
        asked.append(await connection.recv(decode=False))
        first = int(asked[-1].split()[1])
        for each in GOOD[first - 1 :]:
            await connection.send(wire.encode(each))
        await connection.wait_closed()

    async def play() -> None:
        lying, honest = find_ports(2)
        addresses = [Address("127.0.0.1", port) for port in (lying, honest)]
        is_done = asyncio.Event()

        def take(decided: m.Decided) -> None:
            found.append(decided)
            if len(found) == COUNT:
                is_done.set()

        async with serve(lie, "127.0.0.1", lying), serve(be_honest, "127.0.0.1", honest):
            task = asyncio.create_task(Follower(COMMITTEE, addresses, take).run())
            try:
                await asyncio.wait_for(is_done.wait(), PATIENCE_SECONDS)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())
    return found, asked


@pytest.mark.parametrize("lie", LIES)
def test_what_no_quorum_decided_as_next_is_asked_of_another(lie):
    found, asked = follow(wire.encode(LIES[lie]))
    assert found == GOOD
    assert asked[:2] == [b"follow 1", b"follow 2"]


def test_bytes_that_are_no_message_are_no_batch():
    assert follow(b"\xff rubbish")[0] == GOOD


def test_a_silent_one_is_left(monkeypatch):
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.5)
    assert follow(None)[0] == GOOD
