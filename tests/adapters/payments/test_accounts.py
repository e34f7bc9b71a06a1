"""Accounts: each way in which intents, wallet and receipts can disagree has its line."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kumiai.adapters.payments.accounts import (
    Books,
    Receipt,
    Verdict,
    read_receipts,
    reconcile,
)
from kumiai.adapters.payments.accounts_csv import HEAD, make_safe, save_csv, show_time, write_csv
from kumiai.base.errors import InputError, StoreError
from kumiai.nodes.market.intents import Action, Debt, Intent, Outcome, Record
from kumiai.nodes.market.ports import Balance, Payment, PaymentState

S = PaymentState
DEBT = Debt("round", "job", 1, "ab" * 32)
OUT = Intent("p", Action.PAY, DEBT, 5_000, "11" * 32, created_at_s=100)
PAID = Record(OUT, Outcome(S.SETTLED, "22" * 32, 3, 150))
MOVED = Payment("11" * 32, False, 5_000, S.SETTLED, 3, "22" * 32, 120, 150, "x")
FUNDED = Payment("aa" * 32, True, 20_000, S.SETTLED, 0, "bb" * 32, 1, 1, "funding: 1")
RECEIPT = Receipt("p", 5_000, False, "job")
BALANCE = Balance(20_000 - 5_003)


def judge(books: Books, key: str = "p") -> Verdict:
    [line] = [line for line in books.lines if line.key == key]
    return line.verdict


def test_what_all_agree_on_is_matched_and_adds_up() -> None:
    books = reconcile([PAID], [FUNDED, MOVED], BALANCE, [RECEIPT])
    assert judge(books) is Verdict.MATCHED and books.is_reconciled
    assert (books.received_msat, books.sent_msat, books.fee_msat) == (20_000, 5_000, 3)
    assert books.difference_msat == 0
    [funded] = [line for line in books.lines if line.verdict is Verdict.UNKNOWN]
    assert "funding: 1" in funded.reason


@pytest.mark.parametrize(
    ("record", "movements", "receipts", "verdict"),
    [
        (PAID, [], None, Verdict.MISSING),
        (PAID, [replace(MOVED, state=S.FAILED)], None, Verdict.DIFFERS),
        (PAID, [replace(MOVED, amount_msat=5_001)], None, Verdict.DIFFERS),
        (PAID, [replace(MOVED, is_incoming=True)], None, Verdict.MISSING),
        (PAID, [MOVED], [], Verdict.NO_RECEIPT),
        (PAID, [MOVED], [replace(RECEIPT, amount_msat=1)], Verdict.DIFFERS),
        (PAID, [MOVED], [replace(RECEIPT, is_incoming=True)], Verdict.DIFFERS),
        (PAID, [MOVED], [replace(RECEIPT, job="other")], Verdict.DIFFERS),
        (Record(OUT, Outcome(S.PENDING)), [], None, Verdict.OPEN),
        (Record(OUT, Outcome(S.PENDING)), [MOVED], None, Verdict.OPEN),
        (Record(OUT, Outcome(S.PENDING)), [], [RECEIPT], Verdict.DIFFERS),
        (Record(OUT, Outcome(S.FAILED)), [], None, Verdict.VOID),
        (Record(OUT, Outcome(S.FAILED)), [replace(MOVED, state=S.FAILED)], None, Verdict.VOID),
        (Record(OUT, Outcome(S.FAILED)), [MOVED], None, Verdict.DIFFERS),
        (Record(OUT, Outcome(S.EXPIRED)), [], [RECEIPT], Verdict.DIFFERS),
    ],
)
def test_every_disagreement_has_its_verdict(
    record: Record,
    movements: list[Payment],
    receipts: list[Receipt] | None,
    verdict: Verdict,
) -> None:
    books = reconcile([record], movements, Balance(0), receipts)
    assert judge(books) is verdict
    [line] = [line for line in books.lines if line.key == "p"]
    assert line.reason


def test_what_was_paid_under_another_key_is_no_fault_of_the_first() -> None:
    tried = Record(replace(OUT, key="first"), Outcome(S.FAILED, note="no route"))
    for records in ([tried, PAID], [PAID, tried]):
        books = reconcile(records, [FUNDED, MOVED], BALANCE)
        assert judge(books, "first") is Verdict.VOID
        assert judge(books) is Verdict.MATCHED and books.is_reconciled


def test_a_second_receipt_for_one_payment_is_a_fault() -> None:
    books = reconcile([PAID], [FUNDED, MOVED], BALANCE, [RECEIPT, replace(RECEIPT, amount_msat=9)])
    assert [line.verdict for line in books.faults] == [Verdict.NO_PAYMENT]
    assert not books.is_reconciled


def test_receipt_alone_is_a_fault() -> None:
    books = reconcile([], [], Balance(0), [RECEIPT])
    assert judge(books) is Verdict.NO_PAYMENT and not books.is_reconciled


def test_incoming_may_be_more_than_asked_never_less() -> None:
    asked = Record(replace(OUT, action=Action.ASK), Outcome(S.SETTLED, "22" * 32))
    more = replace(MOVED, is_incoming=True, amount_msat=6_000)
    assert judge(reconcile([asked], [more], Balance(6_000))) is Verdict.MATCHED
    less = replace(more, amount_msat=4_000)
    assert judge(reconcile([asked], [less], Balance(4_000))) is Verdict.DIFFERS


def test_of_several_attempts_the_one_that_moved_counts() -> None:
    tried = replace(MOVED, state=S.FAILED, preimage=None)
    for order in ([tried, FUNDED, MOVED], [MOVED, FUNDED, tried]):
        assert reconcile([PAID], order, BALANCE).is_reconciled


def test_locked_money_is_neither_spent_nor_spendable() -> None:
    locked = replace(MOVED, state=S.ACCEPTED, fee_msat=0, preimage=None)
    record = Record(OUT, Outcome(S.ACCEPTED))
    books = reconcile([record], [FUNDED, locked], Balance(15_000, 5_000))
    assert books.locked_msat == 5_000 and books.is_reconciled
    assert not reconcile([record], [FUNDED, locked], Balance(20_000)).is_reconciled


def test_balance_that_the_history_does_not_explain() -> None:
    books = reconcile([PAID], [MOVED], Balance(7))
    assert books.difference_msat == 7 + 5_003 and not books.is_reconciled


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "\x00=1"]
)
def test_no_cell_is_a_formula(text: str) -> None:
    assert make_safe(text).startswith("'")
    line = reconcile([PAID], [MOVED], Balance(0)).lines[0]
    line = replace(line, reason=text, job=text, key=text, purpose=text, counterpart=text)
    file = io.StringIO(newline="")
    write_csv([line], file)
    [head, row] = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert tuple(head) == HEAD
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)


@pytest.mark.parametrize(
    "text", ["x;=1+1", "x; =1+1", 'x;"=1"', 'x;""=1', "x\t@SUM(A1)", "x|-1", "x\n=1", "x\r\n+1"]
)
def test_no_part_of_a_cell_is_a_formula_where_it_is_split_again(text: str) -> None:
    """Where the comma is in numbers, spreadsheets split at semicolons, and no quotes stop them."""
    safe = make_safe(text)
    assert "\n" not in safe and "\r" not in safe
    for part in re.split(r"[;\t|]", safe):
        assert not part.lstrip(' "').startswith(("=", "+", "-", "@"))


def test_plain_cells_stay_and_the_table_reads_back(tmp_path: Path) -> None:
    assert make_safe("job 1, round 2") == "job 1, round 2"
    books = reconcile([PAID], [FUNDED, MOVED], BALANCE)
    save_csv(books.lines, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["amount_msat"] for row in rows] == ["20000", "5000"]
    assert rows[1]["direction"] == "out" and rows[1]["time"] == "1970-01-01T00:02:30Z"
    assert show_time(2**62) == "" and show_time(0) == ""
    with pytest.raises(StoreError):
        save_csv(books.lines, tmp_path / "no folder" / "a.csv")


def test_receipts_are_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "receipts"
    good = {"key": "p", "amount_msat": 5_000, "is_incoming": False, "job": "job"}
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "more": 1}) + "\n")
    assert read_receipts(path) == [RECEIPT, RECEIPT]
    wrong: list[object] = [
        {**good, "amount_msat": 1.5}, {**good, "amount_msat": True}, {**good, "amount_msat": -1},
        {**good, "key": None}, {}, [], 7, {**good, "job": "x" * 5_000},
    ]  # fmt: skip
    for document in wrong:
        path.write_text(json.dumps(document))
        with pytest.raises(InputError, match="line 1"):
            read_receipts(path)
    path.write_text("[" * 3_000)
    with pytest.raises(InputError):
        read_receipts(path)
    with pytest.raises(InputError):
        read_receipts(tmp_path / "nothing")
