"""The market as processes: whole jobs by the command line, and everybody killed once."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.apps.market_town import Town, get_port

pytest.importorskip("aiohttp", reason="pip install 'kumiai[market]'")
pytest.importorskip("nostr_sdk", reason="pip install 'kumiai[market]'")

pytestmark = pytest.mark.xdist_group("market-processes")  # one town for all

FUNDS_MSAT = 1_000_000
PRICES = {"one": 11, "two": 12}
SLOW = 25  # epochs: long enough to be killed in the middle of
ROUND_ONE = r"round 1/2"


class Market(Town):
    """The town with two relays (one keeps its events, one forgets), blobs and two providers."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.keeping = self.start_relay("keeping", "0", "--folder", "relay")
        self.forgetting = self.start_relay("forgetting")
        self.blobs = self.start_blobs("blobs")
        both = ["--relay", self.keeping, "--relay", self.forgetting, "--blobs", self.blobs]
        self.both = both
        self.run("wallet", "fund", "embedded:bank.sqlite#customer", "1000sat")
        for name, price in PRICES.items():
            self.start_provider(name, price, both)

    def get_all_msat(self) -> dict[str, int]:
        return {name: self.get_msat(name) for name in ("customer", *PRICES)}

    def check_paid(self, before: dict[str, int], job: str) -> None:
        """Both providers were paid for both rounds, exactly once, and all books agree."""
        after = self.get_all_msat()
        earned = {name: after[name] - before[name] for name in PRICES}
        assert earned == {name: 2_000 * price for name, price in PRICES.items()}
        assert sum(after.values()) == FUNDS_MSAT
        books = self.check_books(f"jobs/{job}")
        assert books["is_reconciled"] and books["difference_msat"] == 0
        ours = [line for line in books["lines"] if line["key"]]
        assert sum(line["amount_msat"] for line in ours if line["verdict"] == "matched") == sum(
            earned.values()
        )
        for name in PRICES:
            assert self.check_books(name)["is_reconciled"]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    town = Market(tmp_path_factory.mktemp("market"))
    yield town
    town.close()


def test_a_job_by_the_command_line(market: Market) -> None:
    before = market.get_all_msat()
    market.post("whole", market.both)
    said = market.wait_end("whole")
    assert "posted as job" in said and "2 offers came" in said and "round 2/2" in said
    assert "paid 46 sat, promised 0 sat, of 200 sat" in said
    status = market.get_status("whole")
    assert status["phase"] == "closed" and status["spent_msat"] == 46_000
    assert [work["is_paid"] for work in status["works"]] == [True] * 4
    assert (market.root / "jobs/whole/model.safetensors").is_file()
    market.check_paid(before, "whole")
    assert said.endswith(market.run("market", "watch", "jobs/whole"))  # nothing is done again
    for name in PRICES:  # they heard the closing: their room is free
        market.wait(name, "ended: the job is closed")


def test_ratings_are_said_after_the_end(market: Market) -> None:
    if not (market.root / "jobs/whole").is_dir():  # run by itself, or by another worker
        market.post("whole", market.both)
        market.wait_end("whole")
    key = market.get_status("whole")["providers"][0]["provider"]
    assert "95 of 100" in market.run("market", "rate", "jobs/whole", key[:6], "95", "fast")
    assert list((market.root / "jobs/whole/commands").glob("*.json")) == []


def test_who_is_killed_in_the_middle_goes_on_and_nothing_is_paid_twice(market: Market) -> None:
    """A provider in round 1, the customer in round 2, with signal 9."""
    before = market.get_all_msat()
    training = r"round 1: training"
    earlier = len(re.findall(training, market.read("one")))  # another job's
    market.post("killed", market.both, epochs=SLOW)
    market.wait("one", training, earlier + 1)
    market.kill("one")
    told = json.loads(market.run("provider", "status", "one", "--json"))
    assert told["works"][-1]["stage"] != "paid"
    market.start_provider("one", 0, ())
    market.wait("killed", ROUND_ONE)
    market.kill("killed")
    assert market.get_status("killed")["phase"] != "closed"
    market.start("watcher", "market", "watch", "jobs/killed")
    said = market.wait_end("watcher")
    assert "round 2/2" in said and ROUND_ONE not in said
    market.check_paid(before, "killed")


def test_a_relay_that_dies_and_a_customer_that_leaves_cost_nothing(market: Market) -> None:
    before = market.get_all_msat()
    market.post("relay-dies", market.both, epochs=SLOW)
    market.wait("relay-dies", ROUND_ONE)
    market.kill("forgetting")
    market.running["relay-dies"].send_signal(signal.SIGINT)
    said = market.wait_end("relay-dies", 130)
    assert "go on with: kumiai market watch jobs/relay-dies" in said and "Traceback" not in said
    market.start("watcher", "market", "watch", "jobs/relay-dies")
    said = market.wait_end("watcher")
    assert f"relay {market.forgetting} does not answer" in said
    market.check_paid(before, "relay-dies")
    market.start_relay("forgetting", get_port(market.forgetting))
    market.wait("one", f"relay {market.forgetting} answers")


def test_servers_that_come_back_cost_nothing_even_without_memory(market: Market) -> None:
    """The job's only relay is emptied between the rounds: members' own logs are enough."""
    before = market.get_all_msat()
    only = ["--relay", market.forgetting, "--blobs", market.blobs]
    market.post("wiped", only, epochs=SLOW)
    market.wait("wiped", ROUND_ONE)
    market.kill("forgetting")
    market.kill("blobs")
    market.start_relay("forgetting", get_port(market.forgetting))
    market.start_blobs("blobs", get_port(market.blobs))
    market.wait_end("wiped")
    market.check_paid(before, "wiped")


def test_offers_by_hand_then_a_cancel(market: Market) -> None:
    market.post("by-hand", market.both, automatic="false", epochs=SLOW, rounds=8)
    market.wait("by-hand", "Take offers with: kumiai market accept jobs/by-hand")
    offers: list[dict[str, object]] = []
    while len(offers) < 2:
        offers = json.loads(market.run("market", "offers", "jobs/by-hand", "--json"))
    dearest = str(max(offers, key=lambda offer: int(str(offer["price_msat"])))["provider"])
    assert "Said" in market.run("market", "accept", "jobs/by-hand", dearest[:8])
    market.wait("by-hand", "contracts go to 2 providers")  # the other part: to the best offer
    assert market.get_status("by-hand")["providers"][0]["provider"] == dearest
    market.wait("by-hand", r"round 1/8")
    assert "Said" in market.run("market", "cancel", "jobs/by-hand")
    said = market.wait_end("by-hand", 4)
    assert "cancelled by the customer" in said and "round 8/8" not in said
    assert "the job has ended" in market.run("market", "cancel", "jobs/by-hand", code=2)
    assert sum(market.get_all_msat().values()) == FUNDS_MSAT
    assert market.check_books("jobs/by-hand")["is_reconciled"]


def test_one_folder_has_one_node(market: Market) -> None:
    said = market.run("provider", "start", "--folder", "one", code=2)
    assert "--folder = 'one'" in said and "runs already" in said
    said = market.run("provider", "start", "--folder", "one", "--price", "3", code=2)
    assert "runs already" in said


def test_a_provider_leaves_when_nothing_is_owed(market: Market) -> None:
    assert "Said" in market.run("provider", "leave", "two")
    assert "Left the market" in market.wait_end("two")
    assert "left already" in market.run("provider", "leave", "two", code=2)
    said = market.run("provider", "start", "--folder", "two", "--price", "3", code=2)
    assert "--price = 3: was decided when two was made" in said
