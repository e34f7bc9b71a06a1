"""The embedded bank's ecash passes the contract of all ecash wallets."""

from pathlib import Path

from tests.adapters.payments.purse_contract import PurseContract

from kumiai.adapters.payments.cashu.embedded_purse import EmbeddedPurse
from kumiai.base.keys import derive_key


class TestEmbeddedPurse(PurseContract):
    def open_purse(self, folder: Path, name: str) -> EmbeddedPurse:
        return EmbeddedPurse(folder / "bank.sqlite", derive_key(name.encode(), "ecash"))
