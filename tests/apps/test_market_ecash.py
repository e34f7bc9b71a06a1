"""A whole job paid in ecash of a real mint (nutshell): filled, locked, earned, paid out again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from coincurve import PublicKey
from tests.adapters.payments.purse_contract import make_invoice
from tests.apps.market_town import JOB, Town
from tests.services.cashu_mint import Mint

from kumiai.base.keys import derive_key

pytest.importorskip("aiohttp", reason="pip install 'kumiai[market]'")
pytest.importorskip("nostr_sdk", reason="pip install 'kumiai[market]'")

pytestmark = pytest.mark.xdist_group("cashu")

JUROR = derive_key(b"juror", "ecash")  # nobody asks it here
ESCROW = f"""payment = ["escrow"]
jury = ["{JUROR.pubkey}"]
arbiter = "{PublicKey.from_secret(JUROR.secret).format().hex()}"
min_gain_ppm"""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    opened = Town(tmp_path)
    yield opened
    opened.close()


def read_ecash(town: Town, folder: str) -> dict[str, int]:
    return json.loads(town.run("wallet", "balance", "--folder", folder, "--json"))["ecash"]


def prepare(town: Town, mint: Mint) -> None:
    """A seller that takes ecash alone, and a job that pays with it, not posted yet."""
    places = ["--relay", town.start_relay("relay"), "--blobs", town.start_blobs("blobs")]
    ecash = ["--ecash", f"cashu:{mint.url}"]
    for name in ("seller", "customer"):
        town.run("wallet", "fund", f"embedded:bank.sqlite#{name}", "1000sat")
    seller = ["--price", "10", "--payment", "escrow", "--wallet", "embedded:bank.sqlite#seller"]
    town.start("seller", "provider", "start", "--folder", "seller", *seller, *ecash, *places)
    town.wait("seller", "paid by escrow,")
    settings = {"trainers": 1, "rounds": 2, "epochs": 1, "offers_s": 60, "train_s": 240}
    job = JOB.format(name="job", automatic="true", **settings).replace("min_gain_ppm", ESCROW)
    (town.root / "job.toml").write_text(job)
    customer = ["--wallet", "embedded:bank.sqlite#customer", "--no-watch"]
    town.run("market", "post", "job.toml", *customer, *ecash, *places)


def test_ecash_is_filled_earned_and_paid_out(town: Town, cashu_mint: Mint) -> None:
    prepare(town, cashu_mint)
    town.run("wallet", "invoice", "100sat", "--no-wait", "--folder", "jobs/job")
    town.start("buyer", "market", "watch", "jobs/job")
    assert "100 sat to spend; `kumiai wallet invoice" in town.wait_end("buyer")
    left, earned = read_ecash(town, "jobs/job"), read_ecash(town, "seller")
    assert (left["held_msat"], earned["held_msat"]) == (0, 0)
    assert earned["spendable_msat"] >= 20_000  # a little more: the fee of redeeming is in it
    said = town.run("wallet", "history", "--folder", "jobs/job")
    assert said.count("locked for a round") == 2 and "filled by an invoice" in said
    said = town.run("wallet", "pay", make_invoice(10_000), "--folder", "seller")
    assert "Paid 10 sat" in said  # also while the provider runs
    said = json.loads(town.run("wallet", "history", "--folder", "seller", "--json"))
    moved = said["ecash"]["movements"]
    assert [it["kind"] for it in moved] == ["received", "received", "paid"]
    gone = moved[2]["amount_msat"] + moved[2]["fee_msat"]
    assert read_ecash(town, "seller")["spendable_msat"] == earned["spendable_msat"] - gone


def test_a_customer_without_ecash_is_told_what_is_missing(town: Town, cashu_mint: Mint) -> None:
    prepare(town, cashu_mint)
    town.start("buyer", "market", "watch", "jobs/job")
    town.wait("buyer", "There is not enough money, and nothing was paid: ")
