"""`kumiai wallet`: balance, history, reconcile, export and fund, on an embedded bank."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.bank import get_time_s
from kumiai.adapters.payments.cashu.api import MintApi
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.adapters.payments.intents import SqliteIntents
from kumiai.adapters.payments.open import describe_wallet
from kumiai.apps.cli import main
from kumiai.apps.cli.app import app
from kumiai.apps.cli.wallet.amounts import read_amount, show_amount
from kumiai.apps.market.places import Places, complete_places
from kumiai.base.errors import InputError
from kumiai.nodes.market.cashier import Cashier
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Debt
from kumiai.nodes.market.ports import Payment, PaymentState

DEBT = Debt("round", "=cmd|' /C calc'!A0", 1, "ab" * 32)


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A customer that has paid 5,000 msat of 20,000; returns its wallet's name."""
    monkeypatch.chdir(tmp_path)

    async def play() -> None:
        with EmbeddedBank(tmp_path / "bank.db") as bank, SqliteIntents(Path("intents.db")) as kept:
            bank.fund("me", 20_000)
            invoice = await EmbeddedWallet(bank, "provider").make_invoice("a", 5_000, "round 1")
            cashier = Cashier(EmbeddedWallet(bank, "me"), kept, bolt11.decode, get_time_s)
            await cashier.pay("p", DEBT, invoice.bolt11, 5_000)

    asyncio.run(play())
    return f"embedded:{tmp_path / 'bank.db'}#me"


