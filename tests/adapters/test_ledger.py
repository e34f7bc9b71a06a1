"""One contract suite over every ledger, then what only a ledger on disk can suffer."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from kumiai.adapters.memory.ledger import MemoryLedger
from kumiai.adapters.store import ledger as store_ledger
from kumiai.adapters.store import sqlite
from kumiai.adapters.store.ledger import SqliteLedger, SqlLedger
from kumiai.base.errors import Reject, StoreError
from kumiai.settlement.ledger import (
    Delegate,
    Deposit,
    Fund,
    LedgerRejectError,
    LedgerState,
    Refund,
    ReleaseDelegation,
    ReleaseStake,
    SettleFinal,
    SettleRound,
    Stake,
    Withdraw,
    step,
)

WEI = 10**24
TASK = (
    Deposit("d/c", "t", "customer", WEI),
    Deposit("d/m", "t", "member", 100),
    Deposit("d/b", "t", "backer", 40),
    Fund("fund", "t", "customer", WEI),
    Stake("stake", "t", "member", 80),
    Delegate("lend", "t", "backer", "member", 30),
    SettleRound("r1", "t", 1, (("member", 50), ("backer", 7)), 400, (("member", 8),), ("e",)),
    SettleRound("r2", "t", 2, (("member", 50), ("member", 3)), WEI // 2),
    SettleFinal("final", "t", (("member", 390),)),
    Refund("refund", "t", "customer", WEI - 500),
    ReleaseStake("rs", "t", "member"),
    ReleaseDelegation("rd", "t", "backer", "member"),
    Withdraw("w", "t", "customer", WEI - 500),
)


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request, tmp_path):
    if request.param == "memory":
        yield MemoryLedger()
    else:
        with SqliteLedger(tmp_path / "ledger.db") as opened:
            yield opened


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


# --- the contract ---


def test_a_whole_task(ledger):
    for command in TASK:
        ledger.apply(command)
    assert ledger.balance("member") == 20 + 50 + 53 + 390 + 72
    assert ledger.balance("backer") == 47
    assert ledger.balance("burnt:t") == 8
    assert ledger.balance("escrow:t") == 0
    assert ledger.balance("nobody") == 0
    assert sum(ledger.accounts().values()) == 0
    assert "escrow:t" not in ledger.accounts()


def test_it_answers_as_the_specification_does(ledger):
    state = LedgerState()
    for command in TASK:
        state, postings = step(state, command)
        ledger.apply(command)
        assert ledger.accounts() == dict(sorted(state.balances.items()))
        assert ledger.history()[-1].command == command
        assert ledger.history()[-1].postings == postings


def test_every_command_twice_is_every_command_once(ledger):
    for command in TASK:
        ledger.apply(command)
        ledger.apply(command)
    for command in TASK:
        ledger.apply(command)
    assert [applied.command for applied in ledger.history()] == list(TASK)
    assert ledger.balance("backer") == 47


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Withdraw("x", "t", "member", 21), "overdrawn"),
        (SettleRound("x", "t", 1, (("member", 2 * WEI),), 0), "overdrawn"),
        (Deposit("d/m", "t", "member", 101), "key-reused"),
        (ReleaseStake("x", "t", "member"), "task-open"),
        (Deposit("x", "t", "a:b", 1), "bad-name"),
        (Deposit("x", "t", None, 1), "bad-name"),
        (Deposit("x", "t", "m", -1), "bad-amount"),
        (SettleRound("x", "t", 1, (), 0, (("member", 1),)), "burn-without-evidence"),
    ],
)
def test_a_refusal_is_a_typed_error_and_changes_nothing(ledger, command, reason):
    for earlier in TASK[:6]:
        ledger.apply(earlier)
    before = ledger.accounts(), ledger.history()
    with pytest.raises(LedgerRejectError) as caught:
        ledger.apply(command)
    assert caught.value.reject.reason == reason
    assert not caught.value.is_retriable
    assert (ledger.accounts(), ledger.history()) == before
    ledger.apply(TASK[6])  # and it goes on


NAMES = st.sampled_from(["a", "b"])
AMOUNTS = st.integers(0, 9)
KEYS = st.sampled_from([f"k{index}" for index in range(8)])
COMMANDS = (
    st.builds(Deposit, KEYS, st.just("t"), NAMES, AMOUNTS)
    | st.builds(Fund, KEYS, st.just("t"), NAMES, AMOUNTS)
    | st.builds(Stake, KEYS, st.just("t"), NAMES, AMOUNTS)
    | st.builds(SettleRound, KEYS, st.just("t"), st.integers(1, 2), st.just(()), AMOUNTS)
    | st.builds(SettleFinal, KEYS, st.just("t"), st.just(()))
    | st.builds(ReleaseStake, KEYS, st.just("t"), NAMES)
)


@given(st.lists(COMMANDS, max_size=10))
@settings(max_examples=15, deadline=None)
def test_both_twins_agree_with_the_specification_on_random_histories(tmp_path_factory, commands):
    state, memory = LedgerState(), MemoryLedger()
    with SqliteLedger(tmp_path_factory.mktemp("ledger") / "ledger.db") as disk:
        for command in commands:
            result = step(state, command)
            for twin in (memory, disk):
                if isinstance(result, Reject):
                    with pytest.raises(LedgerRejectError) as caught:
                        twin.apply(command)
                    assert caught.value.reject == result
                else:
                    twin.apply(command)
            state = state if isinstance(result, Reject) else result[0]
            assert disk.accounts() == memory.accounts() == dict(sorted(state.balances.items()))
        assert disk.history() == memory.history()
        disk.check_books()


# --- on disk ---


def test_reopening_between_any_two_commands_changes_nothing(path):
    memory = MemoryLedger()
    for command in TASK:
        with SqliteLedger(path) as ledger:
            ledger.apply(command)
        memory.apply(command)
        with SqliteLedger(path) as ledger:
            assert ledger.accounts() == memory.accounts()
            assert ledger.history() == memory.history()
            ledger.check_books()
    assert [item.name for item in path.parent.iterdir()] == ["ledger.db"]


KILLED_CHILD = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import event
sys.path[:0] = sys.argv[3].split(os.pathsep)
from kumiai.adapters.store.ledger import SqliteLedger
from kumiai.settlement.ledger import Deposit, Fund, SettleRound
ledger = SqliteLedger(Path(sys.argv[1]))
ledger.apply(Deposit("d", "t", "c", 100))
ledger.apply(Fund("f", "t", "c", 100))
count = 0
def die(*_):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(ledger._engine, "before_cursor_execute", die)
event.listen(ledger._engine, "commit", die)
ledger.apply(SettleRound("r", "t", 1, (("m", 60),), 30))
print("survived", count)
"""


