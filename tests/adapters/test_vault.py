"""One contract for every vault, and what only a vault on disk must stand."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumiai.adapters.memory.vault import MemoryVault
from kumiai.adapters.store import vault as store_vault
from kumiai.adapters.store.vault import SqliteVault
from kumiai.base.errors import StoreError
from kumiai.nodes.ports import VaultPort


@pytest.fixture(params=["memory", "sqlite", "synced sqlite"])
def vault(request, tmp_path) -> VaultPort:
    if request.param == "memory":
        yield MemoryVault()
    else:
        path = tmp_path / "node" / "vault.db"
        with SqliteVault(path, is_synced="synced" in request.param) as opened:
            yield opened


def test_what_is_kept_comes_back(vault):
    assert vault.get("salt/1") is None
    vault.put("salt/1", b"\x00\xff")
    vault.put("漢'; --", b"")
    assert vault.get("salt/1") == b"\x00\xff"
    assert vault.get("漢'; --") == b""
    assert vault.get("salt/2") is None


def test_a_kept_value_changes_only_on_purpose(vault):
    vault.put("vote/3", b"yes")
    vault.put("vote/3", b"yes")
    with pytest.raises(StoreError, match="'vote/3' already holds another value") as caught:
        vault.put("vote/3", b"no")
    assert not caught.value.is_retriable
    assert "yes" not in str(caught.value)  # a secret never reaches a message
    assert vault.get("vote/3") == b"yes"
    vault.put("vote/3", b"no", replace=True)
    assert vault.get("vote/3") == b"no"


def test_many_are_kept_together_or_not_at_all(vault):
    vault.put("b", b"old")
    with pytest.raises(StoreError, match="'b' already"):
        vault.put_many({"a": b"1", "b": b"2", "c": b"3"})
    assert [vault.get(key) for key in "abc"] == [None, b"old", None]
    vault.put_many({"a": b"1", "b": b"2", "c": b"3"}, replace=True)
    vault.put_many({"a": b"1", "b": b"2", "d": b"4"})
    vault.put_many({})
    assert [vault.get(key) for key in "abcd"] == [b"1", b"2", b"3", b"4"]


def test_more_keys_than_one_statement_takes(vault):
    items = {f"key/{n}": b"%d" % n for n in range(1800)}
    vault.put_many(items)
    vault.put_many(items)
    with pytest.raises(StoreError, match="'key/1799'"):
        vault.put_many({**items, "key/1799": b"other"})
    assert vault.get("key/1799") == b"1799"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", b""),
        (5, b""),
        (None, b""),
        ("a\x00b", b""),
        ("\ud800", b""),
        ("a", "text"),
        ("a", None),
    ],
)
def test_misuse_is_a_value_error(vault, key, value):
    with pytest.raises(ValueError, match=r"vault|surrogates"):
        vault.put_many({"good": b"", key: value})
    assert vault.get("good") is None


KEYS = st.sampled_from(["a", "b", "c"])
CALLS = st.tuples(st.dictionaries(KEYS, st.sampled_from([b"1", b"2"]), max_size=3), st.booleans())


@given(st.lists(CALLS, max_size=8))
@settings(max_examples=25)
def test_the_disk_and_its_twin_agree(tmp_path_factory, calls):
    twin = MemoryVault()
    with SqliteVault(tmp_path_factory.mktemp("vault") / "vault.db") as disk:
        for items, replace in calls:
            answers = []
            for one in (twin, disk):
                try:
                    answers.append(one.put_many(items, replace=replace))
                except StoreError:
                    answers.append("refused")
            assert answers[0] == answers[1]
            assert [twin.get(key) for key in "abc"] == [disk.get(key) for key in "abc"]


# --- on disk only ---


def test_a_closed_vault_is_one_file_for_its_owner_only(tmp_path):
    path = tmp_path / "vault.db"
    with SqliteVault(path) as vault:
        vault.put("salt", b"secret")
        assert {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()} == {0o600}
    assert [entry.name for entry in tmp_path.iterdir()] == ["vault.db"]
    assert path.stat().st_mode & 0o777 == 0o600
    with SqliteVault(path) as vault:
        assert vault.get("salt") == b"secret"
        with pytest.raises(StoreError, match="already holds"):
            vault.put("salt", b"other")


def test_a_locked_vault_is_said_to_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("kumiai.adapters.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    with SqliteVault(tmp_path / "vault.db") as vault:
        other = sqlite3.connect(tmp_path / "vault.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process is writing") as caught:
            vault.put("a", b"1")
        assert caught.value.is_retriable
        other.execute("ROLLBACK")
        other.close()
        vault.put("a", b"1")
        assert vault.get("a") == b"1"


def test_a_damaged_vault_is_a_store_error(tmp_path):
    (tmp_path / "vault.db").write_bytes(b"no database at all" * 300)
    with pytest.raises(StoreError, match="damaged or no SQLite database"):
        SqliteVault(tmp_path / "vault.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder"):
        SqliteVault(tmp_path / "folder")


def test_what_was_reported_as_kept_survives_kill_9(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kumiai.adapters.store.vault import SqliteVault\n"
        "vault = SqliteVault(Path(sys.argv[1]))\n"
        "n = 0\n"
        "while True:\n"
        "    vault.put_many({f'a/{n}': b'x', f'b/{n}': b'x'})\n"
        "    print(n, flush=True)\n"
        "    n += 1\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "vault.db")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(store_vault.__file__).parents[3])},
    )
    for _ in range(20):
        reported = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with SqliteVault(tmp_path / "vault.db") as vault:
        for n in range(reported + 1):
            assert vault.get(f"a/{n}") == vault.get(f"b/{n}") == b"x"
        pairs = [
            (vault.get(f"a/{n}"), vault.get(f"b/{n}")) for n in range(reported, reported + 500)
        ]
    assert all(one == other for one, other in pairs)
