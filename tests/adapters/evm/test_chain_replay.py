"""A chain's file that was changed: replay finds it, and so does rebuild."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import KEYS
from tests.adapters.evm.embedded import make_genesis
from tests.adapters.evm.probe import deploy, encode_call, send
from tests.adapters.evm.test_chain_embedded import Local

from kumiai.adapters.evm.chain.chain import open_chain
from kumiai.adapters.evm.chain.clock import read_wall_clock
from kumiai.adapters.evm.chain.replay import rebuild, replay_file
from kumiai.base.errors import VerificationError

RECEIPTS_AND_STATE = [
    "update logs set data = zeroblob(length(data))",
    "delete from logs",
    "insert into logs values(9, 0, 0, zeroblob(20), null, null, null, null, x'')",
    "update transactions set is_ok = not is_ok where number = 1",
    "update transactions set gas_used = 1 where number = 2",
    "update transactions set hash = zeroblob(32) where number = 1",
    "update transactions set created = zeroblob(20) where number = 1",
    "insert into transactions values(-1, 0, zeroblob(32), x'02', x'00', 1, 0, 0, null)",
    "update nodes set value = zeroblob(40) where hash = (select max(hash) from nodes)",
    "insert into nodes values(zeroblob(32), zeroblob(40))",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "chain.sqlite"
    node = Local(open_chain(path, make_genesis()))
    probe = deploy(node)
    send(node, KEYS[0], to=probe, data=encode_call("keep", 1, 5, b"x"))
    node.chain.close()
    return path


def change(made: Path, folder: Path, statement: str) -> Path:
    path = folder / "chain.sqlite"
    path.write_bytes(made.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute(statement).rowcount > 0
        db.commit()
    return path


def read_all(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        return {
            table: db.execute(f"select * from {table} order by 1, 2").fetchall()
            for table in ("nodes", "blocks", "transactions", "logs")
        }


def test_a_rebuilt_chain_is_the_same_and_nothing_is_written_beside_the_first(
    made: Path, tmp_path: Path
) -> None:
    before = sorted(made.parent.iterdir())
    rebuild(made, tmp_path / "rebuilt.sqlite").close()
    assert read_all(tmp_path / "rebuilt.sqlite") == read_all(made)
    assert sorted(made.parent.iterdir()) == before


@pytest.mark.parametrize("statement", RECEIPTS_AND_STATE)
def test_receipts_logs_and_state_are_compared(made: Path, tmp_path: Path, statement: str) -> None:
    changed = change(made, tmp_path, statement)
    with pytest.raises(VerificationError):
        replay_file(changed)
    with pytest.raises(VerificationError):
        rebuild(changed, tmp_path / "rebuilt.sqlite")


@pytest.mark.parametrize(
    "statement",
    [
        "update blocks set header = x'c0' where number = 1",
        "update transactions set raw = x'02c0' where number = 1",
        "update meta set value = '[' where key = 'genesis'",
        "update meta set value = '{\"accounts\": 5}' where key = 'genesis'",
        "delete from blocks",
        "delete from meta",
    ],
)
def test_what_cannot_be_read_is_said_and_breaks_nothing(
    made: Path, tmp_path: Path, statement: str
) -> None:
    changed = change(made, tmp_path, statement)
    with pytest.raises(VerificationError, match=r"chain\.sqlite"):
        rebuild(changed, tmp_path / "rebuilt.sqlite")


def test_a_file_that_is_no_database_is_said_and_nothing_is_written_beside(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "chain.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(VerificationError, match="cannot be read"):
        rebuild(path, tmp_path / "rebuilt.sqlite")
    assert list(path.parent.iterdir()) == [path]


def test_time_that_runs_back_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chain.sqlite"
    chain = open_chain(path, replace(make_genesis(), timestamp=read_wall_clock()))
    chain.mine()
    monkeypatch.setattr(chain.clock, "compute_timestamp", lambda parent: parent - 9)
    chain.mine()
    chain.close()
    with pytest.raises(VerificationError, match="block 2"):
        rebuild(path, tmp_path / "rebuilt.sqlite")