def ask(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    assert main(["wallet", *words]) == code
    told = capsys.readouterr()
    return told.out, told.err


def test_balance_in_words_and_as_json(market: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = ask(capsys, "balance", market, "--lang", "en")
    assert "15 sat" in out and "embedded" in out
    out, _ = ask(capsys, "balance", market, "--json")
    told = json.loads(out)
    assert (told["spendable_msat"], told["held_msat"]) == (15_000, 0)


def test_wallet_may_be_named_by_the_environment(
    market: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, err = ask(capsys, "balance", code=2)
    assert "KUMIAI_WALLET" in err
    monkeypatch.setenv("KUMIAI_WALLET", market)
    assert json.loads(ask(capsys, "balance", "--json")[0])["spendable_msat"] == 15_000


def test_history_lists_what_moved(market: str, capsys: pytest.CaptureFixture[str]) -> None:
    payments = json.loads(ask(capsys, "history", market, "--json")[0])["payments"]
    assert sorted(it["amount_msat"] for it in payments) == [5_000, 20_000]
    out, _ = ask(capsys, "history", market, "--lang", "en", "--days", "1")
    assert "round 1" in out and "settled" in out
    assert "5 sat" in out


def test_reconcile_says_when_all_agree(market: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(ask(capsys, "reconcile", market, "--json")[0])
    assert told["is_reconciled"] and told["difference_msat"] == 0
    assert {it["verdict"] for it in told["lines"]} == {"matched", "unknown"}
    out, _ = ask(capsys, "reconcile", market, "--lang", "en")
    assert "Every msat is accounted for." in out


def test_accounts_are_whole_in_a_narrow_japanese_terminal(
    market: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "62")
    for command in ("reconcile", "history"):
        out, _ = ask(capsys, command, market, "--lang", "ja")
        assert "…" not in out and not re.search(r"\dT\d", out) and "not of this" not in out


def test_reconcile_ends_with_3_where_they_do_not(
    market: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    receipt = {"key": "q", "amount_msat": 1, "is_incoming": False, "job": "job"}
    (tmp_path / "receipts").write_text(json.dumps(receipt))
    words = ("reconcile", market, "--receipts", "receipts")
    out, err = ask(capsys, *words, "--lang", "en", code=3)
    assert "2 amounts do not agree" in err and "no payment" in out and "no receipt" in out
    out, _ = ask(capsys, *words, "--json", code=3)
    assert json.loads(out)["is_reconciled"] is False


def test_export_is_safe_to_open(market: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = ask(capsys, "export", market, "--out", "accounts.csv", "--lang", "en")
    assert "2 amounts written" in out
    with Path("accounts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["amount_msat"]) for row in rows) == 25_000
    assert rows[-1]["job"] == "'" + DEBT.job or rows[0]["job"] == "'" + DEBT.job


def test_fund_makes_play_money_and_the_bank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"embedded:{tmp_path / 'new.db'}#you"
    ask(capsys, "fund", name, "1_000sat")
    told = json.loads(ask(capsys, "fund", name, "1msat", "--json")[0])
    assert told["spendable_msat"] == 1_000_001
    _, err = ask(capsys, "fund", name, "5", code=2)
    assert "500sat" in err
    _, err = ask(capsys, "fund", "lnbits:http://127.0.0.1:1", "5sat", code=2)
    assert "embedded" in err


def test_a_tilde_is_the_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `embedded:` no shell replaces it: a folder of that name was made."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    ask(capsys, "fund", "embedded:~/bank.db#me", "5sat")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert json.loads(ask(capsys, "balance", f"embedded:{home}/bank.db#me", "--json")[0])
    places = complete_places(Places((), (), "nwc:~/link.txt", ecash="embedded:~/mint"), {})
    assert (places.wallet, places.ecash) == (f"nwc:{home}/link.txt", f"embedded:{home}/mint")


@pytest.mark.parametrize(("lang", "said"), [("en", "--budget-sat"), ("ja", "リンクの上限")])
def test_a_used_up_budget_is_said_plainly(
    lang: str,
    said: str,
    market: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(_: object) -> None:
        raise WalletError("QUOTA_EXCEEDED", "the budget of this connection is used up")

    monkeypatch.setattr(EmbeddedWallet, "get_balance", refuse)
    for command in ("balance", "reconcile"):
        _, err = ask(capsys, command, market, "--lang", lang, code=7)
        assert said in err and market in err and "QUOTA" not in err


@pytest.mark.parametrize(
    "name", ["", "bank.db", "ftp:x", "embedded:", "embedded:#me", "embedded:nothing.db#me"]
)
def test_wallets_that_are_none(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, err = ask(capsys, "balance", name, code=2)
    assert "embedded:PATH#NAME" in err or "no such file" in err or "KUMIAI_WALLET" in err
    assert list(tmp_path.iterdir()) == []  # nothing was begun by a typing mistake


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://a..b", f"http://{'a' * 80}.org", "http://h:x", "http://h:99999",
                "http://h:0", "http://", "http:///x"]
)  # fmt: skip
def test_addresses_that_are_none(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUMIAI_LNBITS_KEY", "key")
    _, err = ask(capsys, "balance", f"lnbits:{address}", code=2)
    assert "http:// or https://" in err
    with pytest.raises(InputError, match="http:// or https://"):
        MintApi(address)


def test_member_that_is_not_there(market: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = ask(capsys, "balance", market.replace("#me", "#nobody"), code=2)
    assert "nobody there is called nobody" in err
    _, err = ask(capsys, "reconcile", market, "--intents", "missing.db", code=2)
    assert "missing.db" in err


@pytest.mark.parametrize("command", ["balance", "fund"])
def test_another_programs_database_stays_as_it_is(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        connection.commit()
        before = list(connection.iterdump())
    words = ("1sat",) if command == "fund" else ()
    _, err = ask(capsys, command, f"embedded:{path}#me", *words, code=5)
    assert "another database" in err
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_half_a_character_in_a_servers_answer_is_printed(
    market: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Payment("11" * 32, True, 5_000, PaymentState.SETTLED, description="a\ud800b")

    async def list_payments(*_: object) -> list[Payment]:
        return [told]

    monkeypatch.setattr(EmbeddedWallet, "list_payments", list_payments)
    for words in (("history", market), ("reconcile", market), ("export", market)):
        for as_json in ((), ("--json",)):
            main(["wallet", *words, *as_json])
            capsys.readouterr()
    assert "a?b" in Path("accounts.csv").read_text(encoding="utf-8")


def test_secrets_are_never_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    secret = "c0ffee" * 10
    address = f"nostr+walletconnect://{'ab' * 32}?relay=ws://127.0.0.1:1&secret={secret}"
    (tmp_path / "address").write_text(address)
    (tmp_path / "secret").write_text(secret)  # the wrong half of the address
    names = (address, f"nwc:{tmp_path / 'address'}", f"NOSTR+{address}", f"x{address}")
    for name in (*names, f"nwc:{tmp_path / 'secret'}", secret, f"{secret}:"):
        main(["wallet", "balance", name])
        told = capsys.readouterr()
        assert secret[:12] not in told.out + told.err


@pytest.mark.parametrize("address", ["http://c0ffee@h:1", "http://u:c0ffee@h/", "http://h/?c0ffee"])
def test_no_secret_in_an_address_is_shown_or_handed_on(
    address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mint's address stands in every token."""
    monkeypatch.setenv("KUMIAI_LNBITS_KEY", "key")
    out, err = ask(capsys, "balance", f"lnbits:{address}", code=2)
    assert "c0ffee" not in out + err + describe_wallet(f"lnbits:{address}")
    with pytest.raises(InputError, match="no user") as refused:
        MintApi(address)
    assert "c0ffee" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "amount_msat"),
    [("1sat", 1_000), ("1_000 sat", 10**6), ("1,000msat", 1_000), (" 7 msat ", 7)],
)
def test_amounts_are_read_with_their_unit(text: str, amount_msat: int) -> None:
    assert read_amount("x", text) == amount_msat


@pytest.mark.parametrize("text", ["1", "1.5sat", "-1sat", "0sat", "1btc", "", "1e3sat", "9" * 30])
def test_amounts_without_a_meaning_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_amount("x", text)


def test_amounts_are_shown_to_the_msat() -> None:
    shown = [show_amount(it) for it in (0, 7, 1_000, 1_234_567, -1_500)]
    assert shown == ["0 sat", "7 msat", "1 sat", "1,234 sat 567 msat", "−1 sat 500 msat"]


@pytest.mark.parametrize("command", ["balance", "history", "reconcile", "export", "fund", "serve"])
def test_help_has_examples(command: str) -> None:
    shown = CliRunner().invoke(app, ["wallet", command, "--help"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0 and "kumiai wallet" in re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
