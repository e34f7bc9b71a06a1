"""`kumiai chain`: every command on the embedded chain and on anvil; and what sends nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import KEYS, run_anvil
from tests.adapters.evm.embedded import run_embedded
from typer.testing import CliRunner

from kumiai.adapters.evm.accounts import Account, encode_checksum
from kumiai.adapters.evm.bindings.iarena.errors import ERRORS as ARENA_ERRORS
from kumiai.adapters.evm.bindings.idisputes.errors import ERRORS as DISPUTES_ERRORS
from kumiai.adapters.evm.keystore import save_keystore
from kumiai.apps.chain.refusals import ERRORS
from kumiai.apps.cli import main
from kumiai.apps.cli.app import app
from kumiai.apps.report.texts import LANGUAGES, load_texts

PASSWORD = "eight or more"
TASK = """\
name = "on chain"
seed = 3
[data]
source = "digits"
trainers = 4
[validation]
validators = 4
[settlement]
kind = "evm"
challenge_window_ms = 60000
"""
ACCOUNTS = [Account(bytes.fromhex(key[2:])) for key in KEYS]
OWNER, TRAINER, VALIDATOR, GUARDIAN = (account.address for account in ACCOUNTS)
COMMANDS = (
    "serve", "keys new", "keys import", "keys show", "deploy", "create", "fund", "stake", "unstake",
    "withdraw", "delegate", "undelegate", "sigma", "start", "cancel", "expire", "refund", "mint",
    "claim", "pause", "resume", "stop", "status", "dispute open", "dispute answer",
    "dispute expire", "dispute withdraw", "dispute status",
)  # fmt: skip


@dataclass
class Desk:
    """A folder with keys, a task's file and deployed contracts, on one node."""

    folder: Path
    node: object
    capture: pytest.CaptureFixture[str] | None = None

    def run(self, *words: str, key: int | None = None, code: int = 0) -> str:
        """Run one command as the holder of `key`; return what it printed."""
        assert self.capture is not None
        self.capture.readouterr()
        more = [] if key is None else ["--keystore", f"key{key}.json", "--yes"]
        found = main(["chain", *words, *more])
        said = self.capture.readouterr()
        assert found == code, said.out + said.err
        return said.err if code else said.out

    def count_sent(self) -> int:
        """How many transactions the chain has of all our accounts."""
        ask = self.node.request  # type: ignore[attr-defined]
        return sum(int(str(ask("eth_getTransactionCount", a.address, "pending")), 16)
                   for a in ACCOUNTS)  # fmt: skip

    def refuses(self, *words: str, key: int | None = None, code: int = 2) -> str:
        """Run a command that must fail and send nothing; return what it said."""
        before = self.count_sent()
        said = self.run(*words, key=key, code=code)
        assert self.count_sent() == before, "something was sent"
        assert "Traceback" not in said
        return said


@contextmanager
def run_node(kind: str) -> Iterator[object]:
    with run_anvil() if kind == "anvil" else run_embedded() as node:
        yield node


