"""kill -9 between writing and sending, sending and receipt: nothing is lost, nothing sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adapters.evm.anvil import run_anvil
from tests.adapters.evm.outbox_process import SECRET, VALUE

import kumiai
from kumiai.adapters.evm.accounts import Account

COUNT = 7
TARGET = "0x" + "d0" * 20
PROGRAM = Path(__file__).with_name("outbox_process.py")


def run(url: str, file: Path, place: str) -> int:
    source = str(Path(kumiai.__file__).parents[1])
    command = [sys.executable, str(PROGRAM), url, str(file), place, str(COUNT), TARGET]
    environment = {**os.environ, "PYTHONPATH": source}
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


@pytest.mark.parametrize("place", ["before-send", "after-send", "after-receipt"])
def test_killed_at(place: str, tmp_path: Path) -> None:
    file = tmp_path / "box.db"
    sender = Account(SECRET).address
    with run_anvil() as node:
        sent_before = 0
        for _ in range(3):  # killed three times at the same place, further on each time or not
            assert run(node.url, file, place) == -signal.SIGKILL
            count = int(str(node.request("eth_getTransactionCount", sender, "latest")), 16)
            assert count >= sent_before
            assert (count == 0) == (place == "before-send")
            sent_before = count
        assert run(node.url, file, "none") == 0
        assert run(node.url, file, "none") == 0  # the same keys once more: nothing happens
        paid = int(str(node.request("eth_getBalance", TARGET, "latest")), 16)
        count = int(str(node.request("eth_getTransactionCount", sender, "latest")), 16)
        assert (paid, count) == (COUNT * VALUE, COUNT)
