"""A provider that is switched off by hand or by the system says so, as far as it can be heard."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.apps.market_town import LOOK_S, PATIENCE_S, Town

pytest.importorskip("aiohttp", reason="pip install 'kumiai[market]'")
pytest.importorskip("nostr_sdk", reason="pip install 'kumiai[market]'")

INTERRUPTED = 130


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.close()


def start(town: Town) -> str:
    """One relay, and one provider of which it knows that it is there."""
    relay = town.start_relay("relay")
    places = ["--relay", relay, "--blobs", "http://127.0.0.1:1"]
    town.start_provider("one", 3, places)
    wait_seen(town, relay)
    return relay


def wait_seen(town: Town, relay: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_seen(town, relay):
        assert time.monotonic() < end, town.read("one")
        time.sleep(LOOK_S)


def is_seen(town: Town, relay: str) -> bool:
    listed = json.loads(town.run("market", "providers", "--relay", relay, "--json"))
    return [one["is_alive"] for one in listed] == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_switched_off_is_not_listed_as_there(town: Town, number: signal.Signals) -> None:
    relay = start(town)
    town.running["one"].send_signal(number)
    said = town.wait_end("one", INTERRUPTED)
    assert "go on with: kumiai provider start --folder one" in said and "Traceback" not in said
    assert not is_seen(town, relay)
    town.start_provider("one", 0, ())
    wait_seen(town, relay)


def test_a_relay_that_is_gone_keeps_nobody_from_ending(town: Town) -> None:
    start(town)
    town.kill("relay")
    town.running["one"].send_signal(signal.SIGTERM)
    assert "Traceback" not in town.wait_end("one", INTERRUPTED)