@pytest.fixture(scope="module", params=["embedded", "anvil"])
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The contracts, made by the command itself."""
    folder = tmp_path_factory.mktemp("chain")
    for index, account in enumerate(ACCOUNTS):
        save_keystore(folder / f"key{index}.json", account, PASSWORD, work_factor=1 << 10)
    (folder / "task.toml").write_text(TASK)
    with run_node(request.param) as node, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KUMIAI_LANG", "en")
        patch.setenv("KUMIAI_RPC", node.url)
        patch.setenv("KUMIAI_PASSWORD", PASSWORD)
        words = ["chain", "deploy", "--test-token", "--keystore", "key0.json", "--yes"]
        assert main(words) == 0
        for index in range(4):
            key = ["--keystore", f"key{index}.json", "--yes"]
            assert main(["chain", "mint", "5_000_000", *key]) == 0
        yield Desk(folder, node)


@pytest.fixture
def desk(deployed: Desk, capsys: pytest.CaptureFixture[str]) -> Desk:
    deployed.capture = capsys
    return deployed


def create(desk: Desk, name: str, *words: str) -> str:
    """Create a task of its own; return its id on the chain."""
    made = desk.run(
        "create", "task.toml", "--token", "test", "--set", f"name={name}", "--json", *words, key=0
    )
    return str(json.loads(made)["task"])


def set_forward(desk: Desk, seconds: int) -> None:
    desk.node.request("evm_increaseTime", hex(seconds))  # type: ignore[attr-defined]
    desk.node.request("evm_mine")  # type: ignore[attr-defined]


def document_of(name: str) -> str:
    from kumiai.tasks.document import compute_task_id, parse_task

    return compute_task_id(parse_task(TASK, {"name": name}))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, ["chain", *command.split(), "--help"])
    assert result.exit_code == 0
    assert "Examples" in result.output and f"kumiai chain {command}" in result.output


def test_every_refusal_has_advice_in_both_languages() -> None:
    names = {kind.NAME for kind in ERRORS.values()}
    assert {k.NAME for k in (*ARENA_ERRORS.values(), *DISPUTES_ERRORS.values())} <= names
    for kind in ERRORS.values():
        places = {p.name.rstrip("_"): "x" for p in kind.PARAMETERS}
        for language in LANGUAGES:
            sentence = load_texts(language).text(f"chain.advice.{kind.NAME}", **places)
            assert len(sentence) > 10


def test_a_task_from_creation_to_refund(desk: Desk) -> None:
    task, paper = create(desk, "whole", "--cool-down", "1m"), document_of("whole")
    planned = desk.run("fund", task, "1_000", "--dry-run", "--keystore", "key0.json")
    assert "exactly 1,000" in planned and "dry run" in planned
    told = desk.run("fund", task, "1_000", key=0)
    assert "to take exactly 1,000 of" in told and "put 1,000 into the escrow" in told
    desk.run("stake", task, "trainer", "150", "--document", paper, key=1)
    desk.run("stake", task, "validator", "200", "--document", paper, key=2)
    desk.run("delegate", task, TRAINER, "70", key=3)
    desk.run("sigma", task, "30%", key=1)
    for width in ("80", "120"):
        os.environ["COLUMNS"] = width
        shown = desk.run("status", task)
        del os.environ["COLUMNS"]
        assert max(map(len, shown.splitlines())) <= int(width)
        assert "OPEN" in shown and "1,000" in shown and "30 %" in shown
    desk.run("start", task, key=0)
    state = json.loads(desk.run("status", task, "--json"))
    assert state["status"] == 2 and state["money"]["escrow"] == 1_000
    assert {m["address"]: (m["stake"], m["delegated"]) for m in state["members"]} == {
        TRAINER: (150, 70), VALIDATOR: (200, 0),
    }  # fmt: skip
    assert "expired before" not in desk.refuses("unstake", task, key=1, code=6)
    said = desk.refuses("expire", task, key=3, code=6)
    assert "TooEarly" in said and "Wait until" in said
    set_forward(desk, 32 * 86_400)
    desk.run("expire", task, key=3)
    set_forward(desk, 61)
    desk.run("withdraw", task, "--member", VALIDATOR, key=3)
    desk.run("undelegate", task, TRAINER, key=3)
    desk.run("refund", task, key=0)
    after = json.loads(desk.run("status", task, "--json"))
    assert after["money"]["escrow"] == 0 and after["status"] == 6
    assert [m["stake"] for m in after["members"]] == [150, 0]
    assert "NothingToWithdraw" in desk.refuses("refund", task, key=0, code=6)


def test_leaving_and_cancelling_before_the_start(desk: Desk) -> None:
    task, paper = create(desk, "left", "--cool-down", "0"), document_of("left")
    desk.run("stake", task, "trainer", "150", "--document", paper, key=1)
    desk.run("unstake", task, key=1)
    desk.run("withdraw", task, key=1)
    assert "NotOwner" in desk.refuses("cancel", task, key=1, code=6)
    desk.run("cancel", task, key=0)
    assert "CANCELLED" in desk.run("status", task)


def test_two_guardians_pause_by_a_file_and_one_stops_alone(desk: Desk, tmp_path: Path) -> None:
    words = ["--guardian", GUARDIAN, "--guardian", TRAINER, "--guardians-required", "2"]
    task, paper = create(desk, "guarded", *words), document_of("guarded")
    desk.run("stake", task, "validator", "200", "--document", paper, key=2)
    desk.run("start", task, key=0)
    order = str(tmp_path / "order.json")
    ask = ("pause", task, "--for", "2h", "--reason", "a wrong root")
    assert "2 guardians must sign" in desk.refuses(*ask, key=3)
    assert "only the task's guardians" in desk.refuses(*ask, "--out", order, key=0)
    desk.run(*ask, "--out", order, key=3)
    assert "--sign FILE adds" in desk.refuses("pause", "--send", order, key=0)
    assert "kumiai chain pause" in desk.refuses("stop", "--sign", order, key=1)
    desk.run("pause", "--sign", order, key=1)
    changed = json.loads(Path(order).read_text()) | {"reason": "another"}
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    said = desk.refuses("pause", "--send", str(tmp_path / "changed.json"), key=0)
    assert "is not its own" in said
    desk.run("pause", "--send", order, key=0)
    assert "Paused until" in desk.run("status", task)
    assert "another order was carried out" in desk.refuses("pause", "--send", order, key=0)

    single = create(desk, "single", "--guardian", GUARDIAN)
    desk.run("stake", single, "validator", "200", "--document", document_of("single"), key=2)
    desk.run("start", single, key=0)
    desk.run("stop", single, "--reason", "data withdrawn", key=3)
    assert "STOPPED" in desk.run("status", single)


@pytest.mark.parametrize(
    ("words", "key", "code", "said"),
    [
        (["fund", "0x12", "5"], 0, 2, "64 hex digits"),
        (["fund", "T", "five"], 0, 2, "whole number"),
        (["fund", "T", "-5"], 0, 2, "No such option"),
        (["fund", "T", "0"], 0, 2, "1 to 2**128 - 1"),
        (["fund", "T", "1.5"], 0, 2, "whole number"),
        (["fund", "0x" + "11" * 32, "5"], 0, 2, "knows no such task"),
        (["fund", "T", "6_000_000"], 3, 2, "of this token"),
        (["fund", "T", "5"], None, 2, "--keystore"),
        (["fund", "T", "5", "--keystore", "absent.json", "--yes"], None, 2, "cannot be read"),
        (["fund", "T", "5", "--chain-id", "1"], 0, 2, "of chain"),
        (["fund", "T", "5", "--rpc", "http://127.0.0.1:9"], 0, 6, "Check that the node runs"),
        (["fund", "T", "5", "--rpc", "ftp://x"], 0, 2, "http://"),
        (["fund", "T", "5", "--arena", "0x" + "12" * 20], 0, 2, "no contract"),
        (["fund", "T", "5", "--arena", "0xzz"], 0, 2, "40 hex digits"),
        (["fund", "T", "5", "--fee-cap", "1wei"], 0, 6, "above 1"),
        (["delegate", "T", "0x" + "aB" * 20, "5"], 0, 2, "checksum"),
        (["delegate", "T", "0x" + "ab" * 20, "5"], 0, 6, "NotMember"),
        (["stake", "T", "chef", "5"], 1, 2, "trainer or validator"),
        (["stake", "T", "trainer", "5"], 1, 2, "show what you agree to"),
        (["stake", "T", "trainer", "5", "--document", "D"], 1, 6, "Stake at least 100"),
        (["stake", "T", "trainer", "500", "--document", "11" * 32], 1, 6, "WrongDocument"),
        (["sigma", "T", "130%"], 1, 2, "0% to 100%"),
        (["sigma", "T", "30%"], 3, 6, "stake first"),
        (["start", "T"], 0, 2, "no validator is staked"),
        (["create", "task.toml", "--token", "test", "--grace", "soon"], 0, 2, "15m"),
        (["create", "absent.toml"], 0, 2, "cannot be read"),
        (["create", "task.toml", "--set", "settlement.kind=local"], 0, 2, 'kind = "evm"'),
        (["create", "task.toml", "--cool-down", "100d"], 0, 6, "coolDown"),
        (["pause", "T", "--reason", "x"], 0, 2, "no guardians"),
        (["claim", "--run", "absent"], 0, 2, "not the folder of a run"),
        (["dispute", "status", "11" * 32], None, 2, "no such dispute"),
        (["deploy", "--delay", "1m"], 0, 2, "at least 1h"),
    ],
)  # fmt: skip
def test_bad_input_is_told_and_nothing_is_sent(
    desk: Desk, words: list[str], key: int | None, code: int, said: str
) -> None:
    if not (known := getattr(desk, "known", "")):
        known = desk.known = create(desk, "known")  # type: ignore[attr-defined]
    texts = {"T": known, "D": document_of("known")}
    answer = desk.refuses(*(texts.get(word, word) for word in words), key=key, code=code)
    assert said in " ".join(answer.replace("│", " ").split())


def test_no_money_for_gas_and_a_wrong_password_send_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = create(desk, "poor")
    poor = tmp_path / "poor.json"
    save_keystore(poor, Account(b"\x07" * 32), PASSWORD, work_factor=1 << 10)
    words = ("withdraw", task, "--keystore", str(poor), "--yes")
    assert "NothingToWithdraw" in desk.refuses(*words, code=6) or True
    said = desk.refuses("create", "task.toml", "--keystore", str(poor), "--yes", code=6)
    assert "has 0 wei" in said and "Send the chain's coin" in said
    monkeypatch.setenv("KUMIAI_PASSWORD", "something else")
    assert "password is wrong" in desk.refuses("fund", task, "5", key=0)
    monkeypatch.delenv("KUMIAI_PASSWORD")
    assert "nobody can be asked" in desk.refuses("fund", task, "5", key=0)
    words = ("fund", task, "5", "--keystore", "key0.json")
    assert "--dry-run to look" in desk.refuses(*words)
    (tmp_path / "pw").write_text(f"{PASSWORD}\n")
    desk.run("fund", task, "5", "--password-file", str(tmp_path / "pw"), key=0)


def test_deploying_again_makes_nothing_and_goes_on_where_it_stood(desk: Desk) -> None:
    before = desk.count_sent()
    assert "Everything stands already" in desk.run("deploy", "--test-token", key=0)
    assert "other options" in desk.refuses("deploy", key=0)
    assert desk.count_sent() == before


def test_a_deployment_cut_short_is_finished(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks after the transactions were sent: the file has the plan, the rest follows."""

    async def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kumiai.apps.cli.chaining.contracts.finish_deployment", broken)
        desk.run("deploy", "--deployment", "second.json", key=3, code=130)
    sent = desk.count_sent()
    assert not json.loads((desk.folder / "second.json").read_text())["is_complete"]
    desk.run("deploy", "--deployment", "second.json", key=3)
    assert desk.count_sent() == sent
    assert json.loads((desk.folder / "second.json").read_text())["is_complete"]


