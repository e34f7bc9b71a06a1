"""`kumiai wallet invoice` and `pay` as processes at a real mint, killed and started again."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.adapters.payments.purse_contract import make_invoice
from tests.apps.market_town import LOOK_S, PATIENCE_S, Town
from tests.apps.purse_folders import make_member
from tests.services.cashu_mint import Mint, run_mint

pytestmark = pytest.mark.xdist_group("cashu")

FOLDER = ["--folder", "me"]


class Shop(Town):
    """One member with ecash at a mint."""

    def open(self, mint: Mint) -> None:
        make_member(self.root / "me", f"cashu:{mint.url}")

    def read_ecash(self) -> dict[str, int]:
        return json.loads(self.run("wallet", "balance", *FOLDER, "--json"))["ecash"]

    def list_moved(self) -> list[dict[str, object]]:
        said = self.run("wallet", "history", *FOLDER, "--json")
        return json.loads(said)["ecash"]["movements"]

    def wait_planned(self, kind: str) -> None:
        """Until such a movement is on file: then the mint is asked."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with closing(sqlite3.connect(self.root / "me" / "ecash.sqlite")) as connection:
                query = "SELECT count(*) FROM operations WHERE kind = ?"
                if connection.execute(query, (kind,)).fetchone()[0]:
                    return
            time.sleep(LOOK_S)
        raise AssertionError(f"no {kind}")

    def wait_for(self, amount_sat: int) -> None:
        """Until nothing is under way any more, and so much is there."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = self.read_ecash()
            if (found["spendable_msat"], found["held_msat"]) == (amount_sat * 1_000, 0):
                return
            time.sleep(LOOK_S)
        raise AssertionError(f"{found}: {self.list_moved()}")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    town = Shop(tmp_path)
    yield town
    town.close()


def test_an_invoice_whose_command_is_killed_is_money_once(shop: Shop, cashu_mint: Mint) -> None:
    shop.open(cashu_mint)
    shop.start("invoice", "wallet", "invoice", "1_000sat", *FOLDER)
    shop.wait("invoice", r"(?m)^ln\w+$")
    shop.kill("invoice")
    shop.wait_for(1_000)
    [moved] = shop.list_moved()
    assert (moved["kind"], moved["state"]) == ("filled", "settled")
    shop.wait_for(1_000)


def test_a_payment_whose_command_is_killed_is_made_once_and_told(shop: Shop) -> None:
    delay = {"FAKEWALLET_DELAY_OUTGOING_PAYMENT": "2"}
    with run_mint(shop.root / "mint", settings=delay) as mint:
        shop.open(mint)
        assert "1,000 sat of ecash are there" in shop.run("wallet", "invoice", "1_000sat", *FOLDER)
        text = make_invoice(300_000)
        shop.start("pay", "wallet", "pay", text, *FOLDER)
        shop.wait_planned("melt")
        assert "Ecash cashu:" in shop.run("wallet", "balance", *FOLDER)  # and waits for nobody
        shop.kill("pay")
        assert "Paid" not in shop.read("pay")
        end, told = time.monotonic() + PATIENCE_S, ""
        while "A payment that was cut off has arrived: 300 sat" not in told:
            assert time.monotonic() < end, told
            told = shop.run("wallet", "balance", *FOLDER)
        assert shop.run("wallet", "pending", *FOLDER).strip() == "Nothing is open."
        paid = [it for it in shop.list_moved() if it["kind"] == "paid"]
        assert [it["state"] for it in paid] == ["settled"]
        shop.wait_for(700 - int(str(paid[0]["fee_msat"])) // 1_000)
        assert "Paid 300 sat" in shop.run("wallet", "pay", text, *FOLDER)
        shop.wait_for(700 - int(str(paid[0]["fee_msat"])) // 1_000)


def test_ctrl_c_says_how_to_go_on_and_an_unpaid_invoice_is_shown_again(shop: Shop) -> None:
    with run_mint(shop.root / "mint", settings={"FAKEWALLET_BRR": "FALSE"}) as mint:
        shop.open(mint)
        shop.start("invoice", "wallet", "invoice", "5sat", *FOLDER)
        text = shop.wait("invoice", r"(?m)^ln\w+$")[0]
        shop.wait("invoice", "Waiting until it is paid")
        shop.kill("invoice", signal.SIGINT)
        said = shop.read("invoice")
        assert "kumiai wallet pending --folder me" in said and "Traceback" not in said
        assert text in shop.run("wallet", "pending", *FOLDER).splitlines()
        again = json.loads(shop.run("wallet", "invoice", "5sat", *FOLDER, "--no-wait", "--json"))
        assert again["bolt11"] == text and again["state"] == "pending"
        said = shop.run("wallet", "balance", *FOLDER, "--lang", "ja")
        assert "ecash cashu:" in said


def test_a_payment_that_takes_long_is_told_so_and_may_be_left(shop: Shop) -> None:
    waits = {"FAKEWALLET_PAY_INVOICE_STATE": "PENDING", "FAKEWALLET_PAYMENT_STATE": "PENDING"}
    text = make_invoice(300_000)
    with run_mint(shop.root / "mint", settings=waits) as mint:
        shop.open(mint)
        shop.run("wallet", "invoice", "1_000sat", *FOLDER)
        shop.start("pay", "wallet", "pay", text, *FOLDER)
        shop.wait("pay", "The payment is under way at the mint")
        shop.kill("pay", signal.SIGINT)
        assert "nothing is lost" in shop.read("pay") and "Traceback" not in shop.read("pay")
        said = shop.run("wallet", "pending", *FOLDER)
        assert "payment of 300 sat, under way" in said and text in said.splitlines()
        assert shop.read_ecash()["held_msat"] >= 300_000


def test_a_mint_that_is_away_is_said_plainly(shop: Shop, tmp_path: Path) -> None:
    with run_mint(shop.root / "mint", settings={"FAKEWALLET_BRR": "FALSE"}) as mint:
        shop.open(mint)
        shop.run("wallet", "invoice", "5sat", *FOLDER, "--no-wait")
    said = shop.run("wallet", "balance", *FOLDER)  # what is on file is told all the same
    assert "Not all could be found out" in said and "5,000 sat" not in said
    told = shop.run("wallet", "invoice", "7sat", *FOLDER, code=7)
    assert "no answer" in told and "Traceback" not in told
    told = shop.run("wallet", "pay", make_invoice(), *FOLDER, code=7)
    assert "Traceback" not in told
