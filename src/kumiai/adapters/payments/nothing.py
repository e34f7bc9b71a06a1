"""No wallet: for members who neither pay nor are paid, such as judges."""

from __future__ import annotations

from typing import Any, NoReturn

from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, Payment, WalletInfo


class NoWallet:
    """A `WalletPort` that holds nothing and refuses everything that would move money."""

    async def get_info(self) -> WalletInfo:
        return WalletInfo("none", "none", has_hold=False)

    async def make_invoice(self, *_: Any, **__: Any) -> NoReturn:
        _refuse()

    async def make_hold_invoice(self, *_: Any, **__: Any) -> NoReturn:
        _refuse()

    async def settle(self, preimage: str) -> NoReturn:
        _refuse()

    async def cancel(self, payment_hash: str) -> NoReturn:
        _refuse()

    async def pay(self, *_: Any, **__: Any) -> NoReturn:
        _refuse()

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        return None

    async def get_balance(self) -> Balance:
        return Balance(0)

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        return []

    async def close(self) -> None:
        """There is nothing to close."""


def _refuse() -> NoReturn:
    raise WalletError("NOT_IMPLEMENTED", "this member has no wallet")
