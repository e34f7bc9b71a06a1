"""kill -9 of a real process at every step of an errand: it goes on, says and pays nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.nodes.market.toy import ANSWERS, ME, PLAN, Errand, Go, MemoryRelay

from kumiai.adapters.store.market_journal import SqliteMarketJournal
from kumiai.market import effects as fx
from kumiai.market.nips.nip01 import decode_event, encode_event
from kumiai.nodes.market.node import MarketNode, NodeTimes
from kumiai.nodes.market.patience import Patience
from kumiai.nodes.market.record import InputCodec
from kumiai.nodes.market.replay import replay, replay_all

CODEC = InputCodec(Go)
OWNER = "toy"
LIFE_S_MAX = 300.0  # of one life, however busy the machine is
KEYS = tuple(effect.key for effect in PLAN)


class Fate:
    """Kills this process, for real, at the so-many-th place where it could happen."""

    def __init__(self, place: int) -> None:
        self.left = place

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledJournal(SqliteMarketJournal):
    fate: Fate

    def append(self, entries: Any) -> None:
        self.fate()
        super().append(entries)
        self.fate()


class FileRelay(MemoryRelay):
    """A relay whose store is a file: it outlives the node."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__()
        self.path, self.fate = path, fate
        if path.exists():
            for line in path.read_text().splitlines():
                event = decode_event(line)
                self.stored[event.id] = event

    async def publish(self, event: Any, relays: Any = ()) -> Any:
        self.fate()
        with self.path.open("a") as file:
            file.write(encode_event(event).decode() + "\n")
        self.fate()
        return await super().publish(event, relays)


def open_bank(folder: Path) -> sqlite3.Connection:
    bank = sqlite3.connect(folder / "bank.db", isolation_level=None)
    bank.execute("CREATE TABLE IF NOT EXISTS paid (key TEXT PRIMARY KEY)")
    bank.execute("CREATE TABLE IF NOT EXISTS asked (key TEXT)")
    return bank


async def run_to_the_end(folder: Path, fate: Fate) -> None:
    bank = open_bank(folder)

    async def carry(effect: Any, emit: Any) -> None:
        fate()
        bank.execute("INSERT INTO asked VALUES (?)", (effect.key,))
        if isinstance(effect, fx.Pay):
            bank.execute("INSERT OR IGNORE INTO paid VALUES (?)", (effect.key,))
            emit(fx.PaymentSeen(effect.key, "accepted"))
        await asyncio.sleep(0)
        fate()
        emit(ANSWERS[type(effect)](effect))

    relay = FileRelay(folder / "relay.jsonl", fate)
    with KilledJournal(folder / "market.db", OWNER, is_synced=False) as journal:
        journal.fate = fate
        node = MarketNode(
            Errand(),
            CODEC,
            journal,
            relay,
            ME,
            dict.fromkeys(ANSWERS, carry),
            lambda: 1_000,
            os.urandom,
            times=NodeTimes(0.002, 0.01, Patience(0.001, 0.005)),
        )
        running = asyncio.create_task(node.run())
        await node.say(Go())
        await node.wait_until(lambda state: KEYS[-1] in state.done)
        while len(relay.stored) < 2:
            await asyncio.sleep(0.001)
        fate()
        node.stop()
        await running


def live(folder: Path, place: int) -> bool:
    """One life in a process of its own; tells whether it came to the end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(asyncio.wait_for(run_to_the_end(folder, Fate(place)), LIFE_S_MAX))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "failed, not killed"
    return not os.WIFSIGNALED(status)


def check_books(folder: Path) -> None:
    with SqliteMarketJournal(folder / "market.db", OWNER, is_synced=False) as journal:
        replayed = replay_all(Errand(), CODEC, journal.read())
        assert replay(Errand(), CODEC, journal.read()) == replayed.state
    assert replayed.state.done == KEYS
    sent = [decode_event(line).id for line in (folder / "relay.jsonl").read_text().splitlines()]
    assert set(sent) == {said.event.id for said in replayed.said}
    assert len(set(sent)) == 2, "one event for each publication, however often it was sent"
    paid = open_bank(folder).execute("SELECT key FROM paid").fetchall()
    assert paid == [("8-pay",)]
    wrong = [seen for seen in replayed.state.seen if seen.key != "8-pay"]
    assert not wrong


def count_places(folder: Path) -> int:
    """How many places there are in a life that nobody ends."""
    fate = Fate(0)
    asyncio.run(asyncio.wait_for(run_to_the_end(folder, fate), LIFE_S_MAX))
    return -fate.left


def test_killed_once_at_every_place(tmp_path: Path) -> None:
    places = count_places(tmp_path)
    assert places > 30
    for place in range(1, places):
        folder = tmp_path / str(place)
        folder.mkdir()
        if live(folder, place):  # lives differ by a tick's timing
            continue
        assert live(folder, 0), f"did not go on after place {place}"
        check_books(folder)


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        if live(tmp_path, chance.randint(1, 14)):
            break
    else:
        assert live(tmp_path, 0)
    check_books(tmp_path)


def test_a_result_is_asked_for_again_only_while_it_is_pending(tmp_path: Path) -> None:
    while not live(tmp_path, 12):
        pass
    asked = [key for (key,) in open_bank(tmp_path).execute("SELECT key FROM asked").fetchall()]
    first = [asked.index(key) for key in dict.fromkeys(asked)]
    assert first == sorted(first)
    assert list(dict.fromkeys(asked)) == sorted(set(asked)), "never back to what was done"
    assert asked == sorted(asked)
