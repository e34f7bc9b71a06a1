"""Kill -9 at every step of what moves ecash at a real mint (nutshell)."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.services.cashu_mint import Mint

pytestmark = pytest.mark.xdist_group("cashu")

CRASHER = Path(__file__).with_name("ecash_crash.py")
PARTS = {"escrow": {"fund", "lock", "redeem"}, "purse": {"fund", "fill", "pay", "send"}}


@pytest.fixture
def mint(cashu_mint: Mint) -> Mint:
    return cashu_mint


@pytest.mark.parametrize("part", list(PARTS))
def test_a_kill_at_every_step_moves_money_once(mint: Mint, tmp_path: Path, part: str) -> None:
    result = subprocess.run(
        [sys.executable, CRASHER, "cashu", part, tmp_path, mint.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    steps = {line.split(": ")[0]: int(line.split()[1]) for line in result.stdout.splitlines()}
    assert set(steps) == PARTS[part] and min(steps.values()) >= 12, steps
