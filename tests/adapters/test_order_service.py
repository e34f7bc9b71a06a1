"""Real validator processes on loopback: killed, stopped, cut off, fed with rubbish; one order."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

import pytest
from tests.adapters.validator_processes import CLIENT, Validators, check_one_order, wait_until
from websockets.exceptions import ConnectionClosed

from kumiai.adapters.committee.journal import Journal
from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.local import find_ports
from kumiai.adapters.committee.service import (
    FOLLOWERS_MAX,
    Service,
    ServiceConfig,
)
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft import wire
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.proofs import is_equivocation

HOUR_SECONDS = 3_600


@pytest.fixture
def make_validators(tmp_path):
    made = []

    def make(size):
        made.append(Validators(size, tmp_path))
        made[-1].start_all()
        return made[-1]

    yield make
    for validators in made:
        validators.end()


def test_killed_stopped_and_restarted_validators_keep_one_order(make_validators):
    """kill -9 of the primary and of others, a process that sleeps for a while, all back at last."""
    validators = make_validators(4)

    async def play():
        await validators.order(20)
        validators.signal(0, signal.SIGKILL)  # the primary
        await validators.order(20, down={0})
        validators.start(0)
        await validators.order(5)
        validators.signal(2, signal.SIGSTOP)
        await validators.order(20, down={2})
        validators.signal(2, signal.SIGCONT)
        for index in (1, 3, 0, 2):
            validators.signal(index, signal.SIGKILL)
            validators.start(index)
            await validators.order(3)
        await wait_until(lambda: len({len(validators.read(i)) for i in range(4)}) == 1)

    asyncio.run(asyncio.wait_for(play(), 240))
    validators.end()
    check_one_order(validators, least=4)


def test_seven_validators_lose_two(make_validators):
    validators = make_validators(7)

    async def play():
        await validators.order(10)
        for index in (0, 1):
            validators.signal(index, signal.SIGKILL)
        await validators.order(10, down={0, 1})
        await wait_until(lambda: len({len(validators.read(i)) for i in range(2, 7)}) == 1)

    asyncio.run(asyncio.wait_for(play(), 240))
    validators.end()
    check_one_order(validators, least=5)


def test_rubbish_at_the_door_disturbs_nobody(make_validators):
    validators = make_validators(4)
    stranger = KeySigner(derive_key(b"service", "stranger"))

    async def play():
        link = await validators.dial(1)
        await link.send(b"\xff\xfe rubbish")
        await link.send(b"[" * 10_000)
        await link.send(wire.encode(m.sign_request(stranger, 1, "not known here")))
        await link.send(wire.encode(m.Signed(m.Status(10**9, True, 10**9), 2, "00" * 64)))
        await link.send(wire.encode(m.Signed(m.Commit(0, 1, "ab" * 32), 63, "00" * 64)))
        await validators.order(10)
        lost = await validators.dial(1)
        await lost.send(b"follow x")
        with pytest.raises(ConnectionClosed, match="number of a place"):
            await lost.recv()
        large = await validators.dial(2)
        await large.send(b"x" * (wire.MESSAGE_BYTES_MAX + 1))
        with pytest.raises(ConnectionClosed):
            await large.recv()
        await validators.order(10)
        await wait_until(lambda: len({len(validators.read(i)) for i in range(4)}) == 1)

    asyncio.run(asyncio.wait_for(play(), 240))
    validators.end()
    check_one_order(validators, least=4)


def test_two_proposals_for_one_place_are_kept_as_evidence(make_validators):
    """The primary's key proposes one batch to some and another to others; the proof is a file."""
    validators = make_validators(4)
    committee = validators.configs[0].committee
    validators.signal(0, signal.SIGKILL)
    primary = KeySigner(validators.configs[0].key)
    time_ms = int(time.time() * 1000)

    def propose(operation) -> bytes:
        validators.count = 1
        batch = m.Batch((m.sign_request(CLIENT, 1, operation),), time_ms)
        body = m.PrePrepare(0, 1, batch.digest)
        return wire.encode(m.Proposal(m.sign(committee, primary, 0, body), batch))

    def read_evidence(index):
        config = validators.configs[index]
        journal = Journal(config.journal, committee.name)
        found = list(journal.read_evidence())
        journal.close()
        return found

    async def play():
        for index, operation in ((1, "x"), (2, "x"), (3, "y")):
            link = await validators.dial(index)
            await link.send(propose(operation))
        await wait_until(lambda: all(read_evidence(i) for i in (1, 2, 3)))
        validators.start(0)
        await wait_until(lambda: len(validators.read(3)) > 0)

    asyncio.run(asyncio.wait_for(play(), 240))
    validators.end()
    for index in (1, 2, 3):
        for found in read_evidence(index):
            assert found.first.sender == 0
            assert is_equivocation(committee, Schnorr(), found)
            forged = wire.decode_evidence(
                wire.encode_evidence(found).replace(b'"pre-prepare"', b'"commit"')
            )
            assert not is_equivocation(committee, Schnorr(), forged)


