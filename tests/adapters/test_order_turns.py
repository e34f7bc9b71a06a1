"""A validator's turn: many inputs, one write of the disk, and nothing leaves before it is done."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from kumiai.adapters.committee.journal import Journal, decode_entry
from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.service import TURN_MAX, Service, ServiceConfig
from kumiai.base.errors import StoreError
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner
from kumiai.consensus.pbft.effects import Received
from kumiai.consensus.pbft.safety import Voted

KEYS = [derive_key(b"turns", f"replica {i}") for i in range(4)]
CLIENT = KeySigner(derive_key(b"turns", "client"))
COMMITTEE = Committee("turns", 1, tuple(k.pubkey for k in KEYS), frozenset({CLIENT.pubkey}))
PLACES = 4
NOW_SECONDS = 1_000
VOTES = {"pre-prepare", "prepare", "commit", "checkpoint"}


@pytest.fixture
def service(tmp_path):
    addresses = tuple(Address("127.0.0.1", 1) for _ in KEYS)
    config = ServiceConfig(COMMITTEE, 1, KEYS[1], addresses, tmp_path / "1.sqlite")
    made = Service(config, read_clock=lambda: NOW_SECONDS)
    yield made
    made.journal.close()


def make_inputs() -> list[m.Message]:
    """Return what a backup hears while four batches are agreed on: it votes twice for each."""
    inputs: list[m.Message] = []
    for place in range(1, PLACES + 1):
        batch = m.Batch((m.sign_request(CLIENT, place, "x"),), NOW_SECONDS * 1000)
        bodies = [(0, m.PrePrepare), (2, m.Prepare), (3, m.Prepare), (0, m.Commit), (2, m.Commit)]
        for sender, kind in bodies:
            body = kind(0, place, batch.digest)
            signed = m.sign(COMMITTEE, KeySigner(KEYS[sender]), sender, body)
            inputs.append(m.Proposal(signed, batch) if kind is m.PrePrepare else signed)
    return inputs


def read_lasting(path) -> set[tuple[str, int, str]]:
    """Return the votes that another reader of the file sees: those that were committed."""
    file = sqlite3.connect(path)
    rows = file.execute("SELECT kind, body FROM entries").fetchall()
    file.close()
    entries = [decode_entry(kind, body) for kind, body in rows]
    return {(e.phase, e.sequence, e.digest) for e in entries if isinstance(e, Voted)}


def watch(service, monkeypatch):
    """Return what left, and how often the disk was written to; check each vote as it leaves."""
    left, syncs, path = [], [], service._config.journal

    def put(self, data):
        message = wire.decode(data)
        if isinstance(message, m.Signed) and message.body.type in VOTES:
            body = message.body
            assert (body.type, body.sequence, body.digest) in read_lasting(path)
            left.append((body.type, body.sequence))

    sync = Journal.sync

    def count(self):
        syncs.append(self._is_open)
        sync(self)

    monkeypatch.setattr("kumiai.adapters.committee.links.Outbox.put", put)
    monkeypatch.setattr(Journal, "sync", count)
    return left, syncs


def take_turn(service, inputs) -> None:
    async def turn():
        for each in inputs:
            service._inputs.put_nowait(Received(each))
        await service._turn()

    asyncio.run(turn())


def test_a_turn_writes_once_and_nothing_leaves_before(service, monkeypatch):
    left, syncs = watch(service, monkeypatch)
    inputs = make_inputs()
    assert len(inputs) <= TURN_MAX
    take_turn(service, inputs)
    votes = [(kind, place) for place in range(1, PLACES + 1) for kind in ("prepare", "commit")]
    assert left[::3] == votes and len(left) == 3 * len(votes)  # in their order, to three others
    assert syncs.count(True) == 1
    assert service.replica.executed == PLACES == len(list(service.journal.read_decided()))


def test_an_input_that_comes_alone_is_written_at_once(service, monkeypatch):
    left, syncs = watch(service, monkeypatch)
    for each in make_inputs()[:3]:
        take_turn(service, [each])
    assert left[::3] == [("prepare", 1), ("commit", 1)]
    assert syncs.count(True) == 2


def test_where_the_disk_fails_nothing_leaves(service, monkeypatch):
    left, _ = watch(service, monkeypatch)

    def fail(self):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "sync", fail)
        with pytest.raises(StoreError):
            take_turn(service, make_inputs())
    assert left == []


def test_what_was_written_and_not_synced_is_gone_with_the_process(tmp_path):
    """All of a turn or nothing: a second reader sees nothing of an open one."""
    journal = Journal(tmp_path / "x.sqlite", "ab" * 32)
    journal.write((Voted("prepare", 0, 1, "ab" * 32), Voted("commit", 0, 1, "ab" * 32)))
    assert read_lasting(tmp_path / "x.sqlite") == set()
    journal.sync()
    assert len(read_lasting(tmp_path / "x.sqlite")) == 2
    journal.close()
