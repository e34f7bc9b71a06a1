"""Where intents are kept: the file and its twin in memory keep the same rules."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kumiai.adapters.payments.intents import MemoryIntents, SqliteIntents
from kumiai.base.errors import StoreError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.intents import Action, Debt, Intent, IntentStorePort, Outcome
from kumiai.nodes.market.ports import Invoice, PaymentState

S = PaymentState
DEBT = Debt("round", "job", 1, "ab" * 32)
PAY = Intent("p", Action.PAY, DEBT, 5_000, "11" * 32, "lnbcrt1", "02" + "33" * 32, 7, "", 100, 200)
SETTLED = Outcome(S.SETTLED, "22" * 32, 3, 150)

Store = IntentStorePort


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryIntents()
        return
    with SqliteIntents(tmp_path / "intents.db", is_synced=False) as opened:
        yield opened


def refuse(call: Callable[[], None]) -> None:
    with pytest.raises(WalletError) as caught:
        call()
    assert caught.value.code == "ALREADY_PAID" and not caught.value.is_retriable


def test_what_is_kept_comes_back(store: Store) -> None:
    store.add(PAY)
    record = store.get("p")
    assert record is not None and record.intent == PAY
    assert record.outcome == Outcome(S.PENDING) and record.is_open
    assert store.get("other") is None
    assert store.list_open() == [record] == store.list_all()
    store.put_outcome("p", SETTLED)
    done = store.get("p")
    assert done is not None and done.outcome == SETTLED and not done.is_open
    assert store.list_open() == [] and store.list_all() == [done]


def test_key_is_used_once_for_ever(store: Store) -> None:
    store.add(PAY)
    store.put_outcome("p", Outcome(S.FAILED))
    other = replace(PAY, payment_hash="44" * 32, debt=replace(DEBT, round=2))
    refuse(lambda: store.add(other))


@pytest.mark.parametrize("state", [S.PENDING, S.ACCEPTED, S.SETTLED])
def test_live_payment_excludes_others_of_its_debt_and_hash(store: Store, state: S) -> None:
    store.add(PAY)
    store.put_outcome("p", replace(SETTLED, state=state))
    same_debt = replace(PAY, key="q", payment_hash="44" * 32)
    same_hash = replace(PAY, key="q", debt=replace(DEBT, round=2))
    refuse(lambda: store.add(same_debt))
    refuse(lambda: store.add(same_hash))
    found = store.find_live(same_debt.debt, same_debt.payment_hash)
    assert [it.intent.key for it in found] == ["p"]
    for field, value in (("purpose", "x"), ("job", "x"), ("round", 9), ("counterpart", "x")):
        debt = replace(DEBT, **{field: value})
        assert store.find_live(debt, "44" * 32) == []
        store.add(replace(PAY, key=field, payment_hash=field, debt=debt))


@pytest.mark.parametrize("state", [S.FAILED, S.EXPIRED, S.CANCELED])
def test_dead_payment_excludes_nothing(store: Store, state: S) -> None:
    store.add(PAY)
    store.put_outcome("p", Outcome(state))
    assert store.find_live(DEBT, PAY.payment_hash) == []
    store.add(replace(PAY, key="q"))


def test_hash_is_settled_or_canceled_never_both(store: Store) -> None:
    for first, second in ((Action.SETTLE, Action.CANCEL), (Action.CANCEL, Action.SETTLE)):
        payment_hash = first.value
        store.add(replace(PAY, key=first, action=first, payment_hash=payment_hash))
        store.put_outcome(first, Outcome(S.FAILED))
        other = replace(PAY, key=f"{first} {second}", action=second, payment_hash=payment_hash)
        refuse(lambda other=other: store.add(other))  # type: ignore[misc]


def test_what_is_final_stays(store: Store) -> None:
    store.add(PAY)
    store.put_outcome("p", Outcome(S.ACCEPTED))
    store.put_outcome("p", Outcome(S.PENDING, note="?"))
    store.put_outcome("p", SETTLED)
    store.put_outcome("p", replace(SETTLED, note="again"))
    for state in (S.PENDING, S.FAILED, S.CANCELED):
        with pytest.raises(StoreError):
            store.put_outcome("p", Outcome(state))
    record = store.get("p")
    assert record is not None and record.outcome == SETTLED
    with pytest.raises(StoreError):
        store.put_outcome("nothing", SETTLED)


def test_invoice_is_added_once(store: Store) -> None:
    store.add(replace(PAY, action=Action.ASK, payment_hash="", bolt11="", payee=""))
    made = Invoice("lnbcrt2", "55" * 32, 5_000, "02" + "66" * 32, 100, 300)
    store.put_invoice("p", made)
    store.put_invoice("p", made)
    record = store.get("p")
    assert record is not None
    assert (record.intent.bolt11, record.intent.payment_hash) == (made.bolt11, made.payment_hash)
    assert (record.intent.payee, record.intent.expires_at_s) == (made.payee, 300)
    with pytest.raises(StoreError):
        store.put_invoice("p", replace(made, bolt11="lnbcrt3"))
    with pytest.raises(StoreError):
        store.put_invoice("nothing", made)


def test_file_outlives_the_process_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "intents.db"
    with SqliteIntents(path) as store:
        store.add(PAY)
        with SqliteIntents(path, is_readonly=True) as looking:  # while a member uses it
            assert len(looking.list_all()) == 1
    assert path.stat().st_mode & 0o077 == 0
    with SqliteIntents(path) as store:
        assert [it.intent for it in store.list_open()] == [PAY]


def test_looking_into_what_is_no_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        SqliteIntents(tmp_path / "nothing.db", is_readonly=True)
    (tmp_path / "text").write_text("no database at all, only words" * 50)
    with pytest.raises(StoreError):
        SqliteIntents(tmp_path / "text", is_readonly=True)


def test_indexes_hold_between_two_stores(tmp_path: Path) -> None:
    """Two processes that were started by mistake: the database refuses what one did not see."""
    import sqlite3

    with SqliteIntents(tmp_path / "intents.db", is_synced=False) as store:
        store.add(PAY)
        store.add(replace(PAY, key="s", action=Action.SETTLE))
    with sqlite3.connect(tmp_path / "intents.db") as connection:
        columns = (
            "purpose, job, round, counterpart, amount_msat, bolt11, payee, fee_msat_max, "
            "preimage, created_at_s, expires_at_s, state, shown, fee_msat, settled_at_s, note"
        )
        copy = (
            f"INSERT INTO intents (key, action, payment_hash, {columns}) SELECT "
            f"'new', action, {{}}, {columns} FROM intents WHERE key = '{{}}'"
        )
        for statement in (copy.format("'99'", "p"), copy.format("payment_hash", "s")):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)


def test_two_that_write_at_once_wait_for_each_other(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(name: str) -> None:
        with SqliteIntents(tmp_path / "intents.db", is_synced=False) as store:
            for number in range(20):
                key = f"{name} {number}"
                debt = replace(DEBT, purpose=key)
                store.add(replace(PAY, key=key, debt=debt, payment_hash=key))
                store.put_outcome(key, SETTLED)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, ("a", "b", "c")))
    with SqliteIntents(tmp_path / "intents.db", is_readonly=True) as store:
        assert len(store.list_all()) == 60 and store.list_open() == []
