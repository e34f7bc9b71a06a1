"""Several processes at one bank: they begin it together, pay at once, and one is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

from kumiai.adapters.payments.embedded import EmbeddedBank

ROOT = Path(__file__).parents[3]
FUNDED, PRICE = 40_000, 1_000
NAMES = ("aoba", "beni", "chidori")


def start(path: Path, payer: str, payee: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("bank_worker.py")), str(path), payer, payee],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_begin_one_bank_together_pay_to_the_last_msat(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with EmbeddedBank(path) as bank:
        for name in NAMES:
            bank.fund(name, FUNDED)
    workers = [start(path, name, "daichi") for name in NAMES]
    assert [worker.wait(300) for worker in workers] == [0, 0, 0]
    with EmbeddedBank(path) as bank:
        assert bank.get_balance("daichi").spendable_msat == len(NAMES) * FUNDED
        assert [bank.get_balance(name).spendable_msat for name in NAMES] == [0, 0, 0]
        bank.check_books()


def test_file_that_does_not_exist_yet_is_begun_by_one(tmp_path: Path) -> None:
    workers = [start(tmp_path / "new.db", name, "daichi") for name in NAMES]
    assert [worker.wait(300) for worker in workers] == [0, 0, 0]
    with EmbeddedBank(tmp_path / "new.db") as bank:
        assert bank.get_names() == sorted([*NAMES, "daichi"])
        bank.check_books()


def test_killed_process_takes_nothing_with_it(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    with EmbeddedBank(path) as bank:
        for name in NAMES:
            bank.fund(name, 100 * FUNDED)
    workers = [start(path, name, "daichi") for name in NAMES]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
    with EmbeddedBank(path) as bank:
        while bank.get_balance("daichi").spendable_msat < 10 * PRICE:
            time.sleep(0.01)
        for worker in workers:
            worker.kill()  # in the middle of whatever it does
            worker.wait()
        bank.check_books()
        paid = bank.get_balance("daichi").spendable_msat
        left = sum(bank.get_balance(name).spendable_msat for name in NAMES)
        assert paid + left == 300 * FUNDED and paid % PRICE == 0
