"""The world of validator processes: what it shares with the simulated one, and its deaths."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from kumiai.adapters.committee import processes as processes_module
from kumiai.adapters.committee.links import Address
from kumiai.adapters.committee.local import find_ports
from kumiai.adapters.committee.processes import Processes, ValidatorError, is_open
from kumiai.adapters.committee.world import ProcessWorld
from kumiai.adapters.sim.ordered import OrderedWorld, Place
from kumiai.adapters.sim.world import NetworkModel
from kumiai.base import events
from kumiai.base.keys import derive_key
from kumiai.consensus.pbft import messages as m
from kumiai.consensus.pbft.committee import Committee, KeySigner, Schnorr
from kumiai.consensus.pbft.proofs import is_decided
from kumiai.consensus.pbft.replica import Settings
from kumiai.nodes import ports

pytestmark = pytest.mark.slow

SETTINGS = Settings(timeout_ms=1_500, resend_ms=200, heartbeat_ms=500, batch_count_max=3)
KEYS = [derive_key(b"process world", f"validator {i}") for i in range(4)]
BY_PUBKEY = {key.pubkey: key for key in KEYS}
PATIENCE_SECONDS = 60.0


def make_committee(size: int = 4, epoch: int = 0) -> Committee:
    keys = tuple(key.pubkey for key in KEYS[:size])
    return Committee("ab" * 32, epoch, keys, frozenset(keys))


def say(text: str) -> events.Event:
    return events.sign_event(derive_key(b"x", "member"), 8440, 1_767_225_600, {"text": text})


@pytest.fixture
def decided() -> list[m.Decided]:
    return []


@pytest.fixture
def world(tmp_path, decided):
    made = ProcessWorld(make_committee(), BY_PUBKEY, tmp_path, decided.append, SETTINGS)
    yield made
    made.close()


@pytest.fixture(params=["simulated", "processes"])
def any_world(request, decided):
    if request.param == "processes":
        yield request.getfixturevalue("world")
        return
    places = [Place(f"v{i}", KeySigner(key)) for i, key in enumerate(KEYS)]
    yield OrderedWorld(
        NetworkModel(), make_committee(), places, Schnorr(), decided.append, SETTINGS
    )


def take_all(world) -> list[ports.Happening]:
    found = []
    while (happening := world.next()) is not None:
        found.append(happening)
    return found


def take_events(world) -> list[events.Event]:
    return [each.event for each in take_all(world) if isinstance(each, ports.Arrived)]


def find_sender(gate: int, size: int = 4) -> str:
    """A name whose first gate is this one."""
    return next(name for name in map(chr, range(97, 123)) if ord(name) % size == gate)


def wait_until(is_true) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_events_of_a_sender_arrive_in_their_order_and_then_nothing_happens(any_world, decided):
    began_ms = any_world.now_ms
    sent = {name: [say(f"{name}{i}") for i in range(12)] for name in ("a", "b")}
    for name, said in sent.items():
        for event in said:
            any_world.send(name, event)
    clock = say("clock")
    any_world.post(clock)
    arrived = take_all(any_world)
    for said in (*sent.values(), [clock]):
        first = dict.fromkeys(each.event.id for each in arrived if each.event in said)
        assert list(first) == [event.id for event in said]
    times = [each.time_ms for each in arrived]
    assert times == sorted(times)
    assert began_ms - 100 <= times[0] and times[-1] <= any_world.now_ms + 100
    assert [each.proof.sequence for each in decided] == list(range(1, len(decided) + 1))
    assert all(is_decided(make_committee(), Schnorr(), each.proof) for each in decided)


def test_work_wakes_and_deadlines_come_when_they_are_due(any_world):
    deadline_ms = any_world.now_ms + 5_000
    any_world.arm(deadline_ms)
    any_world.wake(["v0"])
    any_world.start("v0", 5, None)
    assert any_world.next() == ports.WokenUp("v0")
    assert any_world.next() == ports.WorkDue("v0", 5)
    assert any_world.next() == ports.DeadlineReached()
    assert any_world.now_ms >= deadline_ms
    any_world.arm(any_world.now_ms - 1)
    assert any_world.next() == ports.DeadlineReached()
    assert any_world.next() is None


def test_the_order_goes_to_other_seats_and_back(any_world, decided):
    seats = [[key.pubkey for key in KEYS[:n]] for n in (2, 4)]
    committees = [make_committee()]
    for epoch, seated in enumerate(seats, 1):
        any_world.send("a", say(f"before {epoch}"))
        arrived = any_world.next()
        assert arrived.event == say(f"before {epoch}")
        any_world.reseat(epoch, seated)
        committees.append(committees[-1].make_next(epoch, seated))
    any_world.send("a", say("last"))
    assert say("last") in take_events(any_world)
    begins = [i for i, each in enumerate(decided) if each.proof.sequence == 1]
    assert len(begins) == 3
    for begin, end, committee in zip(begins, [*begins[1:], None], committees, strict=True):
        for each in decided[begin:end]:
            assert is_decided(committee, Schnorr(), each.proof)


def test_an_epoch_that_does_not_follow_is_an_error(any_world):
    with pytest.raises(ValueError, match="epoch 0 does not follow epoch 0"):
        any_world.reseat(0, [KEYS[0].pubkey])


def test_the_batch_that_seats_others_is_the_last_that_counts(world, decided):
    """Batches that were decided after it are dropped; what was in them is ordered again."""
    said = [say(str(i)) for i in range(20)]
    for i, event in enumerate(said):
        world.send(chr(97 + i), event)
    arrived = [world.next()]
    old = world.desk
    wait_until(lambda: old.news.qsize() > 1)  # decided, and not read
    begun = len(decided)
    world.reseat(1, [key.pubkey for key in KEYS[:1]])
    arrived += take_all(world)
    assert {each.event.id for each in arrived} == {event.id for event in said}
    assert decided[begun].proof.sequence == 1
    assert len(decided[begun].proof.commits) == 1


def test_held_back_events_come_later(tmp_path):
    world = ProcessWorld(
        make_committee(1), BY_PUBKEY, tmp_path, lambda d: None, SETTINGS, held_ms={"late": 1_500}
    )
    try:
        world.send("late", say("late"))
        world.send("prompt", say("prompt"))
        assert take_events(world) == [say("prompt"), say("late")]
    finally:
        world.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("index", [0, 2])
def test_a_gate_that_is_gone_costs_a_while(world, number, index):
    """The leader's (0) or another's process is killed or stopped; its senders go on."""
    os.kill(world.desk.processes.pids[index], number)
    said = [say(str(i)) for i in range(5)]
    for event in said:
        world.send(find_sender(gate=index), event)
    first = dict.fromkeys(event.id for event in take_events(world))
    assert list(first) == [event.id for event in said]


def test_whoever_follows_a_validator_that_stops_goes_to_the_next(world):
    world.send("a", say("1"))
    assert take_events(world) == [say("1")]
    followed = world.desk.follower.validator
    os.kill(world.desk.processes.pids[followed], signal.SIGSTOP)
    world.send(find_sender(gate=(followed + 1) % 4), say("2"))
    assert say("2") in take_events(world)
    assert world.desk.follower.validator != followed


def test_the_dead_come_back_from_their_journals(world, decided):
    """All of them at once: without their journals nothing of before would be known."""
    world.send("a", say("1"))
    assert take_events(world) == [say("1")]
    before = world.desk.processes.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    world.send("a", say("2"))
    assert say("2") in take_events(world)
    assert world.desk.processes.restarts == [1] * 4
    assert set(before).isdisjoint(world.desk.processes.pids)
    assert [each.proof.sequence for each in decided] == list(range(1, len(decided) + 1))


def test_without_a_quorum_the_world_ends_with_who_is_missing(world, monkeypatch):
    monkeypatch.setattr(processes_module, "RESTARTS_MAX", 0)
    for pid in world.desk.processes.pids[1:3]:
        os.kill(pid, signal.SIGKILL)
    world.send("a", say("1"))
    with pytest.raises(ValidatorError) as caught:
        take_all(world)
    text = str(caught.value)
    assert f"1 ({KEYS[1].pubkey[:12]}, exit code -9" in text
    assert f"2 ({KEYS[2].pubkey[:12]}" in text
    assert "3 of 4 are needed" in text


def test_one_that_stays_away_does_not_stop_the_others(world, monkeypatch):
    monkeypatch.setattr(processes_module, "RESTARTS_MAX", 0)
    os.kill(world.desk.processes.pids[3], signal.SIGKILL)
    world.send(find_sender(gate=3), say("1"))
    assert say("1") in take_events(world)


def test_forged_events_are_refused_at_the_gate(world, decided):
    forged = dataclasses.replace(say("a"), content='{"text":"b"}')
    for gate in range(4):
        world.desk.hand(gate, forged)
    world.send("a", say("good"))
    assert take_events(world) == [say("good")]
    assert sum(len(each.batch.requests) for each in decided) == 1


@pytest.mark.parametrize("number", [None, signal.SIGSTOP])
def test_close_leaves_no_process_even_of_those_that_do_not_listen(tmp_path, number):
    world = ProcessWorld(make_committee(2), BY_PUBKEY, tmp_path, lambda d: None, SETTINGS)
    pids, addresses = world.desk.processes.pids, world.desk.processes.addresses
    if number is not None:
        os.kill(pids[0], number)
    world.close()
    world.close()
    assert not any(is_alive(pid) for pid in pids)
    assert not any(is_open(address) for address in addresses)


def test_seats_that_change_leave_no_process_of_the_old_ones(world):
    old = world.desk.processes.pids
    world.send("a", say("1"))
    world.next()
    world.reseat(1, [KEYS[1].pubkey])
    assert world.next() is None
    assert not any(is_alive(pid) for pid in old)
    assert len(world.desk.processes.pids) == 1


def test_a_port_that_is_taken_is_an_error_and_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(processes_module, "RESTARTS_MAX", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        port = taken.getsockname()[1]
        monkeypatch.setattr(processes_module, "find_ports", lambda count: [*find_ports(1), port])
        processes = Processes(make_committee(2), BY_PUBKEY, tmp_path, SETTINGS)
        with pytest.raises(ValidatorError, match=f"port {port}"):
            processes.start()
        assert processes.restarts == [0, 1]
    assert not is_open(Address("127.0.0.1", processes.addresses[0].port))
    assert multiprocessing.active_children() == []


def keep_a_world(folder: str, found) -> None:
    world = ProcessWorld(make_committee(2), BY_PUBKEY, Path(folder), lambda d: None, SETTINGS)
    found.put(world.desk.processes.pids)
    while True:
        time.sleep(1)


def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    parent = context.Process(target=keep_a_world, args=(str(tmp_path), found))
    parent.start()
    pids = found.get(timeout=PATIENCE_SECONDS)
    assert all(is_alive(pid) for pid in pids)
    parent.kill()
    parent.join()
    try:
        wait_until(lambda: not any(is_alive(pid) for pid in pids))
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)
