"""The embedded bank passes the contract of all ecash."""

import asyncio
import json
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

from kumiai.adapters.payments.bank import EmbeddedBank
from kumiai.adapters.payments.cashu.embedded import TOKEN_PREFIX, EmbeddedEcash
from kumiai.base.errors import StoreError
from kumiai.base.keys import derive_key
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import EcashLock

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


@pytest.mark.parametrize(
    ("part", "said"),
    [("escrow", ("lock: 7 steps", "redeem: 7 steps")), ("purse", ("pay: ", "send: ", "fill: "))],
)
def test_a_kill_at_every_step_moves_money_once(
    tmp_path: Path, part: str, said: tuple[str, ...]
) -> None:
    result = subprocess.run(
        [sys.executable, CRASHER, "embedded", part, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(line in result.stdout for line in said), result.stdout


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


def test_a_token_in_another_writing_is_refused(tmp_path: Path) -> None:
    """Half a character in its secret stopped the node of whoever was shown it; and a token in two
    writings would be two promises of the same money.
    """

    async def inside() -> None:
        path = tmp_path / "bank.sqlite"
        customer, provider = (EmbeddedEcash(path, derive_key(it, "ecash")) for it in (b"c", b"p"))
        await customer.deposit("funds", FUNDED_MSAT)
        lock = EcashLock((provider.pubkey,), 1, 1_900_000_000, customer.pubkey)
        token = await customer.lock("a", AMOUNT_MSAT, lock)
        name, amount_msat, secret = json.loads(token.removeprefix(TOKEN_PREFIX))
        half = secret.replace('"nonce":"', '"nonce":"\ud800')
        whole = secret.replace('"nonce":"', '"nonce":"é')
        for text in (
            TOKEN_PREFIX + json.dumps([name, amount_msat, half], separators=(",", ":")),
            TOKEN_PREFIX + json.dumps([name, amount_msat, whole], separators=(",", ":")),
            TOKEN_PREFIX + json.dumps([name, amount_msat, secret]),
            token.replace("nonce", "\\u006eonce"),
        ):
            await refuse(provider.check(text, AMOUNT_MSAT, lock), "LOCK_DIFFERS")
            await refuse(provider.sign(text), "LOCK_DIFFERS")
            await refuse(provider.redeem("r", text), "LOCK_DIFFERS")
            await refuse(provider.get_state(text), "LOCK_DIFFERS")
        await provider.check(token, AMOUNT_MSAT, lock)
        assert await provider.redeem("r", token) == AMOUNT_MSAT

    asyncio.run(inside())


def test_a_file_that_cannot_be_the_banks_is_refused(tmp_path: Path) -> None:
    key = derive_key(b"provider", "ecash")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "bank.sqlite"):
        with pytest.raises(StoreError):
            EmbeddedEcash(path, key)
    EmbeddedBank(tmp_path / "lightning.sqlite").close()
    with pytest.raises(StoreError, match="another database"):
        EmbeddedEcash(tmp_path / "lightning.sqlite", key)
    EmbeddedEcash(tmp_path / "ecash.sqlite", key)
    with pytest.raises(StoreError, match="another database"):
        EmbeddedBank(tmp_path / "ecash.sqlite")
