"""The market's commands as a new user meets them: what is wrong is named, and nothing is made."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tests.apps.market_town import JOB
from typer.testing import CliRunner

from kumiai.apps.cli import main
from kumiai.apps.cli.app import app
from kumiai.apps.cli.marketing import extra, watching
from kumiai.apps.cli.scaffold import JOB_FILES, create
from kumiai.apps.market.folder import MarketFolder
from kumiai.apps.market.jobfile import read_job_file
from kumiai.apps.market.places import LOCAL_BLOBS, LOCAL_RELAY, Places, complete_places
from kumiai.apps.report.texts import load_texts
from kumiai.base.errors import InputError

pytest.importorskip("bolt11", reason="pip install 'kumiai[market]'")

GOOD = JOB.format(
    name="job", trainers=2, rounds=1, epochs=1, offers_s=5, train_s=240, automatic="true"
)
Ask = Callable[..., str]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in an empty folder with a good job file and a funded bank; return its words."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("KUMIAI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KUMIAI_LANG", "en")
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "job.toml").write_text(GOOD)

    def run(*words: str, code: int = 2) -> str:
        assert main(list(words)) == code
        said = capsys.readouterr()
        assert "Traceback" not in said.err and "mistake of ours" not in said.err
        return said.err if code else said.out

    run("wallet", "fund", "embedded:bank.sqlite#me", "100sat", code=0)
    return run


def list_made(root: Path) -> set[str]:
    """What lies there beside what the fixture made."""
    return {path.name for path in root.iterdir() if not path.name.startswith("bank.")} - {
        "job.toml"
    }


POST = ("market", "post", "job.toml", "--no-watch")
START = ("provider", "start")
ME = ("--wallet", "embedded:bank.sqlite#me")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("market", "post", "nothing.toml"), ("JOB = 'nothing.toml'", "No such file", "job.toml")),
        (POST, ("--wallet = ''", "say who pays", "embedded:FILE#NAME")),
        ((*POST, "--wallet", "foo:bar"), ("wallet = 'foo:...'", "embedded:PATH#NAME")),
        ((*POST, "--wallet", "embedded:no.db#me"), ("no.db#me", "no such file", "wallet fund")),
        ((*POST, "--wallet", "embedded:bank.sqlite#you"), ("nobody there is called you",)),
        ((*POST, *ME, "--relay", "http://x"), ("--relay = 'http://x'", "ws://HOST:PORT")),
        ((*POST, *ME, "--relay", "ws://a b"), ("--relay = 'ws://a b'", "ws://HOST:PORT")),
        ((*POST, *ME, "--blobs", "ftp://y"), ("--blobs = 'ftp://y'", "http(s)://HOST:PORT")),
        ((*POST, "--wallet", "lnbits:http://127.0.0.1:1"), ("KUMIAI_LNBITS_KEY",)),
        ((*POST, "--wallet", "nwc:nothing"), ("secret file = ", "nothing': cannot be read")),
        (("market", "watch", "nowhere"), ("DIR = 'nowhere'", "no customer lives there")),
        (("market", "status", "nowhere"), ("DIR = 'nowhere'", "give its folder")),
        (("market", "cancel", "."), ("DIR = '.'", "no customer lives there")),
        (("market", "rate", ".", "ab", "50"), ("DIR = '.'",)),
        (("market", "providers", "--relay", "x"), ("--relay = 'x'", "ws://HOST:PORT")),
        (("market", "judge"), ("TASK = None", "data.source of your own")),
        (("market", "new", "a/b"), ("NAME = 'a/b'", "letters, digits")),
        (START, ("--price = None", "--price 20")),
        ((*START, "--price", "5"), ("--wallet = ''", "say who is paid")),
        ((*START, "--price", "0", *ME), ("--price = 0", "at least 1 sat")),
        ((*START, "--price", "5", *ME, "--payment", "gold"), ("--payment = 'gold'", "hold")),
        ((*START, "--price", "5", *ME, "--payment", ","), ("--payment = ''", "hold")),
        ((*START, "--price", "5", *ME, "--blobs", "b"), ("--blobs = 'b'", "http(s)")),
        (("provider", "status", "nowhere"), ("DIR = 'nowhere'", "no provider lives there")),
        (("provider", "leave", "nowhere"), ("DIR = 'nowhere'",)),
        (("relay", "--host", "here"), ("host = 'here'", "IP address")),
        (("wallet", "reconcile", ME[1]), ("--intents = 'intents.db'", "--folder DIR")),
        (("wallet", "reconcile", "--folder", "x"), ("DIR = 'x'", "no member lives there")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_made(
    ask: Ask, tmp_path: Path, words: tuple[str, ...], named: tuple[str, ...]
) -> None:
    said = ask(*words)
    assert said.startswith("kumiai: ")
    for part in named:
        assert part in said
    assert list_made(tmp_path) == set()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ('trainers = "many"', "data.trainers"),
        ("trainers = 0", "data.trainers"),
        ('source = "nowhere"', "source"),
        ("rounds = 0", "training.rounds"),
        ("bid_sat = 0", "market.bid_sat"),
        ("bid_sat = 1.5", "market.bid_sat"),
        ("budget_sat = 39", "market.budget_sat = 39: one round of 2 providers may cost 40 sat"),
        ("offers_s = -1", "market.offers_s"),
        ('automatic = "yes"', "market.automatic"),
        ("bid = 3", "market.bid"),
        ('payment = ["gold"]', "market.payment"),
        ('payment = ["escrow"]', "name market.arbiter and market.jury"),
        ("redundancy = 9", "market.redundancy"),
        ('jury = ["me"]', "market.jury = 'me': a key has 64 lower-case hex digits"),
        ('relays = ["http://x"]', "market.relays = 'http://x'"),
    ],
)
def test_every_field_of_a_job_file_is_named(
    ask: Ask, tmp_path: Path, wrong: str, named: str
) -> None:
    field = wrong.partition(" =")[0]
    lines = [line for line in GOOD.splitlines() if not line.startswith(f"{field} =")]
    section = {"trainers": "[data]", "source": "[data]", "rounds": "[training]"}
    at = lines.index(section.get(field, "[market]")) + 1
    (tmp_path / "job.toml").write_text("\n".join([*lines[:at], wrong, *lines[at:]]))
    assert named in ask(*POST, *ME)
    assert list_made(tmp_path) == set()


def test_a_job_without_a_market_says_what_to_write(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(GOOD.split("[market]")[0])
    assert "[market] = None: is missing" in ask(*POST, *ME)


def test_a_wallet_that_cannot_pay_a_round_is_told_before_anything(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(GOOD.replace("bid_sat = 20", "bid_sat = 60"))
    said = ask(*POST, *ME)
    assert "--wallet" in said and "it holds 100 sat, and one round may cost 120 sat" in said
    assert "kumiai wallet fund" in said and "play money" in said
    assert list_made(tmp_path) == set()


def test_a_budget_holds_the_fees_of_one_round(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(GOOD.replace("budget_sat = 200", "budget_sat = 43"))
    said = ask(*POST, "--wallet", "lnbits:http://127.0.0.1:1")
    assert "market.budget_sat = 43: one round may cost 44 sat with the fees" in said
    assert list_made(tmp_path) == set()
    assert ask(*POST, *ME, code=0).strip() == "jobs/job", "play money takes no fees"


def test_a_prepared_job_is_there_and_not_prepared_twice(ask: Ask, tmp_path: Path) -> None:
    assert ask(*POST, *ME, code=0).strip() == "jobs/job"
    said = ask(*POST, *ME)
    assert "--folder = 'jobs/job'" in said and "kumiai market watch jobs/job" in said
    status = json.loads(ask("market", "status", "jobs/job", "--json", code=0))
    assert status["phase"] == "draft" and status["budget_msat"] == 200_000
    assert "No offer came yet." in ask("market", "offers", "jobs/job", code=0)
    assert "no offer came yet" in ask("market", "accept", "jobs/job")
    assert "KEY = 'ab'" in ask("market", "accept", "jobs/job", "ab")
    assert "a customer lives there, not a provider" in ask("provider", "status", "jobs/job")
    assert "its node has not run yet" in ask("wallet", "reconcile", "--folder", "jobs/job")
    said = ask("market", "cancel", "jobs/job", code=0)
    assert "no node runs now" in said and "kumiai market watch jobs/job" in said
    for path in ("key", "plan.json"):
        assert (tmp_path / "jobs/job" / path).stat().st_mode & 0o077 == 0
    assert (MarketFolder(tmp_path / "jobs/job")).has_commands


def test_a_job_that_ended_early_ends_so_whoever_looks(ask: Ask, tmp_path: Path) -> None:
    nowhere = ("--relay", "ws://127.0.0.1:9", "--blobs", "http://127.0.0.1:9")
    ask(*POST, *ME, *nowhere, code=0)
    ask("market", "cancel", "jobs/job", code=0)
    for _ in range(2):  # the one that closes the job, and one that finds it closed
        said = ask("market", "watch", "jobs/job", "--quiet", code=4)
        assert "The job ended early: cancelled by the customer" in said
    status = json.loads(ask("market", "status", "jobs/job", "--json", code=0))
    assert status["phase"] == "closed" and status["spent_msat"] == 0


def test_what_is_not_said_is_looked_for_in_order(tmp_path: Path) -> None:
    nothing = Places((), (), "")
    found = complete_places(nothing, {})
    assert found.relays == (LOCAL_RELAY,) and found.blobs == (LOCAL_BLOBS,) and not found.wallet
    settings = {"RELAYS": "ws://a:1, ws://b:2", "BLOBS": "http://c:3", "WALLET": "embedded:w#x"}
    found = complete_places(nothing, settings)
    assert found.relays == ("ws://a:1", "ws://b:2") and found.blobs == ("http://c:3",)
    assert found.wallet == f"embedded:{Path('w').resolve()}#x"
    job = Places(("ws://d:4",), (), "embedded:w#y", "", "cashu:http://mint")
    found = complete_places(nothing, settings, job, tmp_path)
    assert found.relays == ("ws://d:4",) and found.blobs == ("http://c:3",)
    assert found.wallet == f"embedded:{tmp_path / 'w'}#y" and found.ecash == "cashu:http://mint"
    said = Places(("WS://E:5/", "ws://e:5"), (), "lnbits:http://x")
    found = complete_places(said, settings, job, tmp_path)
    assert found.relays == ("ws://e:5",) and found.wallet == "lnbits:http://x"
    with pytest.raises(InputError, match=r"^KUMIAI_BLOBS = 'ftp://c'"):
        complete_places(nothing, {"BLOBS": "ftp://c"})
    with pytest.raises(InputError, match="at most 8"):
        complete_places(Places(tuple(f"ws://h:{n}" for n in range(1, 10)), (), ""), {})


def test_a_new_job_file_can_be_posted_as_it_is(ask: Ask, tmp_path: Path) -> None:
    said = ask("market", "new", "my-job", code=0)
    assert "kumiai market post my-job/job.toml" in said
    job = read_job_file(tmp_path / "my-job" / "job.toml")
    assert job.task.name == "my-job" and job.market.policies
    assert "was changed" in ask("market", "new", "my-job")
    assert ask("market", "post", "my-job/job.toml", "--no-watch", *ME, code=0).strip()
    with pytest.raises(InputError):
        create("..", tmp_path, JOB_FILES)


def test_without_the_extra_the_message_says_how_to_get_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(extra, "find_spec", lambda n: None if n == "granian" else there(n))
    for words in (
        POST,
        START,
        ("relay",),
        ("blobs",),
        ("market", "providers"),
        ("wallet", "balance"),
        ("demo", "--scenario", "market"),
    ):
        assert "granian not installed: pip install 'kumiai[market]'" in ask(*words)
    assert "Made one/" in ask("market", "new", "one", code=0)


def test_a_trouble_is_said_once() -> None:
    out = io.StringIO()
    screen = watching.NodeScreen(Console(file=out, width=80), load_texts("en"))
    for _ in range(3):
        screen.on_trouble("storing", OSError("gone"))
    screen.on_trouble("storing", OSError("full"))
    screen.on_relay("ws://a", "refused")
    screen.on_relay("ws://a", "")
    assert out.getvalue().splitlines() == [
        "storing: gone (tried again)",
        "storing: full (tried again)",
        "relay ws://a does not answer: refused (tried again and again)",
        "relay ws://a answers",
    ]


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("width", [80, 120])
def test_screens_fit_their_terminal(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, lang: str, width: int
) -> None:
    ask(*POST, *ME, code=0)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("KUMIAI_LANG", lang)
    from rich.cells import cell_len

    for words in (("market", "status", "jobs/job"), ("wallet", "history", ME[1])):
        assert all(cell_len(line) <= width for line in ask(*words, code=0).splitlines())


COMMANDS = [
    *(("market", name) for name in
      ("new", "post", "watch", "status", "offers", "accept", "cancel", "rate", "judge",
       "providers", "report")),
    *(("provider", name) for name in ("start", "status", "leave", "dispute", "rate")),
    ("relay",),
    ("blobs",),
]  # fmt: skip


@pytest.mark.parametrize("words", [*COMMANDS, ("market",), ("provider",)])
def test_help_of_the_market_has_examples(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "100"})
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
    assert shown.exit_code == 0 and f"$ kumiai {' '.join(words)}" in plain