def test_followers_that_go_away_make_room_for_others(make_validators):
    validators = make_validators(1)

    async def play():
        for _ in range(FOLLOWERS_MAX):
            link = await validators.dial(0)
            await link.send(b"follow 1")
            await link.close()
        kept = [await validators.dial(0) for _ in range(FOLLOWERS_MAX)]
        for link in kept:
            await link.send(b"follow 1")
        await validators.order_quietly(0)
        for link in kept:
            assert isinstance(wire.decode(await link.recv()), m.Decided)
        more = await validators.dial(0)
        await more.send(b"follow 1")
        with pytest.raises(ConnectionClosed, match="too many followers"):
            await more.recv()

    asyncio.run(asyncio.wait_for(play(), 120))


def test_a_validator_alone_orders_what_it_submits(tmp_path):
    key = derive_key(b"service", "alone")
    committee = Committee("service", 1, (key.pubkey,), frozenset({CLIENT.pubkey}))
    address = Address("127.0.0.1", find_ports(1)[0])
    done = []

    async def play():
        config = ServiceConfig(committee, 0, key, (address,), tmp_path / "alone.sqlite")
        service = Service(config, lambda effect: done.extend(effect.requests))
        task = asyncio.create_task(service.run())
        for number in range(1, 4):
            service.submit(m.sign_request(CLIENT, number, str(number)))
        await wait_until(lambda: len(done) == 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(play(), 60))
    assert [request.operation for request in done] == ["1", "2", "3"]


def test_an_address_that_is_taken_is_an_error(tmp_path):
    key = derive_key(b"service", "alone")
    committee = Committee("service", 1, (key.pubkey,), frozenset())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address("127.0.0.1", taken.getsockname()[1])
        config = ServiceConfig(committee, 0, key, (address,), tmp_path / "x.sqlite")
        with pytest.raises(OSError, match="in use"):
            asyncio.run(Service(config).run())


def run_with_wrong_clock(config, ahead_seconds) -> None:
    service = Service(config, read_clock=lambda: time.time() + ahead_seconds)
    asyncio.run(service.run())


@pytest.mark.parametrize("ahead_seconds", [HOUR_SECONDS, -HOUR_SECONDS])
def test_a_primary_whose_clock_is_an_hour_off_is_replaced(tmp_path, ahead_seconds):
    """Its batches are refused; all else of it counts, and the order's clock is never its own."""
    validators = Validators(4, tmp_path)
    began_ms = int(time.time() * 1000)

    async def play():
        await validators.order(10)
        await wait_until(lambda: len({len(validators.read(i)) for i in range(4)}) == 1)

    try:
        validators.start(0, run_with_wrong_clock, ahead_seconds)
        for index in (1, 2, 3):
            validators.start(index)
        asyncio.run(asyncio.wait_for(play(), 240))
    finally:
        validators.end()
    check_one_order(validators, least=4)
    ended_ms = int(time.time() * 1000)
    decided = [each for each in validators.read(1) if each.batch.requests]
    assert all(each.proof.view > 0 for each in decided)
    assert all(began_ms <= each.batch.time_ms <= ended_ms for each in decided)
