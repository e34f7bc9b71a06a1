"""Replicas' messages and proofs of faults: taken is only what is written back as the same bytes."""

from __future__ import annotations

import dataclasses

from tests.consensus.pbft.loyal import BATCHES, COMMITTEE, REQUESTS, SIGNERS, TRAITOR
from tests.fuzz.doors import Door

from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.proofs import BEGINNING, Equivocation

PLAIN = {"int", "str", "bool"}
DIGEST = BATCHES[1].digest
PAIRS = ((0, "00" * 32), (1, "11" * 32), (2, "22" * 32))


def sign(body: m.Body, sender: int = TRAITOR) -> m.Signed:
    return m.sign(COMMITTEE, SIGNERS[sender], sender, body)


PREPARED = m.PreparedProof(0, 1, DIGEST, "00" * 32, PAIRS[1:])
CHANGE = sign(m.ViewChange(1, BEGINNING, (PREPARED,)))
MESSAGES: tuple[m.Message, ...] = (
    REQUESTS[0],
    m.Proposal(sign(m.PrePrepare(0, 1, DIGEST)), BATCHES[1]),
    m.Decided(BATCHES[3], m.CommitProof(0, 1, BATCHES[3].digest, PAIRS)),
    m.Found(1, BATCHES[1]),
    sign(m.PrePrepare(0, 1, DIGEST)),
    sign(m.Prepare(0, 1, DIGEST)),
    sign(m.Commit(4, 2, DIGEST)),
    sign(m.Checkpoint(2, DIGEST)),
    CHANGE,
    sign(m.ViewChange(5, m.StableProof(2, DIGEST, PAIRS), ())),
    sign(m.NewView(1, (CHANGE, CHANGE, CHANGE), ("00" * 32,))),
    sign(m.Status(0, False, 3)),
    sign(m.Fetch(1, DIGEST)),
)


def check_types(value: object) -> None:
    """Every field is what its annotation says: `true` is no number."""
    if isinstance(value, tuple):
        for each in value:
            check_types(each)
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            found = getattr(value, field.name)
            assert type(found).__name__ == field.type or field.type not in PLAIN, field
            check_types(found)


def knock_message(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except ValueError:
        return
    assert wire.encode(message) == data
    check_types(message)


def knock_evidence(data: bytes) -> None:
    try:
        found = wire.decode_evidence(data)
    except ValueError:
        return
    assert wire.encode_evidence(found) == data


MESSAGE = Door("messages", tuple(map(wire.encode, MESSAGES)), knock_message)
EVIDENCE = Door(
    "proofs",
    tuple(
        wire.encode_evidence(Equivocation(first, sign(m.Prepare(0, 1, "ab" * 32))))
        for first in (sign(m.Prepare(0, 1, DIGEST)), CHANGE)
    ),
    knock_evidence,
)
