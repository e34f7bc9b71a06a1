"""Wallets served by `kumiai wallet serve`: a whole job, both sides with nothing but a link."""

from __future__ import annotations

import json
import re
import signal
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.apps.market_town import JOB, Town

pytest.importorskip("aiohttp", reason="pip install 'kumiai[market]'")
pytest.importorskip("nostr_sdk", reason="pip install 'kumiai[market]'")

SLOW = 25  # epochs: long enough to be killed in the middle of
LINK = r"(?m)^nostr\+walletconnect://\S+$"


class Street(Town):
    """A town where wallets are reached over its relay alone; `relay`: the words that name it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.relay = ["--relay", self.start_relay("relay")]

    def serve(self, name: str, *words: str) -> str:
        """Serve the account `name` of the town's bank; return its link."""
        folder = ["--folder", f"wallets/{name}"]
        self.start(f"wallet-{name}", "wallet", "serve", f"embedded:bank.sqlite#{name}", *folder,
                   *self.relay, *words)  # fmt: skip
        self.wait(f"wallet-{name}", "Ready for requests")
        return self.wait(f"wallet-{name}", LINK)[0]

    def get_nwc(self, name: str) -> str:
        return f"nwc:wallets/{name}/link.txt"


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    town = Street(tmp_path)
    yield town
    town.close()


def test_a_job_is_sold_and_bought_with_links(street: Street) -> None:
    """The customer's wallet dies in the middle, and is served again: nothing is paid twice."""
    street.run("wallet", "fund", "embedded:bank.sqlite#customer", "1000sat")
    street.serve("customer", "--budget-sat", "100")
    street.serve("seller")
    assert "\nNothing can be paid with it." in street.read("wallet-seller")
    assert "pay_invoice" not in street.read("wallet-seller")
    places = [*street.relay, "--blobs", street.start_blobs("blobs")]
    seller = ["--folder", "seller", "--price", "10", "--wallet", street.get_nwc("seller")]
    street.start("seller", "provider", "start", *seller, *places)
    assert "paid by hold, invoice," in street.wait("seller", "sells training.*Ctrl-C")[0]
    _post(street, places)
    street.wait("buyer", "round 1/2")
    street.kill("wallet-customer")
    street.serve("customer", "--budget-sat", "100")
    assert "paid 20 sat" in street.wait_end("buyer")
    for folder in ("seller", "jobs/job"):
        books = street.check_books(folder)
        assert books["is_reconciled"] and books["difference_msat"] == 0
    assert (street.get_msat("customer"), street.get_msat("seller")) == (980_000, 20_000)
    said = street.run("wallet", "balance", street.get_nwc("seller"), "--json")
    assert json.loads(said)["spendable_msat"] == 20_000
    street.kill("wallet-customer", signal.SIGTERM)
    street.serve("customer", "--budget-sat", "100")
    assert "100 sat may leave" in street.read("wallet-customer")
    assert "20 sat of it has" in street.read("wallet-customer")


def test_a_link_whose_budget_is_used_up_is_named_to_the_customer(street: Street) -> None:
    """Its wallet is full, the job's budget too: only the link's is not, and that is said."""
    street.run("wallet", "fund", "embedded:bank.sqlite#customer", "1000sat")
    street.serve("customer", "--budget-sat", "5")
    street.serve("seller")
    places = [*street.relay, "--blobs", street.start_blobs("blobs")]
    seller = ["--folder", "seller", "--price", "10", "--wallet", street.get_nwc("seller")]
    street.start("seller", "provider", "start", *seller, *places)
    street.wait("seller", "sells training.*Ctrl-C")
    _post(street, places)
    said = street.wait("buyer", "The wallet refused to pay: .*")[0]
    assert "link.txt" in said and "--budget-sat" in said and "QUOTA" not in said
    street.kill("buyer")
    books = street.run("wallet", "reconcile", "--folder", "jobs/job", "--lang", "en")
    assert "connection" in books and "QUOTA" not in books
    street.start("buyer", "market", "watch", "jobs/job")  # told again to who looks later
    street.wait("buyer", "The wallet refused to pay: ")
    assert street.get_msat("customer") == 1_000_000


def _post(street: Street, places: Sequence[str]) -> None:
    settings = {"trainers": 1, "rounds": 2, "epochs": SLOW, "offers_s": 20, "automatic": "true"}
    text = (
        JOB.format(name="job", train_s=240, **settings) + 'payment = ["hold", "fair", "invoice"]\n'
    )
    (street.root / "job.toml").write_text(text)
    wallet = ["--wallet", street.get_nwc("customer")]
    street.start("buyer", "market", "post", "job.toml", *wallet, *places)


def test_the_link_is_a_secret_and_stays_the_same(street: Street) -> None:
    link = street.serve("one")
    path = street.root / "wallets/one/link.txt"
    assert path.read_text().strip() == link
    for name in ("link.txt", "seed"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "The link is a secret" in street.read("wallet-one")
    words = ["wallet", "serve", "embedded:bank.sqlite#one", "--folder", "wallets/one"]
    assert "another process serves it" in street.run(*words, *street.relay, code=2)
    street.running["wallet-one"].send_signal(signal.SIGINT)
    assert "Traceback" not in street.wait_end("wallet-one", 0)
    street.relay = []  # the folder knows
    assert street.serve("one") == link
    street.kill("wallet-one", signal.SIGINT)
    words[2] = "embedded:bank.sqlite#two"
    said = street.run(*words, *street.relay, code=2)
    assert "its link belongs to wallet embedded:" in said and "bank.sqlite#one" in said
    secret = re.search(r"secret=(\w+)", link)
    assert secret is not None and secret[1] not in said


def test_a_relay_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    town = Town(tmp_path)
    try:
        url = town.start_relay("relay")
        town.kill("relay")
        words = ["wallet", "serve", "embedded:bank.sqlite#me", "--relay", url]
        town.start("wallet", *words, "--lang", "ja")
        town.wait("wallet", "応答しません")
        assert "受け付けています" not in town.read("wallet")
        town.start_relay("relay", url.rsplit(":", 1)[1])
        town.wait("wallet", "受け付けています")
        assert (tmp_path / "wallets/me/link.txt").is_file()
    finally:
        town.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embedded:bank.sqlite#me", "--methods", "pay_invoice"], "--budget-sat 500"),
        (["embedded:bank.sqlite#me", "--methods", "steal"], "choose among pay_invoice"),
        (["embedded:bank.sqlite#me", "--methods", ","], "at least one"),
        (["embedded:bank.sqlite#me", "--relay", "http://x"], "--relay"),
        ([], "KUMIAI_WALLET"),
        (["bank.sqlite"], "embedded:PATH#NAME"),
    ],
)
def test_what_cannot_be_served_is_said(words: list[str], said: str, tmp_path: Path) -> None:
    town = Town(tmp_path)
    told = town.run("wallet", "serve", *words, code=2)
    assert said in told
    assert not (tmp_path / "wallets").exists()
