"""Ecash at a real mint (nutshell) passes the contract of all ecash."""

from pathlib import Path

import pytest
from tests.adapters.payments.cashu_bank import open_bank
from tests.adapters.payments.ecash_contract import AMOUNT_MSAT, Bank, EcashContract, two_of_three
from tests.services.cashu_mint import Mint

from kumiai.base.errors import InputError

pytestmark = pytest.mark.xdist_group("cashu")


@pytest.fixture
def mint(cashu_mint: Mint) -> Mint:
    return cashu_mint


class TestCashuEcash(EcashContract):
    @pytest.fixture(autouse=True)
    def _mint(self, mint: Mint) -> None:
        self.url = mint.url

    def open_bank(self, folder: Path):
        return open_bank(self.url, folder)

    def test_amounts_are_whole_satoshi(self, tmp_path: Path) -> None:
        async def check(b: Bank) -> None:
            with pytest.raises(InputError):
                await b.customer.lock("a", AMOUNT_MSAT + 1, two_of_three(b))

        self.run(tmp_path, check)
