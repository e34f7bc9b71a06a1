"""kill -9 at any moment: what was acknowledged is there, once, and the state is what it does."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.adapters.evm.killed_chain import check_after_kill, run_and_kill

from kumiai.adapters.evm.chain.replay import replay_file

KILLS = 10


@pytest.mark.parametrize("is_pooled", [False, True], ids=["one by one", "many at once"])
def test_no_acknowledged_transaction_is_lost_or_applied_twice(
    tmp_path: Path, is_pooled: bool
) -> None:
    path = tmp_path / "chain.sqlite"
    chance = random.Random(5)
    acknowledged: list[str] = []
    for _ in range(KILLS // 2):
        acknowledged += run_and_kill(path, chance.uniform(0.05, 0.4), is_pooled=is_pooled)
        check_after_kill(path, acknowledged)
    assert len(acknowledged) > KILLS, "the world was too short to say anything"
    assert replay_file(path).transactions >= len(acknowledged) // 2