@pytest.mark.parametrize("statement", [2, 9, 99])
def test_kill_9_inside_a_command_leaves_all_of_it_or_nothing(path, statement):
    child = subprocess.run(
        [sys.executable, "-c", KILLED_CHILD, str(path), str(statement), os.pathsep.join(sys.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if statement == 99:
        assert child.stdout.startswith("survived"), child.stderr
        statements = int(child.stdout.split()[1])
        assert 2 < 9 <= statements, "the kills above were not inside the command"
    else:
        assert child.returncode == -signal.SIGKILL, child.stderr
    with SqliteLedger(path) as ledger:
        ledger.check_books()
        assert ledger.balance("m") == (60 if statement == 99 else 0)
        ledger.apply(SettleRound("r", "t", 1, (("m", 60),), 30))
        assert ledger.balance("m") == 60
        assert ledger.balance("escrow:t") == 10


def test_a_full_disk_at_any_statement_leaves_nothing_half_done(path):
    with SqliteLedger(path) as ledger:
        for command in TASK[:6]:
            ledger.apply(command)
        before = ledger.accounts(), ledger.history()
        failures = 0
        while not apply_with_full_disk(ledger, TASK[6], fail_at=failures + 1):
            failures += 1
            assert (ledger.accounts(), ledger.history()) == before
            ledger.check_books()
        assert failures >= 8
        ledger.check_books()
        assert ledger.history()[-1].command == TASK[6]


def apply_with_full_disk(ledger, command, fail_at):
    """Apply with the `fail_at`-th statement or the commit failing; tell whether it went through."""
    count = 0

    def raise_full(*_):
        nonlocal count
        count += 1
        if count == fail_at:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    event.listen(ledger._engine, "before_cursor_execute", raise_full)
    event.listen(ledger._engine, "commit", raise_full)
    try:
        ledger.apply(command)
    except StoreError as error:
        return not (error.is_retriable and "disk is full" in str(error))
    finally:
        event.remove(ledger._engine, "before_cursor_execute", raise_full)
        event.remove(ledger._engine, "commit", raise_full)
    return True


def test_a_disk_that_is_really_full(path):
    """SQLite's own error, by a cap on the file's pages."""
    with SqliteLedger(path) as ledger:
        ledger.apply(Deposit("d", "t", "c", 10**6))
        ledger.apply(Fund("f", "t", "c", 10**6))
        before = ledger.accounts(), ledger.history()

        @event.listens_for(ledger._engine, "checkout")
        def cap(connection, *_):
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages}")

        payments = tuple((f"member{index}", 1) for index in range(2000))
        with pytest.raises(StoreError, match="disk is full") as caught:
            ledger.apply(SettleRound("r", "t", 1, payments, 0))
        assert caught.value.is_retriable
        assert (ledger.accounts(), ledger.history()) == before


def test_two_processes_writing_at_once_lose_nothing(path):
    with SqliteLedger(path) as one, SqlLedger(sqlite.open_engine(path), "other") as other:
        one.apply(Deposit("d", "t", "c", 100))
        for index in range(5):
            one.apply(Withdraw(f"one{index}", "t", "c", 10))
            other.apply(Withdraw(f"other{index}", "t", "c", 10))
        with pytest.raises(LedgerRejectError, match="overdrawn"):
            other.apply(Withdraw("more", "t", "c", 1))
        assert one.accounts() == {}
        one.check_books()


def test_a_closed_ledger_is_read_without_changing_a_byte(path):
    with SqliteLedger(path) as ledger:
        for command in TASK:
            ledger.apply(command)
    data = path.read_bytes()
    with SqliteLedger.open_readonly(path) as ledger:
        ledger.check_books()
        assert ledger.balance("backer") == 47
        with pytest.raises(StoreError):
            ledger.apply(Deposit("x", "t", "c", 1))
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_balances SET amount='48' WHERE account='backer'",
        "UPDATE ledger_balances SET amount='4x' WHERE account='backer'",
        "UPDATE ledger_balances SET amount='047' WHERE account='backer'",
        "DELETE FROM ledger_balances WHERE account='backer'",
        "INSERT INTO ledger_balances VALUES ('thief', '1')",
        "UPDATE ledger_postings SET amount='8' WHERE account='backer' AND place=7",
        "DELETE FROM ledger_postings WHERE account='backer' AND place=7",
        "INSERT INTO ledger_postings VALUES (99, 'thief', '1')",
        "UPDATE ledger_commands SET command=X'00' WHERE place=7",
        "DELETE FROM ledger_commands WHERE place=7",
        "UPDATE ledger_commands SET command=X'7b7d' WHERE place=7",
        "UPDATE ledger_commands SET place=place+20 WHERE place=7",
        "DELETE FROM ledger_marks WHERE name='round:t:1'",
        "UPDATE ledger_marks SET digest='00' WHERE name='round:t:1'",
        "DROP TABLE ledger_postings",
    ],
)
def test_books_altered_by_hand_are_found(path, statement):
    with SqliteLedger(path) as ledger:
        for command in TASK:
            ledger.apply(command)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
    with SqliteLedger(path) as ledger, pytest.raises(StoreError):
        ledger.check_books()


def test_a_file_that_is_no_ledger(path):
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="damaged or no SQLite"):
        SqliteLedger(path)
    with pytest.raises(StoreError, match="no such file"):
        SqliteLedger.open_readonly(Path(str(path) + "x"))


def test_the_rules_are_the_specifications_own():
    assert store_ledger.plan is step.__globals__["plan"]
