"""Kill -9 at every step of funding, locking and redeeming at a real mint (nutshell)."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.cashu_mint import Mint, run_mint

pytestmark = pytest.mark.xdist_group("cashu")

CRASHER = Path(__file__).with_name("ecash_crash.py")


@pytest.fixture(scope="module")
def mint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mint]:
    with run_mint(tmp_path_factory.mktemp("mint")) as running:
        yield running


def test_a_kill_at_every_step_moves_money_once(mint: Mint, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, CRASHER, "cashu", tmp_path, mint.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    steps = {line.split(": ")[0]: int(line.split()[1]) for line in result.stdout.splitlines()}
    assert set(steps) == {"fund", "lock", "redeem"} and min(steps.values()) >= 12, steps
