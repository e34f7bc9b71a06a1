"""Ecash at a real mint (nutshell) passes the contract of all ecash wallets."""

from pathlib import Path

import pytest
from tests.adapters.payments.cashu_bank import open_wallet
from tests.adapters.payments.purse_contract import PurseContract
from tests.services.cashu_mint import Mint

from kumiai.adapters.payments.cashu.purse import CashuPurse

pytestmark = pytest.mark.xdist_group("cashu")


class TestCashuPurse(PurseContract):
    @pytest.fixture(autouse=True)
    def _mint(self, cashu_mint: Mint) -> None:
        self.url = cashu_mint.url

    def open_purse(self, folder: Path, name: str) -> CashuPurse:
        return open_wallet(self.url, folder, name)
