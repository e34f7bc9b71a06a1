"""`kumiai wallet invoice, pay, send, receive, pending` on the embedded bank's ecash."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from tests.adapters.payments.purse_contract import make_invoice
from tests.apps.purse_folders import make_member
from typer.testing import CliRunner

from kumiai.adapters.payments import bolt11
from kumiai.apps.cli import main
from kumiai.apps.cli.app import app


@pytest.fixture
def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a customer with an empty purse at a bank that others share."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUMIAI_LANG", "en")
    return make_member(tmp_path / "me", f"embedded:{tmp_path / 'ecash.sqlite'}")


def ask(
    capsys: pytest.CaptureFixture[str], folder: Path, *words: str, code: int = 0
) -> tuple[str, str]:
    assert main(["wallet", *words, "--folder", str(folder)]) == code, capsys.readouterr()
    told = capsys.readouterr()
    return told.out, told.err


def read_msat(capsys: pytest.CaptureFixture[str], folder: Path) -> int:
    told = json.loads(ask(capsys, folder, "balance", "--json")[0])
    assert told["ecash"]["held_msat"] == 0
    return int(told["ecash"]["spendable_msat"])


def test_an_invoice_fills_it_and_both_tell(
    member: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = ask(capsys, member, "invoice", "1_000sat")
    [text] = [line for line in out.splitlines() if line.startswith("ln")]
    assert bolt11.decode(text).amount_msat == 1_000_000
    assert "1,000 sat of ecash are there." in out
    assert read_msat(capsys, member) == 1_000_000
    out, _ = ask(capsys, member, "history")
    assert "filled by an invoice" in out and "1,000 sat" in out
    out, _ = ask(capsys, member, "history", "--json")
    [moved] = json.loads(out)["ecash"]["movements"]
    assert (moved["kind"], moved["state"]) == ("filled", "settled") and "token" not in moved


def test_an_invoice_that_was_left_is_taken_up_once(
    member: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("invoice", "7sat", "--no-wait", "--json")
    first = json.loads(ask(capsys, member, *words)[0])
    assert first["state"] == "pending"
    out, _ = ask(capsys, member, "balance", "--lang", "en")
    assert "An invoice was paid meanwhile: 7 sat of ecash came in." in out
    out, _ = ask(capsys, member, "balance", "--lang", "ja")
    assert "meanwhile" not in out and "7 sat" in out
    assert read_msat(capsys, member) == 7_000
    assert json.loads(ask(capsys, member, *words)[0])["bolt11"] != first["bolt11"]


def test_an_invoice_is_paid_once_and_both_tell(
    member: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(capsys, member, "invoice", "1_000sat")
    text = make_invoice(300_000)
    for _ in range(2):  # said again it tells what became of it
        out, _ = ask(capsys, member, "pay", text)
        assert "Paid 300 sat, and 0 sat of fees." in out
    assert read_msat(capsys, member) == 700_000
    out, _ = ask(capsys, member, "history")
    assert "invoice paid" in out and out.count("300 sat") == 1
    told = json.loads(ask(capsys, member, "pay", text, "--json")[0])
    assert (told["kind"], told["amount_msat"], told["bolt11"]) == ("paid", 300_000, text)


def test_what_cannot_be_paid_is_said_in_plain_words(
    member: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, err = ask(capsys, member, "pay", make_invoice(), code=7)
    assert "There is not enough money" in err and "INSUFFICIENT" not in err
    _, err = ask(capsys, member, "pay", make_invoice(age_s=4_000), code=7)
    assert "Its time is over" in err
    _, err = ask(capsys, member, "pay", make_invoice(age_s=4_000), "--lang", "ja", code=7)
    assert "期限が過ぎました" in err
    for text in ("lnbc", "x" * 100_000):
        _, err = ask(capsys, member, "pay", text, code=2)
        assert len(err) < 500
    ask(capsys, member, "invoice", "5", code=2)
    assert read_msat(capsys, member) == 0


def test_a_token_goes_from_one_to_another_and_back(
    member: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    other = make_member(tmp_path / "you", f"embedded:{tmp_path / 'ecash.sqlite'}")
    ask(capsys, member, "invoice", "1_000sat")
    token = json.loads(ask(capsys, member, "send", "300sat", "--json")[0])["token"]
    out, _ = ask(capsys, member, "pending")
    assert token in out.splitlines()
    ask(capsys, other, "receive", token)
    ask(capsys, other, "receive", token)  # the same again is harmless
    _, err = ask(capsys, member, "receive", token, code=7)
    assert "spent before" in err
    assert "Nothing is open." in ask(capsys, member, "pending")[0]
    assert read_msat(capsys, other) == 300_000
    out, _ = ask(capsys, other, "send", "100sat")
    [token] = [line for line in out.splitlines() if line.startswith("kumiai-ecash:")]
    monkeypatch.setattr("sys.stdin", io.StringIO(token + "\n"))
    ask(capsys, other, "receive", "-")
    assert read_msat(capsys, other) == 300_000
    monkeypatch.setattr("sys.stdin", io.StringIO("x" * 10**6))
    _, err = ask(capsys, other, "receive", "-", code=2)
    assert len(err) < 300
    history = json.loads(ask(capsys, other, "history", "--json")[0])["ecash"]["movements"]
    assert sorted(it["kind"] for it in history) == ["received", "received", "sent"]


def test_a_member_without_ecash_is_told_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    poor = make_member(tmp_path / "poor", "")
    _, err = ask(capsys, poor, "invoice", "5sat", code=2)
    assert "--ecash" in err
    assert "ecash" not in json.loads(ask(capsys, poor, "balance", "--json")[0])
    ask(capsys, tmp_path / "nobody", "invoice", "5sat", code=2)
    assert not (tmp_path / "nobody").exists()


@pytest.mark.parametrize("command", ["invoice", "pay", "send", "receive", "pending"])
def test_help_of_purses_has_examples(command: str) -> None:
    shown = CliRunner().invoke(app, ["wallet", command, "--help"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0 and "kumiai wallet" in re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
