"""A wallet whose requests and answers get lost, as on a real network: for tests and simulations.

Between the member and any other wallet. A lost request never reaches the wallet; a lost answer
means that the wallet did what was asked and the member is not told; a late request is done when
nobody expects it any more. All look alike to the member: an error that may be retried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from typing import TypeVar

from kumiai.base.errors import KumiaiError
from kumiai.nodes.market.errors import WalletError
from kumiai.nodes.market.ports import Balance, Invoice, Payment, WalletInfo, WalletPort

T = TypeVar("T")


class Fault(Enum):
    """What happens to one call."""

    NONE = "none"
    LOST_REQUEST = "lost request"
    LOST_ANSWER = "lost answer"
    LATE_REQUEST = "late request"  # it arrives when `deliver` says, long after the error


class FaultyWallet:
    """WalletPort around another one; `choose(method)` says what happens to each call."""

    def __init__(self, wallet: WalletPort, choose: Callable[[str], Fault]) -> None:
        self._wallet, self._choose = wallet, choose
        self._late: list[Callable[[], Awaitable[object]]] = []

    async def deliver(self) -> None:
        """Let the requests arrive that are late; nobody is told what comes of them."""
        late, self._late = self._late, []
        for call in late:
            with suppress(KumiaiError):
                await call()

    async def get_info(self) -> WalletInfo:
        return await self._call("get_info", self._wallet.get_info)

    async def make_invoice(
        self,
        key: str,
        amount_msat: int,
        description: str = "",
        expiry_s: int = 3600,
        preimage: str | None = None,
    ) -> Invoice:
        make = self._wallet.make_invoice
        return await self._call(
            "make_invoice", lambda: make(key, amount_msat, description, expiry_s, preimage)
        )

    async def make_hold_invoice(
        self,
        key: str,
        amount_msat: int,
        payment_hash: str,
        description: str = "",
        expiry_s: int = 3600,
    ) -> Invoice:
        make = self._wallet.make_hold_invoice
        return await self._call(
            "make_hold_invoice",
            lambda: make(key, amount_msat, payment_hash, description, expiry_s),
        )

    async def settle(self, preimage: str) -> Payment:
        return await self._call("settle", lambda: self._wallet.settle(preimage))

    async def cancel(self, payment_hash: str) -> Payment:
        return await self._call("cancel", lambda: self._wallet.cancel(payment_hash))

    async def pay(
        self, key: str, bolt11: str, amount_msat: int, payee: str = "", fee_msat_max: int = 0
    ) -> Payment:
        pay = self._wallet.pay
        return await self._call("pay", lambda: pay(key, bolt11, amount_msat, payee, fee_msat_max))

    async def lookup(self, payment_hash: str, *, is_incoming: bool) -> Payment | None:
        look = self._wallet.lookup
        return await self._call("lookup", lambda: look(payment_hash, is_incoming=is_incoming))

    async def get_balance(self) -> Balance:
        return await self._call("get_balance", self._wallet.get_balance)

    async def list_payments(self, since_s: int = 0) -> list[Payment]:
        return await self._call("list_payments", lambda: self._wallet.list_payments(since_s))

    async def close(self) -> None:
        await self._wallet.close()

    async def _call(self, method: str, call: Callable[[], Awaitable[T]]) -> T:
        fault = self._choose(method)
        if fault is Fault.LATE_REQUEST:
            self._late.append(call)
        if fault in (Fault.LOST_REQUEST, Fault.LATE_REQUEST):
            raise WalletError("INTERNAL", f"{method}: no answer", is_retriable=True)
        answer = await call()
        if fault is Fault.LOST_ANSWER:
            raise WalletError("INTERNAL", f"{method}: no answer", is_retriable=True)
        return answer