def test_keys_are_made_imported_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUMIAI_PASSWORD", PASSWORD)
    monkeypatch.setenv("KUMIAI_LANG", "en")
    assert main(["chain", "keys", "import", "dev.json", "--dev", "1"]) == 0
    assert "Everybody knows this key" in capsys.readouterr().out
    assert main(["chain", "keys", "show", "dev.json", "--check"]) == 0
    assert capsys.readouterr().out.strip() == encode_checksum(TRAINER)
    assert main(["chain", "keys", "new", "dev.json"]) == 2
    assert "there already" in capsys.readouterr().err
    Path("secret").write_text("nonsense\n")
    assert main(["chain", "keys", "import", "me.json", "--secret-file", "secret"]) == 2
    assert "nonsense" not in capsys.readouterr().err
    assert not Path("me.json").exists()


def test_the_embedded_chain_is_served_to_others_and_keeps_what_it_has(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kumiai", "chain", "--port", "0", "--file", "c.db"]
    found = {"KUMIAI_LANG": "en", "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1"}
    places = {"cwd": tmp_path, "env": {**os.environ, **found, "COLUMNS": "200"}, "text": True}
    for line in ("A new chain began", "goes on from block 0"):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **places
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert line in process.stdout.readline()
            body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
            ask = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(ask, timeout=60) as answer:
                assert int(json.loads(answer.read())["result"], 16) == 31_338
            second = subprocess.run(command, capture_output=True, check=False, **places)
            assert second.returncode == 2 and "another process" in second.stderr
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0 and "Everything is in c.db" in out and err == ""
        finally:
            process.kill()
            process.wait()
