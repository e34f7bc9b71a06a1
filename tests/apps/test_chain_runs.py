"""Whole runs that settle on a chain: the embedded one and anvil, killed, resumed, verified."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import Anvil, run_anvil
from tests.apps.test_resume import kill_at, start
from tests.apps.tiny import write_task

import kumiai
from kumiai.adapters.evm.chain import queries
from kumiai.adapters.evm.chain.chain import Options, open_chain
from kumiai.adapters.evm.chain.engine import GenesisAccount
from kumiai.adapters.evm.errors import ChainError
from kumiai.apps import wiring
from kumiai.apps.report import render_report
from kumiai.apps.rundir import RunDir
from kumiai.apps.verify import VerifyReport, verify_path
from kumiai.apps.view import RunView, load_view
from kumiai.base.errors import InputError, StoreError

EVM = {"settlement.kind": "evm"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunView, Path]:
    folder = tmp_path_factory.mktemp("chain")
    run = kumiai.run(write_task(folder), folder / "run", EVM)
    return run, folder / "run"


def find_errors(report: VerifyReport, word: str) -> list[str]:
    return [
        f"{finding.where}: {finding.what}"
        for finding in report.findings
        if finding.severity == "error" and finding.where.startswith(word)
    ]


def test_a_run_settles_on_its_own_chain_to_the_unit(settled: tuple[RunView, Path]) -> None:
    view, folder = settled
    chain = view.chain
    assert chain is not None and chain.is_even and chain.is_local
    assert (chain.chain_id, chain.node) == (31_338, "embedded")
    assert [row.round for row in chain.settlements] == [1, 2, 0]
    counts = {row.kind: row.count for row in chain.sorts}
    assert counts["settle"] == 2 and counts["final"] == 1
    assert counts["claim"] == sum(1 for m in view.members if m.reward)
    assert counts["stake"] == counts["withdraw"]
    assert not list(folder.glob("outbox*"))
    report = verify_path(folder)
    assert report.is_ok, report.findings
    assert next(count for name, count, ok in report.checks if name == "chain") > 20
    page = render_report(view)
    assert f"0x{chain.task_key}" in page and 'href="#chain"' in page
    assert chain.arena in page and "On the chain" in page and "チェーン上の精算" in page


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda record: record.update(arena="0x" + "11" * 20), "chain.json"),
        (lambda record: record["transactions"][-1].update(gas=1), "chain, "),
        (lambda record: record["transactions"][0].update(hash="0x" + "11" * 32), "chain, deploy"),
        (lambda record: record.update(arena_transaction="0x" + "11" * 32), "chain, arena"),
        (lambda record: record.update(token="0x" + "11" * 20), "chain, "),
        (lambda record: record.update(unsettled="so it says", token=record["arena"]), "chain, t"),
        (lambda record: record.update(chain_id="31338"), "chain"),
        (lambda record: record["transactions"].append(5), "chain"),
    ],
)
def test_a_record_that_says_otherwise_is_found(
    settled: tuple[RunView, Path], tmp_path: Path, change, where: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(settled[1], folder)
    record = json.loads((folder / "chain.json").read_text())
    change(record)
    (folder / "chain.json").write_text(json.dumps(record))
    assert find_errors(verify_path(folder), where)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from transactions where number = (select max(number) from transactions)",
        "update transactions set raw = zeroblob(9) where number = 2",
        "update logs set data = zeroblob(length(data)) where length(data) > 150",
        "delete from logs where length(data) > 150",
        "update nodes set value = zeroblob(40) where hash = (select max(hash) from nodes)",
        "update transactions set gas_used = 1 where number = 2",
    ],
)
def test_a_chain_that_was_changed_is_found(
    settled: tuple[RunView, Path], tmp_path: Path, statement: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(settled[1], folder)
    with closing(sqlite3.connect(folder / "chain.sqlite")) as db:
        assert db.execute(statement).rowcount > 0
        db.commit()
    assert find_errors(verify_path(folder), "chain")


def test_a_chain_that_begins_with_a_contract_is_found(
    settled: tuple[RunView, Path], tmp_path: Path
) -> None:
    """The same transactions on another genesis: whoever writes it could put an arena there."""
    folder = tmp_path / "run"
    shutil.copytree(settled[1], folder)
    shutil.move(folder / "chain.sqlite", tmp_path / "old.sqlite")
    old = open_chain(tmp_path / "old.sqlite", options=Options(is_dev=True))
    planted = {b"\x99" * 20: GenesisAccount(code=b"\x00", storage=((1, 1),))}
    genesis = replace(old.genesis, accounts={**old.genesis.accounts, **planted})
    new = open_chain(folder / "chain.sqlite", genesis, Options(is_dev=True))
    for number in range(1, old.head.number + 1):
        header = old.store.find_header(number)
        assert header is not None
        new.clock.next_timestamp = header.timestamp
        rows = queries.list_transactions(old.store, number)
        new.submit_many([row.raw for row in rows]) if rows else new.mine()
    old.close()
    new.close()
    assert find_errors(verify_path(folder), "chain") == [
        "chain, block 0: somebody begins with more than coin"
    ]


@pytest.mark.parametrize("height", [25, 60])
def test_a_run_killed_in_mid_settlement_goes_on_and_pays_once(tmp_path: Path, height: int) -> None:
    task, out = write_task(tmp_path), tmp_path / "run"
    settings = ("--set", "settlement.kind=evm", "--set", "training.rounds=3")
    process = start(task, out, settings=settings)
    assert kill_at(process, out, height), "it was faster than the kill"
    again = start(task, out, "--resume", settings=settings)
    _, said = again.communicate(timeout=240)
    assert again.returncode == 0, said.decode()
    view = load_view(out)
    assert view.chain is not None and view.chain.is_even
    assert [row.round for row in view.chain.settlements] == [1, 2, 3, 0]
    report = verify_path(out)
    assert report.is_ok, report.findings


def run_again(folder: Path, out: Path) -> RunView:
    task = wiring.read_task(folder / "task.toml", EVM)
    return wiring.run_local(
        task,
        wiring.cast_locally(task),
        out,
        lambda event: None,
        resume=True,
        base_dir=folder,
    )


def test_a_run_that_has_ended_sends_nothing_when_it_is_taken_up_again(
    settled: tuple[RunView, Path], tmp_path: Path
) -> None:
    """Killed after its outbox was removed and before it was sealed: all is on the chain already."""
    view, folder = settled
    out = tmp_path / "run"
    shutil.copytree(folder, out)
    (out / "seal.json").unlink()
    before = (out / "chain.sqlite").read_bytes()
    assert run_again(folder.parent, out).chain == view.chain
    assert (out / "chain.sqlite").read_bytes() == before
    report = verify_path(out)
    assert report.is_ok, report.findings


def test_an_outbox_stays_until_the_end_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, out = write_task(tmp_path), tmp_path / "run"
    write = RunDir.write_json

    def fail(run_dir: RunDir, path: Path, document: object) -> None:
        if path.name == "chain.json" and "transactions" in document:  # type: ignore[operator]
            raise StoreError("the disk is full")
        write(run_dir, path, document)

    monkeypatch.setattr(RunDir, "write_json", fail)
    with pytest.raises(StoreError, match="full"):
        kumiai.run(task, out, EVM)
    assert (out / "outbox.db").exists()
    monkeypatch.undo()
    view = run_again(tmp_path, out)
    assert view.chain is not None and view.chain.is_even
    report = verify_path(out)
    assert report.is_ok, report.findings


def test_a_run_on_a_node_is_verified_by_asking_it(tmp_path: Path) -> None:
    with run_anvil("--block-time", "1") as anvil:
        check_run_on(anvil, tmp_path)


def check_run_on(anvil: Anvil, tmp_path: Path) -> None:
    task = wiring.read_task(write_task(tmp_path), EVM)
    folder = tmp_path / "run"
    view = wiring.run_local(
        task,
        wiring.cast_locally(task),
        folder,
        lambda event: None,
        resume=False,
        base_dir=tmp_path,
        rpc=anvil.url,
    )
    assert view.chain is not None and view.chain.is_even
    assert view.chain.node.startswith("anvil")
    report = verify_path(folder, rpc=anvil.url)
    assert report.is_ok, report.findings
    assert next(count for name, count, ok in report.checks if name == "chain") > 20
    unasked = verify_path(folder)
    assert unasked.is_ok
    assert any("--rpc" in finding.what for finding in unasked.findings)


def test_a_public_chain_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    task = wiring.read_task(write_task(tmp_path), EVM)
    with (
        run_anvil("--chain-id", "8453") as node,
        pytest.raises(InputError, match="development chains only"),
    ):
        wiring.run_local(
            task,
            wiring.cast_locally(task),
            tmp_path / "run",
            lambda event: None,
            resume=False,
            base_dir=tmp_path,
            rpc=node.url,
        )


def test_a_node_that_is_not_there_is_told(tmp_path: Path) -> None:
    task = wiring.read_task(write_task(tmp_path), EVM)
    with pytest.raises(ChainError, match="Check that the node runs"):
        wiring.run_local(
            task,
            wiring.cast_locally(task),
            tmp_path / "run",
            lambda event: None,
            resume=False,
            base_dir=tmp_path,
            rpc="http://127.0.0.1:9",
        )


def test_a_node_without_a_chain_to_settle_on_is_a_mistake(tmp_path: Path) -> None:
    task = wiring.read_task(write_task(tmp_path))
    with pytest.raises(InputError, match="settlement evm"):
        wiring.run_local(
            task,
            wiring.cast_locally(task),
            tmp_path / "run",
            lambda event: None,
            resume=False,
            base_dir=tmp_path,
            rpc="http://127.0.0.1:9",
        )
