"""The embedded wallet passes the contract of all wallets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.adapters.payments.wallet_contract import FUNDED_MSAT, WalletContract, Wallets

from kumiai.adapters.payments import bolt11
from kumiai.adapters.payments.bolt11 import AMOUNT_MSAT_MAX
from kumiai.adapters.payments.embedded import EmbeddedBank, EmbeddedWallet
from kumiai.base.errors import InputError
from kumiai.nodes.market.ports import Invoice

LOCK_S = 600


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000

    def __call__(self) -> int:
        return self.now_s

    async def pass_time(self, seconds: int) -> None:
        self.now_s += seconds


class TestEmbeddedWallet(WalletContract):
    kind = "embedded"

    @asynccontextmanager
    async def open_wallets(self, folder: Path) -> AsyncIterator[Wallets]:
        clock = Clock()
        with EmbeddedBank(folder / "bank.db", clock=clock, lock_s=LOCK_S) as bank:
            bank.fund("payer", FUNDED_MSAT)
            payer, payee = EmbeddedWallet(bank, "payer"), EmbeddedWallet(bank, "payee")
            yield Wallets(payer, payee, clock.pass_time, LOCK_S)
            bank.check_books()


def test_all_play_money_together_is_a_number_that_the_file_can_hold(tmp_path: Path) -> None:
    """More than an integer of 64 bits became a fraction, and the books were wrong for ever."""
    with EmbeddedBank(tmp_path / "bank.db") as bank:
        bank.fund("a", AMOUNT_MSAT_MAX - 1)
        for name in ("a", "b"):
            with pytest.raises(InputError):
                bank.fund(name, AMOUNT_MSAT_MAX)
        bank.fund("b", 1)
        bank.check_books()
        assert bank.get_balance("a").spendable_msat == AMOUNT_MSAT_MAX - 1


def test_what_a_wallet_signed_is_not_decoded_and_would_be_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding costs more than signing; the cashier reads what its own wallet has made."""

    async def make(bank: EmbeddedBank) -> list[Invoice]:
        wallet = EmbeddedWallet(bank, "payee")
        return [
            await wallet.make_invoice("a", 1),
            await wallet.make_invoice("b", 10**9 + 7, "round 1, née", 60, "ab" * 32),
            await wallet.make_hold_invoice("c", 5_000, "cd" * 32, "x" * 600),
        ]

    with EmbeddedBank(tmp_path / "bank.db") as bank:
        made = asyncio.run(make(bank))
    assert [bolt11.read(it.bolt11) for it in made] == made
    monkeypatch.delattr(bolt11, "library")
    assert [bolt11.decode(it.bolt11) for it in made] == made
