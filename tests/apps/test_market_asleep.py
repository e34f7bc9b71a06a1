"""A customer whose machine sleeps through a round's deadline, as a process that is stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from tests.apps.market_town import Town

pytest.importorskip("aiohttp", reason="pip install 'kumiai[market]'")
pytest.importorskip("nostr_sdk", reason="pip install 'kumiai[market]'")

TRAIN_S = 28
ASLEEP_S = 40  # beyond the deadline, and more than the node takes for a long step


def test_a_customer_that_sleeps_through_a_deadline_pays_who_kept_it(tmp_path: Path) -> None:
    town = Town(tmp_path)
    try:
        places = ["--relay", town.start_relay("relay"), "--blobs", town.start_blobs("blobs")]
        town.run("wallet", "fund", "embedded:bank.sqlite#customer", "1000sat")
        town.start_provider("one", 11, [*places, "--train-s", str(TRAIN_S)])
        town.post("job", places, trainers=1, rounds=1, train_s=TRAIN_S)
        town.wait("one", r"round 1: training")
        town.running["job"].send_signal(signal.SIGSTOP)
        town.wait("one", r"round 1: delivered")
        time.sleep(ASLEEP_S)
        town.running["job"].send_signal(signal.SIGCONT)
        said = town.wait_end("job")
        assert "round 1/1" in said and "this machine was asleep or off" in said
        status = town.get_status("job")
        assert [work["is_paid"] for work in status["works"]] == [True]
        assert town.get_msat("one") == 11_000
    finally:
        town.close()
