"""The embedded bank passes the contract of all ecash."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.adapters.payments.ecash_contract import (
    AMOUNT_MSAT,
    FUNDED_MSAT,
    Bank,
    EcashContract,
    provider_only,
    refuse,
)

from kumiai.adapters.payments.cashu.embedded import EmbeddedEcash
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError

CRASHER = Path(__file__).with_name("ecash_crash.py")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000

    def __call__(self) -> int:
        return self.now_s

    async def wait_until(self, second: int) -> None:
        self.now_s = second + 1


class TestEmbeddedEcash(EcashContract):
    @asynccontextmanager
    async def open_bank(self, folder: Path) -> AsyncIterator[Bank]:
        clock = Clock()
        members = [
            EmbeddedEcash(folder / "bank.sqlite", derive_key(name.encode(), "ecash"), clock=clock)
            for name in ("customer", "provider", "committee", "thief")
        ]
        await members[0].deposit("funds", FUNDED_MSAT)
        await members[0].deposit("funds", FUNDED_MSAT)  # once for each key
        yield Bank(*members, clock, clock.wait_until)
        for member in members:
            await member.close()


def test_a_kill_at_every_step_moves_money_once(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, CRASHER, "embedded", tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "lock: 7 steps" in result.stdout and "redeem: 7 steps" in result.stdout


def test_a_token_of_another_bank_is_refused(tmp_path: Path) -> None:
    async def inside() -> None:
        key = derive_key(b"provider", "ecash")
        here, there = (EmbeddedEcash(tmp_path / f"{it}.sqlite", key) for it in "ab")
        await there.deposit("funds", FUNDED_MSAT)
        bank = Bank(there, here, here, here, lambda: 1_900_000_000, lambda _: asyncio.sleep(0))
        lock = provider_only(bank)
        token = await there.lock("a", AMOUNT_MSAT, lock)
        await refuse(here.check(token, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
        with pytest.raises(WalletError):
            await here.redeem("r", token)

    asyncio.run(inside())
