"""A whole job by the command line, both sides with wallets of a real LNbits server (FakeWallet)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.apps.market_town import JOB, Town
from tests.services.lnbits import Lnbits

from kumiai.apps.market.planning import choose_payment
from kumiai.base.errors import InputError
from kumiai.market.kinds import Policy
from kumiai.nodes.market.ports import WalletInfo

pytestmark = pytest.mark.xdist_group("lnbits")


def test_a_job_is_sold_and_bought_with_wallets_of_lnbits(
    tmp_path: Path, lnbits_server: Lnbits
) -> None:
    town = Town(tmp_path)
    try:
        _sell(town, lnbits_server)
    finally:
        town.close()


def _sell(town: Town, server: Lnbits) -> None:
    wallet = f"lnbits:{server.url}"
    for name, amount in (("alice", 1_000), ("bob", 0)):
        keys = server.create_wallet(name, amount)
        (town.root / f"{name}.key").write_text(keys.admin + "\n")
    places = [
        "--relay",
        town.start_relay("relay"),
        "--blobs",
        town.start_blobs("blobs"),
        "--wallet",
    ]
    secret = ["--secret-file", "bob.key"]
    town.start(
        "bob", "provider", "start", "--folder", "seller", "--price", "10", *places, wallet, *secret
    )
    assert "paid by invoice," in town.wait("bob", "provider .*Ctrl-C")[0]
    settings = {"trainers": 1, "rounds": 2, "epochs": 1, "offers_s": 120, "automatic": "true"}
    text = (
        JOB.format(name="job", train_s=240, **settings) + 'payment = ["hold", "fair", "invoice"]\n'
    )
    (town.root / "job.toml").write_text(text)
    secret = ["--secret-file", "alice.key"]
    town.start("alice", "market", "post", "job.toml", *places, wallet, *secret)
    assert "paid 20 sat" in town.wait_end("alice")
    for folder in ("seller", "jobs/job"):
        assert town.check_books(folder)["is_reconciled"]
    told = town.run("wallet", "balance", wallet, *secret, "--json")
    assert '"spendable_msat": 980000' in told


def test_a_wallet_offers_only_what_it_can_do() -> None:
    wanted = ("hold", "fair", "invoice", "escrow")
    can_do_all = WalletInfo("x", "x", has_hold=True, has_preimage=True)
    assert choose_payment(wanted, can_do_all, has_ecash=True) == tuple(Policy(it) for it in wanted)
    plain = WalletInfo("x", "x", has_hold=False)
    assert choose_payment(wanted, plain, has_ecash=False) == (Policy.INVOICE,)
    with pytest.raises(InputError, match="--payment invoice"):
        choose_payment(("fair",), plain, has_ecash=False)
